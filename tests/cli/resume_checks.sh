#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# train --resume takes over what an earlier look at the videos found: it opens none before a batch needs it, ends with the
# bytes and the quarantine of a run that looks again, and does look again, saying why, when a video, the memory of it or
# anything else that counts is another.
set -euo pipefail
[ -n "${LEANPO:-}" ] || { echo "no leanpo binary"; exit 77; }
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
cd "$t"
fail() { echo "FAIL: $1"; cat log 2>/dev/null; exit 1; }
says() { grep -q -- "$1" log || fail "no word of \"$1\""; }
silent() { if grep -q "checked again" log; then fail "checked again for nothing"; fi; }

"$LEANPO" world --out w --videos 6 --size 64 --seed 5 >/dev/null
"$LEANPO" init --out m --size tiny --tokenizer w/tokenizer.json --seed 1 >/dev/null
# Pairs, one about a video that is none and one about a video that is not there.
sed 's/"question"/"prompt"/; s/"answer": "\([^"]*\)"/"chosen": "\1", "rejected": "it is not known"/' w/qa.train.jsonl >w/pairs.jsonl
echo "no film" >w/videos/broken.mp4
sed -n '1s/videos\/[0-9]*/videos\/broken/p; 2s/videos\/[0-9]*/videos\/gone/p' w/pairs.jsonl >w/bad.jsonl
cat w/bad.jsonl >>w/pairs.jsonl
head -n 3 w/qa.heldout.jsonl | sed 's/"question"/"prompt"/; s/"answer": "\([^"]*\)"/"chosen": "\1", "rejected": "it is not known"/' >w/held.jsonl
options=(--model m --data w/pairs.jsonl --eval-data w/held.jsonl --lr 1e-3 --threads 1 --batch-size 1 --accumulation 1 --save-steps 1
    --max-bad .5)
go() { # RUN, steps, more options
    local run=$1 steps=$2
    shift 2
    "$LEANPO" train "${options[@]}" --out "$run" --max-steps "$steps" "$@" >/dev/null 2>log
}
same_end() {
    for f in checkpoints/step-4/model.safetensors metrics.jsonl quarantine.jsonl; do cmp "a/$f" "$1/$f" || fail "$f of $1 differs"; done
}

go a 2 || fail "a run"
[ "$(wc -l <a/quarantine.jsonl)" = 2 ] || fail "two bad lines: $(cat a/quarantine.jsonl)"
cp a/quarantine.jsonl first
for run in b c d e f; do cp -r a $run; done

# With every film replaced by as many zeros of the same age, a finished run still opens; the next batch is what fails.
mkdir keep
cp -p w/videos/*.mp4 keep/
for v in w/videos/0*.mp4; do
    head -c "$(stat -c %s "$v")" /dev/zero >zeros
    touch -r "$v" zeros
    cp -p zeros "$v"
done
go b 2 --resume || fail "a resume opened a video that no batch needs"
silent
cmp b/quarantine.jsonl first || fail "the quarantine differs"
if go b 3 --resume; then fail "trained on zeros"; fi
says "w/videos/0"
rm -r b/checked*.json
if go b 2 --resume; then fail "without the memory, zeros went unnoticed"; fi
cp -p keep/*.mp4 w/videos/

# The same bytes with and without the memory, and with a damaged one.
go a 4 --resume || fail "a resume"
silent
cmp a/quarantine.jsonl first || fail "the quarantine differs"
rm c/checked*.json
go c 4 --resume || fail "a resume without the memory"
[ -s c/checked.json ] && [ -s c/checked_eval.json ] || fail "what was checked again is not remembered"
same_end c
sed -i 's/"refused":\[\[\([0-9]*\),/"refused":[[1,/' d/checked.json
head -c 100 a/checked_eval.json >d/checked_eval.json
go d 4 --resume || fail "a resume with a damaged memory"
says "d/checked.json: damaged"
says "d/checked_eval.json: damaged"
same_end d

# A video of another time, a file that appeared, another preprocessing: checked again.
touch w/videos/000000.mp4
go e 4 --resume || fail "a resume after a touch"
says "w/pairs.jsonl: the videos are checked again: w/videos/000000.mp4 changed"
same_end e
cp w/videos/000000.mp4 w/videos/gone.mp4
cp -p keep/000000.mp4 w/videos/
go f 2 --resume || fail "a resume after a video appeared"
says "checked again: w/videos/gone.mp4 changed"
[ "$(wc -l <f/quarantine.jsonl)" = 1 ] || fail "the video that appeared is still refused"
go f 2 --resume || fail "a second resume"
silent
[ "$(wc -l <f/quarantine.jsonl)" = 1 ] || fail "the second resume remembers something else"
[ -z "$(ls -d ./*/*.tmp 2>/dev/null)" ] || fail "leftovers"
echo ok
