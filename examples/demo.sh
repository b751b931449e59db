#!/usr/bin/env bash
# DoPQ in a minute: starts a queue with two simulated GPUs, submits the five examples for three users,
# shows the queue, a log and the outcomes, and stops what it started.
#
# DOPQ_MASTER_BIN and DOPQ_BIN name the programs; by default those in the PATH. Needs a running Docker.
# Exits with 0 only if every job ends as expected.
set -euo pipefail

examples=$(cd "$(dirname "$0")" && pwd)
master_bin=${DOPQ_MASTER_BIN:-dopq-master}
dopq_bin=${DOPQ_BIN:-dopq}
busybox=${BUSYBOX:-/bin/busybox}

home=$(mktemp -d "${TMPDIR:-/tmp}/dopq-demo.XXXXXX")
cluster=demo-$$
master_pid=

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
step() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
note() { printf '%s%s%s\n' "$dim" "$*" "$plain"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# as USER ARGUMENT...: prints the command as that user would type it, and runs it.
as() {
  local user=$1
  shift
  printf '%s%s$%s dopq %s\n' "$dim" "$user" "$plain" "$*"
  quietly "$user" "$@"
}
quietly() {
  local user=$1
  shift
  DOPQ_TOKEN_FILE=$home/$user.token "$dopq_bin" "$@"
}
# submit USER ARGUMENT...: the same for a submission; stores the id in $job.
submit() {
  local user=$1
  shift
  printf '%s%s$%s dopq submit %s\n' "$dim" "$user" "$plain" "$*"
  job=$(quietly "$user" submit "$@")
  printf '%s\n' "$job"
}

finish() {
  local code=$?
  trap - EXIT INT TERM
  if [ -n "$master_pid" ]; then
    kill "$master_pid" 2>/dev/null || true
    wait "$master_pid" 2>/dev/null || true
  fi
  if [ "$code" != 0 ] && [ -s "$home/master.log" ]; then
    printf '\ndemo: the last lines of the master'\''s log:\n' >&2
    tail -n 30 "$home/master.log" >&2
  fi
  # A stopped worker leaves its containers to the next one, which never comes here.
  local left
  left=$(docker ps -aq --filter "label=dopq.cluster=$cluster" 2>/dev/null || true
    docker ps -aq --filter "label=dopq.holder=$cluster" 2>/dev/null || true)
  # shellcheck disable=SC2086 # ids are words
  [ -z "$left" ] || docker rm -f $left >/dev/null 2>&1 || true
  left=$(docker images -q --filter "label=dopq.cluster=$cluster" 2>/dev/null | sort -u || true)
  # shellcheck disable=SC2086
  [ -z "$left" ] || docker rmi -f $left >/dev/null 2>&1 || true
  left=$(docker network ls -q --filter "label=dopq.cluster=$cluster" 2>/dev/null || true)
  # shellcheck disable=SC2086
  [ -z "$left" ] || docker network rm $left >/dev/null 2>&1 || true
  rm -rf "$home/data" "$home/bundles" "$home"/*.token
  [ "$code" = 0 ] || rm -rf "$home"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Polls until a command succeeds.
until_true() { # until_true SECONDS WHAT COMMAND...
  local tries=$(($1 * 10)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || fail "waited too long for $what"
    [ -z "$master_pid" ] || kill -0 "$master_pid" 2>/dev/null || fail "the master has stopped"
    sleep 0.1
  done
}

[ -x "$busybox" ] || fail "needs a static busybox at $busybox (Debian: busybox-static)"
docker version >/dev/null 2>&1 || fail "needs a running Docker"

step "One process is master, worker, store and broker"
port=$((20000 + RANDOM % 20000))
while (: </dev/tcp/127.0.0.1/$port) 2>/dev/null; do port=$((port + 1)); done
export DOPQ_URL=http://127.0.0.1:$port DOPQ_CLIENT_CONFIG=$home/none.toml
unset DOPQ_TOKEN DOPQ_TOKEN_FILE DOPQ_CA_FILE
cd "$home"
note "\$ dopq-master --standalone --data-dir $home/data --listen 127.0.0.1:$port --simulated-gpus 2"
DOPQ_CLUSTER=$cluster "$master_bin" --standalone --data-dir "$home/data" --listen "127.0.0.1:$port" \
  --simulated-gpus 2 >"$home/master.log" 2>&1 &
master_pid=$!
until_true 30 "the administrator's token" test -s "$home/data/admin.token"
cp "$home/data/admin.token" "$home/admin.token"
until_true 30 "the master" quietly admin status
joined() { [ -n "$(quietly admin nodes --output quiet)" ]; }
until_true 30 "the machine" joined
as admin nodes

step "Three users, each with a token"
for user in anna bert carla; do
  as admin user add "$user" --output quiet
  quietly admin user token add "$user" --output quiet >"$home/$user.token"
done

# The examples need a busybox beside their Dockerfile.
cp -r "$examples" "$home/bundles"
for bundle in "$home"/bundles/*/; do cp "$busybox" "$bundle/busybox"; done
cd "$home/bundles"

step "Anna checks her bundle, runs it and follows its log"
as anna check hello
as anna submit hello --follow || fail "hello ended with $?"
note "(the exit code is the container's: 0)"
hello=$(quietly anna show last --output quiet)

step "Bert takes both GPUs"
submit bert two-gpus
two=$job
busy() { [ "$(quietly bert ps --state running --output quiet)" = "$two" ]; }
until_true 60 "two-gpus to run" busy

step "Meanwhile the others submit: first Anna, who has run a job already"
submit anna train
train=$job
submit carla exits-3
exits=$job
submit bert fails-to-build
fails=$job

step "The queue: recent heavy users wait behind light users"
queue=$(as admin queue)
printf '%s\n' "$queue"
rows=$(printf '%s\n' "$queue" | awk '$1 ~ /^[0-9]+$/ { print $5, $4 }')
[ "$(printf '%s\n' "$rows" | wc -l)" = 3 ] || fail "three jobs should wait"
printf '%s\n' "$rows" | sort -n -s -k1,1 -c || fail "the queue is not in the order of the penalties"
[[ $rows = *carla* && ${rows%%$'\n'*} = *carla ]] || fail "Carla, who has used nothing, should come first"
as admin ps

step "Anna follows the log of her training"
as anna logs "$train" --follow --source stdout,stderr

step "All jobs have finished"
as admin wait "$hello-$fails" --timeout 90s --output quiet >/dev/null || true
as admin ps --all

step "Why did Bert's build fail, and Carla's job?"
as bert show "$fails"
as carla logs "$exits" --source stdout,stderr

step "Anna downloads her results"
as anna fetch "$hello" --into "$home/results/hello"
as anna fetch "$train" --into "$home/results/train"

step "Did every job end as expected?"
wrong=0
outcome() { # outcome JOB NAME EXPECTED
  local cause code
  # The job's outcome comes before those of its attempts.
  cause=$(quietly admin show "$1" --output json | sed -n 's/.*"cause": "\([a-z_]*\)".*/\1/p' | sed -n 1p)
  code=$(quietly admin show "$1" --output json | sed -n 's/.*"exit_code": \([0-9]*\).*/\1/p' | sed -n 1p)
  local found="$cause${code:+ $code}" verdict=ok
  [ "$found" = "$3" ] || { verdict="WRONG, expected $3"; wrong=1; }
  printf '  %-4s %-16s %-16s %s\n' "$1" "$2" "$found" "$verdict"
}
outcome "$hello" hello "succeeded 0"
outcome "$two" two-gpus "succeeded 0"
outcome "$train" train "succeeded 0"
outcome "$exits" exits-3 "user_error 3"
outcome "$fails" fails-to-build "build_failed"
for file in hello/hello.txt train/checkpoint.txt train/report.txt; do
  [ -s "$home/results/$file" ] || { printf '  results/%s is missing\n' "$file"; wrong=1; }
done
[ "$wrong" = 0 ] || fail "not every job ended as expected"
printf '\nThe results are in %s/results:\n' "$home"
(cd "$home/results" && find . -type f | sort | sed 's,^\./,  ,')
printf '\n%sThat was DoPQ.%s Start your own: dopq-master --standalone --data-dir ~/.dopq\n' "$bold" "$plain"
