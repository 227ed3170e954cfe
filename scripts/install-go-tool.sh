#!/usr/bin/env bash
# install-go-tool.sh DIR MODULE PACKAGE VERSION: puts the program PACKAGE of MODULE into DIR, of exactly that
# version, unless it is there. Built from source with the Go in PATH, it understands that Go's programs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh

[ $# -eq 4 ] || die "usage: $0 DIR MODULE PACKAGE VERSION"
dir=$1 module=$2 package=$3 version=$4
name=${package##*/}

# The tool must also be of this Go: a linter built with an older one refuses newer code.
installed() {
	[ -x "$dir/$name" ] || return 1
	local info
	info=$(go version -m "$dir/$name") || return 1
	[[ $info == *$'\tmod\t'"$module"$'\t'"$version"$'\t'* && $info == *": $(go env GOVERSION)"* ]]
}

if installed; then
	exit 0
fi
say "Building $name $version into $dir; the first time this may take some minutes."
GOBIN=$dir GOFLAGS='' go install "$package@$version"
