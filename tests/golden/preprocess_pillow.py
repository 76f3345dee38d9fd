#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Our resize against Pillow's and torchvision's, byte for byte; our YUV -> RGB against swscale.

usage: preprocess_pillow.py SOURCE_DIR [N_PAIRS | --write-golden FILE]
Compiles kernels/{ref,cpu}/preprocess*.c into a shared object and calls them through ctypes, so that the arithmetic
itself is compared, not a file format. Every instruction set present runs on every pair; the reference runs on the
smaller ones. Exit 1 when a byte differs. Needs python3-numpy and python3-pil; python3-torch and python3-torchvision
for the second mode, and ffmpeg for the colour comparison (informative, a figure, no verdict): both skipped aloud.
"""
import ctypes as C
import glob
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import PIL
from PIL import Image

PILLOW, TORCHVISION = 0, 1
LEVELS = ("portable", "avx2", "avx512")
PIXFMT = {"yuv420p": 0, "yuv422p": 1, "yuv444p": 2, "nv12": 3, "rgb24": 4, "gbrp": 5}
u8p = C.POINTER(C.c_uint8)


class Frame(C.Structure):
    _fields_ = [("pixfmt", C.c_int32), ("matrix", C.c_int32), ("full_range", C.c_int32), ("width", C.c_int32),
                ("height", C.c_int32), ("plane", C.c_void_p * 3), ("pitch_bytes", C.c_int32 * 3)]


class Taps(C.Structure):
    _fields_ = [("n_in", C.c_int32), ("n_out", C.c_int32), ("stride", C.c_int32), ("start", C.c_void_p),
                ("count", C.c_void_p), ("fixed", C.c_void_p), ("real", C.c_void_p)]


class Args(C.Structure):
    _fields_ = [("src", Frame), ("crop", C.c_int32 * 4), ("out_w", C.c_int32), ("out_h", C.c_int32),
                ("mode", C.c_int32), ("horz", Taps), ("vert", Taps), ("blur_horz", Taps), ("blur_vert", Taps),
                ("grey", C.c_int32), ("hflip", C.c_int32), ("noise_scale", C.c_int32), ("noise_key", C.c_uint32 * 2)]


def build(source, out):
    """The preprocessing kernels as a shared object, with the flags of the real build."""
    objects = []
    for path in sorted(glob.glob(f"{source}/kernels/ref/preprocess*.c") +
                       glob.glob(f"{source}/kernels/cpu/preprocess*.c")):
        extra = []
        if path.endswith("_avx2.c"):
            extra = ["-mavx2", "-mfma"]
        if path.endswith("_avx512.c"):
            extra = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma", "-mavx2"]
        if extra and os.uname().machine != "x86_64":
            extra = []
        objects.append(f"{out}/{len(objects)}.o")
        subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-O2", "-fPIC", "-ffp-contract=off", "-fno-math-errno",
                        "-D_GNU_SOURCE", f"-I{source}", *extra, "-c", path, "-o", objects[-1]], check=True)
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-o", f"{out}/prep.so", *objects, "-lm"], check=True)
    lib = C.CDLL(f"{out}/prep.so")
    lib.lpo_prep_taps_bytes.restype = lib.lpo_prep_workspace_bytes.restype = C.c_size_t
    return lib


def aligned(n_bytes):
    raw = np.zeros(int(n_bytes) + 64, np.uint8)
    at = -raw.ctypes.data % 64
    return raw[at:at + int(n_bytes)]


def preprocess(lib, planes, pixfmt, size, out_size, mode, level, matrix=0, full=0):
    """planes: list of 2-D uint8 arrays; size, out_size (w, h). level None: the reference."""
    a, keep = Args(), []
    a.src.pixfmt, a.src.matrix, a.src.full_range = PIXFMT[pixfmt], matrix, full
    a.src.width, a.src.height = size
    for k, p in enumerate(planes):
        a.src.plane[k], a.src.pitch_bytes[k] = p.ctypes.data, p.strides[0]
    a.crop[2], a.crop[3] = size
    a.out_w, a.out_h, a.mode = *out_size, mode
    make = lib.lpo_prep_taps_torchvision if mode == TORCHVISION else lib.lpo_prep_taps_pillow
    for taps, n_in, n_out in ((a.horz, size[0], out_size[0]), (a.vert, size[1], out_size[1])):
        keep.append(aligned(lib.lpo_prep_taps_bytes(n_in, n_out)))
        make(C.byref(taps), C.c_void_p(keep[-1].ctypes.data), n_in, n_out)
    work = aligned(lib.lpo_prep_workspace_bytes(C.byref(a)))
    out = np.empty((out_size[1], out_size[0], 3), np.uint8)
    run = lib.lpo_ref_preprocess_frame
    if level is not None:
        if lib.lpo_cpu_preprocess_level(level) != level:
            return None
        run = lib.lpo_cpu_preprocess_frame
    run(C.c_void_p(out.ctypes.data), C.byref(a), C.c_void_p(work.ctypes.data))
    return out


def as_rgb24(image):
    return np.ascontiguousarray(image.reshape(image.shape[0], -1))


def pairs(n, rng):
    """Sizes that have bitten someone, then random ones: up, down, odd, thin, equal."""
    fixed = [((1920, 1080), (448, 448)), ((640, 360), (644, 364)), ((1, 1), (28, 28)), ((28, 28), (1, 1)),
             ((333, 77), (333, 28)), ((77, 333), (28, 333)), ((64, 64), (64, 64)), ((2, 1000), (56, 28)),
             ((17, 5), (16, 4)), ((448, 448), (45, 45))]
    yield from fixed[:n]
    for _ in range(n - len(fixed)):
        high = int(rng.choice([40, 200, 700]))
        yield tuple(int(v) for v in rng.integers(1, high, 2)), tuple(int(v) for v in rng.integers(1, high, 2))


def torchvision_resize():
    try:
        import torch
        from torchvision.transforms import functional as F
    except ImportError as e:
        print(f"skipped: torchvision mode ({e}: install python3-torchvision)")
        return None
    import warnings
    warnings.simplefilter("ignore")

    def resize(image, w, h):
        t = torch.from_numpy(image).permute(2, 0, 1)[None]
        try:
            mode = F.InterpolationMode.BICUBIC
        except AttributeError:
            from torchvision.transforms import InterpolationMode
            mode = InterpolationMode.BICUBIC
        return F.resize(t, [h, w], interpolation=mode, antialias=True)[0].permute(1, 2, 0).numpy()

    print(f"torch {torch.__version__}")
    return resize


def compare_resize(lib, n_pairs):
    rng = np.random.default_rng(20240607)
    peers = [("pillow", PILLOW, lambda im, w, h: np.asarray(Image.fromarray(im).resize((w, h), Image.BICUBIC)))]
    peer = torchvision_resize()
    if peer:
        peers.append(("torchvision", TORCHVISION, peer))
    differing = {}
    n_bytes = {}
    for (w, h), (ow, oh) in pairs(n_pairs, rng):
        image = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        if rng.random() < 0.3:  # hard edges overshoot and clamp
            image = (image > 127).astype(np.uint8) * 255
        for name, mode, resize in peers:
            want = resize(image, ow, oh)
            for level in (None, 0, 1, 2):
                if level in (None, 0) and w * h + ow * oh > 600 * 600:
                    continue
                got = preprocess(lib, [as_rgb24(image)], "rgb24", (w, h), (ow, oh), mode, level)
                if got is None:
                    continue
                key = name, "reference" if level is None else LEVELS[level]
                bad = int((got != want).sum())
                differing[key] = differing.get(key, 0) + bad
                n_bytes[key] = n_bytes.get(key, 0) + want.size
                if bad:
                    print(f"{key}: {w}x{h} -> {ow}x{oh}: {bad} bytes differ")
    for key, bad in sorted(differing.items()):
        print(f"{key[0]:12s} {key[1]:10s} {n_bytes[key]} bytes of {n_pairs} pairs, {bad} differ")
    return sum(differing.values())


def compare_colour(lib):
    """Against swscale's best (accurate_rnd, full_chroma_int), at the same size. With 4:4:4 only the matrix arithmetic
    is compared; with 4:2:0 also the chroma filter, where swscale's default is bicubic and ours bilinear."""
    if not shutil.which("ffmpeg"):
        print("skipped: colour comparison (no ffmpeg)")
        return
    w, h = 640, 360
    yy, xx = np.mgrid[0:h, 0:w]
    rng = np.random.default_rng(5)
    for name in ("smooth", "random"):
        for pixfmt, matrix in (("yuv444p", 0), ("yuv444p", 1), ("yuv420p", 0), ("yuv420p", 1)):
            step = 2 if pixfmt == "yuv420p" else 1
            cw, ch = w // step, h // step
            if name == "smooth":
                y = (125.5 + 90 * np.sin(xx / 37.0) * np.cos(yy / 23.0)).astype(np.uint8)
                u = (128 + 60 * np.sin(xx / 51.0 + 1))[::step, ::step].astype(np.uint8)
                v = (128 + 60 * np.cos(yy / 41.0 + 2))[::step, ::step].astype(np.uint8)
            else:
                y = rng.integers(16, 236, (h, w), dtype=np.uint8)
                u, v = (rng.integers(16, 241, (ch, cw), dtype=np.uint8) for _ in range(2))
            ours = preprocess(lib, [np.ascontiguousarray(p) for p in (y, u, v)], pixfmt, (w, h), (w, h), PILLOW, None,
                              matrix)
            cs = ("smpte170m", "bt709")[matrix]
            siting = ":in_h_chr_pos=0:in_v_chr_pos=128" if step == 2 else ""
            cmd = ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", pixfmt, "-s", f"{w}x{h}", "-i", "-", "-vf",
                   f"scale=in_color_matrix={cs}:in_range=tv:out_range=pc:flags=bicubic+accurate_rnd+full_chroma_int"
                   f"+full_chroma_inp{siting}", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
            raw = subprocess.run(cmd, input=y.tobytes() + u.tobytes() + v.tobytes(), stdout=subprocess.PIPE, check=True)
            theirs = np.frombuffer(raw.stdout, np.uint8).reshape(h, w, 3)
            d = np.abs(ours.astype(int) - theirs)
            print(f"colour {pixfmt} {cs:9s} {name}: mean {d.mean():.4f}, max {d.max()}, "
                  f"equal {100 * (d == 0).mean():.2f}%")


