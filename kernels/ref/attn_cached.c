/* SPDX-License-Identifier: Apache-2.0 */
/* attn_cached.c -- causal attention of new rows against a key/value cache that they are first appended to.
 * cache[slot][position][k then v][n_kv*d]. Scores are taken from the cache as stored, so a bf16 cache rounds
 * k and v. */
#include "kernels/ref/ref.h"

size_t lpo_ref_attn_cached_scratch(const lpo_kcall *c) {
    return (size_t)(c->arg[1].shape[0] * c->arg[1].shape[1]) * sizeof(double);
}

static int check(const lpo_kcall *c) {
    const lpo_karg *o = &c->arg[0], *cache = &c->arg[1], *qkv = &c->arg[2], *cu = &c->arg[3],
                   *slot = &c->arg[4], *past = &c->arg[5];
    const int64_t n_q = c->attrs.n_q, n_kv = c->attrs.n_kv, d = c->attrs.d_head, T = qkv->shape[0];
    if (!ref_real(o) || !ref_real(cache) || !ref_real(qkv) || !ref_i32(cu) || !ref_i32(slot) ||
        !ref_i32(past))
        return -1;
    if (n_q <= 0 || n_kv <= 0 || n_q % n_kv || d <= 0 || cache->ndim != 4 || cache->shape[2] != 2 ||
        cache->shape[3] != n_kv * d || !ref_is(qkv, T, (n_q + 2 * n_kv) * d) || !ref_is(o, T, n_q * d))
        return -1;
    const int64_t S = cu->shape[0] - 1;
    const int32_t *at = cu->data, *in = slot->data, *had = past->data;
    if (S < 0 || at[0] != 0 || at[S] != T || slot->shape[0] != S || past->shape[0] != S) return -1;
    for (int64_t s = 0; s < S; s++)
        if (at[s] > at[s + 1] || in[s] < 0 || in[s] >= cache->shape[0] || had[s] < 0 ||
            in[s] * cache->shape[1] + had[s] + (at[s + 1] - at[s]) > cache->shape[0] * cache->shape[1])
            return -1;
    return 0;
}

int lpo_ref_attn_cached(const lpo_kcall *c) {
    if (check(c)) return -1;
    const lpo_karg *o = &c->arg[0], *cache = &c->arg[1], *qkv = &c->arg[2];
    const int64_t n_q = c->attrs.n_q, n_kv = c->attrs.n_kv, d = c->attrs.d_head, W = (n_q + 2 * n_kv) * d,
                  S = c->arg[3].shape[0] - 1, kv = n_kv * d;
    const int32_t *at = c->arg[3].data, *in = c->arg[4].data, *had = c->arg[5].data;
    double *p = c->scratch;
    for (int64_t s = 0; s < S; s++) {
        const int64_t base = in[s] * cache->shape[1] * 2 * kv; /* where the slot begins */
        for (int64_t t = at[s]; t < at[s + 1]; t++)
            for (int64_t i = 0; i < 2 * kv; i++)
                ref_put(cache, base + (had[s] + t - at[s]) * 2 * kv + i, ref_get(qkv, t * W + n_q * d + i));
        for (int64_t t = at[s]; t < at[s + 1]; t++)
            for (int64_t h = 0; h < n_q; h++) {
                const int64_t n = had[s] + t - at[s] + 1, k = base + h / (n_q / n_kv) * d, v = k + kv;
                double max = -INFINITY, sum = 0;
                for (int64_t j = 0; j < n; j++) {
                    p[j] = 0;
                    for (int64_t i = 0; i < d; i++)
                        p[j] += ref_get(qkv, t * W + h * d + i) * ref_get(cache, k + j * 2 * kv + i);
                    p[j] *= (double)c->attrs.scale;
                    max = fmax(max, p[j]);
                }
                for (int64_t j = 0; j < n; j++) sum += exp(p[j] - max);
                for (int64_t i = 0; i < d; i++) {
                    double out = 0;
                    for (int64_t j = 0; j < n; j++)
                        out += exp(p[j] - max) / sum * ref_get(cache, v + j * 2 * kv + i);
                    ref_put(o, (t * n_q + h) * d + i, out);
                }
            }
    }
    return 0;
}
