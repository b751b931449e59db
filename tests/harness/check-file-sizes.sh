#!/usr/bin/env bash
# A source file that outgrows 600 lines is to be split.
set -euo pipefail
limit=600
long=$(git ls-files -co --exclude-standard '*.rs' | while read -r file; do
  [ -f "$file" ] || continue
  lines=$(wc -l <"$file")
  [ "$lines" -le "$limit" ] || echo "$file: $lines lines"
done)
if [ -n "$long" ]; then
  printf 'longer than %s lines:\n%s\n' "$limit" "$long" >&2
  exit 1
fi
echo "no source file is longer than $limit lines"
