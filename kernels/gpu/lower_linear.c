/* SPDX-License-Identifier: Apache-2.0 */
/* lower_linear.c -- products, and the log-probabilities that are chunks of one product.
 * The logits of ROWS rows and CHUNK ids at a time (32 MiB) are the most that ever exists of them. */
#include "kernels/gpu/lower.h"

enum {
    GEMM_TILE = 64,
    FEW = 8, /* rows, columns of a group, depth of its memory: of few.cl */
    FEW_OUT = 16,
    FEW_DEEP = 128,
    ROWS = 1024,
    CHUNK = 8192,
    STATE = 5 /* doubles a row, of logprob.cl */
};

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

int lpo_gpu_gemm_go(lpo_gpu_call *c, const lpo_gpu_gemm *g) {
    return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_GEMM,
                                          .groups = {lpo_gpu_groups(g->n, GEMM_TILE),
                                                     lpo_gpu_groups(g->m, GEMM_TILE), (uint32_t)g->batch},
                                          .tensor = {g->c, g->a, g->b, g->bias},
                                          .n = {g->m, g->n, g->k, g->a_row, g->a_col, g->b_row, g->b_col,
                                                g->c_row, g->add, g->a_batch, g->b_batch, g->c_batch}});
}

int lpo_gpu_lower_linear(lpo_gpu_call *c) {
    const lpo_karg *y = &c->k.arg[0], *x = &c->k.arg[1], *w = &c->k.arg[2], *b = &c->k.arg[3];
    if (!lpo_gpu_float(y) || !lpo_gpu_float(x) || !lpo_gpu_float(w) || !lpo_gpu_float_or_absent(b)) return -1;
    const int64_t T = x->shape[0], K = x->shape[1], N = w->shape[0];
    if (!lpo_gpu_matrix(x, T, K) || !lpo_gpu_matrix(w, N, K) || !lpo_gpu_matrix(y, T, N) ||
        !lpo_gpu_vector(b, N))
        return -1;
    if (T == 0 || N == 0) return 0;
    if (T <= FEW)
        return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_FEW,
                                              .groups = {lpo_gpu_groups(N, FEW_OUT)},
                                              .local_bytes = (uint32_t)(FEW_DEEP * (FEW_OUT + 1 + T)) * 4,
                                              .tensor = {lpo_gpu_arg(c, 0), lpo_gpu_arg(c, 1),
                                                         lpo_gpu_arg(c, 2), lpo_gpu_arg(c, 3)},
                                              .n = {T, N, K}});
    return lpo_gpu_gemm_go(c, &(lpo_gpu_gemm){.c = lpo_gpu_arg(c, 0),
                                              .a = lpo_gpu_arg(c, 1),
                                              .b = lpo_gpu_arg(c, 2),
                                              .bias = lpo_gpu_arg(c, 3),
                                              .m = T,
                                              .n = N,
                                              .k = K,
                                              .a_row = K,
                                              .a_col = 1,
                                              .b_row = 1,
                                              .b_col = K,
                                              .c_row = N});
}

int lpo_gpu_lower_linear_dx(lpo_gpu_call *c) {
    const lpo_karg *dx = &c->k.arg[0], *dy = &c->k.arg[1], *w = &c->k.arg[2];
    if (!lpo_gpu_float(dx) || !lpo_gpu_float(dy) || !lpo_gpu_float(w)) return -1;
    const int64_t T = dy->shape[0], N = dy->shape[1], K = w->shape[1];
    if (!lpo_gpu_matrix(dy, T, N) || !lpo_gpu_matrix(w, N, K) || !lpo_gpu_matrix(dx, T, K)) return -1;
    if (T == 0 || K == 0) return 0;
    return lpo_gpu_gemm_go(c, &(lpo_gpu_gemm){.c = lpo_gpu_arg(c, 0),
                                              .a = lpo_gpu_arg(c, 1),
                                              .b = lpo_gpu_arg(c, 2),
                                              .m = T,
                                              .n = K,
                                              .k = N,
                                              .a_row = N,
                                              .a_col = 1,
                                              .b_row = K,
                                              .b_col = 1,
                                              .c_row = K});
}

