#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# --place backbone=opencl trains as the CPU does: over 50 steps each loss within 1e-3 of cpu's; two runs give the same bytes;
# bf16 trains too; an XRT beside it does no harm. Skips aloud where no OpenCL platform is. place_cuda.sh runs it with LPO_TEST_GPU=cuda.
set -euo pipefail
[ -n "${LEANPO:-}" ] || { echo "no leanpo binary"; exit 77; }
gpu=${LPO_TEST_GPU:-opencl}
if ! "$LEANPO" devices | grep -q "^$gpu "; then
    echo "skipped: $("$LEANPO" doctor | grep -i "$gpu device" || echo "no $gpu device")"
    exit 77
fi
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
cd "$t"
[ -w "${XDG_CACHE_HOME:-$HOME/.cache}" ] || export XDG_CACHE_HOME="$t/cache" POCL_CACHE_DIR="$t/pocl"

"$LEANPO" world --out w --videos 3 --seed 5 >/dev/null
"$LEANPO" init --out m --size tiny --tokenizer w/tokenizer.json --seed 1 >/dev/null
sed 's/"question"/"prompt"/; s/"answer": "\([^"]*\)"/"chosen": "\1", "rejected": "it is not known", "grounding": 0.05/' \
    w/qa.train.jsonl > w/pairs.jsonl

train() { # RUN PLACE STEPS DTYPE
    "$LEANPO" train --model m --data w/pairs.jsonl --objective leanpo --out "$1" --lr 1e-3 --batch-size 1 --accumulation 1 --max-steps "$3" \
        --limit 4 --dtype "$4" --place "backbone=$2" --displacement-size 0 >/dev/null 2>"$1.log" ||
        { cat "$1.log"; exit 1; }
}
train cpu cpu 50 f32
train one "$gpu" 50 f32
train a "$gpu" 3 f32
train b "$gpu,preprocess=$gpu,reduce=$gpu" 3 f32 # every stage but decode: the bits of its backbone
train half "$gpu" 3 bf16
cmp a/checkpoints/step-3/model.safetensors b/checkpoints/step-3/model.safetensors || { echo "FAIL: two runs differ"; exit 1; }

losses() { grep -o '"loss": *[0-9.e+-]*' "$1/metrics.jsonl" | grep -o '[0-9.e+-]*$'; }
paste <(losses cpu) <(losses one) | awk '
    { d = $1 - $2; if (d < 0) d = -d; if (d > worst) worst = d; n++ }
    END { print n " losses, at most " worst " apart"; exit !(n >= 50 && worst <= 1e-3) }' || { echo "FAIL: $gpu does not track cpu"; exit 1; }
[ "$(losses half | wc -l)" -ge 3 ] || { echo "FAIL: bf16 did not train"; exit 1; }

[ "$gpu" = opencl ] || exit 0
# XRT's OpenCL, which ends a process whose environment it dislikes, may stand beside another platform's.
mkdir icd && cp "${OCL_ICD_VENDORS:-/etc/OpenCL/vendors}"/*.icd icd && echo libxilinxopencl.so.2 > icd/xilinx.icd
(unset XILINX_XRT; OCL_ICD_VENDORS=$PWD/icd "$LEANPO" devices) | grep -q '^opencl ' || { echo "FAIL: XRT's ICD hides the others"; exit 1; }
