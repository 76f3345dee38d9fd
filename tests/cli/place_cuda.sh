#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# place_opencl.sh on cuda: through the stand-in of tests/cuda_shim where no NVIDIA driver is, so that 50 steps of training pass through the
# driver's streams, staging and products. A run that does not name the stand-in's folder does not see it.
set -euo pipefail
[ -n "${LEANPO:-}" ] || { echo "no leanpo binary"; exit 77; }
export LPO_TEST_GPU=cuda
if "$LEANPO" devices | grep -q '^cuda .*stand-in'; then
    echo "FAIL: the stand-in is on this machine's search path"
    exit 1
fi
"$LEANPO" devices | grep -q '^cuda ' || export LD_LIBRARY_PATH="${BUILD_DIR:-}/cuda_shim:${LD_LIBRARY_PATH:-}"
exec bash "${1:-.}/tests/cli/place_opencl.sh" "${1:-.}"
