#!/usr/bin/env bash
# Runs bin/pooler conform through PgBouncer with a pool of one, and writes docs/conform-pgbouncer.md. Both servers are
# throwaway ones. Usage: scripts/conform-pgbouncer.sh [POOL_MODE [FLAG...]]; with a POOL_MODE the result goes to
# standard output, with the flags given. The program is POOLER, else bin/pooler; PgBouncer is PGBOUNCER, else from PATH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/common.sh

mode=${1:-transaction}
pooler=${POOLER:-bin/pooler}
PATH=$PATH:/usr/sbin:/usr/local/sbin
pgbouncer=$(command -v "${PGBOUNCER:-pgbouncer}") || die "PgBouncer was not found; scripts/install-pgbouncer.sh installs it."
bindir=${PGTEST_BINDIR:-$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)}
[ -x "$bindir/initdb" ] || die "PostgreSQL was not found in $bindir; set PGTEST_BINDIR."
[ -x "$pooler" ] || die "$pooler is missing; make build makes it."

# Neither server runs as root.
as_server=()
if [ "$(id -u)" -eq 0 ]; then
	as_server=(setpriv --reuid=postgres --regid=postgres --init-groups)
fi

dir=$(mktemp -d /tmp/conform-XXXXXX)
pgbouncer_pid=
stop() {
	[ -z "$pgbouncer_pid" ] || kill "$pgbouncer_pid" 2>/dev/null || true
	"${as_server[@]}" "$bindir/pg_ctl" -D "$dir/data" -m immediate -s stop 2>/dev/null || true
	rm -rf "$dir"
}
trap stop EXIT
[ "$(id -u)" -ne 0 ] || chown postgres "$dir"

# Below the range that outgoing connections get.
port=$((16000 + RANDOM % 8000 * 2))
"${as_server[@]}" "$bindir/initdb" -D "$dir/data" -U postgres -A trust --no-sync >"$dir/initdb.log" || die "$(<"$dir/initdb.log")"
"${as_server[@]}" "$bindir/pg_ctl" -D "$dir/data" -l "$dir/postgres.log" -w -s \
	-o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off" start || die "$(tail -n 20 "$dir/postgres.log")"

printf '"postgres" ""\n' >"$dir/users.txt"
cat >"$dir/pgbouncer.ini" <<INI
[databases]
* = host=127.0.0.1 port=$port
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $((port + 1))
unix_socket_dir =
auth_type = trust
auth_file = $dir/users.txt
pool_mode = $mode
default_pool_size = 1
ignore_startup_parameters = extra_float_digits, options
logfile = $dir/pgbouncer.log
INI
chmod 644 "$dir"/*.txt "$dir"/*.ini
"${as_server[@]}" "$pgbouncer" -q "$dir/pgbouncer.ini" &
pgbouncer_pid=$!
for _ in $(seq 100); do
	! (: <"/dev/tcp/127.0.0.1/$((port + 1))") 2>/dev/null || break
	sleep 0.05
done

conform() {
	local status=0
	"$pooler" conform --direct "postgres://postgres@127.0.0.1:$port/postgres?sslmode=disable" \
		--through "postgres://postgres@127.0.0.1:$((port + 1))/postgres?sslmode=disable" "$@" || status=$?
	[ "$status" -le 1 ] || die "The comparison could not be made. $(tail -n 5 "$dir/pgbouncer.log")"
}

if [ $# -gt 0 ]; then
	conform "${@:2}"
	exit
fi
conform --markdown >"$dir/table.md"
mkdir -p docs
{
	cat <<HEAD
# What PgBouncer does to the state of sessions

$("$pgbouncer" --version | head -n 1), \`pool_mode = $mode\`, \`default_pool_size = 1\`,
\`ignore_startup_parameters = extra_float_digits, options\`, everything else as it comes; in front of
$("$bindir/postgres" --version). Made on $(date -u +%Y-%m-%d) by \`scripts/conform-pgbouncer.sh\`, which runs
\`pooler conform\` and writes this file.

**Kept**: the client that made the state finds it as on a direct connection after another client has worked; "told" is
an SQLSTATE of the server's own that says it is not there. **Leaked**: the other client, or one that came later, saw
something of it. The note shows the first difference, with what a direct connection saw.

HEAD
	cat "$dir/table.md"
} >docs/conform-pgbouncer.md
