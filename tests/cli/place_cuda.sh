#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Decoding with and without graphs, and place_opencl.sh on cuda: through the stand-in of tests/cuda_shim where no NVIDIA driver is, so that 50 steps of training pass through the
# driver's streams, staging and products. A run that does not name the stand-in's folder does not see it.
set -euo pipefail
[ -n "${LEANPO:-}" ] || { echo "no leanpo binary"; exit 77; }
export LPO_TEST_GPU=cuda
if "$LEANPO" devices | grep -q '^cuda .*stand-in'; then
    echo "FAIL: the stand-in is on this machine's search path"
    exit 1
fi
"$LEANPO" devices | grep -q '^cuda ' || export LD_LIBRARY_PATH="${BUILD_DIR:-}/cuda_shim:${LD_LIBRARY_PATH:-}"
if ! "$LEANPO" devices | grep -q '^cuda '; then
    echo "skipped: neither a GPU nor its stand-in ($("$LEANPO" devices | grep -i cuda || echo 'no cuda device'))"
    exit 77
fi

# A decode step repeats: 32 greedy tokens with its launches replayed as one are those without.
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
"$LEANPO" world --out "$t/w" --videos 1 --seed 5 --size 112 --heldout 0 >/dev/null
"$LEANPO" init --out "$t/m" --tokenizer "$t/w/tokenizer.json" --seed 1 >/dev/null
for dtype in f32 bf16; do
    for graphs in 1 0; do
        CUDA_SHIM_REPORT=1 LEANPO_CUDA_GRAPHS=$graphs "$LEANPO" generate --model "$t/m" --video "$t"/w/videos/*.mp4 --prompt "what is it" --json \
            --max-tokens 32 --place backbone=cuda --dtype $dtype >"$t/$dtype.$graphs" 2>"$t/log" || { cat "$t/log"; exit 1; }
        n=$(sed -n 's/^cuda shim: \([0-9]*\) replays/\1/p' "$t/log")
        [ -z "$n" ] || [ $((graphs * 30)) = "$n" ] || { echo "FAIL: $n replays in $dtype, graphs $graphs"; exit 1; }
    done
    cmp "$t/$dtype.1" "$t/$dtype.0" || { echo "FAIL: graphs change the answer in $dtype"; exit 1; }
done

bash "${1:-.}/tests/cli/place_opencl.sh" "${1:-.}"
