#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every family from nothing to an answer: init, model info, prep, training for two steps, and generation from what the
# training saved, with the family's own tokenizer kind, template, frames and names on disk.
set -euo pipefail
[ -n "${LEANPO:-}" ] || { echo "no leanpo binary"; exit 77; }
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
golden=$1/tests/golden/tokenizer
cd "$t"
fail() { echo "FAIL: $*"; exit 1; }
"$LEANPO" world --out w --videos 2 --seed 5 --size 64 > /dev/null
video=w/videos/000000.mp4

family() { # NAME, tokenizer, video tokens of 8 frames, a name on disk
    "$LEANPO" init --family "$1" --size tiny --tokenizer "$2" --out "m-$1" > /dev/null
    grep -aq "\"$4\"" "m-$1/model.safetensors" || fail "$1: no tensor $4"
    "$LEANPO" model info "m-$1" --frames 8 --size 56x56 --prompt 8 --response 8 --json | grep -q "\"video_tokens\": *$3[,}]" ||
        fail "$1: $("$LEANPO" model info "m-$1" --frames 8 --size 56x56 --prompt 8 --response 8 --json)"
    "$LEANPO" prep "$video" --model "m-$1" > /dev/null
    "$LEANPO" train --model "m-$1" --data w/captions.jsonl --objective sft --out "r-$1" --max-steps 2 --batch-size 1 \
        --accumulation 1 > /dev/null 2>&1 || fail "$1 does not train"
    "$LEANPO" generate --model "r-$1/checkpoints/step-2" --video "$video" --prompt "what color is the shape?" \
        --max-tokens 4 --json | grep -q '"text"\|"answer"' || fail "$1 does not answer"
    echo "$1: trained and asked"
}
family qwen2_vl w/tokenizer.json 16 visual.patch_embed.proj.weight
family qwen2_5_vl w/tokenizer.json 16 visual.blocks.0.mlp.gate_proj.weight
family llava_next_video "$golden/llama" 32 vision_tower.vision_model.pre_layrnorm.weight
family llava_video w/tokenizer.json 48 model.mm_projector.0.weight
"$LEANPO" tokenize --model "$golden/llama" --chat --chat-template vicuna "the cat" | grep -q '"ids": *\[1,' || fail "no <s> in front"
if "$LEANPO" init --family llava --size tiny --out x 2> said; then fail "an unknown family"; fi
grep -q "llava_next_video, llava_video" said || fail "$(cat said)"
