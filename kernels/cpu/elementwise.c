/* SPDX-License-Identifier: Apache-2.0 */
/* elementwise.c -- sum, fill, cast, bytes to values, the optimizer step and the squared norm: one pass over
 * memory each, in chunks. */
#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/number.h"

static const int64_t WORTH_THREADS = 1 << 16;

static inline int64_t chunk_at(int64_t at, int64_t n) {
    return n - at < LPO_CPU_CHUNK ? n - at : LPO_CPU_CHUNK;
}

int lpo_cpu_add(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *a = &c->arg[1], *b = &c->arg[2];
    const int64_t n = lpo_karg_count(y);
    if (!lpo_is_float(y) || !lpo_is_float(a) || !lpo_is_float(b) || !lpo_is_vector(a, n) ||
        !lpo_is_vector(b, n))
        return -1;
    const lpo_simd *s = lpo_simd_get();
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(n, WORTH_THREADS))
    for (int64_t i = 0; i < n; i += LPO_CPU_CHUNK) {
        const int64_t m = chunk_at(i, n);
        float wa[LPO_CPU_CHUNK], wb[LPO_CPU_CHUNK], wy[LPO_CPU_CHUNK], *out = lpo_row_out(y, i, wy);
        s->add(out, lpo_row(s, a, i, m, wa), lpo_row(s, b, i, m, wb), m);
        lpo_row_done(s, y, i, m, out);
    }
    return 0;
}

int lpo_cpu_levels(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *x = &c->arg[1], *value = &c->arg[2];
    const int64_t T = y->shape[0], K = y->shape[1], C = value->shape[0];
    if (!y->data || y->dtype != LPO_F32 || x->dtype != LPO_U8 || value->dtype != LPO_F32 || y->ndim != 2 ||
        !lpo_is_matrix(x, T, K) || C < 1 || K % C || !lpo_is_matrix(value, C, 256))
        return -1;
    const int64_t part = K / C;
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(T *K, WORTH_THREADS))
    for (int64_t t = 0; t < T; t++)
        for (int64_t k = 0; k < C; k++) {
            const float *v = (const float *)value->data + 256 * k;
            const uint8_t *in = (const uint8_t *)x->data + t * K + k * part;
            float *out = (float *)y->data + t * K + k * part;
            for (int64_t i = 0; i < part; i++) out[i] = v[in[i]];
        }
    return 0;
}

static double get(const lpo_karg *a, int64_t i) {
    switch (a->dtype) {
    case LPO_F64: return ((const double *)a->data)[i];
    case LPO_F32: return (double)((const float *)a->data)[i];
    case LPO_BF16: return (double)lpo_bf16_to_f32(((const uint16_t *)a->data)[i]);
    default: return (double)lpo_f16_to_f32(((const uint16_t *)a->data)[i]);
    }
}
static void put(const lpo_karg *a, int64_t i, double v) {
    switch (a->dtype) {
    case LPO_F64: ((double *)a->data)[i] = v; break;
    case LPO_F32: ((float *)a->data)[i] = (float)v; break;
    case LPO_BF16: ((uint16_t *)a->data)[i] = lpo_f32_to_bf16(lpo_f64_to_odd_f32(v)); break;
    default: ((uint16_t *)a->data)[i] = lpo_f32_to_f16(lpo_f64_to_odd_f32(v)); break;
    }
}
static bool is_real(const lpo_karg *a) {
    return a->data &&
           (a->dtype == LPO_F64 || a->dtype == LPO_F32 || a->dtype == LPO_BF16 || a->dtype == LPO_F16);
}

int lpo_cpu_fill(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0];
    const int64_t n = lpo_karg_count(y);
    if (!is_real(y)) return -1;
    if (n == 0) return 0;
    const size_t size = lpo_dtype_bytes(y->dtype);
    put(y, 0, c->attrs.value);
    char one[8], *p = y->data;
    memcpy(one, p, size);
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(n, WORTH_THREADS))
    for (int64_t i = 0; i < n; i += LPO_CPU_CHUNK) {
        const size_t m = (size_t)chunk_at(i, n) * size;
        char *at = p + (size_t)i * size;
        memcpy(at, one, size);
        for (size_t done = size; done < m; done *= 2)
            memcpy(at + done, at, done < m - done ? done : m - done);
    }
    return 0;
}

int lpo_cpu_cast(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *x = &c->arg[1];
    const int64_t n = lpo_karg_count(y);
    if (!is_real(y) || !is_real(x) || !lpo_is_vector(x, n)) return -1;
    const lpo_simd *s = lpo_simd_get();
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(n, WORTH_THREADS))
    for (int64_t i = 0; i < n; i += LPO_CPU_CHUNK) {
        const int64_t m = chunk_at(i, n);
        const size_t size = lpo_dtype_bytes(x->dtype);
        if (x->dtype == y->dtype)
            memcpy((char *)y->data + (size_t)i * size, (const char *)x->data + (size_t)i * size,
                   (size_t)m * size);
        else if (x->dtype == LPO_BF16 && y->dtype == LPO_F32)
            s->widen((float *)y->data + i, (const uint16_t *)x->data + i, m);
        else if (x->dtype == LPO_F32 && y->dtype == LPO_BF16)
            s->narrow((uint16_t *)y->data + i, (const float *)x->data + i, m);
        else
            for (int64_t j = i; j < i + m; j++) put(y, j, get(x, j));
    }
    return 0;
}

