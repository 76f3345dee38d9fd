/* SPDX-License-Identifier: Apache-2.0 */
/* rope.c -- rotation of heads, a pair of halves at a time. */
#include "kernels/cpu/cpu.h"

enum { MAX_HEAD = 512 };
static const int64_t WORTH_THREADS = 1 << 15;

static void row(const lpo_kcall *c, const lpo_simd *s, int64_t t, int64_t W, int64_t d) {
    const lpo_karg *y = &c->arg[0], *x = &c->arg[1], *cs = &c->arg[2], *sn = &c->arg[3];
    const int64_t half = d / 2, end = c->attrs.n_rot * d;
    float in_buf[MAX_HEAD], out_buf[MAX_HEAD], cos_buf[MAX_HEAD / 2], sin_buf[MAX_HEAD / 2];
    const float *cosine = lpo_row(s, cs, t * half, half, cos_buf),
                *sine = lpo_row(s, sn, t * half, half, sin_buf);
    for (int64_t at = t * W; at < t * W + end; at += d) {
        const float *in = lpo_row(s, x, at, d, in_buf);
        float *out = lpo_row_out(y, at, out_buf);
        s->rope(out, in, cosine, sine, c->attrs.inverse ? -1.0f : 1.0f, half);
        lpo_row_done(s, y, at, d, out);
    }
    if (y->data == x->data) return;
    const size_t size = lpo_dtype_bytes(x->dtype);
    memcpy((char *)y->data + (size_t)(t * W + end) * size,
           (const char *)x->data + (size_t)(t * W + end) * size, (size_t)(W - end) * size);
}

int lpo_cpu_rope(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *x = &c->arg[1], *cs = &c->arg[2], *sn = &c->arg[3];
    if (!lpo_is_float(y) || !lpo_is_float(x) || x->dtype != y->dtype || !lpo_is_float(cs) ||
        !lpo_is_float(sn))
        return -1;
    const int64_t T = x->shape[0], W = x->shape[1], d = c->attrs.d_head;
    if (d <= 0 || d % 2 || d > MAX_HEAD || c->attrs.n_rot < 0 || c->attrs.n_rot * d > W) return -1;
    if (!lpo_is_matrix(x, T, W) || !lpo_is_matrix(y, T, W) || !lpo_is_matrix(cs, T, d / 2) ||
        !lpo_is_matrix(sn, T, d / 2))
        return -1;
    const lpo_simd *s = lpo_simd_get();
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(T *W, WORTH_THREADS))
    for (int64_t t = 0; t < T; t++) row(c, s, t, W, d);
    return 0;
}
