#!/usr/bin/env bash
# Makes sure that what a command needs is there, runs it, and stops what was started for it.
#
#   setup.sh [docker|docker?] [redis] [rabbitmq] -- COMMAND [ARGUMENT...]
#
# Installs missing Debian packages as root or by sudo. Uses the container engine that answers, or
# starts a private one with its own data folder and socket and passes DOCKER_HOST on. Redis and
# RabbitMQ are only installed here: whoever needs them starts private instances on free ports.
# With `docker?` the command also runs where no engine can be started.
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }

needs=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  needs+=("$1")
  shift
done
[ $# -gt 1 ] || { say "usage: setup.sh [docker] [redis] [rabbitmq] -- COMMAND"; exit 2; }
shift

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

packages=()
want() { # want COMMAND PACKAGE
  PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || packages+=("$2")
}
for need in "${needs[@]}"; do
  case "$need" in
    # A static busybox is the only file of the images that examples and tests build.
    docker | docker\?) want dockerd docker.io; want iptables iptables; want busybox busybox-static
      # What containers reach is limited with these.
      want nft nftables; want ip iproute2 ;;
    redis) want redis-server redis-server ;;
    rabbitmq) [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || packages+=(rabbitmq-server) ;;
    *) say "unknown need: $need"; exit 2 ;;
  esac
done

if [ "${#packages[@]}" -gt 0 ]; then
  say "installing ${packages[*]}"
  log=$(mktemp)
  # Packages must not start services of their own: ours are private.
  policy=/usr/sbin/policy-rc.d
  placed=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod +x "$policy"
    placed=yes
  fi
  installed=yes
  { as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y --no-install-recommends "${packages[@]}"; } >"$log" 2>&1 </dev/null || installed=
  [ -z "$placed" ] || as_root rm -f "$policy"
  if [ -z "$installed" ]; then
    tail -n 20 "$log" >&2
    say "could not install ${packages[*]}; install them by hand and try again"
    exit 1
  fi
  rm -f "$log"
fi

engine_dir=
engine_pid=
stop() {
  [ -z "$engine_pid" ] || {
    as_root kill "$engine_pid" 2>/dev/null || true
    for _ in $(seq 100); do as_root kill -0 "$engine_pid" 2>/dev/null || break; sleep 0.1; done
  }
  [ -n "$engine_dir" ] || return 0
  # An engine may leave mounts: its data folder onto itself, network namespaces. The list is read as a whole first,
  # because one that changes meanwhile is read with gaps.
  local point points
  mapfile -t points < <(cut -d ' ' -f 2 /proc/mounts | tac)
  for point in "${points[@]}"; do
    case "$point" in "$engine_dir"/*) as_root umount -l "$point" ;; esac
  done
  as_root rm -rf "$engine_dir"
}
trap stop EXIT
# The command gets the signal too, being in the same group; this shell waits for it and then stops.
trap : INT TERM

engine_answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

for need in "${needs[@]}"; do
  case "$need" in docker | docker\?) ;; *) continue ;; esac
  if engine_answers; then continue; fi
  engine_dir=$(mktemp -d /var/tmp/dopq-docker.XXXXXX)
  say "no container engine answers; starting a private one in $engine_dir"
  as_root env PATH="$PATH:/usr/sbin:/sbin" dockerd \
    --data-root "$engine_dir/data" --exec-root "$engine_dir/exec" \
    --pidfile "$engine_dir/pid" -H "unix://$engine_dir/docker.sock" --group "$(id -gn)" \
    >"$engine_dir/log" 2>&1 </dev/null &
  export DOCKER_HOST="unix://$engine_dir/docker.sock"
  for _ in $(seq 300); do
    if engine_answers; then break; fi
    sleep 0.1
  done
  engine_pid=$(as_root cat "$engine_dir/pid" 2>/dev/null || true)
  engine_answers && continue
  tail -n 20 "$engine_dir/log" >&2
  say "the container engine did not start"
  [ "$need" = "docker?" ] || exit 1
done

status=0
"$@" || status=$?
exit "$status"
