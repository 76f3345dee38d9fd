#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adapters go both ways between leanpo and PEFT, and compute the same.

For both Qwen families: leanpo trains adapters on pairs about videos; PEFT loads the checkpoint without a missing or unexpected key and
gives the log-probabilities `leanpo score` gives; so does transformers with the folder `leanpo model merge` writes. Then
PEFT makes adapters (of another rank, rsLoRA, on some Linears) and leanpo scores with them what PEFT computes.
Usage: lora.py LEANPO SCRATCH
    pip install torch==2.15.0 transformers==5.23.0 peft==0.21.2"""
import json, os, subprocess, sys, warnings
import peft, torch, transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import AutoModelForImageTextToText

leanpo, scratch = sys.argv[1:]
os.chdir(scratch)
print("torch", torch.__version__, "transformers", transformers.__version__, "peft", peft.__version__)
TOLERANCE = 1e-4  # on sums of about 10 log-probabilities near -6 each, in f32


def run(*args):
    done = subprocess.run([leanpo, *args], capture_output=True, text=True)
    assert done.returncode == 0, (args, done.stdout, done.stderr)


def scores(name, *model):
    run("score", *model, "--data", "w/pairs.jsonl", "--out", name)
    rows = [json.loads(line) for line in open(name)]
    return [x for r in rows for x in (r["logps_chosen"], r["logps_rejected"])]


def positions(ids, pad, grid, per_grid):
    """[3, 1, n]: version 5 of transformers goes on after the larger of height and width even when the clip is longer;
    version 4, the published checkpoints and leanpo go on after the farthest position."""
    first, (t, h, w) = ids.index(pad), (grid[0], grid[1] // 2, grid[2] // 2)
    text = [[i] * 3 for i in range(first)]
    video = [[first + int(i * per_grid), first + j, first + k] for i in range(t) for j in range(h) for k in range(w)]
    after = 1 + max(max(p) for p in video)
    rest = [[after + i] * 3 for i in range(len(ids) - first - len(video))]
    return torch.tensor(text + video + rest).T[:, None]


def reference(model, tokenizer):
    """Sums of log p of the answers and the closing token."""
    out = []
    for pair in map(json.loads, open("w/pairs.jsonl")):
        run("prep", "w/" + pair["video"], "--model", base, "--out", "clip.safetensors")
        with safe_open("clip.safetensors", "pt") as f:
            patches, grid = f.get_tensor("patches"), [int(x) for x in f.metadata()["grid_thw"].split(",")]
            seconds = float(f.metadata()["second_per_grid"])
        pads = "<|video_pad|>" * (len(patches) // 4)
        head = ("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>" + pads +
                "<|vision_end|>" + pair["prompt"] + "<|im_end|>\n<|im_start|>assistant\n")
        prompt = tokenizer.encode(head, add_special_tokens=False).ids
        pad = tokenizer.token_to_id("<|video_pad|>")
        for side in "chosen", "rejected":
            answer = tokenizer.encode(pair[side] + "<|im_end|>", add_special_tokens=False).ids
            ids = torch.tensor([prompt + answer])
            per_grid = seconds * model.config.vision_config.tokens_per_second if base == "qwen2_5_vl" else 1
            with torch.no_grad():
                logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values_videos=patches,
                               video_grid_thw=torch.tensor([grid]), mm_token_type_ids=(ids == pad).long() * 2,
                               position_ids=positions(prompt + answer, pad, grid, per_grid)).logits
            logp = logits[0].float().log_softmax(-1)
            at = torch.arange(len(prompt) - 1, len(prompt) + len(answer) - 1)
            out.append(logp[at, ids[0, len(prompt):]].sum().item())
    return out


def same(what, got, want):
    far = max(abs(a - b) for a, b in zip(got, want, strict=True))
    print(f"  {what}: largest difference {far:.2e} of {max(map(abs, want)):.1f}")
    assert far < TOLERANCE, (got, want)


def base_of(path):
    return AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


run("world", "--out", "w", "--videos", "4", "--seed", "5")
texts = [json.loads(line) for line in open("w/qa.train.jsonl")][:4]
with open("w/pairs.jsonl", "w") as f:
    for t in texts:
        f.write(json.dumps({"video": t["video"], "prompt": t["question"], "chosen": t["answer"],
                            "rejected": "it is not known"}) + "\n")
tokenizer = Tokenizer.from_file("w/tokenizer.json")

for family in "qwen2_vl", "qwen2_5_vl":
    print(family)
    base, out = family, family + "-run"
    run("init", "--out", base, "--family", family, "--size", "tiny", "--tokenizer", "w/tokenizer.json", "--seed", "1")
    run("train", "--model", base, "--data", "w/pairs.jsonl", "--objective", "dpo", "--lora", "r=4,alpha=8", "--lr", "1e-2",
        "--out", out, "--batch-size", "2", "--accumulation", "1", "--max-steps", "4", "--displacement-size", "0")
    adapter = out + "/checkpoints/step-4"
    plain = reference(base_of(base), tokenizer)
    same("base", scores("base.jsonl", "--model", base), plain)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # PEFT warns of keys it misses
        model = PeftModel.from_pretrained(base_of(base), adapter).eval()
    n = {k for k, _ in model.named_parameters() if "lora_" in k}
    assert len(n) == 2 * 7 * base_of(base).config.get_text_config().num_hidden_layers, sorted(n)
    trained = reference(model, tokenizer)
    assert max(abs(a - b) for a, b in zip(trained, plain)) > 0.1, "training moved nothing"
    same("leanpo's adapters in PEFT", trained, scores("ours.jsonl", "--model", base, "--adapter", adapter))
    run("model", "merge", "--adapter", adapter, "--out", family + "-merged")
    same("merged, in transformers", reference(base_of(family + "-merged"), tokenizer), trained)

    torch.manual_seed(3)
    config = LoraConfig(r=6, lora_alpha=9, use_rslora=True, lora_dropout=0.1,
                        target_modules=r".*language_model.*\.(?:q_proj|v_proj|down_proj)", init_lora_weights=False)
    model = get_peft_model(base_of(base), config).eval()
    for name, p in model.named_parameters():
        if "lora_B" in name:
            p.data.normal_(0, 0.05)
    model.save_pretrained(family + "-peft")
    theirs = reference(model, tokenizer)
    assert max(abs(a - b) for a, b in zip(theirs, plain)) > 0.1
    same("PEFT's adapters in leanpo", scores("theirs.jsonl", "--model", base, "--adapter", family + "-peft"), theirs)
print("ok")
