/* SPDX-License-Identifier: Apache-2.0 */
/* norm.c -- layer norm and RMS norm over the last dimension.
 * RMS follows Hugging Face: x * rstd is rounded to x's dtype, then multiplied by the weight; the gradient is
 * that of the unrounded function. */
#include "kernels/ref/ref.h"

int lpo_ref_norm(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *mean = &c->arg[1], *rstd = &c->arg[2], *x = &c->arg[3], *w = &c->arg[4],
                   *b = &c->arg[5];
    if (!ref_real(y) || !ref_real_or_absent(mean) || !ref_real_or_absent(rstd) || !ref_real(x) ||
        !ref_real(w) || !ref_real_or_absent(b))
        return -1;
    const int64_t T = x->shape[0], K = x->shape[1];
    if (!ref_is(x, T, K) || !ref_is(y, T, K) || !ref_is_vec(w, K) || !ref_is_vec(b, K) ||
        !ref_is_vec(mean, T) || !ref_is_vec(rstd, T))
        return -1;
    for (int64_t t = 0; t < T; t++) {
        double m = 0, v = 0;
        if (!c->attrs.rms) {
            for (int64_t k = 0; k < K; k++) m += ref_get(x, t * K + k);
            m /= (double)K;
        }
        for (int64_t k = 0; k < K; k++) {
            double d = ref_get(x, t * K + k) - m;
            v += d * d;
        }
        double r = 1.0 / sqrt(v / (double)K + c->attrs.eps);
        for (int64_t k = 0; k < K; k++) {
            double n = (ref_get(x, t * K + k) - m) * r;
            if (c->attrs.rms) n = ref_round(x, n);
            ref_put(y, t * K + k, n * ref_get(w, k) + (b->data ? ref_get(b, k) : 0));
        }
        if (mean->data) ref_put(mean, t, m);
        if (rstd->data) ref_put(rstd, t, r);
    }
    return 0;
}

int lpo_ref_norm_bwd(const lpo_kcall *c) {
    const lpo_karg *dx = &c->arg[0], *dw = &c->arg[1], *db = &c->arg[2], *dy = &c->arg[3], *x = &c->arg[4],
                   *w = &c->arg[5], *mean = &c->arg[6], *rstd = &c->arg[7];
    if (!ref_real(dx) || !ref_real_or_absent(dw) || !ref_real_or_absent(db) || !ref_real(dy) ||
        !ref_real(x) || !ref_real(w) || !ref_real(mean) || !ref_real(rstd))
        return -1;
    const int64_t T = x->shape[0], K = x->shape[1];
    if (!ref_is(x, T, K) || !ref_is(dx, T, K) || !ref_is(dy, T, K) || !ref_is_vec(w, K) ||
        !ref_is_vec(dw, K) || !ref_is_vec(db, K) || !ref_is_vec(mean, T) || !ref_is_vec(rstd, T))
        return -1;
    for (int64_t t = 0; t < T; t++) {
        const double m = ref_get(mean, t), r = ref_get(rstd, t);
        double g_sum = 0, gn_sum = 0; /* g = dy * w is the gradient of the normalised n */
        for (int64_t k = 0; k < K; k++) {
            double g = ref_get(dy, t * K + k) * ref_get(w, k), n = (ref_get(x, t * K + k) - m) * r;
            g_sum += g;
            gn_sum += g * n;
        }
        if (c->attrs.rms) g_sum = 0; /* no mean was taken away */
        for (int64_t k = 0; k < K; k++) {
            double g = ref_get(dy, t * K + k) * ref_get(w, k), n = (ref_get(x, t * K + k) - m) * r;
            ref_put(dx, t * K + k, r * (g - g_sum / (double)K - n * gn_sum / (double)K));
        }
    }
    for (int64_t k = 0; k < K; k++) {
        double sum_w = 0, sum_b = 0;
        for (int64_t t = 0; t < T; t++) {
            double d = ref_get(dy, t * K + k),
                   n = (ref_get(x, t * K + k) - ref_get(mean, t)) * ref_get(rstd, t);
            sum_w += d * n;
            sum_b += d;
        }
        if (dw->data) ref_put(dw, k, ref_get(dw, k) + sum_w);
        if (db->data) ref_put(db, k, ref_get(db, k) + sum_b);
    }
    return 0;
}
