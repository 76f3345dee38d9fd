#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A GPU that the user named and that is lost in mid-run ends it with an error that says how to go on; the last checkpoint is whole; on the
# GPU again the run ends with the bytes of one that lost nothing, and on the CPU it arrives too. The GPU is the stand-in of
# tests/cuda_shim, whose launches fail on demand. What `auto` does is in tests/unit/train_auto.c.
set -euo pipefail
[ -n "${LEANPO:-}" ] || { echo "no leanpo binary"; exit 77; }
export LD_LIBRARY_PATH="${BUILD_DIR:-}/cuda_shim:${LD_LIBRARY_PATH:-}"
if ! "$LEANPO" devices | grep -q '^cuda .*stand-in'; then
    echo "skipped: no stand-in for a GPU ($("$LEANPO" devices | grep -i cuda || echo 'no cuda device'))"
    exit 77
fi
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
cd "$t"
fail() { echo "FAIL: $1"; cat log 2>/dev/null; exit 1; }
says() { grep -q -- "$1" log || fail "the message does not say \"$1\""; }
[ -w "${XDG_CACHE_HOME:-$HOME/.cache}" ] || export XDG_CACHE_HOME="$t/cache" POCL_CACHE_DIR="$t/pocl"

"$LEANPO" world --out w --videos 2 --seed 5 --size 56 >/dev/null
"$LEANPO" init --out m --size tiny --tokenizer w/tokenizer.json --seed 1 >/dev/null
echo '{"min_pixels": 3136, "max_pixels": 3136}' > m/video_preprocessor_config.json # few patches
sed 's/"question"/"prompt"/; s/"answer": "\([^"]*\)"/"chosen": "\1", "rejected": "it is not known"/' w/qa.train.jsonl > w/pairs.jsonl
train() { # RUN, more options
    "$LEANPO" train --model m --data w/pairs.jsonl --lr 1e-3 --batch-size 1 --accumulation 1 --max-steps 3 --limit 3 --save-steps 1 \
        --displacement-size 0 --out "$@" >/dev/null 2>log
}

train whole --place backbone=cuda || fail "a plain run"
# The launch that fails: one after the first checkpoint.
for ((n = 200; ; n *= 2)); do
    rm -rf lost
    rc=0
    CUDA_SHIM_FAIL_LAUNCH=$n train lost --place backbone=cuda || rc=$?
    [ $rc = 0 ] && fail "no launch failed after the first checkpoint"
    [ $rc = 1 ] || fail "exit code $rc"
    [ ! -d lost/checkpoints/step-1 ] || break
done
echo "lost at launch $n: $(tail -n 1 log)"
says "step [23], backbone on cuda; the last checkpoint is whole: lost/checkpoints/step-[12]; go on with --resume --out lost"
says "on cuda again or with --place backbone=cpu"
[ -z "$(ls -d lost/checkpoints/*.tmp 2>/dev/null)" ] || fail "a half-written checkpoint is left"

cp -r lost moved
train lost --resume || fail "going on on the same device"
for f in checkpoints/step-3/{model.safetensors,optimizer.safetensors,state.json} metrics.jsonl; do
    cmp "whole/$f" "lost/$f" || fail "$f differs from that of a run which lost nothing"
done
train moved --resume --place backbone=cpu || fail "going on on the cpu"
says "place was backbone=cuda and is now backbone=cpu"
[ -d moved/checkpoints/step-3 ] || fail "the run did not arrive"
paste <(grep -o '"loss": *[0-9.e+-]*' whole/metrics.jsonl) <(grep -o '"loss": *[0-9.e+-]*' moved/metrics.jsonl) |
    awk '{ d = $2 - $4; if (d < 0) d = -d; if (!(d < 1e-3)) exit 1 }' || fail "the losses are another run's"
echo ok
