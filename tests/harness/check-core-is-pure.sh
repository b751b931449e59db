#!/usr/bin/env bash
# The functional core must not be able to do I/O: without features it depends on no runtime and no client.
set -euo pipefail
tree=$(cargo tree -p dopq-common --no-default-features -e normal --prefix none)
if impure=$(grep -E '^(tokio|redis|lapin|bollard|reqwest|axum|object_store) ' <<<"$tree" | sort -u); then
  printf 'dopq-common must stay pure, yet it depends on:\n%s\n' "$impure" >&2
  exit 1
fi
echo "dopq-common is pure: $(sort -u <<<"$tree" | wc -l) packages, none of which does I/O for it"
