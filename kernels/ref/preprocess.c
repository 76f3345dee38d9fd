/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess.c -- one frame, step by step, each step over the whole image: the truth.
 * Workspace: rgb u8 [crop_h][crop_w][3] | passed u8 or f32 [crop_h][out_w][3] | blurred u8 [out_h][out_w][3].
 */
#include "kernels/preprocess.h"
#include "kernels/preprocess_pixel.h"

#include <string.h>

int lpo_prep_plane(int32_t *rows, int32_t *row_bytes, int32_t pixfmt, int32_t width, int32_t height, int k) {
    const int32_t half_w = (width + 1) / 2, half_h = (height + 1) / 2;
    *rows = height, *row_bytes = width;
    switch (pixfmt) {
    case LPO_PREP_RGB24: *row_bytes = 3 * width; return k == 0;
    case LPO_PREP_NV12:
        if (k) *rows = half_h, *row_bytes = 2 * half_w;
        return k < 2;
    case LPO_PREP_YUV420P:
        if (k) *rows = half_h, *row_bytes = half_w;
        return k < 3;
    case LPO_PREP_YUV422P:
        if (k) *row_bytes = half_w;
        return k < 3;
    default: return k < 3;
    }
}

static size_t aligned(size_t bytes) {
    return (bytes + 63) & ~(size_t)63;
}

static size_t rgb_bytes(const lpo_prep_frame_args *a) {
    return aligned((size_t)a->crop_w * (size_t)a->crop_h * 3);
}
static size_t passed_bytes(const lpo_prep_frame_args *a) {
    size_t each = a->mode == LPO_PREP_TORCHVISION ? sizeof(float) : 1;
    return aligned((size_t)a->out_w * (size_t)a->crop_h * 3 * each);
}

static size_t ref_bytes(const lpo_prep_frame_args *a) {
    return rgb_bytes(a) + passed_bytes(a) + aligned((size_t)a->out_w * (size_t)a->out_h * 3);
}

size_t lpo_prep_workspace_bytes(const lpo_prep_frame_args *a) {
    size_t ref = ref_bytes(a), cpu = lpo_cpu_preprocess_bytes(a);
    return ref > cpu ? ref : cpu;
}

/* Chroma at pixel (x,y) minus 128, scaled by 8. `step` bytes between samples: 2 for NV12. */
static int32_t chroma8(const lpo_prep_frame *f, const uint8_t *plane, int32_t pitch, int32_t step, int32_t x,
                       int32_t y) {
    int tall =
        f->pixfmt == LPO_PREP_YUV420P || f->pixfmt == LPO_PREP_NV12; /* one chroma row for two luma rows */
    int wide = f->pixfmt != LPO_PREP_YUV444P;
    int32_t rows = tall ? (f->height + 1) / 2 : f->height, cols = wide ? (f->width + 1) / 2 : f->width;
    int32_t near = tall ? y / 2 : y, far = near;
    if (tall) far = y % 2 ? near + 1 : near - 1;
    if (far < 0) far = 0;
    if (far >= rows) far = rows - 1;
    int32_t left = wide ? x / 2 : x, right = wide && x % 2 ? left + 1 : left;
    if (right >= cols) right = cols - 1;
    const uint8_t *pn = plane + (ptrdiff_t)near * pitch, *pf = plane + (ptrdiff_t)far * pitch;
    int32_t at_left = 3 * pn[left * step] + pf[left * step],
            at_right = 3 * pn[right * step] + pf[right * step];
    return at_left + at_right - 8 * 128;
}

static void pixel(uint8_t rgb[3], const lpo_prep_frame *f, int32_t x, int32_t y) {
    const uint8_t *row = f->plane[0] + (ptrdiff_t)y * f->pitch_bytes[0];
    if (f->pixfmt == LPO_PREP_RGB24) {
        memcpy(rgb, row + 3 * (ptrdiff_t)x, 3);
    } else if (f->pixfmt == LPO_PREP_GBRP) {
        rgb[0] = f->plane[2][(ptrdiff_t)y * f->pitch_bytes[2] + x];
        rgb[1] = row[x];
        rgb[2] = f->plane[1][(ptrdiff_t)y * f->pitch_bytes[1] + x];
    } else {
        const lpo_yuv_coef *k = &lpo_yuv_coefs[f->matrix][f->full_range != 0];
        int nv12 = f->pixfmt == LPO_PREP_NV12;
        int32_t step = nv12 ? 2 : 1;
        const uint8_t *pu = f->plane[1], *pv = nv12 ? f->plane[1] + 1 : f->plane[2];
        int32_t u8 = chroma8(f, pu, f->pitch_bytes[1], step, x, y);
        int32_t v8 = chroma8(f, pv, f->pitch_bytes[nv12 ? 1 : 2], step, x, y);
        lpo_yuv_pixel(rgb, 8 * (row[x] - k->black), u8, v8, k);
    }
}

