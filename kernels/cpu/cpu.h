/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.h -- what the fast kernels share: threads, scratch, and rows of f32 or bf16 seen as float.
 * Arithmetic is float. Work is cut by shape alone and every sum has one owner and one order, so the number of
 * threads never shows in the bits. */
#ifndef LPO_KERNELS_CPU_H
#define LPO_KERNELS_CPU_H
#include <stdbool.h>
#include <string.h>

#include "kernels/cpu/simd.h"
#include "kernels/op.h"

enum { LPO_CPU_CHUNK = 1024 /* elements handled at a time through stack buffers */ };

/* Threads of all later calls; n <= 0: what OpenMP would use. Scratch sizes depend on it, so set it before
 * planning memory, from one thread, with no kernel running. Without a call the first kernel settles it. */
void lpo_kernels_cpu_threads(int n);
int lpo_cpu_threads(void);
static inline int lpo_cpu_threads_for(int64_t work, int64_t worth) {
    return work < worth ? 1 : lpo_cpu_threads();
}

/* Scratch is laid out by one function per op, run with base NULL to measure and with the real base to hand
 * out. */
typedef struct lpo_bump {
    char *base;
    size_t used;
} lpo_bump;
static inline void *lpo_take(lpo_bump *b, size_t bytes) {
    char *p = b->base ? b->base + b->used : NULL;
    b->used += (bytes + 63) / 64 * 64;
    return p;
}

static inline bool lpo_is_float(const lpo_karg *a) {
    return a->data && (a->dtype == LPO_F32 || a->dtype == LPO_BF16);
}
static inline bool lpo_is_float_or_absent(const lpo_karg *a) {
    return !a->data || lpo_is_float(a);
}
static inline bool lpo_is_f32_or_absent(const lpo_karg *a) {
    return !a->data || a->dtype == LPO_F32;
}
static inline bool lpo_is_i32(const lpo_karg *a) {
    return a->data && a->dtype == LPO_I32;
}
static inline bool lpo_is_matrix(const lpo_karg *a, int64_t rows, int64_t cols) {
    return !a->data || (a->ndim == 2 && a->shape[0] == rows && a->shape[1] == cols);
}
static inline bool lpo_is_vector(const lpo_karg *a, int64_t n) {
    return !a->data || lpo_karg_count(a) == n;
}
bool lpo_cpu_cu_ok(const lpo_karg *cu, int64_t T); /* cu[0] = 0, rising, cu[S] = T */
bool lpo_cpu_ids_ok(const lpo_karg *ids, int64_t n, int64_t low, int64_t high); /* n ids in [low, high) */

/* n elements from `at`: the tensor's own memory, or widened into buf. */
static inline const float *lpo_row(const lpo_simd *s, const lpo_karg *a, int64_t at, int64_t n, float *buf) {
    if (!a->data) return NULL;
    if (a->dtype == LPO_F32) return (const float *)a->data + at;
    s->widen(buf, (const uint16_t *)a->data + at, n);
    return buf;
}
/* Where to compute n elements meant for `at`, then lpo_row_done with the same arguments. */
static inline float *lpo_row_out(const lpo_karg *a, int64_t at, float *buf) {
    return a->dtype == LPO_F32 ? (float *)a->data + at : buf;
}
static inline void lpo_row_done(const lpo_simd *s, const lpo_karg *a, int64_t at, int64_t n,
                                const float *buf) {
    if (a->dtype == LPO_BF16) s->narrow((uint16_t *)a->data + at, buf, n);
}

lpo_kernel_fn lpo_cpu_linear, lpo_cpu_linear_dx, lpo_cpu_linear_dw, lpo_cpu_norm, lpo_cpu_norm_bwd,
    lpo_cpu_rope, lpo_cpu_attn, lpo_cpu_attn_bwd, lpo_cpu_attn_cached, lpo_cpu_act, lpo_cpu_act_bwd,
    lpo_cpu_add, lpo_cpu_embed, lpo_cpu_embed_bwd, lpo_cpu_rowmix, lpo_cpu_rowmix_bwd, lpo_cpu_logprob,
    lpo_cpu_logprob_bwd, lpo_cpu_adamw, lpo_cpu_sqnorm, lpo_cpu_fill, lpo_cpu_cast, lpo_cpu_dropout,
    lpo_cpu_levels;
lpo_scratch_fn lpo_cpu_linear_scratch, lpo_cpu_linear_dx_scratch, lpo_cpu_linear_dw_scratch,
    lpo_cpu_norm_scratch, lpo_cpu_norm_bwd_scratch, lpo_cpu_attn_scratch, lpo_cpu_attn_bwd_scratch,
    lpo_cpu_attn_cached_scratch, lpo_cpu_rowmix_bwd_scratch, lpo_cpu_logprob_scratch,
    lpo_cpu_logprob_bwd_scratch, lpo_cpu_sqnorm_scratch;
#endif