int lpo_cpu_dropout(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *x = &c->arg[1];
    const int64_t n = lpo_karg_count(y);
    const double share = c->attrs.value;
    if (!lpo_is_float(y) || !lpo_is_float(x) || !lpo_is_vector(x, n) || !(share >= 0 && share < 1)) return -1;
    const lpo_simd *s = lpo_simd_get();
    const float scale = (float)(1 / (1 - share));
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(n, WORTH_THREADS))
    for (int64_t i = 0; i < n; i += LPO_CPU_CHUNK) {
        const int64_t m = chunk_at(i, n);
        float wx[LPO_CPU_CHUNK], wy[LPO_CPU_CHUNK], *out = lpo_row_out(y, i, wy);
        const float *in = lpo_row(s, x, i, m, wx);
        for (int64_t j = 0; j < m; j++) out[j] = lpo_dropped(c->attrs.seed, i + j, share) ? 0 : in[j] * scale;
        lpo_row_done(s, y, i, m, out);
    }
    return 0;
}

int lpo_cpu_adamw(const lpo_kcall *c) {
    const lpo_karg *p = &c->arg[0], *m = &c->arg[1], *v = &c->arg[2], *low = &c->arg[3], *g = &c->arg[4],
                   *norm2 = &c->arg[5];
    const lpo_attrs *a = &c->attrs;
    const int64_t n = lpo_karg_count(p);
    if (!p->data || !m->data || !v->data || p->dtype != LPO_F32 || m->dtype != LPO_F32 ||
        v->dtype != LPO_F32 || !lpo_is_float_or_absent(low) || !lpo_is_float(g) ||
        (norm2->data && norm2->dtype != LPO_F64))
        return -1;
    if (!lpo_is_vector(m, n) || !lpo_is_vector(v, n) || !lpo_is_vector(low, n) || !lpo_is_vector(g, n))
        return -1;
    double scale = a->g_scale;
    if (a->max_norm > 0 && norm2->data)
        scale *= fmin(1, a->max_norm / (sqrt(*(const double *)norm2->data) * a->g_scale + 1e-6));
    const lpo_adam k = {(float)a->beta1,
                        (float)a->beta2,
                        (float)(1 - a->beta1),
                        (float)(1 - a->beta2),
                        (float)(1 - a->lr * a->weight_decay),
                        (float)(a->lr / a->bias1),
                        (float)(1 / sqrt(a->bias2)),
                        (float)a->eps,
                        (float)scale};
    const lpo_simd *s = lpo_simd_get();
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(n, WORTH_THREADS))
    for (int64_t i = 0; i < n; i += LPO_CPU_CHUNK) {
        const int64_t count = chunk_at(i, n);
        float wide[LPO_CPU_CHUNK], *pi = (float *)p->data + i;
        s->adam(&k, pi, (float *)m->data + i, (float *)v->data + i, lpo_row(s, g, i, count, wide), count);
        if (low->data && low->dtype == LPO_BF16) s->narrow((uint16_t *)low->data + i, pi, count);
        if (low->data && low->dtype == LPO_F32)
            memcpy((float *)low->data + i, pi, (size_t)count * sizeof *pi);
    }
    return 0;
}

size_t lpo_cpu_sqnorm_scratch(const lpo_kcall *c) {
    return (size_t)(lpo_karg_count(&c->arg[1]) / LPO_CPU_CHUNK + 1) * sizeof(double);
}

int lpo_cpu_sqnorm(const lpo_kcall *c) {
    const lpo_karg *out = &c->arg[0], *x = &c->arg[1];
    if (!out->data || out->dtype != LPO_F64 || !lpo_is_float(x)) return -1;
    const int64_t n = lpo_karg_count(x);
    const lpo_simd *s = lpo_simd_get();
    double *partial = c->scratch, sum = 0;
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(n, WORTH_THREADS))
    for (int64_t i = 0; i < n; i += LPO_CPU_CHUNK) {
        float wide[LPO_CPU_CHUNK];
        partial[i / LPO_CPU_CHUNK] = s->sqnorm(lpo_row(s, x, i, chunk_at(i, n), wide), chunk_at(i, n));
    }
    for (int64_t i = 0; i < n; i += LPO_CPU_CHUNK) sum += partial[i / LPO_CPU_CHUNK];
    *(double *)out->data += sum;
    return 0;
}
