/* SPDX-License-Identifier: Apache-2.0 */
/* rows.c -- embedding and row mix: rows gathered, and scattered back.
 * Scatter is parallel over slices of columns: every thread walks all rows in the same order, so no two
 * threads ever add to one element and the order of additions is fixed. */
#include "kernels/cpu/cpu.h"

enum { SLICE = 64 };
static const int64_t WORTH_THREADS = 1 << 15;

int lpo_cpu_embed(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *table = &c->arg[1], *ids = &c->arg[2];
    const int64_t T = ids->shape[0], V = table->shape[0], H = table->shape[1];
    if (!lpo_is_float(y) || !lpo_is_float(table) || !lpo_cpu_ids_ok(ids, T, 0, V) ||
        !lpo_is_matrix(table, V, H) || !lpo_is_matrix(y, T, H))
        return -1;
    const lpo_simd *s = lpo_simd_get();
    const int32_t *id = ids->data;
    const size_t size = lpo_dtype_bytes(table->dtype);
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(T *H, WORTH_THREADS))
    for (int64_t t = 0; t < T; t++) {
        const char *row = (const char *)table->data + (size_t)(id[t] * H) * size;
        if (y->dtype == table->dtype)
            memcpy((char *)y->data + (size_t)(t * H) * size, row, (size_t)H * size);
        else if (y->dtype == LPO_F32)
            s->widen((float *)y->data + t * H, (const uint16_t *)(const void *)row, H);
        else
            s->narrow((uint16_t *)y->data + t * H, (const float *)(const void *)row, H);
    }
    return 0;
}

int lpo_cpu_embed_bwd(const lpo_kcall *c) {
    const lpo_karg *dtable = &c->arg[0], *dy = &c->arg[1], *ids = &c->arg[2];
    const int64_t T = ids->shape[0], V = dtable->shape[0], H = dtable->shape[1];
    if (!dtable->data || dtable->dtype != LPO_F32 || !lpo_is_float(dy) || !lpo_cpu_ids_ok(ids, T, 0, V) ||
        !lpo_is_matrix(dtable, V, H) || !lpo_is_matrix(dy, T, H))
        return -1;
    const lpo_simd *s = lpo_simd_get();
    const int32_t *id = ids->data;
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(T *H, WORTH_THREADS))
    for (int64_t h = 0; h < H; h += SLICE) {
        const int64_t n = H - h < SLICE ? H - h : SLICE;
        float wide[SLICE];
        for (int64_t t = 0; t < T; t++) {
            float *to = (float *)dtable->data + id[t] * H + h;
            s->add(to, to, lpo_row(s, dy, t * H + h, n, wide), n);
        }
    }
    return 0;
}

static float tap(const lpo_simd *s, const lpo_karg *w, int64_t i) {
    float one;
    return w->data ? *lpo_row(s, w, i, 1, &one) : 1;
}

int lpo_cpu_rowmix(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *a = &c->arg[1], *b = &c->arg[2], *idx = &c->arg[3], *w = &c->arg[4];
    if (!lpo_is_float(y) || !lpo_is_float(a) || !lpo_is_float_or_absent(b) || !lpo_is_float_or_absent(w) ||
        idx->ndim != 2)
        return -1;
    const int64_t R = y->shape[0], H = y->shape[1], Ra = a->shape[0], Rb = b->data ? b->shape[0] : 0,
                  C = idx->shape[1];
    if (!lpo_is_matrix(y, R, H) || !lpo_is_matrix(a, Ra, H) || !lpo_is_matrix(b, Rb, H) ||
        !lpo_is_matrix(w, R, C) || !lpo_cpu_ids_ok(idx, R * C, INT32_MIN, Ra + Rb))
        return -1;
    const lpo_simd *s = lpo_simd_get();
    const int32_t *in = idx->data;
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(R *H *C, WORTH_THREADS))
    for (int64_t r = 0; r < R; r++)
        for (int64_t h = 0; h < H; h += LPO_CPU_CHUNK) {
            const int64_t n = H - h < LPO_CPU_CHUNK ? H - h : LPO_CPU_CHUNK;
            float sum[LPO_CPU_CHUNK], *out = lpo_row_out(y, r * H + h, sum);
            memset(out, 0, (size_t)n * sizeof *out);
            for (int64_t i = r * C; i < (r + 1) * C; i++) {
                if (in[i] < 0) continue;
                const lpo_karg *src = in[i] < Ra ? a : b;
                const int64_t at = (in[i] < Ra ? in[i] : in[i] - Ra) * H + h;
                if (src->dtype == LPO_F32)
                    s->axpy(out, tap(s, w, i), (const float *)src->data + at, n);
                else
                    s->axpy_bf16(out, tap(s, w, i), (const uint16_t *)src->data + at, n);
            }
            lpo_row_done(s, y, r * H + h, n, out);
        }
    return 0;
}

/* f32 sums of a bf16 da and db, behind each other. */
size_t lpo_cpu_rowmix_bwd_scratch(const lpo_kcall *c) {
    size_t n = 0;
    for (int i = 0; i < 2; i++)
        if (c->arg[i].ndim == 2 && c->arg[i].dtype == LPO_BF16)
            n += (size_t)lpo_karg_count(&c->arg[i]) * sizeof(float);
    return n;
}

int lpo_cpu_rowmix_bwd(const lpo_kcall *c) {
    const lpo_karg *dy = &c->arg[2], *idx = &c->arg[3], *w = &c->arg[4];
    if (!lpo_is_float_or_absent(&c->arg[0]) || !lpo_is_float_or_absent(&c->arg[1]) || !lpo_is_float(dy) ||
        !lpo_is_float_or_absent(w) || idx->ndim != 2)
        return -1;
    const int64_t R = dy->shape[0], H = dy->shape[1], C = idx->shape[1], Ra = c->arg[0].shape[0],
                  Rb = c->arg[1].shape[0];
    if (!lpo_is_matrix(dy, R, H) || !lpo_is_matrix(&c->arg[0], Ra, H) || !lpo_is_matrix(&c->arg[1], Rb, H) ||
        !lpo_is_matrix(w, R, C) || !lpo_cpu_ids_ok(idx, R * C, INT32_MIN, INT32_MAX))
        return -1;
    const lpo_simd *s = lpo_simd_get();
    const int32_t *in = idx->data;
    float *sum[2] = {NULL, NULL}, *spare = c->scratch;
    for (int i = 0; i < 2; i++) {
        if (!c->arg[i].data) continue;
        sum[i] = c->arg[i].dtype == LPO_F32 ? c->arg[i].data : spare;
        if (c->arg[i].dtype == LPO_BF16) spare += lpo_karg_count(&c->arg[i]);
        memset(sum[i], 0, (size_t)lpo_karg_count(&c->arg[i]) * sizeof(float));
    }
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(R *H *C, WORTH_THREADS))
    for (int64_t h = 0; h < H; h += SLICE) {
        const int64_t n = H - h < SLICE ? H - h : SLICE;
        float wide[SLICE];
        for (int64_t i = 0; i < R * C; i++) {
            const int which = in[i] >= Ra;
            const int64_t to = which ? in[i] - Ra : in[i];
            if (in[i] < 0 || !sum[which] || (which && to >= Rb)) continue;
            s->axpy(sum[which] + to * H + h, tap(s, w, i), lpo_row(s, dy, i / C * H + h, n, wide), n);
        }
    }
    for (int i = 0; i < 2; i++)
        if (c->arg[i].data && c->arg[i].dtype == LPO_BF16)
            s->narrow(c->arg[i].data, sum[i], lpo_karg_count(&c->arg[i]));
    return 0;
}
