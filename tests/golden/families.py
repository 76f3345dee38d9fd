#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `transformers` computes for small models of every family, as OUT/families.json.

No weights are stored. Every number of a model and of a clip follows from its name by a hash (see `bits`), the same here
and in tests/unit/model_families.c, and is exact in bf16 and f16, so any dtype on disk starts both sides from equal
numbers. A case holds config.json, the inputs, and:
  logp      of every response token             greedy    32 tokens after the prompt
  tower     per layer k: two sign projections of the video rows when the tower stops after k layers
  text      per layer k: the same of the normed last row when the decoder stops after k layers
  grad      per disk tensor: norm and two sign projections of d(-mean logp)
  adamw     per disk tensor: one sign projection of what one AdamW step changes

LLaVA-Video with LLaVA-NeXT's names and newlines (model_type llava_qwen) has no class in transformers: its reference is
transformers' SiglipVisionModel and Qwen2ForCausalLM with the pooling and newline rules of LLaVA-NeXT's published
llava_arch.py (get_2dPool, add_token_per_grid, add_token_per_frame) written out below.

    pip install torch==2.15.0 transformers==5.23.0 && tests/golden/families.py tests/golden/families
    families.py --save DIR     every case as a folder transformers saves
    families.py --check DIR    transformers loads what leanpo made of them (NAME.saved), with the same logits
"""
import json, math, os, sys
import numpy as np
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file
from transformers import (LlavaNextVideoConfig, LlavaNextVideoForConditionalGeneration, LlavaOnevisionConfig,
                          LlavaOnevisionForConditionalGeneration, Qwen2Config, Qwen2ForCausalLM,
                          Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2_5_VLConfig,
                          Qwen2_5_VLForConditionalGeneration, SiglipVisionConfig, SiglipVisionModel)

V, PAD, EOS, START, END = 72, 66, 71, 68, 69
LR, EPS = 1e-3, 1e-4  # eps is large so that the step does not amplify the rounding of gradients near zero


def bits(name, n, salt=0):
    """n 64-bit numbers of a name: splitmix64 of FNV-1a(name) + salt + index."""
    h = 0xcbf29ce484222325
    for c in name.encode():
        h = (h ^ c) * 0x100000001b3 % 2**64
    with np.errstate(over="ignore"):
        z = (np.arange(n, dtype=np.uint64) + np.uint64((h + salt) % 2**64)) * np.uint64(0x9e3779b97f4a7c15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xbf58476d1ce4e5b9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94d049bb133111eb)
        return z ^ z >> np.uint64(31)


def seven(name, n):  # k/128, k in -127..127
    k = (bits(name, n) >> np.uint64(56)).astype(np.int64) - 127
    k[k == 128] = 0
    return k / 128.0


def weight(name, shape):
    n = math.prod(shape)
    if len(shape) == 1 and name.endswith((".weight", ".bias")):
        j = (bits(name, n) >> np.uint64(59)).astype(np.int64) - 16
        return (1.0 if name.endswith(".weight") else 0.0) + j / 64.0
    fan = math.prod(shape[1:])
    scale = 1.0 if len(shape) == 1 else 2.0 ** math.floor(math.log2(2.5 / math.sqrt(fan)) + 0.5)
    return (seven(name, n) * scale).reshape(shape)


def signs(name, n, salt):
    return 1.0 - 2.0 * (bits(name, n, salt) & np.uint64(1)).astype(np.float64)


def project(name, x, salt):
    x = x.detach().double().flatten().numpy()
    return float((x * signs(name, x.size, salt)).sum())


def canonical(name):
    """The name on disk in the oldest published style: what the hash is taken of."""
    for a, b in (("model.vision_tower.vision_model.", "vision_tower.vision_model."),
                 ("model.vision_tower.", "vision_tower.vision_model."),
                 ("model.multi_modal_projector.", "multi_modal_projector."), ("model.image_newline", "image_newline"),
                 ("model.visual.", "visual.")):
        if name.startswith(a):
            return b + name[len(a):]
    return name


class Llava(torch.nn.Module):
    """LLaVA-Video from transformers' parts."""

    def __init__(self, c):
        super().__init__()
        v = SiglipVisionConfig(**c["vision_config"])
        v._attn_implementation = "eager"
        self.tower = SiglipVisionModel(v)
        t = Qwen2Config(**{k: c[k] for k in c if k not in ("vision_config", "model_type") and not k.startswith("mm_")})
        t._attn_implementation = "eager"
        self.llm = Qwen2ForCausalLM(t)
        D, H = v.hidden_size, t.hidden_size
        self.p0, self.p2 = torch.nn.Linear(D, H), torch.nn.Linear(H, H)
        self.image_newline = torch.nn.Parameter(torch.zeros(H))
        self.c, self.side = c, v.image_size // v.patch_size

    def project(self, x):
        x = self.p2(F.gelu(self.p0(x)))
        n, s = x.shape[0], self.side
        x = x.view(n, s, s, -1).permute(0, 3, 1, 2)
        if self.c["mm_spatial_pool_mode"] == "average":
            x = F.avg_pool2d(x, 2)
        else:
            x = F.interpolate(x, size=[math.ceil(s / 2), math.ceil(s / 2)], mode="bilinear")
        x = x.permute(0, 2, 3, 1)  # n h w H
        where, line = self.c["mm_newline_position"], self.image_newline
        if where == "grid":
            return torch.cat([x, line.expand(n, x.shape[1], 1, -1)], 2).flatten(0, 2)
        x = x.flatten(1, 2)
        if where == "frame":
            x = torch.cat([x, line.expand(n, 1, -1)], 1)
        x = x.flatten(0, 1)
        return torch.cat([x, line[None]]) if where == "one_token" else x

    def names(self):
        for n, p in self.named_parameters():
            for a, b in (("tower.vision_model.", "tower."), ("tower.", "vision_tower.vision_model."), ("llm.", "language_model."),
                         ("p0.", "multi_modal_projector.linear_1."), ("p2.", "multi_modal_projector.linear_2.")):
                if n.startswith(a):
                    n = b + n[len(a):]
            yield n, p


