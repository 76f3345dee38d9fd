#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every kernel of kernels/gpu is CUDA too: clang's NVPTX backend, or nvcc where it is, compiles each file to PTX for sm_80 (compiled, not
# run), and each kernel that launch.h names is in it. OpenCL C is what tests/ops/gpu_* compile. $1: the source tree.
set -uo pipefail
cd "${1:-.}/kernels/gpu" || exit 2
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
to_ptx() {
    clang -x cuda --cuda-device-only -nocudainc -nocudalib --cuda-gpu-arch=sm_80 -ffp-contract=off -Wno-unknown-cuda-version -Wall -Werror \
        -Wno-unused-function -O1 -S -I ../.. -include dialect.h "$1" -o "$2"
}
echo 'KERNEL(64, probe)(TENSOR(y)) { PUT(y, GROUP(0), 1.0f); }' > "$t/probe.cl"
if ! to_ptx "$t/probe.cl" "$t/probe.ptx" 2>/dev/null; then
    to_ptx() { nvcc -x cu --ptx -arch=compute_80 --fmad=false -I ../.. -include dialect.h "$1" -o "$2"; }
    to_ptx "$t/probe.cl" "$t/probe.ptx" 2>/dev/null || { echo "skipped: neither clang with NVPTX nor nvcc is here"; exit 77; }
fi
bad=0
for f in *.cl; do
    to_ptx "$f" "$t/$f.ptx" || { echo "$f is not CUDA" >&2; bad=1; }
done
for k in $(grep -oE '"lpo_[a-z_]+"' launch.h | tr -d '"'); do
    grep -qE "\.entry $k\b" "$t"/*.ptx || { echo "launch.h names $k, which no file defines" >&2; bad=1; }
done
exit $bad
