# Functions for the scripts beside this file, to be sourced by them (bash).

say() { printf '%s\n' "$*" >&2; }

die() {
	say "$*"
	exit 1
}

# as_root CMD...: run a command as root, without ever asking for a password.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
		sudo -n "$@"
	else
		return 77
	fi
}

can_be_root() { as_root true; }

# package_manager: the name of the one that this system has, or nothing.
package_manager() {
	local name
	for name in apt-get dnf apk brew; do
		if command -v "$name" >/dev/null 2>&1; then
			printf '%s\n' "$name"
			return
		fi
	done
}

# apt_install PACKAGE...: install Debian packages without a question.
apt_install() {
	if [ -z "${APT_UPDATED:-}" ]; then
		# A list that cannot be refreshed may still do.
		as_root apt-get update -q >&2 || say "apt-get update did not work; going on with the old package lists."
		APT_UPDATED=1
	fi
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
		-o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" >&2
}

# keep_services_down and allow_services: between the two, packages that are installed start no
# service. A policy that was there before stays.
readonly SERVICE_POLICY=/usr/sbin/policy-rc.d
service_policy_is_ours=

keep_services_down() {
	[ ! -e "$SERVICE_POLICY" ] || return 0
	service_policy_is_ours=yes
	printf '#!/bin/sh\nexit 101\n' | as_root tee "$SERVICE_POLICY" >/dev/null
	as_root chmod 755 "$SERVICE_POLICY"
}

allow_services() {
	[ -n "$service_policy_is_ours" ] || return 0
	service_policy_is_ours=
	as_root rm -f "$SERVICE_POLICY"
}