def build(c):
    kinds = {"qwen2_vl": (Qwen2VLConfig, Qwen2VLForConditionalGeneration),
             "qwen2_5_vl": (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration),
             "llava_next_video": (LlavaNextVideoConfig, LlavaNextVideoForConditionalGeneration),
             "llava_onevision": (LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration)}
    if c["model_type"] == "llava_qwen":
        m = Llava(c)
        named = list(m.names())
    else:
        cls, model = kinds[c["model_type"]]
        config = cls(**{k: v for k, v in c.items() if k != "model_type"})
        config._attn_implementation = "eager"
        m = model(config)
        qwen = c["model_type"].startswith("qwen")
        named = []
        for n, p in m.named_parameters():
            n = canonical(n)
            if n.startswith("model.language_model."):
                n = ("model." if qwen else "language_model.model.") + n[len("model.language_model."):]
            if n == "lm_head.weight" and not qwen:
                n = "language_model." + n
            named.append((n, p))
    with torch.no_grad():
        for n, p in named:
            p.copy_(torch.from_numpy(np.ascontiguousarray(weight(n, tuple(p.shape)))).to(p.dtype))
    return m.eval(), named


def positions(ids, c, grid, seconds, whole=False):
    """transformers 4's rule, with which the public checkpoints were trained: text goes on at the largest position + 1."""
    t, h, w = grid[0], grid[1] // 2, grid[2] // 2
    rate = c["vision_config"].get("tokens_per_second", 4) if c["model_type"] == "qwen2_5_vl" else 0
    sec = np.float32(int(seconds) if whole else seconds)
    at, i, pos = 0, 0, []
    while i < len(ids):
        if ids[i] == PAD:
            when = [int(np.float32(a) * (np.float32(rate) * sec)) if rate else a for a in range(t)]
            pos += [(at + when[a], at + b, at + d) for a in range(t) for b in range(h) for d in range(w)]
            at, i = max(map(max, pos)) + 1, i + t * h * w
        else:
            pos.append((at, at, at))
            at, i = at + 1, i + 1
    return torch.tensor(pos).T[:, None]


