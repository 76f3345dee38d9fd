/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess.c -- the fast version: bands of four source rows are converted and passed horizontally while
 * they are in the first-level cache; only the narrow result of that pass is kept for the vertical one.
 * Workspace: passed [crop_h up to 4s][pitch] | blurred u8 [out_h up to 4s][pitch] | split weights of a pass
 * each | rgb rows [4][3*width + slack] | chroma rows int16 [2][src.width + slack]; each part 64-byte aligned.
 */
#include "kernels/cpu/preprocess_rows.h"

#include <string.h>

static int forced = LPO_PREP_AUTO;

static int best_level(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd"))
            return LPO_PREP_AVX512;
        return LPO_PREP_AVX2;
    }
#endif
    return LPO_PREP_PORTABLE;
}

static int level(void) {
    int best = best_level();
    return forced < best ? forced : best;
}

int lpo_cpu_preprocess_level(int force) {
    forced = force;
    return level();
}

static const lpo_prep_rows *rows_now(void) {
#if defined(__x86_64__)
    if (level() == LPO_PREP_AVX512) return &lpo_prep_rows_avx512;
    if (level() == LPO_PREP_AVX2) return &lpo_prep_rows_avx2;
#endif
    return &lpo_prep_rows_portable;
}

static size_t aligned(size_t bytes) {
    return (bytes + 63) & ~(size_t)63;
}
static size_t fours(int32_t rows) {
    return ((size_t)rows + 3) & ~(size_t)3;
}

typedef struct workspace {
    size_t pitch; /* elements: u8 of blurred, u8 or f32 of passed */
    size_t rgb_pitch, chroma_pitch;
    void *passed;
    uint8_t *blurred, *rgb;
    int32_t *split[4]; /* horz, vert, blur_horz, blur_vert */
    int16_t *chroma;
    size_t bytes;
} workspace;

/* mem NULL: only count. */
static void *take(uint8_t *mem, size_t *used, size_t bytes) {
    void *p = mem ? mem + *used : NULL;
    *used += aligned(bytes);
    return p;
}

static workspace lay_out(const lpo_prep_frame_args *a, uint8_t *mem) {
    workspace s = {0};
    const lpo_prep_taps *t[4] = {&a->horz, &a->vert, &a->blur_horz, &a->blur_vert};
    size_t each = a->mode == LPO_PREP_TORCHVISION ? sizeof(float) : 1;
    size_t widest = (size_t)(a->src.width > a->out_w ? a->src.width : a->out_w);
    s.pitch = aligned(3 * (size_t)a->out_w + LPO_ROW_SLACK);
    s.rgb_pitch = aligned(3 * widest + LPO_ROW_SLACK);
    s.chroma_pitch = aligned((size_t)a->src.width + LPO_ROW_SLACK);
    s.passed = take(mem, &s.bytes, fours(a->crop_h) * s.pitch * each);
    s.blurred = take(mem, &s.bytes, a->blur_horz.n_out ? fours(a->out_h) * s.pitch : 0);
    for (int k = 0; k < 4; k++)
        s.split[k] = take(mem, &s.bytes, sizeof(int32_t) * (size_t)t[k]->n_out * (size_t)t[k]->stride);
    s.rgb = take(mem, &s.bytes, 4 * s.rgb_pitch);
    s.chroma = take(mem, &s.bytes, 2 * s.chroma_pitch * sizeof(int16_t));
    return s;
}

size_t lpo_cpu_preprocess_bytes(const lpo_prep_frame_args *a) {
    return lay_out(a, NULL).bytes;
}

static void split_weights(int32_t *out, const lpo_prep_taps *t) {
    for (size_t k = 0; k < (size_t)t->n_out * (size_t)t->stride; k += 4) {
        const int32_t *w = t->fixed + k;
        out[k] = lpo_split_hi(w[0], w[1]), out[k + 1] = lpo_split_hi(w[2], w[3]);
        out[k + 2] = lpo_split_lo(w[0], w[1]), out[k + 3] = lpo_split_lo(w[2], w[3]);
    }
}

