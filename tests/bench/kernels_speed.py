#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""kernels_speed.py -- the peer of bench_kernels_speed: the same work in torch (fp32, eager), and the ratios.

  kernels_speed.py THREADS OURS.json [OUT.json]

Debian's torch uses AVX2 only and takes its GEMM from OpenBLAS, whose threads torch.set_num_threads does not limit: this
script therefore restarts itself with OPENBLAS_NUM_THREADS and OMP_NUM_THREADS set. A ratio above 1 means we are faster.
With CPU_TIME set, both sides report process CPU time (only meaningful at one thread).
"""
import json
import os
import sys
import time

threads = sys.argv[1]
if os.environ.get("OPENBLAS_NUM_THREADS") != threads:
    os.environ.update(OPENBLAS_NUM_THREADS=threads, OMP_NUM_THREADS=threads)
    os.execv(sys.executable, [sys.executable] + sys.argv)

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

torch.set_num_threads(int(threads))
clock = time.process_time if "CPU_TIME" in os.environ else time.perf_counter


def best(fn, repeats):
    fn()
    times = []
    for _ in range(repeats):
        start = clock()
        fn()
        times.append(clock() - start)
    return min(times) * 1e3


def rms(x, w):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * w


def rope(x, cos, sin):
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), -1)
    return x * cos + turned * sin


def layer(T, H, I, n_q, n_kv, d, repeats):
    def leaf(*shape):
        return (torch.rand(*shape) * 0.1 - 0.05).requires_grad_()

    W = (n_q + 2 * n_kv) * d
    x, n1, n2, wqkv, bqkv = leaf(T, H), leaf(H), leaf(H), leaf(W, H), leaf(W)
    wo, wg, wu, wd = leaf(H, n_q * d), leaf(I, H), leaf(I, H), leaf(H, I)
    cos, sin, dy = torch.rand(T, d), torch.rand(T, d), torch.rand(T, H)
    mask = torch.full((T, T), float("-inf")).triu(1)

    def step():
        qkv = F.linear(rms(x, n1), wqkv, bqkv).view(T, n_q + 2 * n_kv, d).transpose(0, 1)
        q, k = rope(qkv[:n_q], cos, sin), rope(qkv[n_q:n_q + n_kv], cos, sin)
        k = k.repeat_interleave(n_q // n_kv, 0)
        v = qkv[n_q + n_kv:].repeat_interleave(n_q // n_kv, 0)
        p = torch.softmax(q @ k.transpose(1, 2) * 0.088 + mask, -1)
        o = (p @ v).transpose(0, 1).reshape(T, n_q * d)
        x1 = x + F.linear(o, wo)
        b = rms(x1, n2)
        y = x1 + F.linear(F.silu(F.linear(b, wg)) * F.linear(b, wu), wd)
        y.backward(dy)

    return best(step, repeats)


def logprob(T, H, V):
    h = (torch.rand(T, H) * 0.1 - 0.05).requires_grad_()
    w = (torch.rand(V, H) * 0.1 - 0.05).requires_grad_()
    target = torch.zeros(T, 1, dtype=torch.long)
    r = torch.rand(T)

    def forward():
        with torch.no_grad():
            torch.log_softmax(h @ w.T, -1).gather(1, target)

    def both():
        torch.log_softmax(h @ w.T, -1).gather(1, target).squeeze(1).backward(r)

    one, two = best(forward, 1), best(both, 1)
    return one, two


def linear(T, K, N, repeats):
    x, w, dy = torch.rand(T, K), torch.rand(N, K), torch.rand(T, N)
    dw = torch.zeros(N, K)
    return (best(lambda: F.linear(x, w), repeats), best(lambda: dy @ w, repeats), best(lambda: dw.addmm_(dy.T, x), repeats))


ours = {k: v["ms"] for k, v in json.load(open(sys.argv[2])).items()}
peer = {}
for T, K, N in ((512, 1536, 8960), (300, 128, 384), (1, 1536, 8960)):
    name = f"linear {T}x{K}x{N} f32"
    if name + " y" in ours:
        peer[name + " y"], peer[name + " dx"], peer[name + " dw"] = linear(T, K, N, 3 if T > 300 else 50)
for name, shape in {"layer 2B T=512 f32": (512, 1536, 8960, 12, 2, 128, 2), "layer tiny T=300 f32": (300, 128, 384, 4, 2, 32, 30),
                    "layer tiny T=2000 f32": (2000, 128, 384, 4, 2, 32, 3)}.items():
    if name in ours:
        peer[name] = layer(*shape)
for T, H, V in ((512, 1536, 151936), (512, 128, 4000)):
    name = f"logprob {T}x{H}x{V} f32"
    if name + " forward" in ours:
        peer[name + " forward"], both = logprob(T, H, V)
        peer[name + " fwd+bwd"] = both
        ours[name + " fwd+bwd"] = ours[name + " forward"] + ours[name + " backward"]
print(f"{'':36}{'ours ms':>12}{'torch ms':>12}{'ratio':>8}   torch {torch.__version__} (AVX2), {threads} threads")
for name, ms in peer.items():
    print(f"{name:36}{ours[name]:12.3f}{ms:12.3f}{ms / ours[name]:8.2f}")
if len(sys.argv) > 3:
    with open(sys.argv[3], "w") as out:
        json.dump({k: {"ours_ms": ours[k], "torch_ms": v, "ratio": v / ours[k]} for k, v in peer.items()}, out, indent=1)
