#!/usr/bin/env bash
# No compiler is needed to see that files, arguments and stages go where they should.
set -euo pipefail
mkdir -p lib
for source in csrc/*.cu; do
  for arch in ${2//;/ }; do echo "$(basename "$source") sm_${arch/./} cuda $1"; done
done >lib/kernels.txt
