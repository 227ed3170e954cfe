#!/usr/bin/env bash
# fuzz.sh TIME: runs every fuzz target of the module for TIME each and stops at the first failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/common.sh

[ $# -eq 1 ] || die "usage: $0 TIME"

targets=$(grep -rE --include='*_test.go' --exclude-dir='.?*' '^func Fuzz[A-Za-z0-9_]*\(' . |
	sed -E 's/^(.*)\/[^/]*_test\.go:func (Fuzz[A-Za-z0-9_]*)\(.*/\1 \2/' | sort -u) || true
[ -n "$targets" ] || die "There is no fuzz target."

while read -r dir name <&3; do
	say "Fuzzing $name in $dir for $1."
	# Minimising a large find that is no failure may take all of the time (Go allows it a minute each).
	go test -run '^$' -fuzz "^$name\$" -fuzztime "$1" -fuzzminimizetime 10x "$dir"
done 3<<<"$targets"
