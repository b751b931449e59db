#!/usr/bin/env bash
# A cluster on this machine until Ctrl-C: Redis, RabbitMQ, one master, three workers with simulated GPUs.
# Called by `make cluster`; BIN is the folder of the programs.
set -euo pipefail
: "${BIN:?the folder of the programs}"
workers=${WORKERS:-3}
gpus=${GPUS:-2}

dir=$(mktemp -d /var/tmp/dopq-cluster.XXXXXX)
pids=()
keep=
stop() {
  trap - INT TERM EXIT
  echo
  echo "stopping"
  # The programs first, then what they depend on.
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    kill "${pids[i]}" 2>/dev/null || true
    wait "${pids[i]}" 2>/dev/null || true
  done
  [ -z "${epmd_port:-}" ] || ERL_EPMD_PORT=$epmd_port epmd -kill >/dev/null 2>&1 || true
  label=label=dopq.cluster=$cluster
  for of in "$label" "label=dopq.holder=$cluster"; do
    docker ps --all --quiet --filter "$of" | xargs --no-run-if-empty docker rm --force >/dev/null
  done
  docker images --quiet --filter "$label" | sort -u | xargs --no-run-if-empty docker rmi --force >/dev/null
  docker network ls --quiet --filter "$label" | xargs --no-run-if-empty docker network rm >/dev/null
  [ -n "$keep" ] || rm -rf "$dir"
}
trap stop EXIT
trap 'exit 0' INT TERM

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2>/dev/null ||
    shuf -i 20000-30000 -n 1
}
wait_for() { # wait_for WHAT COMMAND...; fails at once if the program that was started last has ended
  local what=$1
  shift
  printf 'waiting for %s ' "$what"
  for _ in $(seq 240); do
    if "$@" >/dev/null 2>&1; then echo "ok"; return; fi
    kill -0 "${pids[-1]}" 2>/dev/null || break
    printf .
    sleep 0.5
  done
  echo
  echo "$what did not start; see $dir" >&2
  tail -qn 3 "$dir"/*.log >&2
  keep=yes
  exit 1
}

cluster=local-$$
secret=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
password=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
redis_port=$(free_port) amqp_port=$(free_port) dist_port=$(free_port) epmd_port=$(free_port) port=${PORT:-7070}

mkdir -p "$dir/redis" "$dir/rabbit"
redis-server --port "$redis_port" --bind 127.0.0.1 --dir "$dir/redis" --appendonly yes --appendfsync always \
  --maxmemory-policy noeviction --requirepass "$password" >"$dir/redis.log" 2>&1 &
pids+=($!)

cat >"$dir/rabbit/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$amqp_port
default_user = dopq
default_pass = $password
default_vhost = dopq
CONF
HOME="$dir/rabbit" ERL_EPMD_PORT=$epmd_port RABBITMQ_NODENAME="dopq$$@localhost" RABBITMQ_DIST_PORT=$dist_port \
  RABBITMQ_MNESIA_BASE="$dir/rabbit/data" RABBITMQ_LOG_BASE="$dir/rabbit/log" RABBITMQ_CONFIG_FILE="$dir/rabbit/rabbitmq.conf" \
  RABBITMQ_ENABLED_PLUGINS_FILE="$dir/rabbit/plugins" \
  /usr/lib/rabbitmq/bin/rabbitmq-server >"$dir/rabbit.log" 2>&1 &
pids+=($!)

wait_for "Redis" redis-cli -p "$redis_port" -a "$password" --no-auth-warning ping
wait_for "RabbitMQ" bash -c "exec 3<>/dev/tcp/127.0.0.1/$amqp_port"

export DOPQ_CLUSTER=$cluster DOPQ_SECRET=$secret DOPQ_BROKER_URL="amqp://dopq:$password@127.0.0.1:$amqp_port/dopq"
DOPQ_STORE_URL="redis://:$password@127.0.0.1:$redis_port/0" DOPQ_BUNDLES_URL="$dir/bundles" \
  "$BIN/dopq-master" --data-dir "$dir/master" --listen "127.0.0.1:$port" >"$dir/master.log" 2>&1 &
pids+=($!)
wait_for "the master" bash -c "exec 3<>/dev/tcp/127.0.0.1/$port"
wait_for "the administrator's token" test -s "$dir/master/admin.token"
for n in $(seq "$workers"); do
  DOPQ_NAME="gpu-$n" DOPQ_GPU_SIMULATED=$gpus DOPQ_MASTER_URLS="http://127.0.0.1:$port" \
    "$BIN/dopq-worker" --data-dir "$dir/gpu-$n" >"$dir/gpu-$n.log" 2>&1 &
  pids+=($!)
done

export DOPQ_URL="http://127.0.0.1:$port" DOPQ_TOKEN
DOPQ_TOKEN=$(cat "$dir/master/admin.token")
all_up() { [ "$("$BIN/dopq" nodes --output json | grep -o '"state":[[:space:]]*"up"' | wc -l)" = "$workers" ]; }
wait_for "$workers workers" all_up
"$BIN/dopq" nodes
cat <<TEXT

The cluster is up, its logs are in $dir. In another terminal:

  export DOPQ_URL=$DOPQ_URL DOPQ_TOKEN=$DOPQ_TOKEN
  $BIN/dopq status

Ctrl-C stops everything.
TEXT
if [ $# -gt 0 ]; then
  "$@"
else
  # In the background, so that a signal is not kept waiting for it.
  sleep infinity &
  pids+=($!)
  wait $!
fi