class Case:
    def __init__(self, name, config, grid, seconds=1.0):
        self.name, self.c, self.grid, self.seconds = name, config, grid, seconds
        self.m, self.named = build(config)
        self.kind = config["model_type"]
        self.qwen = self.kind.startswith("qwen")
        v = config["vision_config"]
        t, h, w = grid
        p = v["patch_size"]
        cols = 3 * p * p * (2 if self.qwen else 1)
        self.patches = torch.from_numpy(seven(name + " clip", t * h * w * cols) * 2).float().view(t * h * w, cols)
        if not self.qwen:
            S = v["image_size"]
            x = self.patches.view(t, h, w, 3, p, p).permute(0, 3, 1, 4, 2, 5).reshape(t, 3, h * p, w * p)
            self.pixels = F.pad(x, (0, S - w * p, 0, S - h * p), value=9.0)  # a patch stride's rest is never seen
            self.n_pads = self.video(None).shape[0]
        else:
            self.n_pads = t * h * w // 4
        self.new_text(0)

    def new_text(self, attempt):
        text = (bits(f"{self.name} text{attempt}", 40) % np.uint64(64)).astype(int).tolist()
        self.prompt = text[:4] + ([START] if self.qwen else []) + [PAD] * self.n_pads + ([END] if self.qwen else []) + text[4:9]
        self.response = text[9:21] + [EOS]

    def tower_layers(self):
        if self.qwen:
            return self.m.model.visual.blocks
        t = self.m.tower if self.kind == "llava_qwen" else self.m.model.vision_tower
        return getattr(t, "vision_model", t).encoder.layers

    def video(self, stop):
        """Video rows; stop: as if the tower had that many layers."""
        layers = self.tower_layers()
        cut = [] if stop is None else list(layers)[stop:]
        for l in cut:
            l.forward = lambda hidden_states, *rest, **more: hidden_states
        try:
            if self.qwen:
                return self.m.model.get_video_features(self.patches, torch.tensor([self.grid])).pooler_output[0]
            if self.kind == "llava_qwen":
                return self.m.project(self.m.tower(self.pixels, output_hidden_states=True).hidden_states[-1])
            return self.m.model.get_video_features(
                self.pixels[None], vision_feature_layer=self.c["vision_feature_layer"],
                vision_feature_select_strategy=self.c["vision_feature_select_strategy"],
                output_hidden_states=True).pooler_output.reshape(-1, self.c["text_config"]["hidden_size"])
        finally:
            for l in cut:
                del l.forward

    def forward(self, ids):
        x = torch.tensor([ids])
        if self.kind == "llava_qwen":
            e = self.m.llm.get_input_embeddings()(x)[0].clone()
            e[x[0] == PAD] = self.video(None)
            return self.m.llm(inputs_embeds=e[None], output_hidden_states=True)
        if self.qwen:
            return self.m(input_ids=x, pixel_values_videos=self.patches, video_grid_thw=torch.tensor([self.grid]),
                          mm_token_type_ids=(x == PAD).int() * 2, output_hidden_states=True,
                          position_ids=positions(ids, self.c, self.grid, self.seconds, self.c.get("second_per_grid_as_integer")))
        return self.m(input_ids=x, pixel_values_videos=self.pixels[None], output_hidden_states=True)

    def golden(self, attempt=0):
        ids, n = self.prompt + self.response, len(self.prompt)
        r = {"name": self.name, "config": self.c, "grid": self.grid, "seconds": self.seconds, "prompt": self.prompt,
             "response": self.response}
        out = self.forward(ids)
        rows = torch.log_softmax(out.logits[0].double(), -1)[torch.arange(n - 1, len(ids) - 1), ids[n:]]
        r["logp"] = [round(v, 7) for v in rows.tolist()]
        lm = self.m.llm.model if self.kind == "llava_qwen" else self.m.model.language_model
        hidden = out.hidden_states  # the last one is normed already
        L = len(lm.layers)
        assert len(hidden) == L + 1
        last = [lm.norm(hidden[k][0, -1]) for k in range(1, L)] + [hidden[L][0, -1]]
        r["text"] = [[project("text", x, 0), project("text", x, 1)] for x in last]
        depth = len(self.tower_layers())
        if not self.qwen:
            depth += 1 + self.c.get("vision_feature_layer", -1)
        with torch.no_grad():
            full = [self.video(k) for k in range(1, depth)] + [self.video(None)]
        r["tower"] = [[project("tower", x, 0), project("tower", x, 1)] for x in full]
        for _, p in self.named:
            p.grad = None
        (-rows.mean()).backward()
        r["grad"], r["adamw"], before = {}, {}, {}
        for name, p in self.named:
            if p.grad is None:
                continue
            before[name] = p.detach().clone()
            r["grad"][name] = [p.grad.double().norm().item(), project(name, p.grad, 0), project(name, p.grad, 1)]
        saved = [(p, p.detach().clone()) for _, p in self.named]
        opt = torch.optim.AdamW([p for n, p in self.named if n in before], lr=LR, betas=(0.9, 0.999), eps=EPS,
                                weight_decay=0.01)
        opt.step()
        for name, p in self.named:
            if name in before:
                r["adamw"][name] = project(name, p.double() - before[name].double(), 0)
        with torch.no_grad():
            for p, old in saved:
                p.copy_(old)
            seq, margin = list(self.prompt), 9.0
            for _ in range(32):
                logits = self.forward(seq).logits[0, -1, :64]  # words only, in leanpo too (n_valid)
                top = logits.topk(2)
                margin = min(margin, (top.values[0] - top.values[1]).item())
                seq.append(int(top.indices[0]))
            r["greedy"] = seq[len(self.prompt):]
        if margin < 1e-3:  # rounding could choose otherwise: ask something else
            self.new_text(attempt + 1)
            return self.golden(attempt + 1)
        round5 = lambda v: float(f"{v:.7g}")
        for k in ("text", "tower"):
            r[k] = [[round5(v) for v in x] for x in r[k]]
        r["grad"] = {k: [round5(v) for v in x] for k, x in r["grad"].items()}
        r["adamw"] = {k: round5(v) for k, v in r["adamw"].items()}
        print(f"{self.name}: {sum(p.numel() for _, p in self.named)} parameters, {self.n_pads} video tokens, margin {margin:.3g}, "
              f"greedy {len(r['greedy'])}")
        return r


