/* SPDX-License-Identifier: Apache-2.0 */
/* rowmix.c -- each output row is a weighted sum of a few rows of a and b: pooling, interpolation, splicing
 * video rows into text, permutation and newline rows are all this. The gradient is the transpose, written as
 * a gather so that it overwrites: an input row collects from every output row that named it. */
#include "kernels/ref/ref.h"

static bool mix_ok(const lpo_karg *idx, const lpo_karg *w, int64_t R, int64_t n_in) {
    if (!ref_i32(idx) || idx->ndim != 2 || idx->shape[0] != R || !ref_real_or_absent(w) ||
        !ref_is(w, R, idx->shape[1]))
        return false;
    const int32_t *p = idx->data;
    for (int64_t i = 0; i < lpo_karg_count(idx); i++)
        if (p[i] >= n_in) return false;
    return true;
}

int lpo_ref_rowmix(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *a = &c->arg[1], *b = &c->arg[2], *idx = &c->arg[3], *w = &c->arg[4];
    if (!ref_real(y) || !ref_real(a) || !ref_real_or_absent(b)) return -1;
    const int64_t R = y->shape[0], H = y->shape[1], Ra = a->shape[0], Rb = b->data ? b->shape[0] : 0,
                  C = idx->shape[1];
    if (!ref_is(y, R, H) || !ref_is(a, Ra, H) || !ref_is(b, Rb, H) || !mix_ok(idx, w, R, Ra + Rb)) return -1;
    const int32_t *p = idx->data;
    for (int64_t r = 0; r < R; r++)
        for (int64_t h = 0; h < H; h++) {
            double sum = 0;
            for (int64_t i = 0; i < C; i++) {
                const int64_t in = p[r * C + i];
                if (in < 0) continue;
                double v = in < Ra ? ref_get(a, in * H + h) : ref_get(b, (in - Ra) * H + h);
                sum += (w->data ? ref_get(w, r * C + i) : 1) * v;
            }
            ref_put(y, r * H + h, sum);
        }
    return 0;
}

static void gather(const lpo_kcall *c, const lpo_karg *dst, int64_t first) {
    const lpo_karg *dy = &c->arg[2], *idx = &c->arg[3], *w = &c->arg[4];
    const int64_t R = dy->shape[0], H = dy->shape[1], C = idx->shape[1];
    const int32_t *p = idx->data;
    for (int64_t in = 0; in < dst->shape[0]; in++)
        for (int64_t h = 0; h < H; h++) {
            double sum = 0;
            for (int64_t i = 0; i < R * C; i++)
                if (p[i] == first + in) sum += (w->data ? ref_get(w, i) : 1) * ref_get(dy, i / C * H + h);
            ref_put(dst, in * H + h, sum);
        }
}

int lpo_ref_rowmix_bwd(const lpo_kcall *c) {
    const lpo_karg *da = &c->arg[0], *db = &c->arg[1], *dy = &c->arg[2], *idx = &c->arg[3], *w = &c->arg[4];
    if (!ref_real_or_absent(da) || !ref_real_or_absent(db) || !ref_real(dy)) return -1;
    const int64_t R = dy->shape[0], H = dy->shape[1], Ra = da->shape[0];
    if (!ref_is(dy, R, H) || !ref_is(da, Ra, H) || !ref_is(db, db->shape[0], H) ||
        !mix_ok(idx, w, R, INT32_MAX))
        return -1;
    if (da->data) gather(c, da, 0);
    if (db->data) gather(c, db, Ra);
    return 0;
}
