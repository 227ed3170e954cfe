#!/usr/bin/env bash
# Checks pg_dump, psql and pg_restore: a database is dumped and restored into several others at the
# same time, and those are dumped again. Every dump must equal the direct one of the source, byte by
# byte. It connects by the PG* variables; DIRECT_PORT is PostgreSQL's own port.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly copies=4
readonly name="pg_dump $(pg_dump --version | awk '{print $3}')"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
began=$(date +%s.%N)

direct() { PGPORT=$DIRECT_PORT "$@"; }

# dump DATABASE: newer releases frame a dump with a random key, the same in none.
dump() { pg_dump --dbname="$1" | sed -E 's/^(\\(un)?restrict) .*/\1/'; }

# copy N: two ways of restoring, by turns.
copy() {
	local target=${PGDATABASE}_copy$1
	if [ $(($1 % 2)) -eq 0 ]; then
		pg_dump | psql -X -q -v ON_ERROR_STOP=1 -d "$target" >/dev/null
	else
		pg_dump -Fc >"$dir/archive$1"
		pg_restore --exit-on-error --jobs=2 -d "$target" "$dir/archive$1"
	fi
	dump "$target" >"$dir/dump$1"
}

direct psql -X -q -v ON_ERROR_STOP=1 -f source.sql >/dev/null
for i in $(seq $copies); do
	# By a superuser, who is not a client of the pooler here.
	direct psql -X -q -U postgres -d postgres -c "CREATE DATABASE ${PGDATABASE}_copy$i OWNER $PGUSER"
done
direct dump "$PGDATABASE" >"$dir/expected"

pids=()
for i in $(seq $copies); do
	copy "$i" 2>"$dir/errors$i" &
	pids+=($!)
done
failures=()
for i in $(seq $copies); do
	wait "${pids[i - 1]}" || failures+=("copy $i: $(head -c 400 "$dir/errors$i")")
	cmp -s "$dir/expected" "$dir/dump$i" ||
		failures+=("dump of copy $i: $(diff "$dir/expected" "$dir/dump$i" 2>&1 | head -n 6 | cut -c 1-200)")
done
for i in $(seq $copies); do
	direct psql -X -q -U postgres -d postgres -c "DROP DATABASE ${PGDATABASE}_copy$i WITH (FORCE)"
done

outcome="$name clients=$copies rounds=1 checks=$((2 * copies)) seconds=$(echo "$(date +%s.%N) $began" | awk '{printf "%.1f", $1 - $2}')"
if [ ${#failures[@]} -gt 0 ]; then
	echo "FAILED $outcome failures=${#failures[@]}"
	printf '  %s\n' "${failures[@]:0:5}"
	exit 1
fi
echo "ok $outcome"
