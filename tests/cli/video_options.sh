#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# --frames, --fps, --min-pixels, --max-pixels: whatever looks at videos does with them what it does with a model folder that
# says the same, bit for bit; a run remembers them and is not resumed with others; what cannot be is refused in words, with
# exit status 2, before a model is read.
set -euo pipefail
[ -n "${LEANPO:-}" ] || { echo "no leanpo binary"; exit 77; }
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
cd "$t"
fail() { echo "FAIL: $1"; cat log 2>/dev/null; exit 1; }
same() { cmp "$1" "$2" || fail "$1 and $2 differ"; }

"$LEANPO" world --out w --videos 3 --size 112 --seed 5 >/dev/null
"$LEANPO" init --out m --size tiny --tokenizer w/tokenizer.json --seed 1 >/dev/null
"$LEANPO" init --out lv --family llava_video --size tiny --tokenizer w/tokenizer.json --seed 1 >/dev/null
head -n 4 w/qa.train.jsonl >w/qa.jsonl
sed 's/"question"/"prompt"/; s/"answer": "\([^"]*\)"/"chosen": "\1", "rejected": "it is not known"/' w/qa.jsonl >w/pairs.jsonl
v=w/videos/000000.mp4

# said: a model folder that says what the options say.
cp -r m said
sed -i 's/"num_frames": 8/"num_frames": 6/' said/preprocessor_config.json
echo '{"min_pixels": 3136, "max_pixels": 12544}' >said/video_preprocessor_config.json
asked=(--frames 6 --min-pixels 3136 --max-pixels 12544)

# Six frames of 112x112: three pairs of 4x4 tokens. As the folder says: eight of 56x56.
grid() { "$LEANPO" prep --json --model "$@" $v | tr -d ' ' | grep -o '"grid_thw":[^]]*]'; }
[ "$(grid m "${asked[@]}")" = '"grid_thw":[3,8,8]' ] || fail "prep: $(grid m "${asked[@]}")"
[ "$(grid m)" = '"grid_thw":[4,4,4]' ] || fail "prep without options: $(grid m)"
[ "$(grid m --fps 4 --min-pixels 3136 --max-pixels 3136)" = '"grid_thw":[2,4,4]' ] || fail "prep --fps"
[ "$(grid lv --frames 5)" = '"grid_thw":[5,'"$(grid lv | cut -d, -f2-)" ] || fail "an odd number of frames, where they are single"

# The same pixels from the FPGA kernel.
for d in cpu csim; do "$LEANPO" prep --model m "${asked[@]}" --place $d --out $d.safetensors $v >/dev/null 2>log || fail "prep on $d"; done
same cpu.safetensors csim.safetensors

# Every command: from prompts whose tokens follow to the last bit of what it writes.
tokens() { "$LEANPO" generate --json --data w/qa.jsonl --max-tokens 4 --threads 1 "$@" 2>log | tr -d ' ' | grep -o '"prompt_tokens":[0-9]*' | cut -d: -f2; }
"$LEANPO" generate --model m --data w/qa.jsonl --out plain.jsonl --max-tokens 4 --threads 1 >/dev/null 2>log || fail generate
more=$(tokens --model m --out a.generate "${asked[@]}")
less=$(tokens --model m --out b.generate "${asked[@]}" --frames 4)
[ $((more - less)) = 64 ] || fail "four prompts with a pair of frames less: $more tokens, then $less"
tokens --model said --out c.generate >/dev/null
same a.generate c.generate
use() { # command, what it writes, options
    local command=$1 out=$2
    shift 2
    "$LEANPO" "$command" --model m --out "a.$out" --threads 1 "${asked[@]}" "$@" >/dev/null 2>log || fail "$command"
    "$LEANPO" "$command" --model said --out "b.$out" --threads 1 "$@" >/dev/null 2>log || fail "$command of the folder"
    same "a.$out" "b.$out"
}
use score score --data w/pairs.jsonl
use eval eval --data w/qa.jsonl --max-tokens 4
use pairs pairs --data w/qa.jsonl --max-tokens 4 --min-gap -1 --seed 3
"$LEANPO" score --model m --out plain.score --threads 1 --data w/pairs.jsonl >/dev/null 2>log || fail score
if cmp -s a.score plain.score; then fail "score looked at the frames it always looks at"; fi