def write_golden(path):
    """The committed sample: sizes, and the FNV-1a sums of what Pillow and torchvision make of a hashed picture."""
    peer = torchvision_resize()
    with open(path, "w") as f:
        f.write("# width height out_width out_height pillow_fnv1a torchvision_fnv1a; made by preprocess_pillow.py\n")
        for (w, h), (ow, oh) in pairs(24, np.random.default_rng(7)):
            image = hashed_picture(w, h)
            want = [np.asarray(Image.fromarray(image).resize((ow, oh), Image.BICUBIC)), peer(image, ow, oh)]
            f.write(f"{w} {h} {ow} {oh} {fnv1a(want[0]):016x} {fnv1a(want[1]):016x}\n")


def hashed_picture(w, h):
    n = w * h * 3
    k = np.arange(1, n + 1, dtype=np.uint32)
    x = k * np.uint32(2654435761)
    x ^= x >> np.uint32(15)
    return (x * np.uint32(2246822519) >> np.uint32(24)).astype(np.uint8).reshape(h, w, 3)


def fnv1a(image):
    value = 0xcbf29ce484222325
    for byte in np.ascontiguousarray(image).tobytes():
        value = (value ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return value


def main():
    source = sys.argv[1]
    if "--write-golden" in sys.argv:
        write_golden(sys.argv[sys.argv.index("--write-golden") + 1])
        return 0
    n_pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 220
    print(f"Pillow {PIL.__version__}, numpy {np.__version__}")
    with tempfile.TemporaryDirectory() as tmp:
        lib = build(source, tmp)
        bad = compare_resize(lib, n_pairs)
        compare_colour(lib)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