/* in [h][t->n_in][3] -> out [h][t->n_out][3] */
static void fixed_horz(uint8_t *out, const uint8_t *in, int32_t h, const lpo_prep_taps *t) {
    for (int32_t y = 0; y < h; y++)
        for (int32_t i = 0; i < t->n_out; i++)
            for (int32_t c = 0; c < 3; c++)
                out[((size_t)y * t->n_out + i) * 3 + c] =
                    lpo_taps_fixed(in + ((size_t)y * t->n_in + t->start[i]) * 3 + c, 3,
                                   t->fixed + (size_t)i * t->stride, t->count[i]);
}

/* in [t->n_in][row] -> out [t->n_out][row], row in bytes */
static void fixed_vert(uint8_t *out, const uint8_t *in, int32_t row, const lpo_prep_taps *t) {
    for (int32_t i = 0; i < t->n_out; i++)
        for (int32_t x = 0; x < row; x++)
            out[(size_t)i * row + x] = lpo_taps_fixed(in + (size_t)t->start[i] * row + x, row,
                                                      t->fixed + (size_t)i * t->stride, t->count[i]);
}

static void real_horz(float *out, const uint8_t *in, int32_t h, const lpo_prep_taps *t) {
    for (int32_t y = 0; y < h; y++)
        for (int32_t i = 0; i < t->n_out; i++)
            for (int32_t c = 0; c < 3; c++) {
                const uint8_t *p = in + ((size_t)y * t->n_in + t->start[i]) * 3 + c;
                const float *w = t->real + (size_t)i * t->stride;
                float acc = 0.f;
                for (int32_t k = 0; k < t->count[i]; k++)
                    acc = lpo_tap_real(acc, p[3 * k], w[k], k, t->count[i]);
                out[((size_t)y * t->n_out + i) * 3 + c] = acc;
            }
}

static void real_vert(uint8_t *out, const float *in, int32_t row, const lpo_prep_taps *t) {
    for (int32_t i = 0; i < t->n_out; i++)
        for (int32_t x = 0; x < row; x++) {
            const float *p = in + (size_t)t->start[i] * row + x, *w = t->real + (size_t)i * t->stride;
            float acc = 0.f;
            for (int32_t k = 0; k < t->count[i]; k++)
                acc = lpo_tap_real(acc, p[(size_t)k * row], w[k], k, t->count[i]);
            out[(size_t)i * row + x] = lpo_round8(acc);
        }
}

static void mirror(uint8_t *rgb, int32_t w, int32_t h) {
    for (int32_t y = 0; y < h; y++) {
        uint8_t *row = rgb + (size_t)y * w * 3;
        for (int32_t l = 0, r = w - 1; l < r; l++, r--) {
            uint8_t keep[3];
            memcpy(keep, row + 3 * l, 3);
            memcpy(row + 3 * l, row + 3 * r, 3);
            memcpy(row + 3 * r, keep, 3);
        }
    }
}

void lpo_ref_preprocess_frame(uint8_t *out_rgb, const lpo_prep_frame_args *a, void *workspace) {
    uint8_t *rgb = workspace;
    void *passed = rgb + rgb_bytes(a);
    uint8_t *blurred = (uint8_t *)passed + passed_bytes(a);
    size_t n_pixels = (size_t)a->out_w * (size_t)a->out_h;

    for (int32_t y = 0; y < a->crop_h; y++)
        for (int32_t x = 0; x < a->crop_w; x++)
            pixel(rgb + ((size_t)y * a->crop_w + x) * 3, &a->src, a->crop_x + x, a->crop_y + y);
    if (a->mode == LPO_PREP_PILLOW) {
        fixed_horz(passed, rgb, a->crop_h, &a->horz);
        fixed_vert(out_rgb, passed, 3 * a->out_w, &a->vert);
    } else {
        real_horz(passed, rgb, a->crop_h, &a->horz);
        real_vert(out_rgb, passed, 3 * a->out_w, &a->vert);
    }
    if (a->blur_horz.n_out) {
        fixed_horz(blurred, out_rgb, a->out_h, &a->blur_horz);
        fixed_vert(out_rgb, blurred, 3 * a->out_w, &a->blur_vert);
    }
    if (a->grey)
        for (size_t i = 0; i < n_pixels; i++) memset(out_rgb + 3 * i, lpo_grey8(out_rgb + 3 * i), 3);
    if (a->hflip) mirror(out_rgb, a->out_w, a->out_h);
    if (a->noise_scale)
        for (size_t i = 0; i < 3 * n_pixels; i++)
            out_rgb[i] = lpo_noise8(out_rgb[i], (uint32_t)i, a->noise_key, a->noise_scale);
}
