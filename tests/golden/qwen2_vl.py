#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A tiny Qwen2-VL folder as `transformers` saves it, with the log-probabilities `transformers` computes from it.

Writes OUT/model (config.json, generation_config.json, model.safetensors in bf16) and OUT/case.safetensors:
  clip0..2   patches f32    grid0..2     (t, h, w)
  ids0..3    token ids      prompt0..3   how many of them are prompt    clip_of   clip of each, -1 none
  logp0..3   log p of every token after the prompt, from float32 logits
Weights are drawn wide (not the .02 of a fresh model, whose distributions are all but uniform and hide mistakes) and
rounded to bf16, so that the file is small and float32 arithmetic starts from the same numbers on both sides.
Usage: qwen2_vl.py OUT"""
import json, os, sys
import torch, transformers, safetensors
from safetensors.torch import save_file
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

out = sys.argv[1]
print("python", sys.version.split()[0], "torch", torch.__version__, "transformers", transformers.__version__,
      "safetensors", safetensors.__version__)
torch.manual_seed(7)
PAD, START, END, EOS, V = 60, 58, 59, 61, 64
config = Qwen2VLConfig(
    text_config=dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
                     num_key_value_heads=1, vocab_size=V, max_position_embeddings=256, rms_norm_eps=1e-6,
                     rope_parameters=dict(rope_type="default", rope_theta=100.0, mrope_section=[2, 3, 3]),
                     bos_token_id=EOS, eos_token_id=EOS, tie_word_embeddings=True),
    vision_config=dict(depth=2, embed_dim=32, hidden_size=32, mlp_ratio=2, num_heads=2, patch_size=4),
    image_token_id=57, video_token_id=PAD, vision_start_token_id=START, vision_end_token_id=END,
    tie_word_embeddings=True)
config._attn_implementation = "eager"
model = Qwen2VLForConditionalGeneration(config)
with torch.no_grad():
    for name, p in model.named_parameters():
        if p.ndim == 1:
            p.copy_((1.0 if "norm" in name.split(".")[-2] or "ln_q" in name else 0.0) + 0.2 * torch.randn(p.shape))
        else:
            p.copy_(torch.randn(p.shape) * (1.5 / p[0].numel() ** 0.5))
model.to(torch.bfloat16).save_pretrained(os.path.join(out, "model"))
model = Qwen2VLForConditionalGeneration.from_pretrained(os.path.join(out, "model"), dtype=torch.float32,
                                                        attn_implementation="eager").eval()

def positions(ids, grid):
    """Text counts on all axes, video on each from where the text stood, text goes on at the largest position + 1: the
    rule the public checkpoints were trained with and transformers 4 has. transformers 5 goes on at max(h, w) of the
    merged grid, which is smaller for clips longer than wide; its positions are used to check the others."""
    t, h, w = grid[0], grid[1] // 2, grid[2] // 2
    pos, at, i = [], 0, 0
    while i < len(ids):
        if ids[i] == PAD:
            pos += [(at + a, at + b, at + c) for a in range(t) for b in range(h) for c in range(w)]
            at, i = max(map(max, pos)) + 1, i + t * h * w
        else:
            pos.append((at, at, at))
            at, i = at + 1, i + 1
    return torch.tensor(pos).T[:, None]

grids = [(1, 4, 8), (2, 6, 4), (3, 4, 4)]  # width, height, time in turn decide where the text goes on
clips = [torch.randn(t * h * w, 3 * 2 * 4 * 4) for t, h, w in grids]
text = lambda n: torch.randint(0, 57, (n,)).tolist()
case = {"clip_of": torch.tensor([1, 0, -1, 2], dtype=torch.int32)}
for i, c in enumerate(clips):
    case[f"clip{i}"], case[f"grid{i}"] = c, torch.tensor(grids[i], dtype=torch.int32)
for k, clip in enumerate(case["clip_of"].tolist()):
    prompt = text(5)
    kwargs = {}
    if clip >= 0:
        t, h, w = grids[clip]
        prompt += [START] + [PAD] * (t * h * w // 4) + [END] + text(4)
        kwargs = dict(pixel_values_videos=clips[clip], video_grid_thw=torch.tensor([grids[clip]]))
    ids = torch.tensor([prompt + text(11 + k) + [EOS]])
    if clip >= 0: kwargs["mm_token_type_ids"] = (ids == PAD).int() * 2
    if clip >= 0:
        kwargs["position_ids"] = positions(ids[0].tolist(), grids[clip])
        theirs, _ = model.model.get_rope_index(ids, kwargs["mm_token_type_ids"], None, kwargs["video_grid_thw"])
        print(grids[clip], "positions as transformers':", torch.equal(theirs, kwargs["position_ids"]))
        assert torch.equal(theirs, kwargs["position_ids"]) or t > max(h, w) // 2
    with torch.no_grad():
        logp = torch.log_softmax(model(input_ids=ids, **kwargs).logits[0].double(), -1)
    n = len(prompt)
    case[f"ids{k}"], case[f"prompt{k}"] = ids[0].int(), torch.tensor([n], dtype=torch.int32)
    case[f"logp{k}"] = logp[torch.arange(n - 1, ids.shape[1] - 1), ids[0, n:]]
save_file({k: v.contiguous() for k, v in case.items()}, os.path.join(out, "case.safetensors"),
          metadata={"transformers": transformers.__version__, "torch": torch.__version__})
