#!/usr/bin/env bash
# Installs Chromium, in which a test opens the dashboard, from the system's packages, unless it or
# Google Chrome is there. With it come plain fonts: a page without any is a page of boxes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh

readonly help="Install Chromium by hand, e.g. as root: apt-get install chromium fonts-dejavu-core"

have_chromium() {
	local name
	for name in chromium chromium-browser google-chrome google-chrome-stable; do
		if command -v "$name" >/dev/null 2>&1; then
			return 0
		fi
	done
	return 1
}

if have_chromium; then
	exit 0
fi

manager=$(package_manager)
say "Chromium is missing; installing it with ${manager:-(no package manager found)}."
if [ "$manager" != brew ] && ! can_be_root; then
	die "That needs root, or sudo without a password. $help"
fi
case $manager in
apt-get) apt_install chromium fonts-dejavu-core || die "$help" ;;
dnf) as_root dnf install -y chromium dejavu-sans-fonts >&2 || die "$help" ;;
apk) as_root apk add chromium font-dejavu >&2 || die "$help" ;;
brew) brew install --cask chromium >&2 || die "$help" ;;
*) die "$help" ;;
esac

have_chromium || die "The package was installed, but Chromium was not found. $help"
