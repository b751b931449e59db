#!/bin/sh
set -e
export READY=yes
printf "<%s> " "$@"
echo
exec sh -c "echo ready: $READY"
