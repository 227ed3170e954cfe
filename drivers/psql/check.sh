#!/usr/bin/env bash
# Checks psql: 20 clients run round.psql many times, in several connections each. What they print must
# equal what is printed when they run it directly. It connects by the PG* variables; DIRECT_PORT is
# PostgreSQL's own port.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# A round has some 60 statements and is done twice, hence fewer rounds than others have.
readonly clients=20 connections=5 rounds=5
readonly name="psql $(psql --version | awk '{print $3}')"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
began=$(date +%s.%N)

# client N OUTPUT: both streams in one, since their order matters too.
client() {
	local connection round
	for connection in $(seq $connections); do
		{
			for round in $(seq $rounds); do
				printf '\\set round %d\n\\i round.psql\n' $((connection * 100 + round))
			done
			[ "$connection" -ne 1 ] || echo '\i describe.psql' # many statements, so once only
		} >"$2.script"
		PGOPTIONS="-c drivers.me=start" PGTZ=UTC PGAPPNAME="client $1" \
			psql -X -v client="$1" -v column="some column" -f "$2.script" 2>&1 </dev/null
	done >"$2"
}

# all NAME: all clients in parallel, on an empty ledger.
all() {
	local i pids=()
	PGPORT=$DIRECT_PORT psql -X -q -c 'TRUNCATE ledger'
	for i in $(seq $clients); do
		client "$i" "$dir/$1.$i" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || true # what it printed will tell
	done
}

PGPORT=$DIRECT_PORT all expected
all got

failures=()
for i in $(seq $clients); do
	sed -i "s#$dir/expected#FILE#" "$dir/expected.$i"
	sed -i "s#$dir/got#FILE#" "$dir/got.$i"
	cmp -s "$dir/expected.$i" "$dir/got.$i" ||
		failures+=("client $i: $(diff "$dir/expected.$i" "$dir/got.$i" | head -n 8)")
done
lines=$(cat "$dir"/got.? "$dir"/got.?? | wc -l)
outcome="$name clients=$clients rounds=$((connections * rounds)) checks=$lines seconds=$(echo "$(date +%s.%N) $began" | awk '{printf "%.1f", $1 - $2}')"
if [ ${#failures[@]} -gt 0 ]; then
	echo "FAILED $outcome failures=${#failures[@]}"
	printf '  %s\n' "${failures[@]:0:5}"
	exit 1
fi
echo "ok $outcome"