int lpo_gpu_lower_linear_dw(lpo_gpu_call *c) {
    const lpo_karg *dw = &c->k.arg[0], *db = &c->k.arg[1], *dy = &c->k.arg[2], *x = &c->k.arg[3];
    if (!lpo_gpu_is_or_absent(dw, LPO_F32) || !lpo_gpu_is_or_absent(db, LPO_F32) || !lpo_gpu_float(dy) ||
        !lpo_gpu_float(x))
        return -1;
    const int64_t T = dy->shape[0], N = dy->shape[1], K = x->shape[1];
    if (!lpo_gpu_matrix(dy, T, N) || !lpo_gpu_matrix(x, T, K) || !lpo_gpu_matrix(dw, N, K) ||
        !lpo_gpu_vector(db, N))
        return -1;
    if (T == 0 || N == 0) return 0;
    int rc = 0;
    if (dw->data && K)
        rc = lpo_gpu_gemm_go(c, &(lpo_gpu_gemm){.c = lpo_gpu_arg(c, 0),
                                                .a = lpo_gpu_arg(c, 2),
                                                .b = lpo_gpu_arg(c, 3),
                                                .m = N,
                                                .n = K,
                                                .k = T,
                                                .a_row = 1,
                                                .a_col = N,
                                                .b_row = K,
                                                .b_col = 1,
                                                .c_row = K,
                                                .add = true});
    if (rc || !db->data) return rc;
    return lpo_gpu_columns_go(c, lpo_gpu_arg(c, 1), lpo_gpu_arg(c, 2),
                              lpo_gpu_scratch(c, LPO_F32, lpo_gpu_blocks(T) * N), T, N);
}

static int64_t n_valid_of(const lpo_gpu_call *c) {
    const int64_t V = c->k.arg[5].shape[0], n = c->k.attrs.n_valid;
    return n > 0 && n < V ? n : V;
}

/* z[rows, count] = h[t0..] w[v0..]^T. */
static int logits_go(lpo_gpu_call *c, lpo_gpu_tensor z, int64_t t0, int64_t rows, int64_t v0, int64_t count) {
    const int64_t H = c->k.arg[4].shape[1];
    return lpo_gpu_gemm_go(c, &(lpo_gpu_gemm){.c = z,
                                              .a = lpo_gpu_at(lpo_gpu_arg(c, 4), t0 * H),
                                              .b = lpo_gpu_at(lpo_gpu_arg(c, 5), v0 * H),
                                              .m = rows,
                                              .n = count,
                                              .k = H,
                                              .a_row = H,
                                              .a_col = 1,
                                              .b_row = 1,
                                              .b_col = H,
                                              .c_row = count});
}

static int logprob_rows(lpo_gpu_call *c, lpo_gpu_tensor z, lpo_gpu_tensor state, int64_t t0, int64_t rows) {
    const int64_t n = n_valid_of(c);
    const lpo_gpu_tensor target = lpo_gpu_at(lpo_gpu_arg(c, 6), t0);
    int rc = 0;
    for (int64_t v0 = 0; v0 < n && !rc; v0 += CHUNK) {
        const int64_t count = least(CHUNK, n - v0);
        rc = logits_go(c, z, t0, rows, v0, count);
        if (!rc)
            rc = lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_LOGPROB_CHUNK,
                                                .groups = {(uint32_t)rows},
                                                .tensor = {state, z, target},
                                                .n = {v0, count}});
    }
    return rc ? rc
              : lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_LOGPROB_JOIN,
                                               .groups = {lpo_gpu_groups(rows, 64)},
                                               .tensor = {lpo_gpu_at(lpo_gpu_arg(c, 0), t0),
                                                          lpo_gpu_at(lpo_gpu_arg(c, 1), t0),
                                                          lpo_gpu_at(lpo_gpu_arg(c, 2), t0),
                                                          lpo_gpu_at(lpo_gpu_arg(c, 3), t0), state, target},
                                               .n = {rows, n}});
}

int lpo_gpu_lower_logprob(lpo_gpu_call *c) {
    const lpo_karg *logp = &c->k.arg[0], *lse = &c->k.arg[1], *entropy = &c->k.arg[2], *hit = &c->k.arg[3],
                   *h = &c->k.arg[4], *w = &c->k.arg[5], *target = &c->k.arg[6];
    if (!lpo_gpu_is(logp, LPO_F32) || !lpo_gpu_is(lse, LPO_F32) || !lpo_gpu_is_or_absent(entropy, LPO_F32) ||
        !lpo_gpu_is_or_absent(hit, LPO_I32) || !lpo_gpu_float(h) || !lpo_gpu_float(w) ||
        !lpo_gpu_is(target, LPO_I32))
        return -1;
    const int64_t T = h->shape[0], H = h->shape[1], V = w->shape[0];
    if (!lpo_gpu_matrix(h, T, H) || !lpo_gpu_matrix(w, V, H) || !lpo_gpu_vector(target, T) ||
        !lpo_gpu_vector(logp, T) || !lpo_gpu_vector(lse, T) || !lpo_gpu_vector(entropy, T) ||
        !lpo_gpu_vector(hit, T) || V == 0)
        return -1;
    if (T == 0) return 0;
    const int64_t rows = least(T, ROWS);
    lpo_gpu_tensor z = lpo_gpu_scratch(c, LPO_F32, rows * least(n_valid_of(c), CHUNK)),
                   state = lpo_gpu_scratch(c, LPO_F64, rows * STATE);
    int rc = lpo_gpu_check_ids(c, lpo_gpu_arg(c, 6), T, INT32_MIN, V, LPO_GPU_FAULT_TARGET);
    for (int64_t t0 = 0; t0 < T && !rc; t0 += ROWS) rc = logprob_rows(c, z, state, t0, least(ROWS, T - t0));
    return rc;
}

