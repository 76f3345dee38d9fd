#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the families' own processors (transformers, on Pillow) make of small frames, as OUT.

Frames are ramps that wrap, the same here and in tests/unit/media_families.c. A case holds the JSON files of a model
folder, the source size, and: FNV-1a of the resized and cropped bytes (the processor with rescaling and normalising off),
a sign sum of all normalised patches and 40 of their values (the processor as it is).
Qwen's image processor shows a still as two equal frames, which is what its clip of two equal frames is.
    pip install torch==2.15.0 torchvision==0.29.2 transformers==5.23.0 pillow==12.3.0
    tests/golden/preprocess_families.py tests/golden/families/preprocess.json
Pillow 13 runs the vertical pass first where that is cheaper (tall sources), which changes bytes: checkpoints were trained
with Pillow up to 12, whose order (horizontal, then vertical) is the one kept here."""
import json
import sys

import numpy as np
import PIL
import PIL.Image
import transformers
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

CLIP = dict(image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711])
HALF = dict(image_mean=[0.5, 0.5, 0.5], image_std=[0.5, 0.5, 0.5])


def frame(w, h):
    y, x, c = np.mgrid[0:h, 0:w, 0:3]
    return (x * 3 + y * (c + 1) * 2 + c * 50).astype(np.uint8)


def fnv(data):
    h = 0xcbf29ce484222325
    for b in data.tobytes():
        h = (h ^ b) * 0x100000001b3 % 2**64
    return f"{h:016x}"


def signs(n):
    with np.errstate(over="ignore"):
        z = np.arange(n, dtype=np.uint64) * np.uint64(0x9e3779b97f4a7c15)
        z ^= z >> np.uint64(29)
        z *= np.uint64(0xbf58476d1ce4e5b9)
    return 1.0 - 2.0 * ((z >> np.uint64(40)) & np.uint64(1)).astype(np.float64)


def patches_of(image, patch, side):  # [3, H, W] -> [side*side, 3*patch*patch], what fills no patch left out
    x = image[:, :side * patch, :side * patch].reshape(3, side, patch, side, patch)
    return x.transpose(1, 3, 0, 2, 4).reshape(side * side, -1)


def llava_next(w, h, image):
    pre = dict(image_processor_type="LlavaNextVideoImageProcessor", do_resize=True, size=dict(shortest_edge=image),
               do_center_crop=True, crop_size=dict(height=image, width=image), resample=3, do_rescale=True,
               rescale_factor=1 / 255, do_normalize=True, **CLIP)
    make = lambda **more: CLIPImageProcessorPil(**{k: v for k, v in pre.items() if k != "image_processor_type"} | more)
    return dict(model_type="llava_next_video", vision_config=dict(patch_size=14, image_size=image)), pre, make, image // 14


def llava_video(w, h, image):
    pre = dict(image_processor_type="SiglipImageProcessor", do_resize=True, size=dict(height=image, width=image), resample=3,
               do_rescale=True, rescale_factor=1 / 255, do_normalize=True, **HALF)
    make = lambda **more: SiglipImageProcessorPil(**{k: v for k, v in pre.items() if k != "image_processor_type"} | more)
    return dict(model_type="llava_qwen", vision_config=dict(patch_size=14, image_size=image)), pre, make, image // 14


def qwen(kind):
    def of(w, h, pixels):
        pre = dict(image_processor_type="Qwen2VLImageProcessor", do_resize=True, min_pixels=pixels[0], max_pixels=pixels[1],
                   resample=3, do_rescale=True, rescale_factor=1 / 255, do_normalize=True, patch_size=14, temporal_patch_size=2,
                   merge_size=2, **CLIP)
        make = lambda **more: Qwen2VLImageProcessorPil(**{k: v for k, v in pre.items() if k != "image_processor_type"} | more)
        return dict(model_type=kind), pre, make, 0
    return of


CASES = [("llava_next_video", llava_next, 90, 62, 56), ("llava_next_video", llava_next, 61, 97, 70),
         ("llava_next_video", llava_next, 322, 181, 336), ("llava_next_video", llava_next, 57, 56, 42),
         ("llava_video", llava_video, 90, 62, 61), ("llava_video", llava_video, 320, 180, 384), ("llava_video", llava_video, 50, 131, 56),
         ("qwen2_vl", qwen("qwen2_vl"), 90, 62, (3136, 12544)), ("qwen2_vl", qwen("qwen2_vl"), 322, 181, (3136, 50176)),
         ("qwen2_5_vl", qwen("qwen2_5_vl"), 77, 200, (3136, 12544))]


def case(family, of, w, h, size):
    config, pre, make, side = of(w, h, size)
    image = PIL.Image.fromarray(frame(w, h))
    whole = make()(images=[image], return_tensors="np")
    if side:
        raw = make(do_rescale=False, do_normalize=False)(images=[image], return_tensors="np")["pixel_values"][0]
        u8 = raw[:, :side * 14, :side * 14].transpose(1, 2, 0)
        patches = patches_of(whole["pixel_values"][0], 14, side)
        grid = [1, side, side]
    else:
        patches, grid = whole["pixel_values"], whole["image_grid_thw"][0].tolist()
        u8 = np.asarray(image.resize((grid[2] * 14, grid[1] * 14), PIL.Image.BICUBIC))
    u8 = np.ascontiguousarray(u8)
    assert np.array_equal(u8, np.rint(u8))
    p = patches.astype(np.float64).reshape(-1)
    at = [int(i) for i in np.linspace(0, p.size - 1, 40)]
    return dict(family=family, config=config, preprocessor=pre, width=w, height=h, grid=grid, u8=fnv(u8.astype(np.uint8)),
                signed=float((p * signs(p.size)).sum()), at=at, values=[float(f"{p[i]:.8g}") for i in at])


print("transformers", transformers.__version__, "pillow", PIL.__version__, "numpy", np.__version__)
with open(sys.argv[1], "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(case(*c), separators=(",", ":")) for c in CASES) + "\n]\n")