def qwen(kind, d, q, kv, L, depth, vd, heads, grid, tied, sec, seconds=1.0, **vision):
    v = dict(depth=depth, num_heads=heads, patch_size=4, spatial_merge_size=2, temporal_patch_size=2)
    if kind == "qwen2_vl":
        v.update(embed_dim=vd * heads, hidden_size=d * q, mlp_ratio=2, hidden_act="quick_gelu")
    else:
        v.update(hidden_size=vd * heads, out_hidden_size=d * q, intermediate_size=44, hidden_act="silu", **vision)
    c = dict(model_type=kind, vision_config=v,
             text_config=dict(hidden_size=d * q, intermediate_size=56, num_hidden_layers=L, num_attention_heads=q,
                              num_key_value_heads=kv, vocab_size=V, max_position_embeddings=512, rms_norm_eps=1e-6,
                              rope_parameters=dict(rope_type="default", rope_theta=300.0, mrope_section=sec),
                              bos_token_id=70, eos_token_id=EOS, tie_word_embeddings=tied),
             image_token_id=65, video_token_id=PAD, vision_start_token_id=START, vision_end_token_id=END,
             tie_word_embeddings=tied)
    return c, grid, seconds


def llava(kind, d, q, kv, L, depth, vd, heads, side, frames, tied, spare=0, hidden=None, rope=None, layer=None, bias=False, **more):
    H = hidden or d * q
    v = dict(hidden_size=vd * heads, intermediate_size=40, num_hidden_layers=depth, num_attention_heads=heads, patch_size=4,
             image_size=4 * side + spare)
    t = dict(hidden_size=H, intermediate_size=56, num_hidden_layers=L, num_attention_heads=q, num_key_value_heads=kv, head_dim=d,
             vocab_size=V, max_position_embeddings=512, rms_norm_eps=1e-5, rope_parameters=rope or dict(rope_type="default", rope_theta=300.0),
             bos_token_id=70, eos_token_id=EOS, tie_word_embeddings=tied)
    if kind == "llava_qwen":
        v["vision_use_head"] = False
        v["model_type"] = "siglip_vision_model"
        c = dict(t, model_type=kind, vision_config=v, image_token_index=PAD, mm_projector_type="mlp2x_gelu", mm_spatial_pool_stride=2, **more)
    elif kind == "llava_onevision":
        v.update(model_type="siglip_vision_model", vision_use_head=False)
        c = dict(model_type=kind, vision_config=v, text_config=dict(t, model_type="qwen2"), image_token_index=65,
                 video_token_index=PAD, vision_feature_layer=layer or -1, vision_feature_select_strategy="full",
                 tie_word_embeddings=tied, **more)
    else:
        v.update(model_type="clip_vision_model", projection_dim=8)
        t.update(model_type="llama", attention_bias=bias, mlp_bias=bias)
        c = dict(model_type=kind, vision_config=v, text_config=t, image_token_index=65, video_token_index=PAD,
                 vision_feature_layer=layer or -2, vision_feature_select_strategy="default", tie_word_embeddings=tied, **more)
    return c, [frames, side, side], 1.0


