#!/usr/bin/env bash
# Installs PostgreSQL's server programs from the system's packages, unless they are there. It
# leaves no PostgreSQL cluster and no service behind: the tests, the demo and the benchmark run
# servers of their own in temporary directories.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh

readonly programs="initdb postgres psql pgbench"
readonly help="Install PostgreSQL's server and pgbench ($programs) by hand, e.g. as root:
    apt-get install postgresql
or set PGTEST_BINDIR to the directory that has these programs."

has_programs() {
	local program
	for program in $programs; do
		[ -x "$1/$program" ] || return 1
	done
}

# have_postgres looks where internal/pgtest looks.
have_postgres() {
	local dir initdb
	if [ -n "${PGTEST_BINDIR:-}" ]; then
		has_programs "$PGTEST_BINDIR"
		return
	fi
	if initdb=$(command -v initdb); then
		initdb=$(readlink -f "$initdb")
		if has_programs "$(dirname "$initdb")"; then
			return
		fi
	fi
	for dir in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/lib/postgresql*/bin /usr/libexec/postgresql* \
		/usr/local/pgsql/bin /home/linuxbrew/.linuxbrew/opt/postgresql*/bin; do
		if has_programs "$dir"; then
			return
		fi
	done
	if command -v pg_config >/dev/null 2>&1; then
		has_programs "$(pg_config --bindir)"
		return
	fi
	return 1
}

# Debian's packages create a cluster and start it when they are installed, unless this file says
# not to. It belongs to postgresql-common, which therefore comes first.
readonly cluster_conf=/etc/postgresql-common/createcluster.conf
saved_conf=

forbid_cluster() {
	saved_conf=$(mktemp)
	as_root cat "$cluster_conf" >"$saved_conf"
	{
		grep -v '^[[:space:]]*create_main_cluster' "$saved_conf" || true
		echo 'create_main_cluster = false'
	} | as_root tee "$cluster_conf" >/dev/null
}

restore() {
	if [ -n "$saved_conf" ]; then
		as_root tee "$cluster_conf" <"$saved_conf" >/dev/null
		rm -f "$saved_conf"
		saved_conf=
	fi
	allow_services
}

if have_postgres; then
	exit 0
fi
if [ -n "${PGTEST_BINDIR:-}" ]; then
	die "PGTEST_BINDIR is $PGTEST_BINDIR, which lacks one of: $programs."
fi

manager=$(package_manager)
say "PostgreSQL's server is missing; installing it with ${manager:-(no package manager found)}."
if [ "$manager" != brew ] && ! can_be_root; then
	die "That needs root, or sudo without a password. $help"
fi

trap restore EXIT
case $manager in
apt-get)
	keep_services_down
	apt_install postgresql-common || die "$help"
	forbid_cluster
	apt_install postgresql || die "$help"
	;;
dnf) as_root dnf install -y postgresql-server postgresql-contrib >&2 || die "$help" ;;
apk) as_root apk add postgresql postgresql-client postgresql-contrib >&2 || die "$help" ;;
brew) brew install postgresql >&2 || die "$help" ;;
*) die "$help" ;;
esac

have_postgres || die "The packages were installed, but one of $programs was not found. $help"
