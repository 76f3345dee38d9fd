/* SPDX-License-Identifier: Apache-2.0 */
/* attn_bwd.c -- gradient of attention from the saved log-sum-exp: weights are computed again, block by block.
 * A task is (sequence, kv head): it alone writes that head's dk and dv and its group's dq, so nothing is
 * shared and the order of every sum is fixed. A second round of such tasks takes the sequences' prefixes: the
 * one whose rows a prefix is of adds, in order, what all that continue it contribute. Sums are kept in f32
 * (in dqkv itself, or in scratch when dqkv is bf16). */
#include <omp.h>

#include "kernels/cpu/attn.h"

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

typedef struct work {
    float *q, *dout, *dq, *p, *dp;
    void *gemm;
    size_t size;
} work;

static work layout(const lpo_heads *h, void *base) {
    const size_t rows = (size_t)(h->tokens * h->group), matrix = rows * (size_t)h->d * sizeof(float);
    lpo_bump b = {base, 0};
    work w;
    w.q = lpo_take(&b, matrix);
    w.dout = lpo_take(&b, matrix);
    w.dq = lpo_take(&b, matrix);
    w.p = lpo_take(&b, rows * LPO_ATTN_KEYS * sizeof(float));
    w.dp = lpo_take(&b, rows * LPO_ATTN_KEYS * sizeof(float));
    w.gemm = lpo_take(&b, lpo_attn_gemm_scratch(h));
    w.size = b.used;
    return w;
}

typedef struct shared {
    float *sums;  /* [T][W] */
    float *delta; /* [T][n_q]: sum of do * o */
    char *own;    /* work of each thread */
    size_t size;
} shared;

static shared shared_layout(const lpo_kcall *c, const lpo_heads *h) {
    const int64_t T = c->arg[2].shape[0];
    lpo_bump b = {c->scratch, 0};
    shared m = {0};
    m.delta = lpo_take(&b, (size_t)(T * h->n_q) * sizeof(float));
    m.sums = c->arg[0].data;
    if (c->arg[0].dtype == LPO_BF16) m.sums = lpo_take(&b, (size_t)(T * h->W) * sizeof(float));
    m.own = lpo_take(&b, layout(h, NULL).size * (size_t)lpo_cpu_threads());
    m.size = b.used;
    return m;
}

size_t lpo_cpu_attn_bwd_scratch(const lpo_kcall *c) {
    lpo_heads h;
    return lpo_heads_of(&h, &c->attrs) ? shared_layout(c, &h).size : 0;
}

static void multiply(const work *w, int64_t m, int64_t n, int64_t k, lpo_mat a, lpo_mat b, float *c,
                     int64_t ldc, bool add) {
    const lpo_gemm g = {
        .m = m, .n = n, .k = k, .a = a, .b = b, .c = c, .ldc = ldc, .add = add, .serial = true};
    lpo_gemm_run(&g, w->gemm);
}

/* Rows t0.. (n tokens) against rows j.. (n_keys) of the keys; the first token sees `limit` of them, each next
 * one `step` more. */
static void block(const lpo_kcall *c, const lpo_heads *h, const shared *m, const work *w, int64_t head,
                  int64_t t0, int64_t n, int64_t j, int64_t n_keys, int64_t limit, int64_t step) {
    const lpo_karg *dout = &c->arg[1], *qkv = &c->arg[2];
    const lpo_simd *s = lpo_simd_get();
    const int64_t T = qkv->shape[0], d = h->d, W = h->W, rows = n * h->group, q_at = head * h->group * d,
                  k_at = (h->n_q + head) * d, v_at = k_at + h->n_kv * d;
    const bool bf16 = qkv->dtype == LPO_BF16;
    const char *base = (const char *)qkv->data + (size_t)(j * W) * (bf16 ? 2 : 4);
    const void *k = base + k_at * (bf16 ? 2 : 4), *v = base + v_at * (bf16 ? 2 : 4);
    const float *lse = c->arg[4].data;
    lpo_attn_gather(h, w->q, qkv, q_at, W, t0, n);
    lpo_attn_gather(h, w->dout, dout, q_at, h->n_q * d, t0, n);
    multiply(w, rows, n_keys, d, (lpo_mat){w->q, false, d, 1}, (lpo_mat){k, bf16, 1, W}, w->p, n_keys, false);
    multiply(w, rows, n_keys, d, (lpo_mat){w->dout, false, d, 1}, (lpo_mat){v, bf16, 1, W}, w->dp, n_keys,
             false);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t t = t0 + r / h->group, q_head = head * h->group + r % h->group;
        float *p = w->p + r * n_keys, *dp = w->dp + r * n_keys;
        int64_t seen = least(n_keys, limit + r / h->group * step);
        if (seen < 0) seen = 0;
        s->exp_sum(p, h->scale, lse[q_head * T + t], seen);
        s->softmax_bwd(dp, p, m->delta[t * h->n_q + q_head], h->scale, seen);
        memset(p + seen, 0, (size_t)(n_keys - seen) * sizeof *p);
        memset(dp + seen, 0, (size_t)(n_keys - seen) * sizeof *dp);
    }
    float *sums = m->sums + j * W;
    multiply(w, n_keys, d, rows, (lpo_mat){w->p, false, 1, n_keys}, (lpo_mat){w->dout, false, d, 1},
             sums + v_at, W, true);
    multiply(w, n_keys, d, rows, (lpo_mat){w->dp, false, 1, n_keys}, (lpo_mat){w->q, false, d, 1},
             sums + k_at, W, true);
    multiply(w, rows, d, n_keys, (lpo_mat){w->dp, false, n_keys, 1}, (lpo_mat){k, bf16, W, 1}, w->dq, d,
             false);
    for (int64_t t = 0; t < n; t++) {
        float *to = m->sums + (t0 + t) * W + q_at;
        s->add(to, to, w->dq + t * h->group * d, h->group * d);
    }
}

