#!/usr/bin/env bash
# drivers.sh [NAME...]: runs the programs of drivers/, each directly against a throwaway PostgreSQL and
# then through bin/pooler with 2 server sessions for its 20 clients, and prints a table. What is missing
# is installed. NAME picks some: pgx pq psycopg3 psycopg2 sqlalchemy django pg postgres jdbc psql dump,
# or go, python, node. Those that begin with console, or console for all, talk to the admin console, which
# PostgreSQL has not: they are not run directly. security runs drivers/security, the matrix of ways to log in.
# POOLER names another pooler than bin/pooler.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/common.sh

readonly consoles="console_jdbc console_psycopg2 console_psycopg3 console_pg console_psql"
readonly all="pgx pq psycopg3 psycopg2 sqlalchemy django pg postgres jdbc psql dump $consoles security"
readonly run_limit=60 # seconds; the programs themselves give up before
readonly server_sessions=2

picked=()
for name in "${@:-all}"; do
	case $name in
	all) picked+=($all) ;;
	go) picked+=(pgx pq) ;;
	python) picked+=(psycopg3 psycopg2 sqlalchemy django) ;;
	node) picked+=(pg postgres) ;;
	console) picked+=($consoles) ;;
	*)
		[[ " $all " == *" $name "* ]] || die "There is no driver \"$name\". There are: $all, go, python, node, console, security."
		picked+=("$name")
		;;
	esac
done
# picks NAME: says whether a driver is picked, for itself or for the console.
picks() { [[ " ${picked[*]} " == *" $1 "* || " ${picked[*]} " == *" console_$1 "* ]]; }

# --- What is missing -------------------------------------------------------------------------------

# Debian's Python has the drivers; another one in front of it in PATH would not see them.
python=/usr/bin/python3
pgjdbc=/usr/share/java/postgresql.jar

# need PACKAGE COMMAND...: notes the Debian package unless the command works.
missing=()
need() {
	local package=$1
	shift
	"$@" >/dev/null 2>&1 || missing+=("$package")
}

install_drivers() {
	if picks psycopg3; then need python3-psycopg "$python" -c 'import psycopg'; fi
	if picks psycopg2; then need python3-psycopg2 "$python" -c 'import psycopg2'; fi
	if picks sqlalchemy; then
		need python3-sqlalchemy "$python" -c 'import sqlalchemy'
		need python3-psycopg2 "$python" -c 'import psycopg2'
	fi
	if picks django; then
		need python3-django "$python" -c 'import django'
		need python3-psycopg2 "$python" -c 'import psycopg2'
	fi
	if picks jdbc || picks security; then
		need libpostgresql-jdbc-java test -e "$pgjdbc"
		need openjdk-17-jdk-headless javac -version
	fi
	if picks pg || picks postgres || picks security; then
		need nodejs node --version
		need npm npm --version
	fi
	if [ ${#missing[@]} -gt 0 ]; then
		say "Installing ${missing[*]}."
		[ "$(package_manager)" = apt-get ] || die "These are Debian's names; install them by hand."
		apt_install "${missing[@]}"
	fi
	if picks pg || picks postgres || picks security; then
		say "Installing the packages of drivers/node, which are missing or may be old."
		(cd drivers/node && npm ci --no-audit --no-fund --loglevel=error >&2)
	fi
	if picks security; then scripts/install-postgres18.sh .tools; fi
	if picks pgx; then go build -C drivers/go -o "$dir/pgx" ./pgx; fi
	if picks pq; then go build -C drivers/go -o "$dir/pq" ./pq; fi
}

# command_of NAME: sets command to what runs that driver.
command_of() {
	case $1 in
	pgx | pq) command=("$dir/$1") ;;
	pg | postgres) command=(node --no-deprecation "drivers/node/$1_check.js") ;;
	jdbc) command=(java -cp "$pgjdbc" drivers/jdbc/JdbcCheck.java) ;;
	console_jdbc) command=(java -cp "$pgjdbc" drivers/jdbc/ConsoleCheck.java) ;;
	console_pg) command=(node --no-deprecation drivers/node/console_pg_check.js --clients 1 --rounds 1) ;;
	console_psql) command=(drivers/psql/console.sh) ;;
	console_*) command=("$python" -B "drivers/python/$1_check.py" --clients 1 --rounds 1) ;;
	psql | dump) command=("drivers/$1/check.sh") ;;
	*) command=("$python" -B "drivers/python/$1_check.py") ;;
	esac
}

