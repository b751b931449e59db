#!/usr/bin/env bash
# Installs the lint tools in pinned versions, once a machine, and prints the folder of their programs. They are built
# from the crates registry into the user's cache, outside the checkout and its target folder.
set -euo pipefail
root="${DOPQ_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/dopq/tools}"

# install NAME VERSION [FLAG...]
install() {
  local name=$1 version=$2
  shift 2
  if ! grep -qsF "\"$name $version " "$root/.crates.toml"; then
    CARGO_TARGET_DIR="$root/build" cargo install --locked --quiet --root "$root" "$@" "$name@$version" >&2
    rm -rf "$root/build"
  fi
}

install cargo-machete 0.9.2
# Without default features: no advisories over HTTP.
install cargo-deny 0.20.2 --no-default-features
echo "$root/bin"
