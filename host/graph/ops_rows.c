/* SPDX-License-Identifier: Apache-2.0 */
/* ops_rows.c -- ops that pick rows: embed, rowmix, and the log-probability of one target a row. */
#include "graph/ops.h"

/* y[T,H]; table[V,H], ids[T] */
const char *lpo_embed_shape(lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    (void)at;
    if (!lpo_is_matrix(&a[1]) || !lpo_is_real(&a[1])) return "the table must be a matrix of reals";
    if (a[2].dtype != LPO_I32 || a[2].ndim != 1) return "ids must be an i32 vector";
    a[0] = lpo_matrix(a[1].dtype, a[2].shape[0], a[1].shape[1]);
    return NULL;
}

void lpo_embed_backward(lpo_tape *t, const lpo_node *n, lpo_val dy) {
    lpo_emit(t, LPO_OP_EMBED_BWD, NULL,
             (lpo_val[LPO_MAX_ARGS]){lpo_weight_grad(t, n->arg[1]), dy, lpo_saved(t, n->arg[2])});
}

/* y[T,K]; x[T,K] u8, value[C,256] */
const char *lpo_levels_shape(lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    (void)at;
    const lpo_type *x = &a[1], *value = &a[2];
    if (!lpo_is_matrix(x) || x->dtype != LPO_U8) return "x must be a matrix of bytes";
    if (!lpo_is_matrix(value) || value->dtype != LPO_F32 || value->shape[1] != 256)
        return "the values must be f32 [parts of a row, 256]";
    if (value->shape[0] < 1 || x->shape[1] % value->shape[0]) return "rows are no whole number of parts";
    a[0] = lpo_matrix(LPO_F32, x->shape[0], x->shape[1]);
    return NULL;
}

/* y[R,H]; a[Ra,H], b[Rb,H]?, idx[R,C], w[R,C]? */
const char *lpo_rowmix_shape(lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    (void)at;
    const lpo_type *x = &a[1], *b = &a[2], *idx = &a[3], *w = &a[4];
    if (!lpo_is_matrix(x) || !lpo_is_real(x)) return "a must be a matrix of reals";
    if (!lpo_is_absent(b) && (!lpo_is_matrix(b) || b->dtype != x->dtype || b->shape[1] != x->shape[1]))
        return "b must have a's columns and dtype";
    if (!lpo_is_matrix(idx) || idx->dtype != LPO_I32) return "idx must be an i32 matrix [rows out, taps]";
    if (!lpo_is_absent(w) && ((w->dtype != LPO_F32 && w->dtype != LPO_F64) || !lpo_same_shape(w, idx)))
        return "the weights must be f32 and shaped like idx";
    a[0] = lpo_matrix(x->dtype, idx->shape[0], x->shape[1]);
    return NULL;
}

void lpo_rowmix_backward(lpo_tape *t, const lpo_node *n, lpo_val dy) {
    lpo_val a = n->arg[1], b = n->arg[2];
    /* da is always made: the kernel learns from its shape where b's rows begin. */
    lpo_val da = lpo_temp_like(t, a), db = lpo_needs(t, b) ? lpo_temp_like(t, b) : LPO_NONE;
    lpo_val w = n->arg[4] < 0 ? LPO_NONE : lpo_saved(t, n->arg[4]);
    lpo_emit(t, LPO_OP_ROWMIX_BWD, NULL, (lpo_val[LPO_MAX_ARGS]){da, db, dy, lpo_saved(t, n->arg[3]), w});
    lpo_contribute(t, a, da);
    if (db >= 0) lpo_contribute(t, b, db);
}

/* logp[T], lse[T], entropy[T]?, hit[T]?; h[T,H], w[V,H], target[T] */
const char *lpo_logprob_shape(lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    const lpo_type *h = &a[4], *w = &a[5], *target = &a[6];
    if (!lpo_is_matrix(h) || !lpo_is_real(h)) return "h must be a matrix of reals";
    if (!lpo_is_matrix(w) || w->dtype != h->dtype || w->shape[1] != h->shape[1])
        return "the weight must be [vocabulary, columns of h] of h's dtype";
    if (target->dtype != LPO_I32 || !lpo_is_vector(target, h->shape[0]))
        return "target must be i32 [rows of h]";
    if (at->n_valid < 0 || at->n_valid > w->shape[0]) return "n_valid is outside the vocabulary";
    a[0] = a[1] = a[2] = lpo_vector(lpo_stat_dtype(h), h->shape[0]);
    a[3] = lpo_vector(LPO_I32, h->shape[0]);
    return NULL;
}

void lpo_logprob_backward(lpo_tape *t, const lpo_node *n, lpo_val dy) {
    lpo_val h = n->arg[4], w = n->arg[5];
    lpo_val dh = lpo_temp_like(t, h), lse = lpo_saved(t, n->arg[1]), hs = lpo_saved(t, h);
    lpo_emit(t, LPO_OP_LOGPROB_BWD, &n->attrs,
             (lpo_val[LPO_MAX_ARGS]){dh, lpo_weight_grad(t, w), dy, lse, hs, lpo_saved(t, w),
                                     lpo_saved(t, n->arg[6])});
    lpo_contribute(t, h, dh);
}

double lpo_logprob_flops(const lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    (void)at;
    return 2.0 * (double)a[4].shape[0] * (double)lpo_type_count(&a[5]);
}
/* The logits again, dh, and dw when asked for. */
double lpo_logprob_bwd_flops(const lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    (void)at;
    return (lpo_is_absent(&a[1]) ? 4.0 : 6.0) * (double)a[4].shape[0] * (double)lpo_type_count(&a[5]);
}
