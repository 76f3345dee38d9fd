#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What people run instead of ours, on the same file: PyAV decodes, Pillow resizes, numpy collects; and torchvision's
tensor resize. usage: media_prep_peer.py media_prep.json (as bench_media_prep wrote it; rows are added and all printed).
Needs python3-av, python3-pil, python3-numpy; torch and torchvision are optional."""
import json
import sys
import time

import av
import numpy as np
import PIL
from PIL import Image

SIDE, REPEATS = 448, 10


def best(f, repeats=REPEATS, clock=time.perf_counter):
    times = []
    for _ in range(repeats):
        start = clock()
        f()
        times.append(clock() - start)
    return min(times)


def decode_and_resize(path, n_frames, threads):
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "FRAME"
        stream.codec_context.thread_count = threads
        out = []
        for frame in container.decode(stream):
            out.append(np.asarray(frame.to_image().resize((SIDE, SIDE), Image.BICUBIC)))
            if len(out) == n_frames:
                break
        np.stack(out)


def main():
    report = json.load(open(sys.argv[1]))
    rows = report["rows"]

    def record(what, how, threads, value, unit):
        rows.append({"what": what, "how": how, "threads": threads, "value": value, "unit": unit})

    image = np.random.default_rng(1).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    picture = Image.fromarray(image)
    record("resize 1080p RGB to 448, pillow", f"Pillow {PIL.__version__}", 1,
           1e3 * best(lambda: picture.resize((SIDE, SIDE), Image.BICUBIC)), "ms")
    try:
        import torch
        from torchvision.transforms import functional as F
        from torchvision.transforms.functional import InterpolationMode
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
        for threads in (1, 2):
            torch.set_num_threads(threads)
            record("resize 1080p RGB to 448, torchvision", f"torch {torch.__version__}", threads,
                   1e3 * best(lambda: F.resize(tensor, [SIDE, SIDE], InterpolationMode.BICUBIC, antialias=True)), "ms")
    except ImportError as e:
        print(f"skipped: torchvision ({e})")
    for threads in (1, 2):
        n, how = report["frames"], f"PyAV {av.__version__}"

        def run():
            decode_and_resize(report["video"], n, threads)
        record("decode and prep, pillow", how, threads, n / best(run, 2), "frames/s")
        record("decode and prep, pillow", how, threads, 1e3 * best(run, 2, time.process_time) / n, "cpu ms/frame")
    rows.sort(key=lambda r: (r["unit"], r["what"], r["threads"]))
    for r in rows:
        print(f"{r['what']:38s} {r['how']:16s} {r['threads']} {r['value']:9.2f} {r['unit']}")
    json.dump(report, open(sys.argv[1], "w"), indent=2)


if __name__ == "__main__":
    main()
