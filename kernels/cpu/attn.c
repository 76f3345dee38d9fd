/* SPDX-License-Identifier: Apache-2.0 */
/* attn.c -- forward attention, flash style: a block of queries walks the keys 256 at a time keeping a running
 * maximum and sum. The heads of a group are rows of one matrix, so keys and values are packed once for all of
 * them. A task is (sequence, kv head, block of tokens); blocks are cut by shape, each is computed by one
 * thread. */
#include "kernels/cpu/attn.h"

#include <math.h>
#include <omp.h>

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

bool lpo_cpu_prefix_ok(const lpo_karg *prefix, const lpo_karg *cu) {
    const int64_t S = cu->shape[0] - 1;
    const int32_t *at = cu->data, *p = prefix->data;
    if (!p) return true;
    if (!lpo_is_i32(prefix) || !lpo_is_matrix(prefix, S, 2)) return false;
    for (int64_t s = 0; s < S; s++) {
        const int32_t row = p[2 * s], n = p[2 * s + 1];
        if (n && (n < 0 || row < 0 || n > at[s] - row)) return false;
        if (n && lpo_attn_owner(cu, s, row) != lpo_attn_owner(cu, s, row + n - 1)) return false;
    }
    return true;
}

/* The sequence before `last` that `row` is of. */
int64_t lpo_attn_owner(const lpo_karg *cu, int64_t last, int64_t row) {
    const int32_t *at = cu->data;
    int64_t low = 0, high = last;
    while (high - low > 1) {
        const int64_t mid = low + (high - low) / 2;
        *(at[mid] <= row ? &low : &high) = mid;
    }
    return low;
}

bool lpo_heads_of(lpo_heads *h, const lpo_attrs *a) {
    *h = (lpo_heads){.n_q = a->n_q, .n_kv = a->n_kv, .d = a->d_head, .scale = a->scale};
    if (h->n_q <= 0 || h->n_kv <= 0 || h->n_q % h->n_kv || h->d <= 0) return false;
    h->group = h->n_q / h->n_kv;
    h->W = (h->n_q + 2 * h->n_kv) * h->d;
    h->tokens = h->group >= LPO_ATTN_ROWS ? 1 : LPO_ATTN_ROWS / h->group;
    return true;
}

size_t lpo_attn_gemm_scratch(const lpo_heads *h) {
    int64_t side = h->tokens * h->group > LPO_ATTN_KEYS ? h->tokens * h->group : LPO_ATTN_KEYS;
    if (h->d > side) side = h->d;
    return lpo_gemm_scratch(side, side, side, true);
}

void lpo_attn_gather(const lpo_heads *h, float *dst, const lpo_karg *src, int64_t first, int64_t row,
                     int64_t t0, int64_t n) {
    const lpo_simd *s = lpo_simd_get();
    const int64_t len = h->group * h->d; /* a group's heads are neighbours */
    for (int64_t t = 0; t < n; t++) {
        const float *from = lpo_row(s, src, (t0 + t) * row + first, len, dst + t * len);
        if (from != dst + t * len) memcpy(dst + t * len, from, (size_t)len * sizeof *dst);
    }
}

typedef struct work {
    float *q, *o, *p, *max, *sum, *k, *v; /* k, v: of the one block that joins prefix and own keys */
    void *gemm;
    size_t size;
} work;

static work layout(const lpo_heads *h, void *base) {
    const size_t rows = (size_t)(h->tokens * h->group);
    lpo_bump b = {base, 0};
    work w;
    w.q = lpo_take(&b, rows * (size_t)h->d * sizeof(float));
    w.o = lpo_take(&b, rows * (size_t)h->d * sizeof(float));
    w.p = lpo_take(&b, rows * LPO_ATTN_KEYS * sizeof(float));
    w.max = lpo_take(&b, rows * sizeof(float));
    w.sum = lpo_take(&b, rows * sizeof(float));
    w.k = lpo_take(&b, LPO_ATTN_KEYS * (size_t)h->d * sizeof(float));
    w.v = lpo_take(&b, LPO_ATTN_KEYS * (size_t)h->d * sizeof(float));
    w.gemm = lpo_take(&b, lpo_attn_gemm_scratch(h));
    w.size = b.used;
    return w;
}
size_t lpo_attn_block_scratch(const lpo_heads *h) {
    return layout(h, NULL).size;
}

