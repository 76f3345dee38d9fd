/* SPDX-License-Identifier: Apache-2.0 */
/* attn_cached.c -- new rows are appended to their slots, then attend to all of them: the same blocks as
 * attn.c, with the cache for keys. Serves prefill (many rows, no past) and generation (one row, long past).
 */
#include <omp.h>

#include "kernels/cpu/attn.h"

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

size_t lpo_cpu_attn_cached_scratch(const lpo_kcall *c) {
    return lpo_cpu_attn_scratch(c);
}

static int check(const lpo_kcall *c, const lpo_heads *h) {
    const lpo_karg *o = &c->arg[0], *cache = &c->arg[1], *qkv = &c->arg[2], *cu = &c->arg[3],
                   *slot = &c->arg[4], *past = &c->arg[5];
    const int64_t T = qkv->shape[0], S = cu->shape[0] - 1, rows = cache->shape[0] * cache->shape[1];
    if (!lpo_is_float(o) || !lpo_is_float(cache) || !lpo_is_float(qkv) || cache->ndim != 4 ||
        cache->shape[2] != 2 || cache->shape[3] != h->n_kv * h->d || !lpo_is_matrix(qkv, T, h->W) ||
        !lpo_is_matrix(o, T, h->n_q * h->d))
        return -1;
    if (!lpo_cpu_cu_ok(cu, T) || !lpo_cpu_ids_ok(slot, S, 0, cache->shape[0]) ||
        !lpo_cpu_ids_ok(past, S, 0, rows + 1))
        return -1;
    const int32_t *at = cu->data, *in = slot->data, *had = past->data;
    for (int64_t s = 0; s < S; s++)
        if (in[s] * cache->shape[1] + had[s] + (at[s + 1] - at[s]) > rows) return -1;
    return 0;
}

/* A row of the cache is k then v, as they lie side by side in qkv. */
static void append(const lpo_kcall *c, const lpo_heads *h, const lpo_simd *s, int64_t t, int64_t to) {
    const lpo_karg *cache = &c->arg[1], *qkv = &c->arg[2];
    const int64_t n = 2 * h->n_kv * h->d, from = t * h->W + h->n_q * h->d;
    if (cache->dtype == qkv->dtype) {
        const size_t size = lpo_dtype_bytes(qkv->dtype);
        memcpy((char *)cache->data + (size_t)(to * n) * size, (const char *)qkv->data + (size_t)from * size,
               (size_t)n * size);
    } else if (cache->dtype == LPO_F32)
        s->widen((float *)cache->data + to * n, (const uint16_t *)qkv->data + from, n);
    else
        s->narrow((uint16_t *)cache->data + to * n, (const float *)qkv->data + from, n);
}

int lpo_cpu_attn_cached(const lpo_kcall *c) {
    lpo_heads h;
    if (!lpo_heads_of(&h, &c->attrs) || check(c, &h)) return -1;
    const lpo_karg *o = &c->arg[0], *cache = &c->arg[1], *qkv = &c->arg[2];
    const int64_t S = c->arg[3].shape[0] - 1, kv = h.n_kv * h.d, row = 2 * kv, max_len = cache->shape[1];
    const int32_t *at = c->arg[3].data, *slot = c->arg[4].data, *past = c->arg[5].data;
    const lpo_simd *s = lpo_simd_get();
    int64_t work = 0;
    for (int64_t q = 0; q < S; q++) {
        for (int64_t t = at[q]; t < at[q + 1]; t++)
            append(c, &h, s, t, slot[q] * max_len + past[q] + t - at[q]);
        work += (past[q] + at[q + 1] - at[q]) * kv;
    }
    const size_t mine = lpo_attn_block_scratch(&h), size = lpo_dtype_bytes(cache->dtype);
    const bool bf16 = cache->dtype == LPO_BF16;
    const int n_threads = lpo_cpu_threads_for(work, 1 << 13);
#pragma omp parallel num_threads(n_threads)
    for (int64_t q = 0; q < S; q++) {
        const int64_t len = at[q + 1] - at[q], n_blocks = (len + h.tokens - 1) / h.tokens;
        const char *first = (const char *)cache->data + (size_t)(slot[q] * max_len * row) * size;
#pragma omp for schedule(dynamic) nowait
        for (int64_t task = 0; task < n_blocks * h.n_kv; task++) {
            const int64_t i = (n_blocks - 1 - task / h.n_kv) * h.tokens, head = task % h.n_kv;
            const lpo_attn_block b = {.qkv = qkv,
                                      .o = o,
                                      .kv_head = head,
                                      .t0 = at[q] + i,
                                      .n = least(h.tokens, len - i),
                                      .k = {first + (size_t)(head * h.d) * size, bf16, row, 1},
                                      .v = {first + (size_t)(kv + head * h.d) * size, bf16, row, 1},
                                      .limit = past[q] + i + 1,
                                      .step = 1};
            lpo_attn_block_run(&h, &b, (char *)c->scratch + (size_t)omp_get_thread_num() * mine);
        }
    }
    return 0;
}
