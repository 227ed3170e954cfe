#!/usr/bin/env bash
# Installs a C compiler, which Go's race detector needs, unless there is one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh

readonly help="Install a C compiler by hand, e.g. as root: apt-get install gcc libc6-dev"

# have_cc compiles a program with a header, since a compiler without the C library is no use.
have_cc() {
	local cc
	cc=$(go env CC)
	printf '#include <stdlib.h>\nint main(void) { return 0; }\n' | ${cc:-cc} -x c -o /dev/null - 2>/dev/null
}

if have_cc; then
	exit 0
fi

manager=$(package_manager)
say "A C compiler is missing; installing it with ${manager:-(no package manager found)}."
if [ "$manager" != brew ] && ! can_be_root; then
	die "That needs root, or sudo without a password. $help"
fi
case $manager in
apt-get) apt_install gcc libc6-dev || die "$help" ;;
dnf) as_root dnf install -y gcc glibc-devel >&2 || die "$help" ;;
apk) as_root apk add gcc musl-dev >&2 || die "$help" ;;
brew) brew install gcc >&2 || die "$help" ;;
*) die "$help" ;;
esac

have_cc || die "The compiler was installed, but $(go env CC) does not work. $help"
