#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A run killed with SIGKILL at random moments and resumed ends with the bytes of a run that was never stopped: weights,
# optimizer state, run state, metrics. The loss keeps running averages and a reference, so that both must survive too.
# A checkpoint damaged on disk is noticed, and the one before it leads to the same end.
# LEANPO_KILLS: how many kills (default 20). LEANPO_SEED: repeats the moments of an earlier run.
set -euo pipefail
[ -n "${LEANPO:-}" ] || { echo "no leanpo binary"; exit 77; }
kills=${LEANPO_KILLS:-20}
RANDOM=${LEANPO_SEED:=$$}
echo "LEANPO_SEED=$LEANPO_SEED LEANPO_KILLS=$kills"
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
cd "$t"

"$LEANPO" world --out w --videos 6 --seed 5 >/dev/null
"$LEANPO" init --out m --size tiny --tokenizer w/tokenizer.json --seed 1 >/dev/null
# Pairs without another program: the right answer against one that never is.
sed 's/"question"/"prompt"/; s/"answer": "\([^"]*\)"/"chosen": "\1", "rejected": "it is not known"/' w/qa.train.jsonl > w/pairs.jsonl
head -n 4 w/pairs.jsonl > w/held.jsonl

options=(--model m --data w/pairs.jsonl --eval-data w/held.jsonl --objective 'alpha_dpo+0.5*sft' --lr 1e-3 --threads 1
    --batch-size 1 --accumulation 2 --max-steps 100 --eval-steps 20 --save-steps 7 --save-total-limit 3)
train() { # RUN, more options
    "$LEANPO" train "${options[@]}" --out "$@"
}

same() { # file of both runs
    cmp "whole/$1" "killed/$1" || { echo "FAIL: $1 differs"; exit 1; }
}

compare() {
    for f in model.safetensors optimizer.safetensors state.json; do same "checkpoints/step-100/$f"; done
    same metrics.jsonl
}

start=$(date +%s%N)
train whole >/dev/null 2>whole.log || { cat whole.log; exit 1; }
ms=$((($(date +%s%N) - start) / 1000000))

finish() { # let the killed run arrive, and look at it
    train killed --resume >/dev/null 2>killed.log || { cat killed.log; exit 1; }
    compare
}

for ((i = 1; i <= kills; i++)); do
    # Anywhere in the first half of a whole run: several kills add up to one run, then the next run is begun.
    wait_ms=$(((RANDOM * 32768 + RANDOM) % (ms / 2 + 1)))
    # Not through the function: $! must be the program, not a shell around it.
    "$LEANPO" train "${options[@]}" --out killed --resume >/dev/null 2>killed.log &
    pid=$!
    sleep "$((wait_ms / 1000)).$(printf %03d $((wait_ms % 1000)))"
    kill -9 $pid 2>/dev/null || true
    wait $pid 2>/dev/null || true
    echo "kill $i after $wait_ms ms: $(ls killed/checkpoints 2>/dev/null | tr '\n' ' ')"
    if [ -d killed/checkpoints/step-98 ] && [ $i -lt $kills ]; then
        finish
        rm -rf killed
    fi
done
finish
[ -z "$(ls -d killed/checkpoints/*.tmp 2>/dev/null)" ] || { echo "FAIL: leftovers of an interrupted save"; exit 1; }

# One bit of the newest weights flips; the run goes back to step 98 and arrives at the same place.
printf '\x5a' | dd of=killed/checkpoints/step-100/model.safetensors bs=1 seek=100000 conv=notrunc 2>/dev/null
train killed --resume >/dev/null 2>killed.log || { cat killed.log; exit 1; }
grep -q "damaged" killed.log || { echo "FAIL: the damage went unnoticed"; cat killed.log; exit 1; }
compare

# The same folder without --resume, or with other options, is refused by name.
if train killed >/dev/null 2>refused.log; then echo "FAIL: overwrote a run"; exit 1; fi
grep -q -- "--resume" refused.log || { cat refused.log; exit 1; }
if train killed --resume --lr 2e-3 >/dev/null 2>refused.log; then echo "FAIL: accepted another learning rate"; exit 1; fi
grep -q "learning_rate" refused.log || { cat refused.log; exit 1; }
echo ok