CASES = {
    # heads of 16 to 128 in decoder and tower; 1 to 7 query heads a key head
    "qwen2_vl.0": qwen("qwen2_vl", 16, 2, 1, 2, 2, 16, 2, [1, 4, 6], True, [2, 3, 3]),
    "qwen2_vl.1": qwen("qwen2_vl", 64, 3, 1, 1, 1, 80, 1, [2, 2, 10], False, [8, 12, 12]),
    "qwen2_vl.2": qwen("qwen2_vl", 72, 2, 2, 2, 2, 64, 2, [3, 6, 2], True, [12, 12, 12]),
    "qwen2_vl.3": qwen("qwen2_vl", 80, 4, 2, 1, 2, 72, 1, [4, 2, 4], False, [16, 12, 12]),
    "qwen2_vl.4": qwen("qwen2_vl", 128, 1, 1, 2, 1, 128, 1, [5, 2, 2], True, [16, 24, 24]),
    "qwen2_vl.5": qwen("qwen2_vl", 16, 7, 1, 3, 3, 16, 3, [2, 6, 10], False, [2, 3, 3]),
    # windows of 1, 2, 3 and 4 units over grids they do not divide; clips longer than wide; every second a different rate
    "qwen2_5_vl.0": qwen("qwen2_5_vl", 16, 2, 1, 2, 3, 16, 2, [1, 6, 10], True, [2, 3, 3], window_size=16, fullatt_block_indexes=[1], tokens_per_second=2),
    "qwen2_5_vl.1": qwen("qwen2_5_vl", 64, 3, 1, 1, 2, 80, 1, [3, 6, 14], False, [8, 12, 12], 0.5, window_size=24, fullatt_block_indexes=[0], tokens_per_second=4),
    "qwen2_5_vl.2": qwen("qwen2_5_vl", 72, 2, 2, 2, 2, 64, 2, [5, 2, 4], True, [12, 12, 12], 1.7, window_size=32, fullatt_block_indexes=[1], tokens_per_second=2),
    "qwen2_5_vl.3": qwen("qwen2_5_vl", 80, 4, 1, 1, 2, 72, 1, [4, 10, 4], False, [16, 12, 12], 0.37, window_size=8, fullatt_block_indexes=[1], tokens_per_second=25),
    "qwen2_5_vl.4": qwen("qwen2_5_vl", 128, 1, 1, 2, 2, 128, 1, [2, 8, 8], True, [16, 24, 24], 2.0, window_size=32, fullatt_block_indexes=[]),
    "qwen2_5_vl.5": qwen("qwen2_5_vl", 16, 7, 1, 3, 4, 16, 3, [2, 6, 10], False, [2, 3, 3], 1.25, window_size=24, fullatt_block_indexes=[1, 3], tokens_per_second=3),
    "llava_next_video.0": llava("llava_next_video", 16, 2, 1, 2, 3, 16, 2, 4, 1, False),
    "llava_next_video.1": llava("llava_next_video", 64, 3, 1, 1, 2, 64, 1, 6, 2, False, rope=dict(rope_type="linear", rope_theta=300.0, factor=2.5)),
    "llava_next_video.2": llava("llava_next_video", 72, 2, 2, 2, 2, 72, 2, 5, 3, True),
    "llava_next_video.3": llava("llava_next_video", 80, 4, 2, 1, 2, 80, 1, 2, 4, False, layer=-1, hidden=64),
    "llava_next_video.4": llava("llava_next_video", 128, 1, 1, 2, 4, 128, 1, 3, 5, False, layer=-3, spatial_pool_stride=1, multimodal_projector_bias=False),
    "llava_next_video.5": llava("llava_next_video", 16, 7, 1, 3, 3, 16, 3, 7, 2, False, spare=3, bias=True),
    "llava_video.0": llava("llava_qwen", 16, 2, 1, 2, 2, 16, 2, 4, 1, False, mm_spatial_pool_mode="bilinear", mm_newline_position="grid"),
    "llava_video.1": llava("llava_qwen", 64, 3, 1, 1, 2, 72, 1, 5, 2, False, spare=2, mm_spatial_pool_mode="bilinear", mm_newline_position="grid"),
    "llava_video.2": llava("llava_qwen", 72, 2, 2, 2, 1, 64, 2, 7, 3, True, mm_spatial_pool_mode="average", mm_newline_position="grid"),
    "llava_video.3": llava("llava_qwen", 80, 4, 2, 1, 2, 80, 1, 3, 4, False, mm_spatial_pool_mode="average", mm_newline_position="frame"),
    "llava_video.4": llava("llava_qwen", 128, 1, 1, 2, 2, 128, 1, 2, 5, False, mm_spatial_pool_mode="bilinear", mm_newline_position="one_token"),
    "llava_video.5": llava("llava_qwen", 16, 7, 1, 3, 3, 16, 3, 6, 2, False, mm_spatial_pool_mode="bilinear", mm_newline_position="no_token"),
    "llava_video.6": llava("llava_onevision", 16, 6, 1, 2, 2, 16, 3, 5, 2, False),
    "llava_video.7": llava("llava_onevision", 64, 5, 1, 1, 3, 72, 1, 6, 3, True, spare=1, layer=-2),
}


