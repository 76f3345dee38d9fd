/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess_portable.c -- the row operations in plain C: any processor, and the model for the vector ones.
 */
#include "kernels/cpu/preprocess_rows.h"

static void chroma(int16_t *c8, const uint8_t *near, const uint8_t *far, int32_t step, int32_t n_chroma,
                   int32_t n, int wide) {
    lpo_chroma_tail(c8, near, far, step, n_chroma, n, wide, 0);
}

static void yuv(uint8_t *rgb, const uint8_t *y, const int16_t *u8, const int16_t *v8, int32_t n,
                const lpo_yuv_coef *k) {
    for (int32_t x = 0; x < n; x++) lpo_yuv_pixel(rgb + 3 * x, 8 * (y[x] - k->black), u8[x], v8[x], k);
}

static void horz_fixed(uint8_t *out, ptrdiff_t pitch, const uint8_t *const in[4], const lpo_prep_taps *t,
                       const int32_t *split) {
    (void)split;
    for (int32_t r = 0; r < 4; r++)
        for (int32_t i = 0; i < t->n_out; i++) {
            const uint8_t *p = in[r] + 3 * (ptrdiff_t)t->start[i];
            const int32_t *w = t->fixed + (size_t)i * (size_t)t->stride;
            for (int32_t c = 0; c < 3; c++)
                out[r * pitch + 3 * i + c] = lpo_taps_fixed(p + c, 3, w, t->count[i]);
        }
}

static void vert_fixed(uint8_t *out, const uint8_t *in, ptrdiff_t pitch, int32_t row, const lpo_prep_taps *t,
                       const int32_t *split, int32_t i) {
    (void)split;
    const uint8_t *p = in + t->start[i] * pitch;
    const int32_t *w = t->fixed + (size_t)i * (size_t)t->stride;
    for (int32_t x = 0; x < row; x++) out[x] = lpo_taps_fixed(p + x, (int32_t)pitch, w, t->count[i]);
}

static void horz_real(float *out, ptrdiff_t pitch, const uint8_t *const in[4], const lpo_prep_taps *t) {
    for (int32_t r = 0; r < 4; r++)
        for (int32_t i = 0; i < t->n_out; i++) {
            const uint8_t *p = in[r] + 3 * (ptrdiff_t)t->start[i];
            const float *w = t->real + (size_t)i * (size_t)t->stride;
            for (int32_t c = 0; c < 3; c++) {
                float acc = 0.f;
                for (int32_t k = 0; k < t->count[i]; k++)
                    acc = lpo_tap_real(acc, p[3 * k + c], w[k], k, t->count[i]);
                out[r * pitch + 3 * i + c] = acc;
            }
        }
}

static void vert_real(uint8_t *out, const float *in, ptrdiff_t pitch, int32_t row, const lpo_prep_taps *t,
                      int32_t i) {
    const float *p = in + t->start[i] * pitch, *w = t->real + (size_t)i * (size_t)t->stride;
    for (int32_t x = 0; x < row; x++) {
        float acc = 0.f;
        for (int32_t k = 0; k < t->count[i]; k++)
            acc = lpo_tap_real(acc, p[k * pitch + x], w[k], k, t->count[i]);
        out[x] = lpo_round8(acc);
    }
}

const lpo_prep_rows lpo_prep_rows_portable = {chroma, yuv, horz_fixed, horz_real, vert_fixed, vert_real};
