/* SPDX-License-Identifier: Apache-2.0 */
/* ops_attn.c -- rotary positions and attention over sequences packed by cu. */
#include "graph/ops.h"

/* y[T,W]; x[T,W], cos[T,d/2], sin[T,d/2] */
const char *lpo_rope_shape(lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    const lpo_type *x = &a[1], *c = &a[2], *s = &a[3];
    if (!lpo_is_matrix(x) || !lpo_is_real(x)) return "x must be a matrix of reals";
    if (at->d_head < 2 || at->d_head % 2 || at->n_rot < 0)
        return "d_head must be even and n_rot not negative";
    if ((int64_t)at->n_rot * at->d_head > x->shape[1]) return "the rotated heads are wider than a row";
    if (!lpo_is_matrix(c) || c->shape[0] != x->shape[0] || c->shape[1] != at->d_head / 2 || !lpo_is_real(c))
        return "cos must be [rows of x, d_head/2]";
    if (!lpo_same_shape(c, s) || c->dtype != s->dtype) return "sin must be like cos";
    a[0] = *x;
    return NULL;
}

/* A rotation's gradient is the opposite rotation. */
void lpo_rope_backward(lpo_tape *t, const lpo_node *n, lpo_val dy) {
    lpo_val x = n->arg[1], dx = lpo_temp_like(t, x);
    lpo_attrs at = n->attrs;
    at.inverse = !at.inverse;
    lpo_emit(t, LPO_OP_ROPE, &at,
             (lpo_val[LPO_MAX_ARGS]){dx, dy, lpo_saved(t, n->arg[2]), lpo_saved(t, n->arg[3])});
    lpo_contribute(t, x, dx);
}

static const char *heads_fit(const lpo_type *qkv, const lpo_attrs *at) {
    if (!lpo_is_matrix(qkv) || !lpo_is_real(qkv)) return "qkv must be a matrix of reals";
    if (at->n_q < 1 || at->n_kv < 1 || at->d_head < 1 || at->n_q % at->n_kv)
        return "n_q must be a positive multiple of n_kv";
    if (qkv->shape[1] != ((int64_t)at->n_q + 2 * (int64_t)at->n_kv) * at->d_head)
        return "qkv must have (n_q + 2 n_kv) d_head columns";
    return NULL;
}

/* o[T,n_q*d], lse[n_q,T]; qkv, cu[S+1], prefix[S,2]? */
const char *lpo_attn_shape(lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    const char *wrong = heads_fit(&a[2], at);
    if (wrong) return wrong;
    if (a[3].dtype != LPO_I32 || a[3].ndim != 1 || a[3].shape[0] < 2) return "cu must be i32 [sequences + 1]";
    if (!lpo_is_absent(&a[4]) &&
        (a[4].dtype != LPO_I32 || a[4].ndim != 2 || a[4].shape[0] != a[3].shape[0] - 1 || a[4].shape[1] != 2))
        return "prefix must be i32 [sequences, 2]";
    a[0] = lpo_matrix(a[2].dtype, a[2].shape[0], (int64_t)at->n_q * at->d_head);
    a[1] = lpo_matrix(lpo_stat_dtype(&a[2]), at->n_q, a[2].shape[0]);
    return NULL;
}

void lpo_attn_backward(lpo_tape *t, const lpo_node *n, lpo_val dy) {
    lpo_val qkv = n->arg[2], d = lpo_temp_like(t, qkv), o = lpo_saved(t, n->arg[0]),
            lse = lpo_saved(t, n->arg[1]);
    lpo_val cu = lpo_saved(t, n->arg[3]), prefix = lpo_saved(t, n->arg[4]);
    lpo_emit(t, LPO_OP_ATTN_BWD, &n->attrs,
             (lpo_val[LPO_MAX_ARGS]){d, dy, lpo_saved(t, qkv), o, lse, cu, prefix});
    lpo_contribute(t, qkv, d);
}

/* The lengths live in cu, unknown here: counted as equally long sequences. */
static double attn_pairs(const lpo_type *rows, const lpo_type *cu, const lpo_attrs *at) {
    double T = (double)rows->shape[0], S = (double)(cu->shape[0] - 1);
    return T * T / S * (at->causal ? 0.5 : 1.0) * at->n_q * at->d_head;
}
double lpo_attn_flops(const lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    return 4.0 * attn_pairs(&a[2], &a[3], at);
}
double lpo_attn_bwd_flops(const lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    return 10.0 * attn_pairs(&a[2], &a[5], at);
}

/* o[T,n_q*d], cache[slots,max_len,2,n_kv*d]; qkv, cu[S+1], slot[S], past[S] */
const char *lpo_attn_cached_shape(lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    const lpo_type *cache = &a[1], *qkv = &a[2], *cu = &a[3];
    const char *wrong = heads_fit(qkv, at);
    if (wrong) return wrong;
    if (cache->ndim != 4 || cache->dtype != qkv->dtype || cache->shape[2] != 2 ||
        cache->shape[3] != (int64_t)at->n_kv * at->d_head)
        return "the cache must be [slots, max_len, 2, n_kv*d_head] of qkv's dtype";
    if (cu->dtype != LPO_I32 || cu->ndim != 1 || cu->shape[0] < 2) return "cu must be i32 [sequences + 1]";
    for (int i = 4; i < 6; i++)
        if (a[i].dtype != LPO_I32 || !lpo_is_vector(&a[i], cu->shape[0] - 1))
            return "slot and past must be i32 [sequences]";
    a[0] = lpo_matrix(qkv->dtype, qkv->shape[0], (int64_t)at->n_q * at->d_head);
    return NULL;
}
