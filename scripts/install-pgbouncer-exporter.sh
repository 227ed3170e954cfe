#!/usr/bin/env bash
# Installs prometheus-pgbouncer-exporter, which a test has scrape pooler, from Debian's or Ubuntu's
# packages, unless it is there. Other systems do not have it, and the test says what to do. It
# leaves no service of the exporter behind, neither now nor after a reboot.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh

readonly package=prometheus-pgbouncer-exporter
readonly help="Install it by hand, e.g. as root: apt-get install $package"

have_exporter() { command -v "$package" >/dev/null 2>&1; }

if have_exporter; then
	exit 0
fi

if [ "$(package_manager)" != apt-get ]; then
	say "$package is a package of Debian's; leave its test out: make test TESTFLAGS='-skip Debian'"
	exit 0
fi
say "$package is missing; installing it with apt-get."
can_be_root || die "That needs root, or sudo without a password. $help"

trap allow_services EXIT
keep_services_down
if ! apt_install "$package"; then
	apt-cache show "$package" >/dev/null 2>&1 && die "$help"
	say "This release does not have $package; leave its test out: make test TESTFLAGS='-skip Debian'"
	exit 0
fi
if command -v systemctl >/dev/null 2>&1; then
	as_root systemctl disable "$package" >&2 || say "The service $package could not be disabled; it will start at the next boot."
fi

have_exporter || die "The package was installed, but $package was not found. $help"
