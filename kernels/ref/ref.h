/* SPDX-License-Identifier: Apache-2.0 */
/* ref.h -- how the reference kernels see memory: every element is read as a double and rounded once when
 * stored, so one source serves f64 (finite differences), f32 and bf16 (the truth the fast kernels are held
 * to). */
#ifndef LPO_KERNELS_REF_H
#define LPO_KERNELS_REF_H
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/number.h"
#include "kernels/op.h"

static inline double ref_get(const lpo_karg *a, int64_t i) {
    switch (a->dtype) {
    case LPO_F64: return ((const double *)a->data)[i];
    case LPO_F32: return (double)((const float *)a->data)[i];
    case LPO_BF16: return (double)lpo_bf16_to_f32(((const uint16_t *)a->data)[i]);
    default: return (double)lpo_f16_to_f32(((const uint16_t *)a->data)[i]);
    }
}

static inline void ref_put(const lpo_karg *a, int64_t i, double v) {
    switch (a->dtype) {
    case LPO_F64: ((double *)a->data)[i] = v; break;
    case LPO_F32: ((float *)a->data)[i] = (float)v; break;
    case LPO_BF16: ((uint16_t *)a->data)[i] = lpo_f32_to_bf16(lpo_f64_to_odd_f32(v)); break;
    default: ((uint16_t *)a->data)[i] = lpo_f32_to_f16(lpo_f64_to_odd_f32(v)); break;
    }
}

/* v as it would read back from a tensor of a's dtype. */
static inline double ref_round(const lpo_karg *a, double v) {
    switch (a->dtype) {
    case LPO_F64: return v;
    case LPO_F32: return (double)(float)v;
    case LPO_BF16: return (double)lpo_bf16_to_f32(lpo_f32_to_bf16(lpo_f64_to_odd_f32(v)));
    default: return (double)lpo_f16_to_f32(lpo_f32_to_f16(lpo_f64_to_odd_f32(v)));
    }
}

static inline bool ref_real(const lpo_karg *a) {
    return a->data &&
           (a->dtype == LPO_F64 || a->dtype == LPO_F32 || a->dtype == LPO_BF16 || a->dtype == LPO_F16);
}
static inline bool ref_real_or_absent(const lpo_karg *a) {
    return !a->data || ref_real(a);
}
static inline bool ref_i32(const lpo_karg *a) {
    return a->data && a->dtype == LPO_I32;
}
/* A matrix of that many rows and columns (an absent one passes). */
static inline bool ref_is(const lpo_karg *a, int64_t rows, int64_t cols) {
    return !a->data || (a->ndim == 2 && a->shape[0] == rows && a->shape[1] == cols);
}
static inline bool ref_is_vec(const lpo_karg *a, int64_t n) {
    return !a->data || lpo_karg_count(a) == n;
}

lpo_kernel_fn lpo_ref_levels, lpo_ref_linear, lpo_ref_linear_dx, lpo_ref_linear_dw, lpo_ref_norm,
    lpo_ref_norm_bwd, lpo_ref_rope, lpo_ref_attn, lpo_ref_attn_bwd, lpo_ref_attn_cached, lpo_ref_act,
    lpo_ref_act_bwd, lpo_ref_add, lpo_ref_embed, lpo_ref_embed_bwd, lpo_ref_rowmix, lpo_ref_rowmix_bwd,
    lpo_ref_logprob, lpo_ref_logprob_bwd, lpo_ref_adamw, lpo_ref_sqnorm, lpo_ref_fill, lpo_ref_cast,
    lpo_ref_dropout;
lpo_scratch_fn lpo_ref_attn_scratch, lpo_ref_attn_bwd_scratch, lpo_ref_attn_cached_scratch,
    lpo_ref_logprob_scratch, lpo_ref_logprob_bwd_scratch;
#endif