/* Scores of row r against n keys become weights; what was summed before is rescaled to the new maximum. */
static void soften(const lpo_simd *s, const lpo_heads *h, const work *w, int64_t r, int64_t seen, int64_t n) {
    float *p = w->p + r * n;
    if (seen <= 0) {
        memset(p, 0, (size_t)n * sizeof *p);
        return;
    }
    const float top = h->scale * s->max(p, seen), max = top > w->max[r] ? top : w->max[r];
    const float keep = expf(w->max[r] - max);
    if (keep != 1.0f) s->scale(w->o + r * h->d, keep, h->d);
    w->sum[r] = w->sum[r] * keep + s->exp_sum(p, h->scale, max, seen);
    w->max[r] = max;
    memset(p + seen, 0, (size_t)(n - seen) * sizeof *p);
}

static lpo_mat rows_from(lpo_mat m, int64_t row) {
    m.data = (const char *)m.data + (size_t)(row * m.row) * (m.bf16 ? 2 : 4);
    return m;
}

/* Keys j..j+n of prefix and own rows end to end. Blocks are cut as if they lay so in memory: a sequence gets
 * the bits it would get alone. */
static lpo_mat some_keys(lpo_mat prefix, lpo_mat own, int64_t n_prefix, int64_t j, int64_t n, int64_t d,
                         float *joined) {
    if (j >= n_prefix) return rows_from(own, j - n_prefix);
    if (j + n <= n_prefix) return rows_from(prefix, j);
    const lpo_simd *s = lpo_simd_get();
    for (int64_t i = 0; i < n; i++) {
        const lpo_mat from = j + i < n_prefix ? rows_from(prefix, j + i) : rows_from(own, j + i - n_prefix);
        if (from.bf16)
            s->widen(joined + i * d, from.data, d);
        else
            memcpy(joined + i * d, from.data, (size_t)d * sizeof *joined);
    }
    return (lpo_mat){joined, false, d, 1};
}

void lpo_attn_block_run(const lpo_heads *h, const lpo_attn_block *b, void *scratch) {
    const lpo_simd *s = lpo_simd_get();
    const work w = layout(h, scratch);
    const int64_t rows = b->n * h->group, d = h->d, end = b->limit + (b->n - 1) * b->step;
    lpo_attn_gather(h, w.q, b->qkv, b->kv_head * h->group * d, h->W, b->t0, b->n);
    memset(w.o, 0, (size_t)(rows * d) * sizeof *w.o);
    for (int64_t r = 0; r < rows; r++) {
        w.max[r] = -INFINITY;
        w.sum[r] = 0;
    }
    for (int64_t j = 0; j < end; j += LPO_ATTN_KEYS) {
        const int64_t n = least(LPO_ATTN_KEYS, end - j);
        const lpo_mat keys = some_keys(b->prefix_k, b->k, b->n_prefix, j, n, d, w.k);
        const lpo_mat k = {keys.data, keys.bf16, 1, keys.row};
        const lpo_mat v = some_keys(b->prefix_v, b->v, b->n_prefix, j, n, d, w.v);
        const lpo_gemm score = {
            .m = rows, .n = n, .k = d, .a = {w.q, false, d, 1}, .b = k, .c = w.p, .ldc = n, .serial = true};
        lpo_gemm_run(&score, w.gemm);
        for (int64_t r = 0; r < rows; r++)
            soften(s, h, &w, r, least(n, b->limit + r / h->group * b->step - j), n);
        const lpo_gemm mix = {.m = rows,
                              .n = d,
                              .k = n,
                              .a = {w.p, false, n, 1},
                              .b = v,
                              .c = w.o,
                              .ldc = d,
                              .add = true,
                              .serial = true};
        lpo_gemm_run(&mix, w.gemm);
    }
    for (int64_t r = 0; r < rows; r++) {
        const int64_t head = b->kv_head * h->group + r % h->group, t = b->t0 + r / h->group,
                      at = (t * h->n_q + head) * d;
        s->scale(w.o + r * d, 1.0f / w.sum[r], d);
        if (b->o->dtype == LPO_F32)
            memcpy((float *)b->o->data + at, w.o + r * d, (size_t)d * sizeof(float));
        else
            lpo_row_done(s, b->o, at, d, w.o + r * d);
        if (b->lse) b->lse[head * b->lse_row + t] = w.max[r] + logf(w.sum[r]);
    }
}

