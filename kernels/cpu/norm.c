/* SPDX-License-Identifier: Apache-2.0 */
/* norm.c -- layer norm and RMS norm. The weight gradients sum over rows: rows are cut into groups by shape
 * alone, each group has its own partial sum, and the partials are added in order. */
#include <math.h>
#include <omp.h>

#include "kernels/cpu/cpu.h"

enum { GROUPS = 64, GROUP_ROWS = 32 };
static const int64_t WORTH_THREADS = 1 << 15;

static int64_t rows_of_group(int64_t T) {
    int64_t rows = (T + GROUPS - 1) / GROUPS;
    return rows < GROUP_ROWS ? GROUP_ROWS : rows;
}

/* Per thread: x and y rows; one shared row each for w and b. */
size_t lpo_cpu_norm_scratch(const lpo_kcall *c) {
    return ((size_t)lpo_cpu_threads() * 2 + 2) * (size_t)c->arg[3].shape[1] * sizeof(float);
}

int lpo_cpu_norm(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *mean = &c->arg[1], *rstd = &c->arg[2], *x = &c->arg[3], *w = &c->arg[4],
                   *b = &c->arg[5];
    if (!lpo_is_float(y) || !lpo_is_f32_or_absent(mean) || !lpo_is_f32_or_absent(rstd) || !lpo_is_float(x) ||
        !lpo_is_float(w) || !lpo_is_float_or_absent(b))
        return -1;
    const int64_t T = x->shape[0], K = x->shape[1];
    if (!lpo_is_matrix(x, T, K) || !lpo_is_matrix(y, T, K) || !lpo_is_vector(w, K) || !lpo_is_vector(b, K) ||
        !lpo_is_vector(mean, T) || !lpo_is_vector(rstd, T))
        return -1;
    const lpo_simd *s = lpo_simd_get();
    const bool rms = c->attrs.rms, round = rms && x->dtype == LPO_BF16;
    float *wide = c->scratch;
    const float *weight = lpo_row(s, w, 0, K, wide), *bias = lpo_row(s, b, 0, K, wide + K);
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(T *K, WORTH_THREADS))
    for (int64_t t = 0; t < T; t++) {
        float *own = wide + (2 + 2 * omp_get_thread_num()) * K;
        const float *in = lpo_row(s, x, t * K, K, own);
        float *out = lpo_row_out(y, t * K, own + K);
        const float m = rms ? 0 : s->sum(in, K) / (float)K;
        const float r = 1.0f / sqrtf(s->sum_sq(in, m, K) / (float)K + (float)c->attrs.eps);
        s->norm(out, in, weight, bias, m, r, round, K);
        lpo_row_done(s, y, t * K, K, out);
        if (mean->data) ((float *)mean->data)[t] = m;
        if (rstd->data) ((float *)rstd->data)[t] = r;
    }
    return 0;
}

size_t lpo_cpu_norm_bwd_scratch(const lpo_kcall *c) {
    const int64_t T = c->arg[4].shape[0], K = c->arg[4].shape[1], rows = rows_of_group(T);
    return ((size_t)lpo_cpu_threads() * 3 + 1 + (size_t)((T + rows - 1) / rows) * 2) * (size_t)K *
           sizeof(float);
}

int lpo_cpu_norm_bwd(const lpo_kcall *c) {
    const lpo_karg *dx = &c->arg[0], *dw = &c->arg[1], *db = &c->arg[2], *dy = &c->arg[3], *x = &c->arg[4],
                   *w = &c->arg[5], *mean = &c->arg[6], *rstd = &c->arg[7];
    if (!lpo_is_float(dx) || !lpo_is_f32_or_absent(dw) || !lpo_is_f32_or_absent(db) || !lpo_is_float(dy) ||
        !lpo_is_float(x) || !lpo_is_float(w) || !mean->data || mean->dtype != LPO_F32 || !rstd->data ||
        rstd->dtype != LPO_F32)
        return -1;
    const int64_t T = x->shape[0], K = x->shape[1], rows = rows_of_group(T), n_groups = (T + rows - 1) / rows;
    if (!lpo_is_matrix(x, T, K) || !lpo_is_matrix(dx, T, K) || !lpo_is_matrix(dy, T, K) ||
        !lpo_is_vector(w, K) || !lpo_is_vector(dw, K) || !lpo_is_vector(db, K) || !lpo_is_vector(mean, T) ||
        !lpo_is_vector(rstd, T))
        return -1;
    const lpo_simd *s = lpo_simd_get();
    float *wide = c->scratch, *partial = wide + K, *rest = partial + n_groups * 2 * K;
    const float *weight = lpo_row(s, w, 0, K, wide), *m = mean->data, *r = rstd->data;
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(T *K, WORTH_THREADS))
    for (int64_t g = 0; g < n_groups; g++) {
        float *own = rest + 3 * omp_get_thread_num() * K, *gw = partial + g * 2 * K, *gb = gw + K;
        if (dw->data) memset(gw, 0, (size_t)K * sizeof *gw);
        if (db->data) memset(gb, 0, (size_t)K * sizeof *gb);
        for (int64_t t = g * rows; t < T && t < (g + 1) * rows; t++) {
            const float *d = lpo_row(s, dy, t * K, K, own), *in = lpo_row(s, x, t * K, K, own + K);
            float *out = lpo_row_out(dx, t * K, own + 2 * K);
            s->norm_bwd(out, dw->data ? gw : NULL, db->data ? gb : NULL, d, in, weight, m[t], r[t],
                        c->attrs.rms, K);
            lpo_row_done(s, dx, t * K, K, out);
        }
    }
    for (int64_t g = 0; g < n_groups; g++) {
        if (dw->data) s->add(dw->data, dw->data, partial + g * 2 * K, K);
        if (db->data) s->add(db->data, db->data, partial + g * 2 * K + K, K);
    }
    return 0;
}
