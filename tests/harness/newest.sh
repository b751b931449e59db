#!/usr/bin/env bash
# Runs the suites that need services against the newest releases that Debian has: Docker, RabbitMQ,
# Redis, and then Valkey in the place of Redis.
#
#   newest.sh [FILTER...]     called by `make test-newest`; FILTER selects tests, as for `cargo test`
#
# Makes a root file system of Debian's unstable suite in $DOPQ_NEWEST (default /var/tmp/dopq-newest;
# about 2 GB, some minutes, once) and runs the compiled tests inside it. They see processes, network
# and mounts of their own, so nothing of it touches this machine's engine, and all of it ends with
# the script. Needs root or sudo.
set -euo pipefail

say() { printf 'newest: %s\n' "$*" >&2; }
# shellcheck source=tests/harness/debian.sh
. "$(dirname "$0")/debian.sh"

root=$(realpath -m "${DOPQ_NEWEST:-/var/tmp/dopq-newest}")
checkout=$(cd "$(dirname "$0")/../.." && pwd)
packages=docker.io,docker-cli,iptables,nftables,iproute2,ca-certificates,curl,git
packages+=,redis-server,valkey-server,rabbitmq-server,busybox-static
# Base images for bundles; nothing can be fetched inside.
bases=$("$(dirname "$0")/bases.sh" folder)

make_root() {
  debian_root "$root" sid "$packages"
  as_root touch "$root/.complete"
}

# In namespaces of its own: prepares the root and runs the tests in it.
inside() {
  ip link set lo up
  # dockerd wants its root to be a mount.
  mount --bind "$root" "$root"
  mount -t proc proc "$root/proc"
  mount -t sysfs sysfs "$root/sys"
  mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs tmpfs "$root/run"
  local path
  for path in "$checkout" "$target" "$bases" "$checkout/../shared"; do
    [ -d "$path" ] || continue
    path=$(realpath "$path")
    mkdir -p "$root$path"
    mount --bind "$path" "$root$path"
  done
  mkdir -p "$root/opt/valkey"
  ln -sf /usr/bin/valkey-server "$root/opt/valkey/redis-server"
  # Not chroot alone: whoever joins a container's mounts, as `docker exec` does, gets the top of all mounts as its root.
  mkdir -p "$root/.machine"
  cd "$root"
  pivot_root . .machine
  exec chroot . /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    CARGO_TARGET_DIR="$target" DOPQ_BASES="$bases" bash -c "umount -l /.machine && cd '$checkout' && exec tests/harness/setup.sh docker redis rabbitmq -- \
      '$checkout/tests/harness/newest.sh' --run \"\$@\"" newest "$@"
}

# In the new root, with an engine that answers: runs what was compiled.
run() {
  local suite failed=
  # The working folder that cargo gives to tests.
  cd "$checkout/tests"
  say "$(docker version --format 'Docker {{.Server.Version}}'), $(redis-server --version | cut -d' ' -f1-3)," \
    "$(dpkg-query -W -f '${Package} ${Version}' rabbitmq-server)"
  for suite in $suites; do
    "$suite" "$@" || failed="$failed ${suite##*/}"
  done
  say "again with $(valkey-server --version | cut -d' ' -f1-3)"
  for suite in $suites; do
    case ${suite##*/} in contract-*) PATH="/opt/valkey:$PATH" "$suite" store::redis || failed="$failed valkey" ;; esac
  done
  [ -z "$failed" ] || { say "failed:$failed"; exit 1; }
}

case ${1:-} in
--inside) shift; target=$1; shift; inside "$@" ;;
--run) shift; suites=$1; shift; run "$@" ;;
*)
  [ -e "$root/.complete" ] || make_root
  "$(dirname "$0")/bases.sh" root
  suites=$(cd "$checkout" && cargo test -p dopq-tests --no-run --message-format=json --test contract --test control \
    --test docker --test e2e 2>/dev/null | sed -n 's/.*"executable":"\([^"]*\/deps\/[^"]*\)".*/\1/p')
  [ -n "$suites" ] || { say "the tests do not compile; see \`make test\`"; exit 1; }
  target=$(dirname "$(dirname "$(dirname "${suites%%$'\n'*}")")")
  as_root unshare --mount --net --pid --fork --kill-child \
    env DOPQ_NEWEST="$root" "$0" --inside "$target" "$suites" "$@"
  ;;
esac