/* One chunk of ids for some rows: dh (+)= dz w, dw += dz^T h. */
static int chunk_bwd(lpo_gpu_call *c, lpo_gpu_tensor z, lpo_gpu_tensor dz, lpo_gpu_tensor dh, int64_t t0,
                     int64_t rows, int64_t v0) {
    const int64_t H = c->k.arg[4].shape[1], n = n_valid_of(c), count = least(CHUNK, n - v0);
    int rc = logits_go(c, z, t0, rows, v0, count);
    if (!rc)
        rc = lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_LOGPROB_GRAD,
                                            .groups = {lpo_gpu_groups(rows * count, 256)},
                                            .tensor = {dz, z, lpo_gpu_at(lpo_gpu_arg(c, 2), t0),
                                                       lpo_gpu_at(lpo_gpu_arg(c, 3), t0),
                                                       lpo_gpu_at(lpo_gpu_arg(c, 6), t0)},
                                            .n = {rows, v0, count, n}});
    if (!rc)
        rc = lpo_gpu_gemm_go(c, &(lpo_gpu_gemm){.c = dh,
                                                .a = dz,
                                                .b = lpo_gpu_at(lpo_gpu_arg(c, 5), v0 * H),
                                                .m = rows,
                                                .n = H,
                                                .k = count,
                                                .a_row = count,
                                                .a_col = 1,
                                                .b_row = H,
                                                .b_col = 1,
                                                .c_row = H,
                                                .add = v0 > 0});
    if (rc || !c->k.arg[1].data) return rc;
    return lpo_gpu_gemm_go(c, &(lpo_gpu_gemm){.c = lpo_gpu_at(lpo_gpu_arg(c, 1), v0 * H),
                                              .a = dz,
                                              .b = lpo_gpu_at(lpo_gpu_arg(c, 4), t0 * H),
                                              .m = count,
                                              .n = H,
                                              .k = rows,
                                              .a_row = 1,
                                              .a_col = count,
                                              .b_row = H,
                                              .b_col = 1,
                                              .c_row = H,
                                              .add = true});
}

int lpo_gpu_lower_logprob_bwd(lpo_gpu_call *c) {
    const lpo_karg *dh = &c->k.arg[0], *dw = &c->k.arg[1], *dlogp = &c->k.arg[2], *lse = &c->k.arg[3],
                   *h = &c->k.arg[4], *w = &c->k.arg[5], *target = &c->k.arg[6];
    if (!lpo_gpu_float(dh) || !lpo_gpu_is_or_absent(dw, LPO_F32) || !lpo_gpu_is(dlogp, LPO_F32) ||
        !lpo_gpu_is(lse, LPO_F32) || !lpo_gpu_float(h) || !lpo_gpu_float(w) || !lpo_gpu_is(target, LPO_I32))
        return -1;
    const int64_t T = h->shape[0], H = h->shape[1], V = w->shape[0], n = n_valid_of(c);
    if (!lpo_gpu_matrix(h, T, H) || !lpo_gpu_matrix(w, V, H) || !lpo_gpu_matrix(dh, T, H) ||
        !lpo_gpu_matrix(dw, V, H) || !lpo_gpu_vector(target, T) || !lpo_gpu_vector(dlogp, T) ||
        !lpo_gpu_vector(lse, T) || V == 0)
        return -1;
    if (T == 0) return 0;
    const int64_t most = least(T, ROWS);
    const bool narrow = dh->dtype != LPO_F32; /* then dh is summed in f32 and rounded once */
    const bool low = c->products && h->dtype == LPO_BF16 && w->dtype == LPO_BF16;
    const lpo_gpu_tensor z = lpo_gpu_scratch(c, LPO_F32, most * least(n, CHUNK)),
                         dz = low ? lpo_gpu_scratch(c, LPO_BF16, most * least(n, CHUNK)) : z;
    lpo_gpu_tensor wide = {0};
    if (narrow) wide = lpo_gpu_scratch(c, LPO_F32, most * H);
    int rc = lpo_gpu_check_ids(c, lpo_gpu_arg(c, 6), T, INT32_MIN, V, LPO_GPU_FAULT_TARGET);
    for (int64_t t0 = 0; t0 < T && !rc; t0 += ROWS) {
        const int64_t rows = least(ROWS, T - t0);
        const lpo_gpu_tensor out = lpo_gpu_at(lpo_gpu_arg(c, 0), t0 * H);
        for (int64_t v0 = 0; v0 < n && !rc; v0 += CHUNK)
            rc = chunk_bwd(c, z, dz, narrow ? wide : out, t0, rows, v0);
        if (!rc && narrow)
            rc = lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_CAST,
                                                .groups = {lpo_gpu_groups(rows * H, 256)},
                                                .tensor = {out, wide},
                                                .n = {rows * H}});
    }
    return rc;
}
