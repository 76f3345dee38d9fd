/* SPDX-License-Identifier: Apache-2.0 */
/* linear.c -- y = x w^T + b and its two gradients, as three plain loops. */
#include "kernels/ref/ref.h"

int lpo_ref_linear(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *x = &c->arg[1], *w = &c->arg[2], *b = &c->arg[3];
    if (!ref_real(y) || !ref_real(x) || !ref_real(w) || !ref_real_or_absent(b)) return -1;
    const int64_t T = x->shape[0], K = x->shape[1], N = w->shape[0];
    if (!ref_is(x, T, K) || !ref_is(w, N, K) || !ref_is(y, T, N) || !ref_is_vec(b, N)) return -1;
    for (int64_t t = 0; t < T; t++)
        for (int64_t n = 0; n < N; n++) {
            double sum = b->data ? ref_get(b, n) : 0;
            for (int64_t k = 0; k < K; k++) sum += ref_get(x, t * K + k) * ref_get(w, n * K + k);
            ref_put(y, t * N + n, sum);
        }
    return 0;
}

int lpo_ref_linear_dx(const lpo_kcall *c) {
    const lpo_karg *dx = &c->arg[0], *dy = &c->arg[1], *w = &c->arg[2];
    if (!ref_real(dx) || !ref_real(dy) || !ref_real(w)) return -1;
    const int64_t T = dy->shape[0], N = dy->shape[1], K = w->shape[1];
    if (!ref_is(dy, T, N) || !ref_is(w, N, K) || !ref_is(dx, T, K)) return -1;
    for (int64_t t = 0; t < T; t++)
        for (int64_t k = 0; k < K; k++) {
            double sum = 0;
            for (int64_t n = 0; n < N; n++) sum += ref_get(dy, t * N + n) * ref_get(w, n * K + k);
            ref_put(dx, t * K + k, sum);
        }
    return 0;
}

int lpo_ref_linear_dw(const lpo_kcall *c) {
    const lpo_karg *dw = &c->arg[0], *db = &c->arg[1], *dy = &c->arg[2], *x = &c->arg[3];
    if (!ref_real_or_absent(dw) || !ref_real_or_absent(db) || !ref_real(dy) || !ref_real(x)) return -1;
    const int64_t T = dy->shape[0], N = dy->shape[1], K = x->shape[1];
    if (!ref_is(dy, T, N) || !ref_is(x, T, K) || !ref_is(dw, N, K) || !ref_is_vec(db, N)) return -1;
    for (int64_t n = 0; n < N; n++) {
        for (int64_t k = 0; dw->data && k < K; k++) {
            double sum = ref_get(dw, n * K + k);
            for (int64_t t = 0; t < T; t++) sum += ref_get(dy, t * N + n) * ref_get(x, t * K + k);
            ref_put(dw, n * K + k, sum);
        }
        if (!db->data) continue;
        double sum = ref_get(db, n);
        for (int64_t t = 0; t < T; t++) sum += ref_get(dy, t * N + n);
        ref_put(db, n, sum);
    }
    return 0;
}
