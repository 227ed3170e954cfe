#!/usr/bin/env bash
# install-promtool.sh DIR: puts promtool, which tests have check the metrics and the alert rules,
# into DIR, unless it is there or in PATH. It is taken out of Debian's or Ubuntu's package
# prometheus; nothing is installed, so no Prometheus starts. That needs no root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh

[ $# -eq 1 ] || die "usage: $0 DIR"
dir=$1
readonly package=prometheus
readonly help="Get promtool from https://prometheus.io/download/ and put it into $dir or a directory of PATH."

works() { "$1" --version >/dev/null 2>&1; }

if works "$dir/promtool" || works promtool; then
	exit 0
fi

[ "$(package_manager)" = apt-get ] || die "promtool is missing, and without apt-get this script does not know where to get it. $help"
command -v dpkg >/dev/null 2>&1 || die "promtool is missing, and without dpkg its package cannot be unpacked. $help"
say "promtool is missing; taking it out of the package $package."

mkdir -p "$dir"
work=$(mktemp -d "$dir/promtool.XXXXXX")
trap 'rm -rf "$work"' EXIT

download() { (cd "$work" && apt-get download -q -o APT::Sandbox::User=root "$package" >&2); }

if ! download; then
	# The package lists may be missing or too old.
	if can_be_root; then
		as_root apt-get update -q >&2 || say "apt-get update did not work."
	fi
	download || die "The package $package could not be downloaded. $help"
fi
dpkg -x "$work/$package"_*.deb "$work/unpacked"
works "$work/unpacked/usr/bin/promtool" || die "The package $package has no promtool that runs here. $help"
mv -f "$work/unpacked/usr/bin/promtool" "$dir/promtool"