size_t lpo_cpu_attn_scratch(const lpo_kcall *c) {
    lpo_heads h;
    return lpo_heads_of(&h, &c->attrs) ? lpo_attn_block_scratch(&h) * (size_t)lpo_cpu_threads() : 0;
}

int lpo_cpu_attn(const lpo_kcall *c) {
    const lpo_karg *o = &c->arg[0], *lse = &c->arg[1], *qkv = &c->arg[2], *cu = &c->arg[3],
                   *prefix = &c->arg[4];
    lpo_heads h;
    if (!lpo_is_float(o) || !lpo_is_f32_or_absent(lse) || !lpo_is_float(qkv) || !lpo_heads_of(&h, &c->attrs))
        return -1;
    const int64_t T = qkv->shape[0], S = cu->shape[0] - 1;
    if (!lpo_is_matrix(qkv, T, h.W) || !lpo_is_matrix(o, T, h.n_q * h.d) || !lpo_is_matrix(lse, h.n_q, T) ||
        !lpo_cpu_cu_ok(cu, T) || !lpo_cpu_prefix_ok(prefix, cu))
        return -1;
    const int32_t *at = cu->data, *before = prefix->data;
    const size_t mine = lpo_attn_block_scratch(&h), size = lpo_dtype_bytes(qkv->dtype);
    const bool causal = c->attrs.causal, bf16 = qkv->dtype == LPO_BF16;
    const int n_threads = lpo_cpu_threads_for(T * h.W, 1 << 13);
#pragma omp parallel num_threads(n_threads)
    for (int64_t s = 0; s < S; s++) {
        const int64_t len = at[s + 1] - at[s], n_blocks = (len + h.tokens - 1) / h.tokens;
        const int64_t n_prefix = before ? before[2 * s + 1] : 0;
        const char *base = qkv->data, *first = base + (size_t)(at[s] * h.W) * size,
                   *shared = n_prefix ? base + (size_t)(before[2 * s] * h.W) * size : NULL;
#pragma omp for schedule(dynamic) nowait
        for (int64_t task = 0; task < n_blocks * h.n_kv; task++) {
            const int64_t i = (n_blocks - 1 - task / h.n_kv) * h.tokens,
                          head = task % h.n_kv; /* the longest first */
            const size_t k_at = (size_t)((h.n_q + head) * h.d) * size,
                         v_at = k_at + (size_t)(h.n_kv * h.d) * size;
            const lpo_attn_block b = {.qkv = qkv,
                                      .o = o,
                                      .kv_head = head,
                                      .t0 = at[s] + i,
                                      .n = least(h.tokens, len - i),
                                      .k = {first + k_at, bf16, h.W, 1},
                                      .v = {first + v_at, bf16, h.W, 1},
                                      .prefix_k = {n_prefix ? shared + k_at : NULL, bf16, h.W, 1},
                                      .prefix_v = {n_prefix ? shared + v_at : NULL, bf16, h.W, 1},
                                      .n_prefix = n_prefix,
                                      .limit = n_prefix + (causal ? i + 1 : len),
                                      .step = causal,
                                      .lse = lse->data,
                                      .lse_row = T};
            lpo_attn_block_run(&h, &b, (char *)c->scratch + (size_t)omp_get_thread_num() * mine);
        }
    }
    return 0;
}
