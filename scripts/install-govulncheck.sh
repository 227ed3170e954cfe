#!/usr/bin/env bash
# install-govulncheck.sh DIR VERSION: puts govulncheck of exactly that version into DIR, unless it is
# there. Built from source with the Go in PATH, it understands that Go's programs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh

[ $# -eq 2 ] || die "usage: $0 DIR VERSION"
dir=$1 version=$2

installed() {
	[ -x "$dir/govulncheck" ] || return 1
	local info
	info=$(go version -m "$dir/govulncheck") || return 1
	[[ $info == *$'\tmod\tgolang.org/x/vuln\t'"$version"$'\t'* && $info == *": $(go env GOVERSION)"* ]]
}

if installed; then
	exit 0
fi
say "Building govulncheck $version into $dir."
GOBIN=$dir GOFLAGS='' go install "golang.org/x/vuln/cmd/govulncheck@$version"
