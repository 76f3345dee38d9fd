/* SPDX-License-Identifier: Apache-2.0 */
/* ops.h -- the rules of each op, defined in ops_*.c and gathered in rules.c. */
#ifndef LPO_GRAPH_OPS_H
#define LPO_GRAPH_OPS_H
#include "graph/record.h"

#include <string.h>

typedef const char *lpo_shape_fn(lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at);
typedef void lpo_backward_fn(lpo_tape *t, const lpo_node *n, lpo_val dy);
typedef double lpo_flops_fn(const lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at);

lpo_shape_fn lpo_linear_shape, lpo_norm_shape, lpo_act_shape, lpo_add_shape,
    lpo_dropout_shape;                                                               /* ops_dense.c */
lpo_shape_fn lpo_rope_shape, lpo_attn_shape, lpo_attn_cached_shape;                  /* ops_attn.c */
lpo_shape_fn lpo_embed_shape, lpo_rowmix_shape, lpo_logprob_shape, lpo_levels_shape; /* ops_rows.c */
lpo_backward_fn lpo_linear_backward, lpo_norm_backward, lpo_act_backward, lpo_add_backward, lpo_cast_backward;
lpo_backward_fn lpo_dropout_backward, lpo_rope_backward, lpo_attn_backward;
lpo_backward_fn lpo_embed_backward, lpo_rowmix_backward, lpo_logprob_backward;
lpo_flops_fn lpo_linear_flops, lpo_linear_dx_flops, lpo_linear_dw_flops;
lpo_flops_fn lpo_attn_flops, lpo_attn_bwd_flops;
lpo_flops_fn lpo_logprob_flops, lpo_logprob_bwd_flops;

static inline bool lpo_is_real(const lpo_type *t) {
    return t->dtype == LPO_F32 || t->dtype == LPO_BF16 || t->dtype == LPO_F64 || t->dtype == LPO_F16;
}
static inline bool lpo_is_matrix(const lpo_type *t) {
    return t->ndim == 2;
}
static inline bool lpo_is_vector(const lpo_type *t, int64_t n) {
    return t->ndim == 1 && t->shape[0] == n;
}
static inline bool lpo_is_absent(const lpo_type *t) {
    return t->dtype < 0;
}
static inline bool lpo_same_shape(const lpo_type *a, const lpo_type *b) {
    return a->ndim == b->ndim && !memcmp(a->shape, b->shape, sizeof(int64_t) * (size_t)a->ndim);
}
static inline lpo_type lpo_matrix(int32_t dtype, int64_t rows, int64_t cols) {
    return (lpo_type){.dtype = dtype, .ndim = 2, .shape = {rows, cols}};
}
static inline lpo_type lpo_vector(int32_t dtype, int64_t n) {
    return (lpo_type){.dtype = dtype, .ndim = 1, .shape = {n}};
}
/* The dtype of statistics and of log-probabilities: f32, or f64 on a f64 model. */
static inline int32_t lpo_stat_dtype(const lpo_type *x) {
    return x->dtype == LPO_F64 ? LPO_F64 : LPO_F32;
}
#endif
