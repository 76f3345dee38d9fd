#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The text half of bench_model_generate in torch (eager; fp32, and bf16 where ours is, key/value cache, greedy), and both in one table.

  model_generate_peer.py OURS.json [OUT.json]    (rows are added; without OUT.json OURS.json is rewritten)

The peer gets what helps it: prompts of one length, so that no padding is fed; one preallocated cache; logits of the last
row only; no log-probabilities. Ours draws through the sampler and returns the log-probability of each token. Threads as
OURS.json says. Skips, saying so, without torch."""
import json
import os
import sys
import time

rows = json.load(open(sys.argv[1]))
threads = str(rows[0]["threads"])
if os.environ.get("OPENBLAS_NUM_THREADS") != threads:
    os.environ.update(OPENBLAS_NUM_THREADS=threads, OMP_NUM_THREADS=threads)
    os.execv(sys.executable, [sys.executable] + sys.argv)
try:
    import torch
    import torch.nn.functional as F
except ImportError:
    print("SKIP: no torch here (python3-torch); the table has our side alone")
    torch = None

PAST, STEPS = 1000, 32  # as in model_generate.c
MODELS = {  # hidden, ff, layers, q heads, kv heads, vocabulary; prompts at a time, those run in all, prompt, tokens
    "tiny": ((128, 384, 3, 2, 1, 4000), ((1, 4), (8, 16), (64, 64)), 64, 48, 64),
    "2B layer": ((1536, 8960, 1, 12, 2, 16384), ((1, 2), (4, 8), (16, 16)), 16, 64, 16),
}


class Decoder:
    def __init__(self, hidden, ff, layers, q, kv, vocab):
        def w(*shape):
            return torch.randn(*shape) * 0.02

        self.q, self.kv, self.d = q, kv, hidden // q
        self.embed, self.norm = w(vocab, hidden), torch.ones(hidden)
        self.layers = [dict(n1=torch.ones(hidden), n2=torch.ones(hidden), qkv=w((q + 2 * kv) * self.d, hidden),
                            bias=w((q + 2 * kv) * self.d), o=w(hidden, hidden), gate=w(ff, hidden), up=w(ff, hidden),
                            down=w(hidden, ff)) for _ in range(layers)]

    def to(self, dtype):
        other = Decoder.__new__(Decoder)
        other.q, other.kv, other.d = self.q, self.kv, self.d
        other.embed, other.norm = self.embed.to(dtype), self.norm.to(dtype)
        other.layers = [{k: t.to(dtype) for k, t in layer.items()} for layer in self.layers]
        return other

    def rms(self, x, weight):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight

    def rope(self, x, at):
        freq = 1.0 / 1e6 ** (torch.arange(0, self.d, 2) / self.d)
        angle = torch.cat([at[:, None] * freq] * 2, -1)
        half = self.d // 2
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin

    def forward(self, ids, past, cache):  # ids [B, T] -> logits of the last row [B, vocab]
        B, T = ids.shape
        x, at = self.embed[ids], torch.arange(past, past + T, dtype=torch.float32)
        mask = torch.full((T, past + T), float("-inf"), dtype=x.dtype).triu(past + 1) if T > 1 else None
        for layer, c in zip(self.layers, cache):
            y = F.linear(self.rms(x, layer["n1"]), layer["qkv"], layer["bias"])
            y = y.view(B, T, self.q + 2 * self.kv, self.d).transpose(1, 2)
            q = self.rope(y[:, :self.q], at)
            c[0][:, :, past:past + T] = self.rope(y[:, self.q:self.q + self.kv], at)
            c[1][:, :, past:past + T] = y[:, self.q + self.kv:]
            k, v = (t[:, :, :past + T].repeat_interleave(self.q // self.kv, 1) for t in c)
            s = q @ k.transpose(2, 3) * self.d ** -0.5
            p = torch.softmax(s if mask is None else s + mask, -1)
            x = x + F.linear((p @ v).transpose(1, 2).reshape(B, T, -1), layer["o"])
            h = self.rms(x, layer["n2"])
            x = x + F.linear(F.silu(F.linear(h, layer["gate"])) * F.linear(h, layer["up"]), layer["down"])
        return F.linear(self.rms(x[:, -1], self.norm), self.embed)

    def generate(self, ids, n):
        B, T = ids.shape
        cache = [[torch.zeros(B, self.kv, T + n, self.d) for _ in range(2)] for _ in self.layers]
        past = 0
        for i in range(n):
            ids = self.forward(ids, past, cache).argmax(-1, keepdim=True)
            past = T + i


def rate(model, vocab, at_once, n_prompts, n_prompt, n_tokens, repeats=2):
    best = 1e9
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(n_prompts // at_once):
            model.generate(torch.randint(0, vocab, (at_once, n_prompt)), n_tokens)
        best = min(best, time.perf_counter() - start)
    return n_prompts * n_tokens / best


def step_rate(model, vocab, at_once, repeats=3):
    """Tokens a second of steps of one token behind PAST of them, whose keys and values are any numbers."""
    best = 1e9
    for _ in range(repeats):
        dtype = model.embed.dtype
        cache = [[torch.randn(at_once, model.kv, PAST + STEPS, model.d).to(dtype) for _ in range(2)] for _ in model.layers]
        ids = model.forward(torch.randint(0, vocab, (at_once, 1)), PAST - 1, cache).argmax(-1, keepdim=True)
        start = time.perf_counter()
        for i in range(STEPS):
            ids = model.forward(ids, PAST + i, cache).argmax(-1, keepdim=True)
        best = min(best, time.perf_counter() - start)
    return at_once * STEPS / best


def main():
    if torch:
        torch.set_num_threads(int(threads))
        torch.manual_seed(1)
        torch.set_grad_enabled(False)
        for name, (shape, batches, total, n_prompt, n_tokens) in MODELS.items():
            what = f"{name}: {total} prompts of {n_prompt}, {n_tokens} tokens each"
            if not any(r["what"].startswith(name) for r in rows):
                continue
            model = Decoder(*shape)
            for dtype in ("f32", "bf16"):
                what_step = f"{name}, {dtype}: a token behind {PAST}"
                if any(r["what"] == what_step for r in rows):
                    other = model.to(torch.bfloat16) if dtype == "bf16" else model
                    for at_once in (1, 8):
                        rows.append({"what": what_step, "how": f"torch {at_once} at a time", "threads": int(threads),
                                     "value": step_rate(other, shape[5], at_once), "unit": "tokens/s"})
            for at_once, n in batches if any(r["what"] == what for r in rows) else ():
                rows.append({"what": what, "how": f"torch {at_once} at a time", "threads": int(threads),
                             "value": rate(model, shape[5], at_once, n, n_prompt, n_tokens), "unit": "tokens/s"})
    ours = {(r["what"], r["how"]): r["value"] for r in rows}
    print(f"{threads} threads" + (f", torch {torch.__version__}" if torch else ""))
    for r in rows:
        if r["how"].startswith("torch"):
            continue
        theirs = ours.get((r["what"], "torch " + r["how"]))
        print(f"{r['what']:44} {r['how']:22} {r['value']:10.1f} {r['unit']:9}" +
              (f" torch {theirs:10.1f}  ratio {r['value'] / theirs:5.2f}" if theirs else ""))
    json.dump(rows, open(sys.argv[-1], "w"), indent=1)


main()