/* Source row y, columns of the crop, as RGB: in buf, or where it already lies. */
static const uint8_t *rgb_row(uint8_t *buf, const lpo_prep_frame_args *a, int32_t y, const workspace *s,
                              const lpo_prep_rows *rows) {
    const lpo_prep_frame *f = &a->src;
    const uint8_t *p0 = f->plane[0] + (ptrdiff_t)y * f->pitch_bytes[0];
    if (f->pixfmt == LPO_PREP_RGB24) {
        const uint8_t *in = p0 + 3 * (ptrdiff_t)a->crop_x;
        /* In place when reading on past the crop stays inside the image. */
        if (f->pitch_bytes[0] >= 3 * f->width &&
            (f->height - 1 - y) * (int64_t)f->pitch_bytes[0] >= LPO_ROW_SLACK + 3)
            return in;
        return memcpy(buf, in, 3 * (size_t)a->crop_w);
    }
    if (f->pixfmt == LPO_PREP_GBRP) {
        const uint8_t *p1 = f->plane[1] + (ptrdiff_t)y * f->pitch_bytes[1];
        const uint8_t *p2 = f->plane[2] + (ptrdiff_t)y * f->pitch_bytes[2];
        for (int32_t x = 0; x < a->crop_w; x++) {
            buf[3 * x] = p2[a->crop_x + x];
            buf[3 * x + 1] = p0[a->crop_x + x];
            buf[3 * x + 2] = p1[a->crop_x + x];
        }
        return buf;
    }
    int nv12 = f->pixfmt == LPO_PREP_NV12, tall = nv12 || f->pixfmt == LPO_PREP_YUV420P;
    int wide = f->pixfmt != LPO_PREP_YUV444P;
    int32_t n_rows = tall ? (f->height + 1) / 2 : f->height, near = tall ? y / 2 : y, far = near;
    if (tall) far = y % 2 ? near + 1 : near - 1;
    far = far < 0 ? 0 : far >= n_rows ? n_rows - 1 : far;
    int32_t step = nv12 ? 2 : 1, x0 = a->crop_x & ~1, n = a->crop_x + a->crop_w - x0;
    int32_t skip = wide ? x0 / 2 : x0, n_chroma = (wide ? (f->width + 1) / 2 : f->width) - skip;
    for (int c = 0; c < 2; c++) {
        const uint8_t *plane = nv12 ? f->plane[1] + c : f->plane[1 + c];
        ptrdiff_t pitch = f->pitch_bytes[nv12 ? 1 : 1 + c];
        plane += (ptrdiff_t)skip * step;
        rows->chroma(s->chroma + (size_t)c * s->chroma_pitch, plane + near * pitch, plane + far * pitch, step,
                     n_chroma, n, wide);
    }
    rows->yuv(buf, p0 + x0, s->chroma, s->chroma + s->chroma_pitch, n,
              &lpo_yuv_coefs[f->matrix][f->full_range != 0]);
    return buf + 3 * (a->crop_x - x0);
}

static void blur(uint8_t *out, const lpo_prep_frame_args *a, const workspace *s, const lpo_prep_rows *rows) {
    size_t row_bytes = 3 * (size_t)a->out_w;
    split_weights(s->split[2], &a->blur_horz);
    split_weights(s->split[3], &a->blur_vert);
    for (int32_t y = 0; y < a->out_h; y += 4) {
        const uint8_t *in[4];
        for (int32_t r = 0; r < 4; r++) {
            int32_t from = y + r < a->out_h ? y + r : a->out_h - 1;
            in[r] = s->rgb + (size_t)r * s->rgb_pitch;
            memcpy(s->rgb + (size_t)r * s->rgb_pitch, out + (size_t)from * row_bytes, row_bytes);
        }
        rows->horz_fixed(s->blurred + (size_t)y * s->pitch, (ptrdiff_t)s->pitch, in, &a->blur_horz,
                         s->split[2]);
    }
    for (int32_t i = 0; i < a->out_h; i++)
        rows->vert_fixed(out + (size_t)i * row_bytes, s->blurred, (ptrdiff_t)s->pitch, 3 * a->out_w,
                         &a->blur_vert, s->split[3], i);
}

/* Grey, flip and noise: one pixel at a time, on the small result. */
static void finish(uint8_t *out, const lpo_prep_frame_args *a) {
    size_t n_pixels = (size_t)a->out_w * (size_t)a->out_h;
    if (a->grey)
        for (size_t i = 0; i < n_pixels; i++) memset(out + 3 * i, lpo_grey8(out + 3 * i), 3);
    for (int32_t y = 0; a->hflip && y < a->out_h; y++) {
        uint8_t *row = out + (size_t)y * (size_t)a->out_w * 3;
        for (int32_t l = 0, r = 3 * (a->out_w - 1); l < r; l += 3, r -= 3)
            for (int32_t c = 0; c < 3; c++) {
                uint8_t keep = row[l + c];
                row[l + c] = row[r + c];
                row[r + c] = keep;
            }
    }
    if (a->noise_scale)
        for (size_t i = 0; i < 3 * n_pixels; i++)
            out[i] = lpo_noise8(out[i], (uint32_t)i, a->noise_key, a->noise_scale);
}

void lpo_cpu_preprocess_frame(uint8_t *out_rgb, const lpo_prep_frame_args *a, void *mem) {
    const lpo_prep_rows *rows = rows_now();
    workspace s = lay_out(a, mem);
    int real = a->mode == LPO_PREP_TORCHVISION;
    ptrdiff_t pitch = (ptrdiff_t)s.pitch;
    float *passed_real = s.passed;
    uint8_t *passed = s.passed;

    if (!real) {
        split_weights(s.split[0], &a->horz);
        split_weights(s.split[1], &a->vert);
    }
    for (int32_t y = 0; y < a->crop_h; y += 4) {
        const uint8_t *in[4];
        for (int32_t r = 0; r < 4; r++)
            in[r] = y + r < a->crop_h
                        ? rgb_row(s.rgb + (size_t)r * s.rgb_pitch, a, a->crop_y + y + r, &s, rows)
                        : in[r - 1];
        if (real)
            rows->horz_real(passed_real + y * pitch, pitch, in, &a->horz);
        else
            rows->horz_fixed(passed + y * pitch, pitch, in, &a->horz, s.split[0]);
    }
    for (int32_t i = 0; i < a->out_h; i++) {
        uint8_t *out = out_rgb + (size_t)i * (size_t)a->out_w * 3;
        if (real)
            rows->vert_real(out, passed_real, pitch, 3 * a->out_w, &a->vert, i);
        else
            rows->vert_fixed(out, passed, pitch, 3 * a->out_w, &a->vert, s.split[1], i);
    }
    if (a->blur_horz.n_out) blur(out_rgb, a, &s, rows);
    finish(out_rgb, a);
}
