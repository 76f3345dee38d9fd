/* SPDX-License-Identifier: Apache-2.0 */
/* linear.c -- the three products of a linear layer. A few rows (generation) read w without packing it, eight
 * of them at memory speed, but sum in the order of the packed product: a row of y has the same bits alone and
 * in any batch. Backward, up to FEW_BACK rows are scaled rows added; more go through the packed
 * product. */
#include "kernels/cpu/gemm.h"

enum {
    MOST_FEW = 32,
    LANES = 16, /* both of any instruction set */
    FEW_BACK = 4,
    COLUMNS = 64 /* of db, one task */,
    SLICE = 1024 /* of dx */
};

static const int64_t WORTH_THREADS = 1 << 17;

typedef struct store {
    const lpo_karg *y, *bias;
    int64_t ld;
} store;

static void add_bias_and_store(void *ctx, float *c, int64_t ld, int64_t i, int64_t m, int64_t j, int64_t n) {
    const store *st = ctx;
    const lpo_simd *s = lpo_simd_get();
    float wide[LPO_GEMM_COLUMNS];
    const float *bias = st->bias ? lpo_row(s, st->bias, j, n, wide) : NULL;
    for (int64_t r = 0; r < m; r++) {
        if (bias) s->add(c + r * ld, c + r * ld, bias, n);
        lpo_row_done(s, st->y, (i + r) * st->ld + j, n, c + r * ld);
    }
}

/* y = a b (+ bias), y of either dtype. */
static void product(const lpo_karg *y, const lpo_karg *bias, lpo_mat a, lpo_mat b, int64_t m, int64_t n,
                    int64_t k, void *scratch) {
    store st = {y, bias && bias->data ? bias : NULL, n};
    lpo_gemm g = {.m = m, .n = n, .k = k, .a = a, .b = b, .ldc = n, .ctx = &st};
    if (y->dtype == LPO_F32) g.c = y->data;
    if (st.bias || !g.c) g.finish = add_bias_and_store;
    lpo_gemm_run(&g, scratch);
}

static void few_rows(const lpo_kcall *c, int64_t T, int64_t N, int64_t K) {
    const lpo_karg *y = &c->arg[0], *x = &c->arg[1], *w = &c->arg[2], *b = &c->arg[3];
    const lpo_simd *s = lpo_simd_get();
    const int64_t deep = lpo_gemm_depth(K);
    const float *rows = x->dtype == LPO_F32 ? x->data : c->scratch;
    if (x->dtype == LPO_BF16) s->widen(c->scratch, x->data, T * K);
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(N *K, WORTH_THREADS))
    for (int64_t n = 0; n < N; n += s->lanes) {
        const int64_t width = N - n < s->lanes ? N - n : s->lanes;
        float sum[MOST_FEW * LANES], wide[LANES];
        memset(sum, 0, (size_t)(T * s->lanes) * sizeof *sum);
        for (int64_t k = 0; k < K; k += deep)
            s->thin((int)T, K - k < deep ? K - k : deep, rows + k, K, w->data, w->dtype == LPO_BF16,
                    n * K + k, K, (int)width, sum, k > 0);
        const float *bias = lpo_row(s, b, n, width, wide);
        for (int64_t t = 0; t < T; t++) {
            float *row = sum + t * s->lanes;
            if (bias) s->add(row, row, bias, width);
            if (y->dtype == LPO_F32) memcpy((float *)y->data + t * N + n, row, (size_t)width * sizeof *row);
            lpo_row_done(s, y, t * N + n, width, row);
        }
    }
}

size_t lpo_cpu_linear_scratch(const lpo_kcall *c) {
    const int64_t T = c->arg[1].shape[0], K = c->arg[1].shape[1], N = c->arg[2].shape[0];
    return T <= lpo_simd_get()->few ? (size_t)(T * K) * sizeof(float) : lpo_gemm_scratch(T, N, K, false);
}

int lpo_cpu_linear(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *x = &c->arg[1], *w = &c->arg[2], *b = &c->arg[3];
    if (!lpo_is_float(y) || !lpo_is_float(x) || !lpo_is_float(w) || !lpo_is_float_or_absent(b)) return -1;
    const int64_t T = x->shape[0], K = x->shape[1], N = w->shape[0];
    if (!lpo_is_matrix(x, T, K) || !lpo_is_matrix(w, N, K) || !lpo_is_matrix(y, T, N) || !lpo_is_vector(b, N))
        return -1;
    if (T <= lpo_simd_get()->few)
        few_rows(c, T, N, K);
    else
        product(y, b, lpo_mat_of(x, K, 1), lpo_mat_of(w, 1, K), T, N, K, c->scratch);
    return 0;
}

/* y += a x for one row of w or x as stored. */
static void add_scaled(const lpo_simd *s, float *y, float a, const lpo_karg *x, int64_t at, int64_t n) {
    if (x->dtype == LPO_F32)
        s->axpy(y, a, (const float *)x->data + at, n);
    else
        s->axpy_bf16(y, a, (const uint16_t *)x->data + at, n);
}