# --- PostgreSQL and the pooler ---------------------------------------------------------------------

dir=$(mktemp -d)
chmod 755 "$dir"
pooler_pid=
postgres_runs=

finish() {
	stop_pooler
	if [ -n "$postgres_runs" ]; then
		as_postgres "$bindir/pg_ctl" stop -D "$dir/postgres/data" -m immediate >/dev/null || true
	fi
	rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# as_postgres: PostgreSQL does not run as root.
as_postgres() {
	if [ "$(id -u)" -eq 0 ]; then
		(cd / && setpriv --reuid=postgres --regid=postgres --clear-groups "$@")
	else
		"$@"
	fi
}

# find_bindir takes the newest server that is installed.
find_bindir() {
	local found
	if [ -n "${PGTEST_BINDIR:-}" ]; then
		bindir=$PGTEST_BINDIR
		return
	fi
	found=$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null | sort -V | tail -n 1)
	[ -n "$found" ] || found=$(pg_config --bindir)/postgres
	bindir=$(dirname "$found")
}

free_port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

start_postgres() {
	find_bindir
	direct_port=$(free_port)
	mkdir "$dir/postgres"
	if [ "$(id -u)" -eq 0 ]; then chown postgres "$dir/postgres"; fi
	as_postgres "$bindir/initdb" -D "$dir/postgres/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >/dev/null
	postgres_runs=yes
	as_postgres "$bindir/pg_ctl" start -w -D "$dir/postgres/data" -l "$dir/postgres/log" -o "-p $direct_port -c max_connections=50 \
		-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off" >/dev/null ||
		die "PostgreSQL did not start: $(tail -n 3 "$dir/postgres/log")"
	as_superuser postgres -c 'CREATE ROLE drivers LOGIN' -c 'CREATE ROLE drivers_role' -c 'GRANT drivers_role TO drivers' \
		-c 'CREATE DATABASE template_of_drivers OWNER drivers'
	as_superuser template_of_drivers -f drivers/schema.sql
}

# as_superuser DATABASE ARGS...: psql past the pooler.
as_superuser() { PGHOST=127.0.0.1 PGPORT=$direct_port PGUSER=postgres PGDATABASE=$1 psql -X -q -At -v ON_ERROR_STOP=1 "${@:2}"; }

# start_pooler: a fresh one for each driver, so that one driver's fault does not become another's.
start_pooler() {
	local tries
	pooled_port=$(free_port)
	cat >"$dir/pooler.toml" <<-END
		listen_port = $pooled_port
		unix_socket_dir = ""
		auth_type = "trust"
		default_pool_size = $server_sessions
		pool_boundary = "statement"
		admin_users = ["drivers"]
		log_connections = false
		log_disconnections = false
		shutdown_timeout = "2s"

		[databases."*"]
		host = "127.0.0.1"
		port = $direct_port
	END
	"$pooler" serve --config "$dir/pooler.toml" 2>"$dir/pooler.log" &
	pooler_pid=$!
	for tries in $(seq 100); do
		if (: <>"/dev/tcp/127.0.0.1/$pooled_port") 2>/dev/null; then return; fi
		kill -0 "$pooler_pid" 2>/dev/null || break
		sleep 0.1
	done
	die "$pooler does not serve: $(tail -n 3 "$dir/pooler.log")"
}

