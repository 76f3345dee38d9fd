/* SPDX-License-Identifier: Apache-2.0 */
/* ops_dense.c -- linear, norm, act, add, cast: ops whose rows do not see each other. */
#include "graph/ops.h"

/* y[T,N]; x[T,K], w[N,K], b[N]? */
const char *lpo_linear_shape(lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    (void)at;
    const lpo_type *x = &a[1], *w = &a[2], *b = &a[3];
    if (!lpo_is_matrix(x) || !lpo_is_real(x)) return "x must be a matrix of reals";
    if (!lpo_is_matrix(w) || w->dtype != x->dtype) return "the weight must be a matrix of x's dtype";
    if (w->shape[1] != x->shape[1]) return "the weight's columns must be x's columns";
    if (!lpo_is_absent(b) && (b->dtype != x->dtype || !lpo_is_vector(b, w->shape[0])))
        return "the bias must be a vector of the weight's rows, of x's dtype";
    a[0] = lpo_matrix(x->dtype, x->shape[0], w->shape[0]);
    return NULL;
}

void lpo_linear_backward(lpo_tape *t, const lpo_node *n, lpo_val dy) {
    lpo_val x = n->arg[1], w = n->arg[2], b = n->arg[3];
    if (lpo_needs(t, w) || lpo_needs(t, b)) {
        lpo_val dw = lpo_weight_grad(t, w), db = lpo_weight_grad(t, b);
        if (dw < 0 && !t->err.code) { /* only the bias learns, but the kernel always forms dw */
            lpo_type type = t->values[w].type;
            type.dtype = lpo_stat_dtype(&type);
            dw = lpo_value_add(t, LPO_VAL_TEMP, &type);
            lpo_emit(t, LPO_OP_FILL, &(lpo_attrs){0}, (lpo_val[LPO_MAX_ARGS]){dw});
        }
        lpo_emit(t, LPO_OP_LINEAR_DW, NULL, (lpo_val[LPO_MAX_ARGS]){dw, db, dy, lpo_saved(t, x)});
    }
    if (lpo_needs(t, x)) {
        lpo_val dx = lpo_temp_like(t, x);
        lpo_emit(t, LPO_OP_LINEAR_DX, NULL, (lpo_val[LPO_MAX_ARGS]){dx, dy, lpo_saved(t, w)});
        lpo_contribute(t, x, dx);
    }
}

double lpo_linear_flops(const lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    (void)at;
    return 2.0 * (double)a[1].shape[0] * (double)lpo_type_count(&a[2]);
}
double lpo_linear_dx_flops(const lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    (void)at;
    return 2.0 * (double)a[1].shape[0] * (double)lpo_type_count(&a[2]);
}
double lpo_linear_dw_flops(const lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    (void)at;
    return 2.0 * (double)a[2].shape[0] * (double)lpo_type_count(&a[0]);
}

/* y[T,K], mean[T], rstd[T]; x[T,K], w[K], b[K]? */
const char *lpo_norm_shape(lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    (void)at;
    const lpo_type *x = &a[3], *w = &a[4], *b = &a[5];
    if (!lpo_is_matrix(x) || !lpo_is_real(x)) return "x must be a matrix of reals";
    if (w->dtype != x->dtype || !lpo_is_vector(w, x->shape[1]))
        return "the weight must be a vector of x's columns and dtype";
    if (!lpo_is_absent(b) && (b->dtype != x->dtype || !lpo_is_vector(b, x->shape[1])))
        return "the bias must be a vector of x's columns and dtype";
    a[0] = *x;
    a[1] = a[2] = lpo_vector(lpo_stat_dtype(x), x->shape[0]);
    return NULL;
}

void lpo_norm_backward(lpo_tape *t, const lpo_node *n, lpo_val dy) {
    lpo_val x = n->arg[3], w = n->arg[4], b = n->arg[5];
    lpo_val dx = lpo_temp_like(t, x), xs = lpo_saved(t, x), mean = lpo_saved(t, n->arg[1]),
            rstd = lpo_saved(t, n->arg[2]);
    lpo_emit(t, LPO_OP_NORM_BWD, &n->attrs,
             (lpo_val[LPO_MAX_ARGS]){dx, lpo_weight_grad(t, w), lpo_weight_grad(t, b), dy, xs,
                                     lpo_saved(t, w), mean, rstd});
    lpo_contribute(t, x, dx);
}

/* y; x.  SILU_MUL: y[T,N]; x[T,2N] */
const char *lpo_act_shape(lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    const lpo_type *x = &a[1];
    if (!lpo_is_real(x)) return "x must be of reals";
    a[0] = *x;
    if (at->act < LPO_ACT_QUICK_GELU || at->act > LPO_ACT_SILU_MUL) return "no such activation";
    if (at->act == LPO_ACT_SILU_MUL) {
        if (!lpo_is_matrix(x) || x->shape[1] % 2)
            return "silu_mul takes a matrix gate|up with an even number of columns";
        a[0].shape[1] = x->shape[1] / 2;
    }
    return NULL;
}

void lpo_act_backward(lpo_tape *t, const lpo_node *n, lpo_val dy) {
    lpo_val x = n->arg[1], dx = lpo_temp_like(t, x);
    lpo_emit(t, LPO_OP_ACT_BWD, &n->attrs, (lpo_val[LPO_MAX_ARGS]){dx, dy, lpo_saved(t, x)});
    lpo_contribute(t, x, dx);
}

const char *lpo_add_shape(lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    (void)at;
    if (!lpo_is_real(&a[1]) || a[1].dtype != a[2].dtype || !lpo_same_shape(&a[1], &a[2]))
        return "both terms must have one shape and one real dtype";
    a[0] = a[1];
    return NULL;
}

/* Both terms share dy itself: a gradient is never written again once it stands. */
void lpo_add_backward(lpo_tape *t, const lpo_node *n, lpo_val dy) {
    lpo_contribute(t, n->arg[1], dy);
    lpo_contribute(t, n->arg[2], dy);
}

const char *lpo_dropout_shape(lpo_type a[LPO_MAX_ARGS], const lpo_attrs *at) {
    if (!lpo_is_real(&a[1])) return "x must be of reals";
    if (!(at->value >= 0 && at->value < 1)) return "the share dropped must be in [0, 1)";
    a[0] = a[1];
    return NULL;
}

/* The same elements, the same factor. */
void lpo_dropout_backward(lpo_tape *t, const lpo_node *n, lpo_val dy) {
    lpo_val x = n->arg[1], dx = lpo_temp_like(t, x);
    lpo_emit(t, LPO_OP_DROPOUT, &n->attrs, (lpo_val[LPO_MAX_ARGS]){dx, dy});
    lpo_contribute(t, x, dx);
}

void lpo_cast_backward(lpo_tape *t, const lpo_node *n, lpo_val dy) {
    lpo_val x = n->arg[1], dx = lpo_temp_like(t, x);
    lpo_emit(t, LPO_OP_CAST, NULL, (lpo_val[LPO_MAX_ARGS]){dx, dy});
    lpo_contribute(t, x, dx);
}
