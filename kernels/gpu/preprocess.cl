/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess.cl -- a frame to resized RGB, the bytes of kernels/ref/preprocess.c: the arithmetic of a sample is
 * kernels/preprocess_pixel.h, the same text. A kernel a step, each over the whole image: crop as RGB | pass
 * along the rows | pass along the columns | both passes once more for blur | grey, flip, noise. An item makes a
 * pixel or a byte. Groups are 64 columns of one row.
 * The source is its planes one after another, rows without padding. */
#include "kernels/preprocess_pixel.h"

/* Rows, columns and bytes between samples of the chroma planes. */
typedef struct chroma_form {
    int tall, wide, rows, cols, step;
} chroma_form;

/* Chroma at pixel (x,y) minus 128, scaled by 8. */
FN int chroma8(const GLOBAL uchar *plane, chroma_form f, int x, int y) {
    int near = f.tall ? y / 2 : y, far = f.tall ? near - 1 + y % 2 * 2 : near;
    int left = f.wide ? x / 2 : x, right = f.wide ? left + x % 2 : left;
    far = far < 0 ? 0 : far >= f.rows ? f.rows - 1 : far;
    right = right >= f.cols ? f.cols - 1 : right;
    const GLOBAL uchar *n = plane + (i64)near * f.cols * f.step, *r = plane + (i64)far * f.cols * f.step;
    return 3 * (n[left * f.step] + n[right * f.step]) + r[left * f.step] + r[right * f.step] - 8 * 128;
}

KERNEL(64, lpo_prep_rgb)
(TENSOR(rgb), TENSOR(src), i64 pixfmt, i64 matrix, i64 full_range, i64 width, i64 height, i64 crop_x,
 i64 crop_y, i64 crop_w) {
    i64 column = GROUP(0) * 64 + LANE;
    if (column >= crop_w) return;
    const int x = (int)(crop_x + column), y = (int)(crop_y + GROUP(1));
    const GLOBAL uchar *luma = AT(uchar, src);
    const i64 n = width * height, at = y * width + x;
    uchar out[3];
    if (pixfmt == LPO_PREP_RGB24) {
        for (int c = 0; c < 3; c++) out[c] = luma[3 * at + c];
    } else if (pixfmt == LPO_PREP_GBRP) {
        for (int c = 0; c < 3; c++) out[c] = luma[(c + 2) % 3 * n + at];
    } else {
        const int nv12 = pixfmt == LPO_PREP_NV12;
        chroma_form f;
        f.tall = nv12 || pixfmt == LPO_PREP_YUV420P;
        f.wide = pixfmt != LPO_PREP_YUV444P;
        f.rows = (int)(f.tall ? (height + 1) / 2 : height);
        f.cols = (int)(f.wide ? (width + 1) / 2 : width);
        f.step = nv12 ? 2 : 1;
        const GLOBAL uchar *u = luma + n, *v = nv12 ? u + 1 : u + (i64)f.rows * f.cols;
        lpo_yuv_coef k = lpo_yuv_coefs[matrix][full_range];
        lpo_yuv_pixel(out, 8 * (luma[at] - k.black), chroma8(u, f, x, y), chroma8(v, f, x, y), &k);
    }
    GLOBAL uchar *to = AT(uchar, rgb) + 3 * (GROUP(1) * crop_w + column);
    for (int c = 0; c < 3; c++) to[c] = out[c];
}

/* One result of a pass: `step` elements between taps. */
FN_ALONE uchar fixed_taps(const GLOBAL uchar *in, i64 step, const GLOBAL int *w, int count) {
    int acc = 1 << 21;
    for (int k = 0; k < count; k++) acc += in[k * step] * w[k];
    return lpo_clip8(acc >> 22);
}
FN_ALONE float real_taps_u8(const GLOBAL uchar *in, i64 step, const GLOBAL float *w, int count) {
    float acc = 0.0f;
    for (int k = 0; k < count; k++) acc = lpo_tap_real(acc, in[k * step], w[k], k, count);
    return acc;
}
FN_ALONE float real_taps_f32(const GLOBAL float *in, i64 step, const GLOBAL float *w, int count) {
    float acc = 0.0f;
    for (int k = 0; k < count; k++) acc = lpo_tap_real(acc, in[k * step], w[k], k, count);
    return acc;
}

/* Along rows: in u8 [rows][n_in][3] -> out [rows][n_out][3], u8 where weights are fixed, else f32. */
KERNEL(64, lpo_prep_horz)
(TENSOR(out), TENSOR(in), TENSOR(start), TENSOR(count), TENSOR(weight), i64 n_in, i64 n_out, i64 stride) {
    i64 i = GROUP(0) * 64 + LANE, to = 3 * (GROUP(1) * n_out + i);
    if (i >= n_out) return;
    const GLOBAL uchar *from = AT(uchar, in) + 3 * (GROUP(1) * n_in + AT(int, start)[i]);
    const int n = AT(int, count)[i];
    for (int c = 0; c < 3; c++) {
        if (weight_type == F32)
            AT(float, out)[to + c] = real_taps_u8(from + c, 3, AT(float, weight) + i * stride, n);
        else
            AT(uchar, out)[to + c] = fixed_taps(from + c, 3, AT(int, weight) + i * stride, n);
    }
}

/* Along columns: in [..][row], u8 or f32 as above -> out u8 [rows][row]. */
KERNEL(64, lpo_prep_vert)
(TENSOR(out), TENSOR(in), TENSOR(start), TENSOR(count), TENSOR(weight), i64 row, i64 stride) {
    i64 x = GROUP(0) * 64 + LANE, i = GROUP(1);
    if (x >= row) return;
    const i64 from = AT(int, start)[i] * row + x;
    const int n = AT(int, count)[i];
    uchar v;
    if (weight_type == F32)
        v = lpo_round8(real_taps_f32(AT(float, in) + from, row, AT(float, weight) + i * stride, n));
    else
        v = fixed_taps(AT(uchar, in) + from, row, AT(int, weight) + i * stride, n);
    AT(uchar, out)[i * row + x] = v;
}

/* in u8 [..][width][3] -> out, elsewhere. */
KERNEL(64, lpo_prep_finish)
(TENSOR(out), TENSOR(in), i64 width, i64 grey, i64 flip, i64 noise_scale, i64 key_0, i64 key_1) {
    i64 x = GROUP(0) * 64 + LANE, first = GROUP(1) * width;
    if (x >= width) return;
    const GLOBAL uchar *from = AT(uchar, in) + 3 * (first + (flip ? width - 1 - x : x));
    const uint key[2] = {(uint)key_0, (uint)key_1};
    uchar p[3];
    for (int c = 0; c < 3; c++) p[c] = from[c];
    if (grey) p[0] = p[1] = p[2] = lpo_grey8(p);
    for (int c = 0; c < 3; c++) {
        i64 at = 3 * (first + x) + c;
        AT(uchar, out)[at] = noise_scale ? lpo_noise8(p[c], (uint)at, key, (int)noise_scale) : p[c];
    }
}
