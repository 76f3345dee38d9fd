#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The peer of bench_gpu_step: the same preference step in transformers + PyTorch, driven the same way through stdin.

One process serves many cases (importing torch takes longer than a case). A command is one line of JSON:
  {"do": "ceilings"}                                   a bf16 product and a copy by torch
  {"do": "open", "dir": D, "keep": false}              the model of D/config.json and the pair of D/inputs.json
  {"do": "step"}    {"do": "close"}    {"do": "quit"}
and every answer one line. What the peer is: from_config in bf16 on the device; both sequences as one batch, the clip
encoded for each, as public DPO code does; logits of the response rows only; SDPA or flash attention, whichever is faster
here (one forward and backward of each, before the first step); block-wise gradient checkpointing unless kept; tower and
projector frozen; LeanPO written out; AdamW fused over f32 masters of the bf16 weights, a part of them at a time, so that f32
gradients never exist at once. LoRA by hand as PEFT computes it (its package need not be there). Weights are hashed from their
names, as in gpu_step.c: both sides start from the same bits.

    gpu_step_peer.py --device cuda        77 without torch, transformers or the device; it says which"""
import gc
import json
import os
import sys
import time

DEVICE = sys.argv[sys.argv.index("--device") + 1] if "--device" in sys.argv else "cuda"


def say(**line):
    print(json.dumps(line), flush=True)


try:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    import torch.nn.functional as F
    import transformers
    from transformers import AutoConfig, AutoModelForImageTextToText
except ImportError as e:
    say(event="skipped", message=f"no peer: {e.name or e} is not installed for {sys.executable}")
    sys.exit(77)
if DEVICE == "cuda" and not torch.cuda.is_available():
    say(event="skipped", message="no peer: this torch sees no CUDA device")
    sys.exit(77)

CUDA = DEVICE == "cuda"
DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}
M64 = (1 << 64) - 1


def wait():
    if CUDA:
        torch.cuda.synchronize()


def signed(x):
    return (x & M64) - (1 << 64) if (x & M64) >> 63 else x & M64


def name_hash(name):
    h = 0xcbf29ce484222325
    for c in name.encode():
        h = (h ^ c) * 0x100000001b3 & M64
    return h


def seven(name, n, first=0):
    """k/128, k in -127..127: splitmix64 of FNV-1a(name) + place, in int64, whose overflow wraps."""
    def shift(z, by):
        return (z >> by) & ((1 << (64 - by)) - 1)
    z = (torch.arange(first, first + n, dtype=torch.int64, device=DEVICE) + signed(name_hash(name))) * signed(0x9e3779b97f4a7c15)
    z = (z ^ shift(z, 30)) * signed(0xbf58476d1ce4e5b9)
    z = (z ^ shift(z, 27)) * signed(0x94d049bb133111eb)
    k = shift(z ^ shift(z, 31), 56) - 127
    return torch.where(k == 128, 0, k).float() / 128


def fill(p, name, scale):
    flat, part = p.data.view(-1), 1 << 26
    for at in range(0, flat.numel(), part):
        n = min(part, flat.numel() - at)
        flat[at:at + n] = (seven(name, n, at) * scale).to(p.dtype)


def near(x):  # the power of two
    return 2.0 ** torch.floor(torch.log2(torch.tensor(x, dtype=torch.float64)) + 0.5).item()


def on_disk(name):
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


class Lora(torch.nn.Module):
    """y = W x + (alpha / r) B A x, alpha = r."""

    def __init__(self, base, stem, r):
        super().__init__()
        w = base.weight
        self.base = base
        self.a = torch.nn.Parameter(torch.empty(r, w.shape[1], dtype=w.dtype, device=w.device))
        self.b = torch.nn.Parameter(torch.zeros(w.shape[0], r, dtype=w.dtype, device=w.device))
        fill(self.a, stem + ".lora_A", near(w.shape[1] ** -0.5))

    def forward(self, x):
        return self.base(x) + F.linear(F.linear(x, self.a), self.b)


class Adam:
    """Global norm clip at 1, AdamW (1e-5, no decay) on f32 masters; PART values at a time have f32 gradients."""
    PART = 1 << 27

    def __init__(self, params):
        self.parts, n = [[]], 0
        for p in params:
            if n + p.numel() > self.PART and self.parts[-1]:
                self.parts.append([])
                n = 0
            n += p.numel()
            self.parts[-1].append(p)
        low = params[0].dtype != torch.float32
        self.masters = [[p.detach().float().clone() if low else p for p in part] for part in self.parts]
        self.adams = [torch.optim.AdamW(m, lr=1e-5, weight_decay=0.0, fused=CUDA) for m in self.masters]
        self.low, self.params = low, params

    @torch.no_grad()
    def step(self):
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm([p.grad for p in self.params], dtype=torch.float32)))
        scale = torch.clamp(1 / (norm + 1e-6), max=1.0)
        for part, masters, adam in zip(self.parts, self.masters, self.adams):
            for p, m in zip(part, masters):
                m.grad = p.grad.float() * scale
                if self.low:
                    p.grad = None
            adam.step()
            if self.low:
                torch._foreach_copy_(part, masters)
            adam.zero_grad(set_to_none=True)
        return norm.item()


def positions(ids, pad, grid):
    """[3, n]: M-RoPE as the published checkpoints were trained: text goes on after the largest position."""
    t, h, w = grid[0], grid[1] // 2, grid[2] // 2
    first, n = ids.index(pad), t * h * w
    i = torch.arange(n)
    video = first + torch.stack([i // (h * w), i // w % h, i % w])
    rest = video.max() + 1 + torch.arange(len(ids) - first - n)
    return torch.cat([torch.arange(first).expand(3, -1), video, rest.expand(3, -1)], 1)


class Case:
    def __init__(self, folder, keep, layers=None):
        i = json.load(open(os.path.join(folder, "inputs.json")))
        config = AutoConfig.from_pretrained(folder)
        dtype = DTYPES[i["dtype"]]
        started = time.perf_counter()
        if CUDA:
            torch.cuda.reset_peak_memory_stats()
        with torch.device(DEVICE):
            self.model = AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation="sdpa")
        self.model.config.use_cache = False
        named = [(on_disk(n), p) for n, p in self.model.named_parameters()]
        for n, p in named:
            if p.dim() == 1:
                p.data.fill_(1.0 if n.endswith(".weight") else 0.0)
            else:
                fill(p, n, i["weight_scale"])
            p.requires_grad_(not n.startswith("visual.") and not i["lora"])
        if i["lora"]:
            self.add_lora(i["lora"])
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        if not keep:
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.model.train()
        self.opt = Adam(self.trained)
        grid, cols = i["grid"], i["patch_cols"]
        n_patches = grid[0] * grid[1] * grid[2]
        clip = (seven("clip", n_patches * cols) * 2).view(n_patches, cols)
        ids = torch.tensor([i["chosen"], i["rejected"]], device=DEVICE)
        self.labels = ids[:, i["n_prompt"]:]
        self.inputs = dict(input_ids=ids, pixel_values_videos=torch.cat([clip, clip]).to(dtype),
                           video_grid_thw=torch.tensor([grid, grid], device=DEVICE), use_cache=False,
                           position_ids=torch.stack([positions(i[k], i["video_pad_id"], grid) for k in ("chosen", "rejected")],
                                                    1).to(DEVICE),
                           logits_to_keep=self.labels.shape[1] + 1)
        if "mm_token_type_ids" in self.model.forward.__code__.co_varnames:
            self.inputs["mm_token_type_ids"] = (ids == i["video_pad_id"]).int() * 2
        wait()
        self.k, self.made_s = 0, time.perf_counter() - started
        self.choose_attention()

    def add_lora(self, r):
        text = self.model.model.language_model
        linears = [(n, m) for n, m in text.named_modules() if isinstance(m, torch.nn.Linear)]
        for n, m in linears:
            parent, _, leaf = n.rpartition(".")
            setattr(text.get_submodule(parent), leaf, Lora(m, n, r))

    def forward(self):
        logits = self.model(**self.inputs).logits[:, :-1].float()
        logp = logits.gather(-1, self.labels[..., None]).squeeze(-1) - torch.logsumexp(logits, -1)
        w, l = logp.mean(-1)
        m = 2.0 * (w - l)
        eps = (0.4 * torch.sigmoid(-m / 2)).detach()
        return (1 - eps) * F.softplus(-m) + eps * F.softplus(m), w, l

    def both_ways(self):
        wait()
        t0 = time.perf_counter()
        loss, w, l = self.forward()
        wait()
        t1 = time.perf_counter()
        loss.backward()
        wait()
        return loss, w, l, t0, t1, time.perf_counter()

    def choose_attention(self):
        self.seconds = {}
        names = ["sdpa"] + (["flash_attention_2"] if CUDA and transformers.utils.is_flash_attn_2_available() else [])
        for name in names:
            try:
                self.model.set_attn_implementation(name)
                for _ in range(2 if CUDA else 1):  # the first compiles and allocates
                    *_, t0, _, t2 = self.both_ways()
                    self.model.zero_grad(set_to_none=True)
                self.seconds[name] = t2 - t0
            except torch.cuda.OutOfMemoryError:
                raise
            except Exception as e:  # an implementation that cannot serve this model is not the best one
                self.seconds[name + ": " + str(e)[:120]] = float("inf")
        self.attention = min(self.seconds, key=self.seconds.get)
        self.model.set_attn_implementation(self.attention)

    def step(self):
        loss, w, l, t0, t1, t2 = self.both_ways()
        norm = self.opt.step()
        wait()
        t3 = time.perf_counter()
        self.k += 1
        say(event="step", k=self.k, seconds=t3 - t0, forward_s=t1 - t0, backward_s=t2 - t1, optimizer_s=t3 - t2, loss=loss.item(),
            logp_chosen=w.item(), logp_rejected=l.item(), grad_norm=norm, **memory())


def memory():
    if not CUDA:
        return {}
    return {"allocated_bytes": torch.cuda.max_memory_allocated(), "reserved_bytes": torch.cuda.max_memory_reserved()}


def ceilings():
    if not CUDA:
        n = 512
    else:
        n = 8192
    a, b = (torch.randn(n, n, device=DEVICE).to(torch.bfloat16) for _ in range(2))
    x = torch.randn(4 * n, n, device=DEVICE)
    y = torch.empty_like(x)
    for what, run, work in (("product", lambda: a @ b, 2 * n ** 3), ("copy", lambda: y.copy_(x), 2 * x.numel() * 4)):
        times = []
        for _ in range(8):
            wait()
            t0 = time.perf_counter()
            for _ in range(4):
                run()
            wait()
            times.append((time.perf_counter() - t0) / 4)
        say(event="ceiling", what=what, n=n, seconds=min(times), per_second=work / min(times))


def main():
    say(event="peer", torch=torch.__version__, transformers=transformers.__version__, python=sys.version.split()[0],
        cuda=torch.version.cuda if CUDA else None, device=torch.cuda.get_device_name() if CUDA else "cpu",
        threads=torch.get_num_threads())
    case = None
    for line in sys.stdin:
        c = json.loads(line)
        try:
            if c["do"] == "quit":
                return
            if c["do"] == "ceilings":
                ceilings()
            elif c["do"] == "step":
                case.step()
            else:
                case = None
                gc.collect()
                if CUDA:
                    torch.cuda.empty_cache()
                if c["do"] == "open":
                    case = Case(c["dir"], c.get("keep", False))
                    say(event="ready", seconds=case.made_s, attention=case.attention, attention_seconds=case.seconds,
                        n_params=sum(p.numel() for p in case.model.parameters()), n_trained=sum(p.numel() for p in case.trained),
                        **memory())
                    continue
        except Exception as e:
            case = None
            gc.collect()
            say(event="error", message=f"{type(e).__name__}: {str(e)[:400]}")
            continue
        say(event="done")


main()
