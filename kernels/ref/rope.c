/* SPDX-License-Identifier: Apache-2.0 */
/* rope.c -- rotate the first n_rot heads of each row by the row's own angles (a cos/sin table per row covers
 * 1-D, M-RoPE and 2-D positions alike); the rest of the row is copied. The gradient is the rotation by the
 * opposite angle. */
#include "kernels/ref/ref.h"

int lpo_ref_rope(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *x = &c->arg[1], *cs = &c->arg[2], *sn = &c->arg[3];
    if (!ref_real(y) || !ref_real(x) || !ref_real(cs) || !ref_real(sn)) return -1;
    const int64_t T = x->shape[0], W = x->shape[1], d = c->attrs.d_head, half = d / 2, n_rot = c->attrs.n_rot;
    if (!ref_is(x, T, W) || !ref_is(y, T, W) || !ref_is(cs, T, half) || !ref_is(sn, T, half)) return -1;
    if (d <= 0 || d % 2 || n_rot < 0 || n_rot * d > W) return -1;
    for (int64_t t = 0; t < T; t++) {
        for (int64_t h = 0; h < n_rot; h++)
            for (int64_t i = 0; i < half; i++) {
                const int64_t at = t * W + h * d + i;
                double a = ref_get(x, at), b = ref_get(x, at + half);
                double cosine = ref_get(cs, t * half + i), sine = ref_get(sn, t * half + i);
                if (c->attrs.inverse) sine = -sine;
                ref_put(y, at, a * cosine - b * sine);
                ref_put(y, at + half, b * cosine + a * sine);
            }
        for (int64_t i = n_rot * d; i < W; i++) ref_put(y, t * W + i, ref_get(x, t * W + i));
    }
    return 0;
}
