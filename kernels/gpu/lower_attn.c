/* SPDX-License-Identifier: Apache-2.0 */
/* lower_attn.c -- attention, its gradient and its cached form. */
#include "kernels/gpu/lower.h"

enum { TILE = 16, FEW = 8, MAX_HEAD = 256 }; /* of attn.cl */

typedef lpo_gpu_heads heads;

static bool heads_of(heads *h, const lpo_gpu_call *c, const lpo_karg *qkv, const lpo_karg *cu) {
    *h =
        (heads){c->k.attrs.n_q, c->k.attrs.n_kv, c->k.attrs.d_head, 0, qkv->shape[0], lpo_karg_count(cu) - 1};
    h->width = (h->n_q + 2 * h->n_kv) * h->d;
    return h->n_q > 0 && h->n_kv > 0 && h->n_q % h->n_kv == 0 && h->d > 0 && h->d <= MAX_HEAD &&
           lpo_gpu_float(qkv) && lpo_gpu_is(cu, LPO_I32) && h->n_seq >= 0 && (h->n_seq > 0 || h->rows == 0) &&
           lpo_gpu_matrix(qkv, h->rows, h->width);
}

static bool prefix_ok(const lpo_karg *prefix, const heads *h) {
    return lpo_gpu_is_or_absent(prefix, LPO_I32) && lpo_gpu_matrix(prefix, h->n_seq, 2);
}

static int check_prefix(lpo_gpu_call *c, const heads *h, int cu, int prefix) {
    if (!c->k.arg[prefix].data || h->n_seq == 0) return 0;
    return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_CHECK_PREFIX,
                                          .tensor = {c->status, lpo_gpu_arg(c, cu), lpo_gpu_arg(c, prefix)},
                                          .n = {h->n_seq, LPO_GPU_FAULT_PREFIX}});
}

static int check_cu(lpo_gpu_call *c, const heads *h, int cu) {
    return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_CHECK_CU,
                                          .tensor = {c->status, lpo_gpu_arg(c, cu)},
                                          .n = {h->n_seq + 1, h->rows, c->k.attrs.even, LPO_GPU_FAULT_CU}});
}

static uint32_t local_bytes(const heads *h, int64_t rows) {
    return (uint32_t)(rows * ((h->d + 7) / 8 * 8 + 1) * (int64_t)sizeof(float));
}

int lpo_gpu_lower_attn(lpo_gpu_call *c) {
    const lpo_karg *o = &c->k.arg[0], *lse = &c->k.arg[1], *qkv = &c->k.arg[2], *cu = &c->k.arg[3];
    heads h;
    if (!heads_of(&h, c, qkv, cu) || !lpo_gpu_float(o) || !lpo_gpu_is_or_absent(lse, LPO_F32) ||
        !lpo_gpu_matrix(o, h.rows, h.n_q * h.d) || !lpo_gpu_matrix(lse, h.n_q, h.rows) ||
        !prefix_ok(&c->k.arg[4], &h))
        return -1;
    int rc = check_cu(c, &h, 3);
    if (!rc) rc = check_prefix(c, &h, 3, 4);
    if (rc || h.rows == 0) return rc;
    if (lpo_gpu_by_products(c, &h)) return lpo_gpu_scores_go(c, &h);
    return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_ATTN,
                                          .groups = {lpo_gpu_groups(h.rows, TILE), (uint32_t)h.n_q},
                                          .local_bytes = local_bytes(&h, 2 * TILE),
                                          .tensor = {lpo_gpu_arg(c, 0), lpo_gpu_arg(c, 1), lpo_gpu_arg(c, 2),
                                                     lpo_gpu_arg(c, 3), lpo_gpu_arg(c, 4)},
                                          .n = {h.rows, h.n_seq, h.n_q, h.n_kv, h.d, c->k.attrs.causal},
                                          .real = {(double)c->k.attrs.scale}});
}