# Training: the same weights; the run folder remembers, and goes on by itself; another value is another run.
train=(--data w/pairs.jsonl --lr 1e-3 --threads 1 --accumulation 1 --displacement-size 2 --save-steps 1)
"$LEANPO" train --model m --out run "${train[@]}" "${asked[@]}" --max-steps 2 >/dev/null 2>log || fail train
"$LEANPO" train --model said --out ran "${train[@]}" --max-steps 2 >/dev/null 2>log || fail "train of the folder"
same run/metrics.jsonl ran/metrics.jsonl
same run/checkpoints/step-2/model.safetensors ran/checkpoints/step-2/model.safetensors
for key in '"frames": *6' '"fps": *null' '"min_pixels": *3136' '"max_pixels": *12544'; do
    grep -q "$key" run/config.json || fail "config.json does not say $key"
done
if "$LEANPO" train --out run --resume --frames 4 >/dev/null 2>log; then fail "went on with other frames"; fi
grep -q 'frames (was "6", is "4")' log || fail "train --resume does not say what differs"
"$LEANPO" train --out run --resume --max-steps 3 >/dev/null 2>log || fail "train --resume"
"$LEANPO" train --out ran --resume --max-steps 3 >/dev/null 2>log || fail "train --resume of the folder"
same run/checkpoints/step-3/model.safetensors ran/checkpoints/step-3/model.safetensors

# pairs and generate: what was begun with other frames is not gone on with.
other() { # command, options
    local command=$1 pid
    shift
    "$LEANPO" "$command" --model m --out k.jsonl --threads 1 --data w/qa.train.jsonl --max-tokens 200 --batch-size 1 "${asked[@]}" "$@" >/dev/null 2>log &
    pid=$!
    while [ ! -e k.jsonl.partial/state.json ] && kill -0 $pid 2>/dev/null; do sleep 0.01; done
    kill -9 $pid 2>/dev/null || true
    wait $pid 2>/dev/null || true
    [ -e k.jsonl.partial ] || { rm -f k.jsonl; echo "$command: done before it could be stopped"; return 0; }
    if "$LEANPO" "$command" --model m --out k.jsonl --resume --threads 1 --data w/qa.train.jsonl --max-tokens 200 --batch-size 1 "$@" >/dev/null 2>log; then
        fail "$command --resume went on without the options it was begun with"
    fi
    grep -q "begun with .* = .*, now null" log || fail "$command --resume does not say what differs"
    rm -rf k.*
}
other generate
other pairs --min-gap -1

# What cannot be. A video too short for the frames asked is a bad record, with the reason.
refuse() { # pattern, command
    local pattern=$1 rc=0
    shift
    "$LEANPO" "$@" >/dev/null 2>log || rc=$?
    [ $rc = 2 ] || fail "exit status $rc of leanpo $*"
    grep -q -- "$pattern" log || fail "leanpo $* does not say \"$pattern\""
}
for command in "score --data w/pairs.jsonl --out x" "eval --data w/qa.jsonl" "generate --prompt hm --video $v" \
    "pairs --data w/qa.jsonl --out x" "train --data w/pairs.jsonl --out x" "prep $v"; do
    # Words of the command, apart.
    refuse "frames.*0" $command --model m --frames 0
    refuse "frames.*-2" $command --model m --frames -2
    refuse "frames.*900" $command --model m --frames 900
    refuse "frames.*many" $command --model m --frames many
    refuse "frames in pairs; ask for 6" $command --model m --frames 5
    refuse "choose one" $command --model m --frames 4 --fps 2
    refuse "fps.*0" $command --model m --fps 0
    refuse "28x28 pixels" $command --model m --max-pixels 783
    refuse "at most 3136 pixels a frame, but at least 6272" $command --model m --max-pixels 3136 --min-pixels 6272
    refuse "at least 100352; give --min-pixels too" $command --model m --max-pixels 3136
    refuse "frames of one size" $command --model lv --max-pixels 3136
    "$LEANPO" ${command%% *} --help | grep -q -- "--max-pixels N" || fail "${command%% *} --help"
done
[ ! -e x ] || fail "a refused command left something"
if "$LEANPO" score --model m --data w/pairs.jsonl --out x --frames 10 >/dev/null 2>log; then fail "ten frames of eight"; fi
grep -q "10 frames are wanted of a video that has 8" log || fail "no word of the frames a video lacks"
echo ok
