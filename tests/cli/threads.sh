#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The same seed gives the same bytes at 1 and 2 compute threads, at 1 and 3 data workers, and with activations recomputed
# instead of kept: weights, optimizer state and metrics. Every parameter is trained, so every kernel takes part.
set -euo pipefail
[ -n "${LEANPO:-}" ] || { echo "no leanpo binary"; exit 77; }
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
cd "$t"

"$LEANPO" world --out w --videos 6 --seed 5 >/dev/null
"$LEANPO" init --out m --size tiny --tokenizer w/tokenizer.json --seed 1 >/dev/null
sed 's/"question"/"prompt"/; s/"answer": "\([^"]*\)"/"chosen": "\1", "rejected": "it is not known"/' w/qa.train.jsonl > w/pairs.jsonl

train() { # RUN, more options
    local run=$1
    shift
    "$LEANPO" train --model m --data w/pairs.jsonl --objective leanpo --train-groups all --out "$run" --lr 1e-3 \
        --batch-size 2 --accumulation 2 --max-steps 6 --eval-steps 3 --displacement-size 4 "$@" >/dev/null 2>"$run.log" ||
        { cat "$run.log"; exit 1; }
}

same() { # two runs
    for f in checkpoints/step-6/model.safetensors checkpoints/step-6/optimizer.safetensors metrics.jsonl; do
        cmp "$1/$f" "$2/$f" || { echo "FAIL: $f of $2 differs"; exit 1; }
    done
}

OMP_NUM_THREADS=1 train one --threads 1
OMP_NUM_THREADS=2 train two --threads 2
train workers --n-workers 3
train recomputed --gradient-checkpointing 1
train other --seed 43
same one two
same one workers
same one recomputed
# The comparison can fail: another seed is another run.
if cmp -s one/metrics.jsonl other/metrics.jsonl; then echo "FAIL: the seed changes nothing"; exit 1; fi
echo ok