int lpo_gpu_lower_attn_bwd(lpo_gpu_call *c) {
    const lpo_karg *dqkv = &c->k.arg[0], *dout = &c->k.arg[1], *qkv = &c->k.arg[2], *o = &c->k.arg[3],
                   *lse = &c->k.arg[4], *cu = &c->k.arg[5];
    heads h;
    if (!heads_of(&h, c, qkv, cu) || !lpo_gpu_float(dqkv) || !lpo_gpu_float(dout) || !lpo_gpu_float(o) ||
        !lpo_gpu_is(lse, LPO_F32) || !lpo_gpu_matrix(dqkv, h.rows, h.width) ||
        !lpo_gpu_matrix(dout, h.rows, h.n_q * h.d) || !lpo_gpu_matrix(o, h.rows, h.n_q * h.d) ||
        !lpo_gpu_matrix(lse, h.n_q, h.rows) || !prefix_ok(&c->k.arg[6], &h))
        return -1;
    lpo_gpu_tensor delta = lpo_gpu_scratch(c, LPO_F32, h.n_q * h.rows);
    int rc = check_cu(c, &h, 5);
    if (!rc) rc = check_prefix(c, &h, 5, 6);
    if (rc || h.rows == 0) return rc;
    rc = lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_ATTN_DELTA,
                                        .groups = {lpo_gpu_groups(h.rows * h.n_q, 64)},
                                        .tensor = {delta, lpo_gpu_arg(c, 1), lpo_gpu_arg(c, 3)},
                                        .n = {h.rows, h.n_q, h.d}});
    if (rc) return rc;
    if (lpo_gpu_by_products(c, &h)) return lpo_gpu_scores_bwd_go(c, &h, delta);
    for (int pass = 0; pass < 2 && !rc; pass++)
        rc = lpo_gpu_go(
            c, (lpo_gpu_launch){.kernel = pass ? LPO_GPU_ATTN_DKV : LPO_GPU_ATTN_DQ,
                                .groups = {lpo_gpu_groups(h.rows, TILE), (uint32_t)(pass ? h.n_kv : h.n_q)},
                                .local_bytes = local_bytes(&h, 2 * TILE + FEW),
                                .tensor = {lpo_gpu_arg(c, 0), lpo_gpu_arg(c, 1), lpo_gpu_arg(c, 2),
                                           lpo_gpu_arg(c, 4), delta, lpo_gpu_arg(c, 5), lpo_gpu_arg(c, 6)},
                                .n = {h.rows, h.n_seq, h.n_q, h.n_kv, h.d, c->k.attrs.causal},
                                .real = {(double)c->k.attrs.scale}});
    return rc;
}

int lpo_gpu_lower_attn_cached(lpo_gpu_call *c) {
    const lpo_karg *o = &c->k.arg[0], *cache = &c->k.arg[1], *qkv = &c->k.arg[2], *cu = &c->k.arg[3],
                   *slot = &c->k.arg[4], *past = &c->k.arg[5];
    heads h;
    if (!heads_of(&h, c, qkv, cu) || !lpo_gpu_float(o) || !lpo_gpu_float(cache) || cache->ndim != 4 ||
        cache->shape[2] != 2 || cache->shape[3] != h.n_kv * h.d || !lpo_gpu_matrix(o, h.rows, h.n_q * h.d) ||
        !lpo_gpu_is(slot, LPO_I32) || !lpo_gpu_is(past, LPO_I32) || lpo_karg_count(slot) != h.n_seq ||
        lpo_karg_count(past) != h.n_seq)
        return -1;
    const int64_t slots = cache->shape[0], max_len = cache->shape[1], cache_rows = slots * max_len;
    int rc = check_cu(c, &h, 3);
    if (rc || h.rows == 0) return rc;
    if (cache_rows == 0) return -1;
    rc = lpo_gpu_go(
        c, (lpo_gpu_launch){.kernel = LPO_GPU_CHECK_SLOTS,
                            .tensor = {c->status, lpo_gpu_arg(c, 3), lpo_gpu_arg(c, 4), lpo_gpu_arg(c, 5)},
                            .n = {h.n_seq, slots, max_len, LPO_GPU_FAULT_SLOTS}});
    if (!rc)
        rc =
            lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_ATTN_APPEND,
                                           .groups = {(uint32_t)h.rows},
                                           .tensor = {lpo_gpu_arg(c, 1), lpo_gpu_arg(c, 2), lpo_gpu_arg(c, 3),
                                                      lpo_gpu_arg(c, 4), lpo_gpu_arg(c, 5)},
                                           .n = {h.n_seq, h.n_q, h.n_kv * h.d, h.d, max_len, cache_rows}});
    if (rc) return rc;
    return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_ATTN_CACHED,
                                          .groups = {(uint32_t)h.rows, (uint32_t)h.n_q},
                                          .tensor = {lpo_gpu_arg(c, 0), lpo_gpu_arg(c, 1), lpo_gpu_arg(c, 2),
                                                     lpo_gpu_arg(c, 3), lpo_gpu_arg(c, 4), lpo_gpu_arg(c, 5)},
                                          .n = {h.n_seq, h.n_q, h.n_kv, h.d, max_len, cache_rows},
                                          .real = {(double)c->k.attrs.scale}});
}