stop_pooler() {
	local tries
	[ -n "$pooler_pid" ] || return 0
	kill "$pooler_pid" 2>/dev/null || true
	for tries in $(seq 50); do
		kill -0 "$pooler_pid" 2>/dev/null || break
		sleep 0.1
	done
	kill -9 "$pooler_pid" 2>/dev/null || true
	wait "$pooler_pid" 2>/dev/null || true
	pooler_pid=
}

# --- Runs ------------------------------------------------------------------------------------------

# run NAME WAY PORT: one run in a database of its own; sets outcome, seconds and checks.
run() {
	local database=drivers_$1_$2 said
	as_superuser postgres -c "CREATE DATABASE $database TEMPLATE template_of_drivers OWNER drivers"
	command_of "$1"
	seconds=- checks=- outcome=FAILED
	if PGHOST=127.0.0.1 PGPORT=$3 PGUSER=drivers PGDATABASE=$database PGSSLMODE=disable DIRECT_PORT=$direct_port \
		timeout --kill-after=5 "$run_limit" "${command[@]}" >"$dir/said" 2>&1; then
		outcome=ok
	fi
	said=$(grep -m 1 -E '^(ok|FAILED) ' "$dir/said" || true)
	if [ "$outcome" != ok ] || [[ $said != ok* ]]; then
		outcome=FAILED
		say "--- $1, $2:"
		head -n 30 "$dir/said" >&2
		if [ "$2" = pooled ]; then grep -E 'level=(ERROR|WARN)' "$dir/pooler.log" | tail -n 5 >&2 || true; fi
	fi
	if [[ $said =~ ^[A-Z]*(ok)?\ (.*)\ clients=.*checks=([0-9]+)\ seconds=([0-9.]+) ]]; then
		driver=${BASH_REMATCH[2]} checks=${BASH_REMATCH[3]} seconds=${BASH_REMATCH[4]}
	fi
	if [ "$2" = pooled ]; then count_sessions "$1"; fi
	as_superuser postgres -c "DROP DATABASE $database WITH (FORCE)"
}

# count_sessions: more than the pool's size would make the test an easy one.
count_sessions() {
	local most
	most=$(as_superuser postgres -c "SELECT coalesce(max(n), 0) FROM
		(SELECT count(*) AS n FROM pg_stat_activity WHERE usename = 'drivers' GROUP BY datname) x")
	if [ "$most" -gt "$server_sessions" ]; then
		say "--- $1: the pooler holds $most server sessions, not $server_sessions."
		outcome=FAILED
	fi
}

scripts/install-postgres.sh
install_drivers
pooler=${POOLER:-bin/pooler}
[ -n "${POOLER:-}" ] || go build -o bin/pooler ./cmd/pooler
start_postgres

failed=0
printf '%-22s %-8s %8s   %-8s %8s %9s\n' driver direct seconds pooled seconds checks
for name in "${picked[@]}"; do
	if [ "$name" = security ]; then continue; fi
	driver=$name
	if [[ $name == console_* ]]; then
		direct_outcome=- direct_seconds=-
	else
		run "$name" direct "$direct_port"
		direct_outcome=$outcome direct_seconds=$seconds direct_checks=$checks
	fi

	start_pooler
	run "$name" pooled "$pooled_port"
	stop_pooler
	if [ "$outcome" = ok ] && [ "$direct_outcome" != - ] && [ "$checks" != "$direct_checks" ]; then
		say "--- $name: $direct_checks checks directly, $checks through the pooler."
		outcome=FAILED
	fi
	printf '%-22s %-8s %8s   %-8s %8s %9s\n' "$driver" "$direct_outcome" "$direct_seconds" "$outcome" "$seconds" "$checks"
	if [ "$direct_outcome" = FAILED ] || [ "$outcome" != ok ]; then failed=1; fi
done
if picks security; then
	say "Asking five drivers to log in, by every method and kind of TLS, directly and through the pooler; two minutes."
	go run ./drivers/security -pooler "$pooler" || failed=1
fi
exit "$failed"