LMMS = (("vision_tower.vision_model.", "model.vision_tower.vision_tower.vision_model."),
        ("multi_modal_projector.linear_1.", "model.mm_projector.0."), ("multi_modal_projector.linear_2.", "model.mm_projector.2."),
        ("image_newline", "model.image_newline"), ("language_model.", ""))


def save(case, folder):
    """The case as transformers saves it (LLaVA-NeXT's form: by hand, as its published folders are)."""
    if case.kind != "llava_qwen":
        return case.m.save_pretrained(folder)
    os.makedirs(folder)
    tensors = {}
    for n, p in case.named:
        for a, b in LMMS:
            if n.startswith(a):
                n = b + n[len(a):]
                break
        if not (n == "lm_head.weight" and case.c["tie_word_embeddings"]):
            tensors[n] = p.detach().contiguous()
    save_file(tensors, os.path.join(folder, "model.safetensors"))
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(case.c, f)


def check(case, folder):
    """A folder leanpo saved: nothing missing, nothing unexpected, the same logits."""
    ids = case.prompt + case.response
    with torch.no_grad():
        want = case.forward(ids).logits
    if case.kind == "llava_qwen":
        ours, theirs = (load_file(os.path.join(f, "model.safetensors")) for f in (folder, folder[:-len(".saved")]))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours), folder
        print(folder, "holds the same", len(ours), "tensors")
        return
    m, info = type(case.m).from_pretrained(folder, output_loading_info=True, attn_implementation="eager")
    assert not any(info.values()), (folder, info)
    case.m = m.eval()
    with torch.no_grad():
        assert torch.equal(case.forward(ids).logits, want), folder
    print(folder, "loads, logits equal")


def main():
    mode, folder = sys.argv[1], sys.argv[2:]
    if mode in ("--save", "--check"):
        for n, a in CASES.items():
            at = os.path.join(folder[0], n)
            save(Case(n, *a), at) if mode == "--save" else check(Case(n, *a), at + ".saved")
        return
    print("python", sys.version.split()[0], "torch", torch.__version__, "transformers", transformers.__version__, "numpy", np.__version__)
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    only = sys.argv[2:]
    cases = [Case(n, *a).golden() for n, a in CASES.items() if not only or any(n.startswith(o) for o in only)]
    os.makedirs(sys.argv[1], exist_ok=True)
    with open(os.path.join(sys.argv[1], "families.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")


if __name__ == "__main__":
    main()
