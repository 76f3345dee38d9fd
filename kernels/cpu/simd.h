/* SPDX-License-Identifier: Apache-2.0 */
/* simd.h -- the hot loops behind one table, built once per instruction set and chosen at first use.
 * simd_body.h holds the loops; simd_base.c, simd_avx2.c and simd_avx512.c compile it. Everything here is
 * single-threaded and works on contiguous float rows; the op files own threads, shapes and storage dtypes.
 * Rounding may differ between instruction sets, never between two runs on one machine. */
#ifndef LPO_KERNELS_CPU_SIMD_H
#define LPO_KERNELS_CPU_SIMD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One pass over a row of logits: what is needed to join it with other pieces of the same row. */
typedef struct lpo_stats {
    float max, sum, dot; /* sum = sum exp(z - max), dot = sum exp(z - max) * z */
    int32_t best;        /* first index of max */
} lpo_stats;

typedef struct lpo_adam {
    float beta1, beta2, one_beta1, one_beta2, decay, step, inv_sqrt_bias2, eps, g_scale;
} lpo_adam;

typedef struct lpo_simd {
    int mr, nr, a_width, lanes; /* a tile of C is mr x nr; a packed A sliver holds a_width lanes per k, of
                            which mr are used */
    int few;                    /* rows up to which thin is faster than packing and tiles */
    /* C[m,n] = or += A-sliver * B-panel over k; m <= mr, n <= nr. */
    void (*tile)(int64_t k, const float *a, const float *b, float *c, int64_t ldc, int m, int n, bool add);
    /* c[m][lanes] = or += m rows of A times n <= lanes rows of B over k, both stored along k, B from element
     * `at`. Every sum goes over k in a tile's order: the same bits. */
    void (*thin)(int m, int64_t k, const float *a, int64_t lda, const void *b, bool bf16, int64_t at,
                 int64_t ldb, int n, float *c, bool add);
    /* dst[k][width]: element (lane, p) from src[lane*lane_stride + p*k_stride] of f32 or bf16; what lanes..
     * hold is not defined: they only reach parts of a tile that are not stored. */
    void (*pack)(float *dst, int width, const void *src, bool bf16, int64_t lane_stride, int64_t k_stride,
                 int lanes, int64_t k);
    void (*widen)(float *dst, const uint16_t *src, int64_t n);
    void (*narrow)(uint16_t *dst, const float *src, int64_t n);
    float (*dot)(const float *a, const float *b, int64_t n);
    float (*dot_bf16)(const uint16_t *a, const float *b, int64_t n);
    void (*axpy)(float *y, float a, const float *x, int64_t n);
    void (*axpy_bf16)(float *y, float a, const uint16_t *x, int64_t n);
    void (*add)(float *y, const float *a, const float *b, int64_t n);
    void (*scale)(float *y, float a, int64_t n);
    float (*max)(const float *x, int64_t n);
    float (*exp_sum)(float *x, float scale, float shift, int64_t n); /* x = exp(x*scale - shift); their sum */
    void (*softmax_bwd)(float *dp, const float *p, float minus, float scale,
                        int64_t n); /* dp = p*(dp - minus)*scale */
    lpo_stats (*stats)(const float *z, int64_t n);
    float (*sum)(const float *x, int64_t n);
    float (*sum_sq)(const float *x, float minus, int64_t n);
    void (*norm)(float *y, const float *x, const float *w, const float *b, float mean, float rstd,
                 bool round_bf16, int64_t n);
    /* dw, db may be NULL */
    void (*norm_bwd)(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w,
                     float mean, float rstd, bool rms, int64_t n);
    void (*rope)(float *y, const float *x, const float *cosine, const float *sine, float sign, int64_t half);
    void (*act)(int act, float *y, const float *x, const float *up, int64_t n);
    void (*act_bwd)(int act, float *dx, float *dup, const float *dy, const float *x, const float *up,
                    int64_t n);
    void (*adam)(const lpo_adam *a, float *p, float *m, float *v, const float *g, int64_t n);
    double (*sqnorm)(const float *x, int64_t n);
} lpo_simd;

extern const lpo_simd lpo_simd_base;
#if defined __x86_64__
extern const lpo_simd lpo_simd_avx2, lpo_simd_avx512;
#endif

bool lpo_simd_runs(const lpo_simd *s); /* on this machine */
const lpo_simd *lpo_simd_get(void);    /* the best that does, or what was set */
void lpo_simd_set(
    const lpo_simd *s); /* for tests and measurements; NULL: the best again. Changes scratch sizes. */
#endif
