/* SPDX-License-Identifier: Apache-2.0 */
/* act.c -- activations in chunks that stay in the first cache. */
#include "kernels/cpu/cpu.h"

static const int64_t WORTH_THREADS = 1 << 14;

/* Both forms are T rows of N: the plain ones are a single run of elements, cut the same way. */
typedef struct shape {
    int64_t T, N, x_row; /* x_row: from one row of x to the next */
    bool gated;
} shape;

static int shape_of(shape *z, const lpo_karg *y, const lpo_karg *x, int act) {
    if (!lpo_is_float(y) || !lpo_is_float(x) || act < 0 || act > LPO_ACT_SILU_MUL) return -1;
    z->gated = act == LPO_ACT_SILU_MUL;
    if (z->gated) {
        *z = (shape){y->shape[0], y->shape[1], 2 * y->shape[1], true};
        return lpo_is_matrix(y, z->T, z->N) && lpo_is_matrix(x, z->T, 2 * z->N) ? 0 : -1;
    }
    *z = (shape){1, lpo_karg_count(y), 0, false};
    return lpo_karg_count(x) == z->N ? 0 : -1;
}

int lpo_cpu_act(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *x = &c->arg[1];
    shape z;
    if (shape_of(&z, y, x, c->attrs.act)) return -1;
    const lpo_simd *s = lpo_simd_get();
    const int64_t per_row = (z.N + LPO_CPU_CHUNK - 1) / LPO_CPU_CHUNK;
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(z.T *z.N, WORTH_THREADS))
    for (int64_t i = 0; i < z.T * per_row; i++) {
        const int64_t t = i / per_row, n0 = i % per_row * LPO_CPU_CHUNK,
                      n = z.N - n0 < LPO_CPU_CHUNK ? z.N - n0 : LPO_CPU_CHUNK;
        float a[LPO_CPU_CHUNK], b[LPO_CPU_CHUNK], o[LPO_CPU_CHUNK];
        const float *in = lpo_row(s, x, t * z.x_row + n0, n, a);
        const float *gate = z.gated ? lpo_row(s, x, t * z.x_row + z.N + n0, n, b) : NULL;
        float *out = lpo_row_out(y, t * z.N + n0, o);
        s->act(c->attrs.act, out, in, gate, n);
        lpo_row_done(s, y, t * z.N + n0, n, out);
    }
    return 0;
}

int lpo_cpu_act_bwd(const lpo_kcall *c) {
    const lpo_karg *dx = &c->arg[0], *dy = &c->arg[1], *x = &c->arg[2];
    shape z;
    if (!lpo_is_float(dx) || shape_of(&z, dy, x, c->attrs.act) || lpo_karg_count(dx) != lpo_karg_count(x))
        return -1;
    const lpo_simd *s = lpo_simd_get();
    const int64_t per_row = (z.N + LPO_CPU_CHUNK - 1) / LPO_CPU_CHUNK;
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(z.T *z.N, WORTH_THREADS))
    for (int64_t i = 0; i < z.T * per_row; i++) {
        const int64_t t = i / per_row, n0 = i % per_row * LPO_CPU_CHUNK,
                      n = z.N - n0 < LPO_CPU_CHUNK ? z.N - n0 : LPO_CPU_CHUNK;
        const int64_t at = t * z.x_row + n0;
        float a[LPO_CPU_CHUNK], b[LPO_CPU_CHUNK], d[LPO_CPU_CHUNK], o[LPO_CPU_CHUNK], p[LPO_CPU_CHUNK];
        const float *in = lpo_row(s, x, at, n, a), *up = z.gated ? lpo_row(s, x, at + z.N, n, b) : NULL;
        float *out = lpo_row_out(dx, at, o), *out_up = z.gated ? lpo_row_out(dx, at + z.N, p) : NULL;
        s->act_bwd(c->attrs.act, out, out_up, lpo_row(s, dy, t * z.N + n0, n, d), in, up, n);
        lpo_row_done(s, dx, at, n, out);
        if (z.gated) lpo_row_done(s, dx, at + z.N, n, out_up);
    }
    return 0;
}