static void delta_of(const lpo_kcall *c, const lpo_heads *h, const shared *m, int64_t t, float *wide) {
    const lpo_simd *s = lpo_simd_get();
    for (int64_t q = 0; q < h->n_q; q++) {
        const int64_t at = (t * h->n_q + q) * h->d;
        m->delta[t * h->n_q + q] = s->dot(lpo_row(s, &c->arg[1], at, h->d, wide),
                                          lpo_row(s, &c->arg[3], at, h->d, wide + h->d), h->d);
    }
}

/* Sequence s against its own keys. */
static void own_keys(const lpo_kcall *c, const lpo_heads *h, const shared *m, const work *w, int64_t s,
                     int64_t head) {
    const int32_t *at = c->arg[5].data;
    const int64_t t0 = at[s], len = at[s + 1] - t0;
    const bool causal = c->attrs.causal;
    for (int64_t j = 0; j < len; j += LPO_ATTN_KEYS)
        for (int64_t i = causal ? j / h->tokens * h->tokens : 0; i < len; i += h->tokens)
            block(c, h, m, w, head, t0 + i, least(h->tokens, len - i), t0 + j, least(LPO_ATTN_KEYS, len - j),
                  causal ? i + 1 - j : len, causal);
}

/* Every sequence whose prefix is of sequence s, against that prefix. */
static void prefix_keys(const lpo_kcall *c, const lpo_heads *h, const shared *m, const work *w, int64_t s,
                        int64_t head) {
    const int32_t *at = c->arg[5].data, *prefix = c->arg[6].data;
    const int64_t S = c->arg[5].shape[0] - 1;
    for (int64_t k = s + 1; k < S; k++) {
        const int64_t row = prefix[2 * k], n = prefix[2 * k + 1], len = at[k + 1] - at[k];
        if (!n || row < at[s] || row >= at[s + 1]) continue;
        for (int64_t j = 0; j < n; j += LPO_ATTN_KEYS)
            for (int64_t i = 0; i < len; i += h->tokens)
                block(c, h, m, w, head, at[k] + i, least(h->tokens, len - i), row + j,
                      least(LPO_ATTN_KEYS, n - j), n, 0);
    }
}

int lpo_cpu_attn_bwd(const lpo_kcall *c) {
    const lpo_karg *dqkv = &c->arg[0], *dout = &c->arg[1], *qkv = &c->arg[2], *o = &c->arg[3],
                   *lse = &c->arg[4], *cu = &c->arg[5], *prefix = &c->arg[6];
    lpo_heads h;
    if (!lpo_is_float(dqkv) || !lpo_is_float(dout) || !lpo_is_float(qkv) || !lpo_is_float(o) || !lse->data ||
        lse->dtype != LPO_F32 || !lpo_heads_of(&h, &c->attrs))
        return -1;
    const int64_t T = qkv->shape[0], S = cu->shape[0] - 1;
    if (!lpo_is_matrix(qkv, T, h.W) || !lpo_is_matrix(dqkv, T, h.W) || !lpo_is_matrix(o, T, h.n_q * h.d) ||
        !lpo_is_matrix(dout, T, h.n_q * h.d) || !lpo_is_matrix(lse, h.n_q, T) || !lpo_cpu_cu_ok(cu, T) ||
        !lpo_cpu_prefix_ok(prefix, cu))
        return -1;
    const shared m = shared_layout(c, &h);
    const size_t mine = layout(&h, NULL).size;
    const int n_threads = lpo_cpu_threads_for(T * h.W, 1 << 12);
#pragma omp parallel num_threads(n_threads)
    {
        const work w = layout(&h, m.own + (size_t)omp_get_thread_num() * mine);
#pragma omp for schedule(static)
        for (int64_t t = 0; t < T; t++) {
            memset(m.sums + t * h.W, 0, (size_t)h.W * sizeof *m.sums);
            delta_of(c, &h, &m, t, w.p);
        }
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < S * h.n_kv; task++)
            own_keys(c, &h, &m, &w, task / h.n_kv, task % h.n_kv);
        if (prefix->data) {
#pragma omp for schedule(dynamic)
            for (int64_t task = 0; task < S * h.n_kv; task++)
                prefix_keys(c, &h, &m, &w, task / h.n_kv, task % h.n_kv);
        }
        if (dqkv->dtype == LPO_BF16) {
#pragma omp for schedule(static)
            for (int64_t t = 0; t < T; t++)
                lpo_row_done(lpo_simd_get(), dqkv, t * h.W, h.W, m.sums + t * h.W);
        }
    }
    return 0;
}
