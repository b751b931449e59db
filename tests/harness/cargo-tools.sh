#!/usr/bin/env bash
# Installs the named cargo subcommands in pinned versions, once a machine, and prints the folder of their programs. They
# are built from the crates registry into the user's cache, outside the checkout and its target folder.
#
#   cargo-tools.sh NAME...
set -euo pipefail
root="${DOPQ_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/dopq/tools}"

for name in "$@"; do
  flags=()
  case $name in
  cargo-machete) version=0.9.2 ;;
  # Without default features: no advisories over HTTP.
  cargo-deny) version=0.20.2 flags=(--no-default-features) ;;
  cargo-deb) version=3.8.0 ;;
  *)
    echo "cargo-tools: no version of $name is known" >&2
    exit 2
    ;;
  esac
  if ! grep -qsF "\"$name $version " "$root/.crates.toml"; then
    CARGO_TARGET_DIR="$root/build" cargo install --locked --quiet --root "$root" "${flags[@]}" "$name@$version" >&2
    rm -rf "$root/build"
  fi
done
echo "$root/bin"
