/* SPDX-License-Identifier: Apache-2.0 */
/* lower.h -- what the lowerings of launch.h share. A lowering checks every dtype and shape before its first
 * lpo_gpu_go, asks for scratch with lpo_gpu_scratch (the same places when checking and when running), then
 * emits. */
#ifndef LPO_KERNELS_GPU_LOWER_H
#define LPO_KERNELS_GPU_LOWER_H
#include "kernels/gpu/launch.h"

#include <stdbool.h>

typedef int lpo_gpu_lowering(lpo_gpu_call *c);
lpo_gpu_lowering lpo_gpu_lower_linear, lpo_gpu_lower_linear_dx, lpo_gpu_lower_linear_dw,
    lpo_gpu_lower_logprob, lpo_gpu_lower_logprob_bwd, lpo_gpu_lower_attn, lpo_gpu_lower_attn_bwd,
    lpo_gpu_lower_attn_cached, lpo_gpu_lower_norm, lpo_gpu_lower_norm_bwd, lpo_gpu_lower_rope,
    lpo_gpu_lower_embed, lpo_gpu_lower_embed_bwd, lpo_gpu_lower_rowmix, lpo_gpu_lower_rowmix_bwd;

int lpo_gpu_go(lpo_gpu_call *c, lpo_gpu_launch l); /* 0 groups in some dimension left at 0: 1 */
lpo_gpu_tensor lpo_gpu_scratch(lpo_gpu_call *c, int32_t dtype, int64_t count);

/* C[m,n] (+)= A B (+ bias); strides in elements. batch (0: 1) of them, from one matrix to the next a_batch,
 * b_batch, c_batch elements on. */
typedef struct lpo_gpu_gemm {
    lpo_gpu_tensor c, a, b, bias;
    int64_t m, n, k, a_row, a_col, b_row, b_col, c_row;
    int64_t batch, a_batch, b_batch, c_batch;
    bool add;
} lpo_gpu_gemm;
int lpo_gpu_gemm_go(lpo_gpu_call *c, const lpo_gpu_gemm *g);
/* Attention (lower_attn.c), and its form by whole products (lower_scores.c). */
typedef struct lpo_gpu_heads {
    int64_t n_q, n_kv, d, width, rows, n_seq;
} lpo_gpu_heads;
bool lpo_gpu_by_products(const lpo_gpu_call *c, const lpo_gpu_heads *h);
int lpo_gpu_scores_go(lpo_gpu_call *c, const lpo_gpu_heads *h);
int lpo_gpu_scores_bwd_go(lpo_gpu_call *c, const lpo_gpu_heads *h, lpo_gpu_tensor delta);
/* out[cols] += column sums of x[rows,cols]; part: scratch of lpo_gpu_blocks(rows)*cols floats. */
int lpo_gpu_columns_go(lpo_gpu_call *c, lpo_gpu_tensor out, lpo_gpu_tensor x, lpo_gpu_tensor part,
                       int64_t rows, int64_t cols);
static inline int64_t lpo_gpu_blocks(int64_t rows) { /* BLOCK of norm.cl */
    return (rows + 63) / 64;
}
int lpo_gpu_check_ids(lpo_gpu_call *c, lpo_gpu_tensor ids, int64_t n, int64_t low, int64_t high,
                      lpo_gpu_fault fault);

static inline lpo_gpu_tensor lpo_gpu_arg(const lpo_gpu_call *c, int i) {
    return (lpo_gpu_tensor){c->k.arg[i].data, c->offset_bytes[i], c->k.arg[i].dtype};
}
static inline lpo_gpu_tensor lpo_gpu_at(lpo_gpu_tensor t, int64_t elements) {
    if (t.buffer) t.offset_bytes += (size_t)elements * lpo_dtype_bytes(t.dtype);
    return t;
}
static inline uint32_t lpo_gpu_groups(int64_t n, int64_t per_group) {
    return (uint32_t)((n + per_group - 1) / per_group);
}
static inline bool lpo_gpu_float(const lpo_karg *a) {
    return a->data && (a->dtype == LPO_F32 || a->dtype == LPO_BF16);
}
static inline bool lpo_gpu_float_or_absent(const lpo_karg *a) {
    return !a->data || lpo_gpu_float(a);
}
static inline bool lpo_gpu_is(const lpo_karg *a, int32_t dtype) {
    return a->data && a->dtype == dtype;
}
static inline bool lpo_gpu_is_or_absent(const lpo_karg *a, int32_t dtype) {
    return !a->data || a->dtype == dtype;
}
static inline bool lpo_gpu_matrix(const lpo_karg *a, int64_t rows, int64_t cols) {
    return !a->data || (a->ndim == 2 && a->shape[0] == rows && a->shape[1] == cols);
}
static inline bool lpo_gpu_vector(const lpo_karg *a, int64_t n) {
    return !a->data || lpo_karg_count(a) == n;
}
#endif
