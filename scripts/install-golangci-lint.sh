#!/usr/bin/env bash
# install-golangci-lint.sh DIR VERSION: puts golangci-lint of exactly that version into DIR, unless
# it is there. Built from source with the Go in PATH, it understands that Go's programs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh

[ $# -eq 2 ] || die "usage: $0 DIR VERSION"
dir=$1 version=$2

# The tool must also be of this Go: a linter built with an older one refuses newer code.
installed() {
	[ -x "$dir/golangci-lint" ] || return 1
	local info
	info=$(go version -m "$dir/golangci-lint") || return 1
	[[ $info == *$'\tmod\tgithub.com/golangci/golangci-lint/v2\t'"$version"$'\t'* && $info == *": $(go env GOVERSION)"* ]]
}

if installed; then
	exit 0
fi
say "Building golangci-lint $version into $dir; the first time this takes some minutes."
GOBIN=$dir GOFLAGS='' go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$version"
