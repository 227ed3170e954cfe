#!/usr/bin/env bash
# Installs iproute2, by which tests build networks that they can cut, from the system's packages,
# unless it is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh

readonly help="Install iproute2 by hand, e.g. as root: apt-get install iproute2"

have_ip() { PATH=$PATH:/usr/sbin:/sbin command -v ip >/dev/null 2>&1; }

if have_ip; then
	exit 0
fi

manager=$(package_manager)
say "The program ip is missing; installing it with ${manager:-(no package manager found)}."
if ! can_be_root; then
	die "That needs root, or sudo without a password. $help"
fi
case $manager in
apt-get) apt_install iproute2 || die "$help" ;;
dnf) as_root dnf install -y iproute >&2 || die "$help" ;;
apk) as_root apk add iproute2 >&2 || die "$help" ;;
*) die "$help" ;;
esac

have_ip || die "The package was installed, but ip was not found. $help"
