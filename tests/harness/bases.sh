#!/usr/bin/env bash
# The base images that tests/bundles name, under the names that people use. No registry is asked.
#
#   bases.sh folder           prints where the Debian root is kept: $DOPQ_BASES, by default /var/tmp/dopq-bases
#   bases.sh root             makes that root, once (some minutes, 200 MB)
#   bases.sh import LABEL     gives the engine those images that it lacks, with this label
#
# They are a Debian 12 with Python, a busybox, and what tests/bases makes of them: stand-ins for conda and uv, and a
# base with ONBUILD.
set -euo pipefail

say() { printf 'bases: %s\n' "$*" >&2; }
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/harness/debian.sh
. "$here/debian.sh"

folder=$(realpath -m "${DOPQ_BASES:-/var/tmp/dopq-bases}")
# A change of what is in it takes another name.
root_tar=$folder/debian-12-python-1.tar
debians="debian:bookworm-slim ubuntu:22.04 python:3.12-slim \
  nvidia/cuda:12.4.1-devel-ubuntu22.04 nvidia/cuda:12.4.1-runtime-ubuntu22.04"
busyboxes="busybox:1.36 alpine:3.20"

make_root() {
  [ ! -e "$root_tar" ] || return 0
  as_root mkdir -p "$folder"
  work=$(as_root mktemp -d "$folder/making.XXXXXX")
  trap 'as_root rm -rf "$work"' EXIT
  debian_root "$work/root" bookworm python3,python3-pip,python3-venv,ca-certificates
  make_repository "$work"
  as_root ln -s python3 "$work/root/usr/bin/python"
  # The official images of Python let pip install into the system.
  as_root rm -f "$work"/root/usr/lib/python3*/EXTERNALLY-MANAGED
  as_root tar -C "$work/root" --numeric-owner --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' \
    --exclude='./usr/share/doc/*' --exclude='./usr/share/locale/*' --exclude='./usr/share/man/*' \
    --exclude='./dev/*' -cf "$work/tar" .
  as_root mv "$work/tar" "$root_tar"
}

# A package source of one package inside the root, so that apt works without a network.
make_repository() {
  local package=$1/dopq-greeting apt=$1/root/srv/apt deb=dopq-greeting_1.0_all.deb
  as_root mkdir -p "$package/DEBIAN" "$package/usr/bin" "$apt"
  as_root tee "$package/DEBIAN/control" >/dev/null <<'CONTROL'
Package: dopq-greeting
Version: 1.0
Architecture: all
Maintainer: DoPQ
Description: says hello
CONTROL
  printf '#!/bin/sh\necho hello from a package\n' | as_root tee "$package/usr/bin/greeting" >/dev/null
  as_root chmod 755 "$package/usr/bin/greeting"
  as_root dpkg-deb --root-owner-group --build "$package" "$apt/$deb" >/dev/null
  {
    cat "$package/DEBIAN/control"
    echo "Filename: ./$deb"
    echo "Size: $(stat -c %s "$apt/$deb")"
    echo "SHA256: $(sha256sum "$apt/$deb" | cut -d' ' -f1)"
  } | as_root tee "$apt/Packages" >/dev/null
  echo 'deb [trusted=yes] file:/srv/apt ./' | as_root tee "$1/root/etc/apt/sources.list" >/dev/null
}

# Images with our label are from an earlier run and are made again; all others are somebody's.
is_free() {
  local labels
  labels=$(docker image inspect --format '{{json .Config.Labels}}' "$1" 2>/dev/null) || return 0
  case $labels in *'"dopq.cluster":"bases-'*) return 0 ;; esac
  return 1
}

# give SOURCE NAME...: more names for an image.
give() {
  local source=$1 name
  shift
  for name in "$@"; do
    [ "$name" = "$source" ] || ! is_free "$name" || docker tag "$source" "$name"
  done
}

make_busybox() {
  local root=$work/busybox applet
  mkdir -p "$root/bin" "$root/etc" "$root/root" "$root/tmp" "$root/usr/bin" "$root/var"
  chmod 1777 "$root/tmp"
  cp "$(PATH="/bin:/usr/bin:$PATH" command -v busybox)" "$root/bin/busybox"
  for applet in $("$root/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
  done
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/false\n' >"$root/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
  tar -C "$root" --owner=0 --group=0 -c .
}

import() {
  local label=$1 base name
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  local settings=(--change "LABEL dopq.cluster=$label")
  base=$(make_busybox | docker import "${settings[@]}" --change 'ENV PATH=/bin:/usr/bin' --change 'CMD ["sh"]' -)
  # shellcheck disable=SC2086
  give "$base" $busyboxes
  base=$(docker import "${settings[@]}" --change 'CMD ["bash"]' \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' "$root_tar")
  # shellcheck disable=SC2086
  give "$base" $debians
  for name in ghcr.io/astral-sh/uv:0.4.30 continuumio/miniconda3:24.7.1-0 dopq-tests/python-onbuild:3.12; do
    ! is_free "$name" || build "$name" "$label"
  done
}

# By the classic builder: newer command lines have no BuildKit of their own.
build() {
  local name=$1 source=${1##*/}
  DOCKER_BUILDKIT=0 docker build --quiet --tag "$name" --label "dopq.cluster=$2" \
    "$here/../bases/${source%%:*}" >/dev/null 2>"$work/log" || {
    cat "$work/log" >&2
    say "could not build $name"
    exit 1
  }
}

case ${1:-} in
folder) echo "$folder" ;;
root) make_root ;;
import) make_root; import "$2" ;;
*) sed -n '2,/^set/p' "$0" | sed -n 's/^# \{0,1\}//p' >&2; exit 2 ;;
esac