static float one_of(const lpo_simd *s, const lpo_karg *a, int64_t at) {
    float one;
    return *lpo_row(s, a, at, 1, &one);
}

static void few_rows_dx(const lpo_karg *dx, const lpo_karg *dy, const lpo_karg *w, int64_t T, int64_t N,
                        int64_t K) {
    const lpo_simd *s = lpo_simd_get();
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(N *K, WORTH_THREADS))
    for (int64_t k = 0; k < K; k += SLICE) {
        const int64_t width = K - k < SLICE ? K - k : SLICE;
        float sum[FEW_BACK][SLICE] = {{0}};
        for (int64_t n = 0; n < N; n++)
            for (int64_t t = 0; t < T; t++)
                add_scaled(s, sum[t], one_of(s, dy, t * N + n), w, n * K + k, width);
        for (int64_t t = 0; t < T; t++) {
            if (dx->dtype == LPO_F32)
                memcpy((float *)dx->data + t * K + k, sum[t], (size_t)width * sizeof(float));
            lpo_row_done(s, dx, t * K + k, width, sum[t]);
        }
    }
}

static void few_rows_dw(float *dw, const lpo_karg *dy, const lpo_karg *x, int64_t T, int64_t N, int64_t K) {
    const lpo_simd *s = lpo_simd_get();
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(N *K, WORTH_THREADS))
    for (int64_t n = 0; n < N; n++)
        for (int64_t t = 0; t < T; t++) add_scaled(s, dw + n * K, one_of(s, dy, t * N + n), x, t * K, K);
}

size_t lpo_cpu_linear_dx_scratch(const lpo_kcall *c) {
    return lpo_gemm_scratch(c->arg[1].shape[0], c->arg[2].shape[1], c->arg[1].shape[1], false);
}

int lpo_cpu_linear_dx(const lpo_kcall *c) {
    const lpo_karg *dx = &c->arg[0], *dy = &c->arg[1], *w = &c->arg[2];
    if (!lpo_is_float(dx) || !lpo_is_float(dy) || !lpo_is_float(w)) return -1;
    const int64_t T = dy->shape[0], N = dy->shape[1], K = w->shape[1];
    if (!lpo_is_matrix(dy, T, N) || !lpo_is_matrix(w, N, K) || !lpo_is_matrix(dx, T, K)) return -1;
    if (T <= FEW_BACK)
        few_rows_dx(dx, dy, w, T, N, K);
    else
        product(dx, NULL, lpo_mat_of(dy, N, 1), lpo_mat_of(w, K, 1), T, K, N, c->scratch);
    return 0;
}

size_t lpo_cpu_linear_dw_scratch(const lpo_kcall *c) {
    return lpo_gemm_scratch(c->arg[2].shape[1], c->arg[3].shape[1], c->arg[2].shape[0], false);
}

/* db += column sums: a task owns COLUMNS columns and walks the rows in order. */
static void column_sums(const lpo_karg *db, const lpo_karg *dy, int64_t T, int64_t N) {
    const lpo_simd *s = lpo_simd_get();
#pragma omp parallel for schedule(static) num_threads(lpo_cpu_threads_for(T *N, WORTH_THREADS))
    for (int64_t n = 0; n < N; n += COLUMNS) {
        const int64_t width = N - n < COLUMNS ? N - n : COLUMNS;
        float sum[COLUMNS] = {0}, wide[COLUMNS], *out = (float *)db->data + n;
        for (int64_t t = 0; t < T; t++) s->add(sum, sum, lpo_row(s, dy, t * N + n, width, wide), width);
        s->add(out, out, sum, width);
    }
}

int lpo_cpu_linear_dw(const lpo_kcall *c) {
    const lpo_karg *dw = &c->arg[0], *db = &c->arg[1], *dy = &c->arg[2], *x = &c->arg[3];
    if (!lpo_is_f32_or_absent(dw) || !lpo_is_f32_or_absent(db) || !lpo_is_float(dy) || !lpo_is_float(x))
        return -1;
    const int64_t T = dy->shape[0], N = dy->shape[1], K = x->shape[1];
    if (!lpo_is_matrix(dy, T, N) || !lpo_is_matrix(x, T, K) || !lpo_is_matrix(dw, N, K) ||
        !lpo_is_vector(db, N))
        return -1;
    if (dw->data && T <= FEW_BACK) few_rows_dw(dw->data, dy, x, T, N, K);
    if (dw->data && T > FEW_BACK) {
        lpo_gemm g = {.m = N,
                      .n = K,
                      .k = T,
                      .a = lpo_mat_of(dy, 1, N),
                      .b = lpo_mat_of(x, K, 1),
                      .c = dw->data,
                      .ldc = K,
                      .add = true};
        lpo_gemm_run(&g, c->scratch);
    }
    if (db->data) column_sums(db, dy, T, N);
    return 0;
}
