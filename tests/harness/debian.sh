# Makes Debian root file systems for tests. To be sourced; the caller defines `say`.

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# debian_root FOLDER SUITE PACKAGES: from the package source of this machine, which may be a mirror.
debian_root() {
  local root=$1 suite=$2 packages=$3 log source
  command -v debootstrap >/dev/null || PATH="$PATH:/usr/sbin:/sbin" command -v debootstrap >/dev/null || {
    say "installing debootstrap"
    as_root apt-get update -qq >/dev/null
    as_root apt-get install -y -qq debootstrap >/dev/null
  }
  # One of the files may be missing.
  source=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true; } |
    sed -nE 's/^URIs: *([^ ]+).*/\1/p; s/^deb +(\[[^]]*\] +)?([^ ]+).*/\2/p' | sed '/security/d;q')
  say "making $root from Debian's suite $suite"
  log=$(mktemp)
  as_root env PATH="$PATH:/usr/sbin:/sbin" debootstrap --variant=minbase --include="$packages" \
    "$suite" "$root" "$source" >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    say "could not make $root; remove it and try again"
    return 1
  }
  rm -f "$log"
}
