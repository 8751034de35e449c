#!/usr/bin/env bash
# The C libraries that the binary links: OpenSSL's libcrypto, SQLite, PostgreSQL's libpq and zlib. Debian and its relatives.
set -euo pipefail
packages=(libssl-dev libsqlite3-dev libpq-dev zlib1g-dev pkg-config make)
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"
echo "installing ${missing[*]}"
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
