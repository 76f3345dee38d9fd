#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a run does when things go wrong: a full disk, Ctrl-C, numbers that are none, data that does not fit the loss. Each time
# the message says what and where, no file is left half written, and the run can go on to the end it would have had.
set -euo pipefail
[ -n "${LEANPO:-}" ] || { echo "no leanpo binary"; exit 77; }
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
cd "$t"
fail() {
    echo "FAIL: $1"
    cat log 2>/dev/null
    exit 1
}
says() { grep -q -- "$1" log || fail "the message does not say \"$1\""; }

"$LEANPO" world --out w --videos 4 --seed 5 >/dev/null
"$LEANPO" init --out m --size tiny --tokenizer w/tokenizer.json --seed 1 >/dev/null
sed 's/"question"/"prompt"/; s/"answer": "\([^"]*\)"/"chosen": "\1", "rejected": "it is not known"/' w/qa.train.jsonl > w/pairs.jsonl
options=(--model m --data w/pairs.jsonl --lr 1e-3 --threads 1 --batch-size 1 --accumulation 1 --max-steps 30 --save-steps 5
    --displacement-size 4)
"$LEANPO" train "${options[@]}" --out whole >/dev/null 2>log || fail "a plain run"

same_end() {
    for f in checkpoints/step-30/model.safetensors checkpoints/step-30/optimizer.safetensors metrics.jsonl; do
        cmp "whole/$f" "$1/$f" || fail "$f of $1 differs"
    done
}

# Disk full: no file may pass 3 MB, so the first checkpoint's 6 MB of weights fail in mid-write.
if (trap '' XFSZ; ulimit -f 3000; exec "$LEANPO" train "${options[@]}" --out full >/dev/null 2>log); then fail "no error"; fi
says "model.safetensors"
says "checkpoint"
[ -z "$(ls full/checkpoints)" ] || fail "a half-written checkpoint is left: $(ls full/checkpoints)"
"$LEANPO" train "${options[@]}" --out full --resume >/dev/null 2>log || fail "resuming after a full disk"
same_end full

# Ctrl-C: the step is finished and saved, the exit code is 130.
"$LEANPO" train "${options[@]}" --out stopped >/dev/null 2>log &
pid=$!
while [ ! -s stopped/timing.jsonl ] && kill -0 $pid 2>/dev/null; do sleep 0.02; done
kill -INT $pid 2>/dev/null || true
rc=0
wait $pid || rc=$?
if [ $rc -ne 0 ]; then # 0: it was done before the signal came
    [ $rc -eq 130 ] || fail "exit code $rc after SIGINT"
    says "--resume"
    [ -n "$(ls stopped/checkpoints)" ] || fail "no checkpoint after SIGINT"
    # Without any option but the folder: the rest is in its config.json.
    "$LEANPO" train --out stopped --resume >/dev/null 2>log || fail "resuming after SIGINT"
fi
same_end stopped

# A weight that is not a number stops the first step, naming it and its records.
cp -r m broken
size=$(stat -c %s broken/model.safetensors)
printf '\x00\x00\xc0\x7f' | dd of=broken/model.safetensors bs=1 seek=$((size - 4)) conv=notrunc 2>/dev/null
if "$LEANPO" train "${options[@]}" --model broken --displacement-size 0 --out nan >/dev/null 2>log; then fail "NaN accepted"; fi
says "step 1 (records 00000"
says "nan"

# Data and loss that do not fit are refused before there is a run.
if "$LEANPO" train "${options[@]}" --objective sppo --out no >/dev/null 2>log; then fail "sppo without p_w"; fi
says "p_w p_l"
if "$LEANPO" train "${options[@]}" --data w/qa.train.jsonl --out no >/dev/null 2>log; then fail "QA records for a pair loss"; fi
says "chosen"
if "$LEANPO" train "${options[@]}" --train-groups lm --out no >/dev/null 2>log; then fail "group lm"; fi
says "llm, projector, vision"
[ ! -e no/config.json ] || fail "a refused run left a config.json"
echo ok
