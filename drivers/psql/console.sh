#!/usr/bin/env bash
# Checks the admin console with psql: \x, \gx, \gset, \watch, a prompt of several statements, and that what the console
# has not, such as \d, comes to an error that says so. It connects by the PG* variables.
set -euo pipefail

readonly name="console_psql $(psql --version | awk '{print $3}')"
began=$(date +%s.%N)
checks=0 failures=()

console() { psql -X -v ON_ERROR_STOP=0 -d pooler "$@" 2>&1; }

# prints WHAT GOT WANT: they must be equal.
prints() {
	checks=$((checks + 1))
	[ "$2" = "$3" ] || failures+=("$1: printed: $(printf '%q' "$2"), expected: $(printf '%q' "$3")")
}

# says WHAT GOT PART: it must contain it.
says() {
	checks=$((checks + 1))
	[[ $2 == *"$3"* ]] || failures+=("$1: printed: $(printf '%q' "$2"), expected to find: $3")
}

prints 'a table' "$(console -c "SHOW STATE WHERE key = 'active'")" '  key   | value 
--------+-------
 active | yes
(1 row)'
prints '\x' "$(console <<<"\\x on
SHOW STATE WHERE key = 'active';")" 'Expanded display is on.
-[ RECORD 1 ]-
key   | active
value | yes'
prints '\gx' "$(console <<<"SHOW STATE WHERE key = 'active' \\gx")" '-[ RECORD 1 ]-
key   | active
value | yes'
prints '\gset' "$(console <<<"SHOW STATE key, value WHERE key = 'active' \\gset
\\echo :key :value")" 'active yes'
prints 'a variable' "$(console -At <<<"\\set key paused
SHOW STATE value WHERE key = :'key';")" 'no'
prints 'several statements' "$(console -At -c "SHOW STATE value WHERE key = 'active'; SELECT 1; SHOW STATE value WHERE key = 'paused'")" 'yes
1
no'
prints 'CSV' "$(console --csv -c "SHOW STATE WHERE key = 'active'")" 'key,value
active,yes'

# psql 15 watches until it is interrupted.
watched=$(timeout -s INT 0.75 psql -X -At -d pooler 2>&1 <<<"SHOW STATE value WHERE key = 'active'
\\watch 0.1" || true)
times=$(grep -c '^yes$' <<<"$watched" || true)
checks=$((checks + 1))
if [ "$times" -lt 3 ] || [ "$times" -gt 8 ]; then failures+=("\\watch 0.1 showed it $times times in 0.75 s: $(printf '%q' "$watched")"); fi

for meta in '\d' '\dt' '\d clients' '\l' '\du' '\dn' '\df' '\copy clients to stdout'; do
	says "$meta" "$(console <<<"$meta")" 'HINT:  This is the pooler'\''s console, not a database: connect to another database for SQL.'
done
says 'an unknown view' "$(console <<<'SHOW CLIENT;')" 'Perhaps you meant "clients"'
says 'help' "$(console -c 'SHOW HELP')" 'Console usage'
says '\conninfo' "$(console <<<'\conninfo')" 'You are connected to database "pooler" as user'
# A session goes on after errors of all kinds.
says 'after errors' "$(console -At <<<"SHOW NOTHING;
\\d
SHOW CLIENTS nothing;
SHOW STATE value WHERE key = 'active';")" $'\nyes'
tabs=0
for view in $(console -At -c "SHOW HELP name WHERE name LIKE 'SHOW %'" | sed -n 's/^SHOW //p'); do
	checks=$((checks + 1))
	if console -At -c "SHOW $view" | grep -q $'\t'; then tabs=$((tabs + 1)); fi
done
prints 'views with tabs' "$tabs" 0

outcome="$name clients=1 rounds=1 checks=$checks seconds=$(echo "$(date +%s.%N) $began" | awk '{printf "%.1f", $1 - $2}')"
if [ ${#failures[@]} -gt 0 ]; then
	echo "FAILED $outcome failures=${#failures[@]}"
	printf '  %s\n' "${failures[@]:0:5}"
	exit 1
fi
echo "ok $outcome"
