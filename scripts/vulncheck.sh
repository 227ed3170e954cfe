#!/usr/bin/env bash
# vulncheck.sh DIR: fails if code that is called has a known vulnerability, as govulncheck in DIR finds.
# GOVULNDB names a mirror of the database, or a copy of it as file:///FOLDER. Without a way to any, it
# says so and does not fail: who builds offline cannot help it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/common.sh

[ $# -eq 1 ] || die "usage: $0 DIR"
db=${GOVULNDB:-https://vuln.go.dev}

status=0
said=$("$1/govulncheck" -db "$db" ./... 2>&1) || status=$?
case $status:$said in
0:*) say "No known vulnerability is in code that is called, says $db." ;;
[!03]:*"fetching vulnerabilities:"*)
	say "NOT CHECKED for known vulnerabilities: their database cannot be reached."
	say "  ${said##*fetching vulnerabilities: }"
	say "  GOVULNDB=URL names a mirror of it, or a copy as file:///FOLDER."
	;;
*)
	say "$said"
	exit "$status"
	;;
esac
