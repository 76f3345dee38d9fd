#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A run that trains adapters: its checkpoints hold them and nothing of the base, resuming one gives the bytes of a run
# that was never stopped (with dropout, in f32 and bf16), threads do not show; score takes the checkpoint as the model or
# beside it, and the merged folder scores the same; what contradicts adapters is refused. And --no-shared-prefix
# computes the same losses.
set -euo pipefail
[ -n "${LEANPO:-}" ] || { echo "no leanpo binary"; exit 77; }
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
cd "$t"

fail() { echo "FAIL: $*"; exit 1; }

"$LEANPO" world --out w --videos 6 --seed 5 >/dev/null
"$LEANPO" init --out m --size tiny --tokenizer w/tokenizer.json --seed 1 >/dev/null
sed 's/"question"/"prompt"/; s/"answer": "\([^"]*\)"/"chosen": "\1", "rejected": "it is not known"/' w/qa.train.jsonl > w/pairs.jsonl

train() { # RUN, more options
    local run=$1
    shift
    "$LEANPO" train --model m --data w/pairs.jsonl --objective dpo --out "$run" --lr 1e-2 --batch-size 2 --accumulation 2 \
        --max-steps 6 --save-steps 3 --displacement-size 4 "$@" >/dev/null 2>"$run.log" || { cat "$run.log"; exit 1; }
}
same() { # two runs
    for f in checkpoints/step-6/adapter_model.safetensors checkpoints/step-6/optimizer.safetensors metrics.jsonl; do
        cmp "$1/$f" "$2/$f" || fail "$f of $2 differs"
    done
}

for dtype in f32 bf16; do
    lora=(--lora r=4,alpha=8,dropout=0.1 --dtype $dtype)
    train whole-$dtype "${lora[@]}" --threads 1
    cp -r whole-$dtype cut-$dtype
    rm -rf cut-$dtype/checkpoints/step-6 cut-$dtype/ref_logps.safetensors # the reference is the base: computed again
    train cut-$dtype "${lora[@]}" --threads 2 --resume
    same whole-$dtype cut-$dtype
done
last=whole-f32/checkpoints/step-6
[ ! -e $last/model.safetensors ] && [ ! -e $last/config.json ] || fail "the base is in the checkpoint"
[ "$(stat -c %s $last/adapter_model.safetensors)" -lt 200000 ] || fail "the adapters are large"

score() { # OUT, the model's options
    local out=$1
    shift
    "$LEANPO" score "$@" --data w/pairs.jsonl --limit 6 --out "$out.jsonl" >/dev/null 2>&1
    sed 's/.*"logps_chosen": *\([-0-9.e]*\).*/\1/' "$out.jsonl" > "$out.logps"
}
score own --model $last
score beside --model m --adapter $last
score base --model m
"$LEANPO" model merge --adapter $last --out merged >/dev/null
score merged --model merged
cmp own.jsonl beside.jsonl || fail "--adapter"
cmp -s own.logps base.logps && fail "the adapters do nothing"
paste own.logps merged.logps | awk '{d = $1 - $2; if (d < 0) d = -d; if (!($1 < 0) || d > 1e-3) {print "FAIL: merged " $0; exit 1}}'

# Training goes on from adapters.
train further --model $last
[ -e further/checkpoints/step-6/adapter_config.json ] || fail "adapters trained on became something else"

for o in "--lora r=0x" "--lora rank=4" "--lora-r 4 --lora-target-modules q_prj" "--lora 4 --train-groups vision"; do
    # shellcheck disable=SC2086
    if "$LEANPO" train --model m --data w/pairs.jsonl --objective dpo --out no $o >no.out 2>&1; then fail "$o was accepted"; fi
    grep -q "lora\|LoRA" no.out || { cat no.out; fail "$o: the message does not say what"; }
    rm -rf no
done

train shared --objective leanpo
train separate --objective leanpo --no-shared-prefix
loss() { sed -n '2s/.*"loss": *\([-0-9.e]*\).*/\1/p' "$1/metrics.jsonl"; }
[ -n "$(loss shared)" ] && [ "$(loss shared)" = "$(loss separate)" ] || fail "loss $(loss shared) and $(loss separate)"
echo ok
