#!/usr/bin/env bash
# Installs PgBouncer, which the benchmark runs beside pooler, from the system's packages, unless
# it is there. It leaves no PgBouncer service behind, neither now nor after a reboot: that would
# take the port that pooler listens on by default.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh

readonly help="Install PgBouncer by hand, e.g. as root: apt-get install pgbouncer"

have_pgbouncer() { PATH=$PATH:/usr/sbin:/usr/local/sbin command -v pgbouncer >/dev/null 2>&1; }

if have_pgbouncer; then
	exit 0
fi

manager=$(package_manager)
say "PgBouncer is missing; installing it with ${manager:-(no package manager found)}."
if [ "$manager" != brew ] && ! can_be_root; then
	die "That needs root, or sudo without a password. $help"
fi

trap allow_services EXIT
case $manager in
apt-get)
	keep_services_down
	apt_install pgbouncer || die "$help"
	if command -v systemctl >/dev/null 2>&1; then
		as_root systemctl disable pgbouncer >&2 || say "The service pgbouncer could not be disabled; it will start at the next boot."
	fi
	;;
dnf) as_root dnf install -y pgbouncer >&2 || die "$help" ;;
apk) as_root apk add pgbouncer >&2 || die "$help" ;;
brew) brew install pgbouncer >&2 || die "$help" ;;
*) die "$help" ;;
esac

have_pgbouncer || die "The package was installed, but pgbouncer was not found. $help"
