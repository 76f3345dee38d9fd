/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess_rows.h -- the row operations of the fast preprocessing, one table per instruction set.
 * Rows come in fours: each weight is then loaded once for four rows. Buffers have ROW_SLACK readable (and,
 * for results, writable) bytes after the row, so vectors may run over its end. */
#ifndef LPO_KERNELS_CPU_PREPROCESS_ROWS_H
#define LPO_KERNELS_CPU_PREPROCESS_ROWS_H
#include "kernels/preprocess.h"
#include "kernels/preprocess_pixel.h"

enum { LPO_ROW_SLACK = 64 };

typedef struct lpo_prep_rows {
    /* One chroma row, minus 128 and scaled by 8, at n luma positions from an even one on: near and far rows
     * as in preprocess_pixel.h, n_chroma samples left in them, `step` bytes apart; wide: half as many as
     * luma. */
    void (*chroma)(int16_t *c8, const uint8_t *near, const uint8_t *far, int32_t step, int32_t n_chroma,
                   int32_t n, int wide);
    /* y [n], u8, v8 [n] -> rgb [n][3] */
    void (*yuv)(uint8_t *rgb, const uint8_t *y, const int16_t *u8, const int16_t *v8, int32_t n,
                const lpo_yuv_coef *k);
    /* Four rows in [t->n_in][3] -> rows out, out+pitch.. [t->n_out][3]. split: lpo_prep_split of t. */
    void (*horz_fixed)(uint8_t *out, ptrdiff_t pitch, const uint8_t *const in[4], const lpo_prep_taps *t,
                       const int32_t *split);
    void (*horz_real)(float *out, ptrdiff_t pitch, const uint8_t *const in[4], const lpo_prep_taps *t);
    /* Result row i of in [t->n_in] rows, `pitch` elements apart, `row` elements each; out has no slack. */
    void (*vert_fixed)(uint8_t *out, const uint8_t *in, ptrdiff_t pitch, int32_t row, const lpo_prep_taps *t,
                       const int32_t *split, int32_t i);
    void (*vert_real)(uint8_t *out, const float *in, ptrdiff_t pitch, int32_t row, const lpo_prep_taps *t,
                      int32_t i);
} lpo_prep_rows;

extern const lpo_prep_rows lpo_prep_rows_portable;
#if defined(__x86_64__)
extern const lpo_prep_rows lpo_prep_rows_avx2, lpo_prep_rows_avx512;
/* Bound by loads and stores: wider vectors gain nothing, so both tables have it. */
void lpo_prep_chroma_avx2(int16_t *c8, const uint8_t *near, const uint8_t *far, int32_t step,
                          int32_t n_chroma, int32_t n, int wide);
#endif

/* 23-bit weights do not fit the 16-bit multiplier, so each is split as hi*2^12 + lo, and pairs share a 32-bit
 * word: four words for each group of four taps: hi01 hi23 lo01 lo23. */
static inline int32_t lpo_split_hi(int32_t w0, int32_t w1) {
    return (int32_t)(((uint32_t)(w0 >> 12) & 0xffffu) | (uint32_t)(w1 >> 12) << 16);
}
static inline int32_t lpo_split_lo(int32_t w0, int32_t w1) {
    return (w0 & 4095) | (w1 & 4095) << 16;
}

/* The scalar end of lpo_prep_rows.chroma, from position x (even) on. */
static inline void lpo_chroma_tail(int16_t *c8, const uint8_t *near, const uint8_t *far, int32_t step,
                                   int32_t n_chroma, int32_t n, int wide, int32_t x) {
    for (; x < n; x++) {
        int32_t left = wide ? x / 2 : x, right = wide && x % 2 ? left + 1 : left;
        if (right >= n_chroma) right = n_chroma - 1;
        c8[x] = (int16_t)(3 * near[left * step] + far[left * step] + 3 * near[right * step] +
                          far[right * step] - 8 * 128);
    }
}
#endif
