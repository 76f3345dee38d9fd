/* SPDX-License-Identifier: Apache-2.0 */
/* attn.c -- variable-length grouped-query attention and its gradient, one row of scores at a time.
 * A row of qkv is q heads | k heads | v heads; query head h reads kv head h / (n_q / n_kv). Scratch: one row
 * of scores in double; backward adds an accumulator the shape of dqkv, because k and v gather from many
 * queries. */
#include "kernels/ref/ref.h"

/* cu[0] = 0, rising, cu[S] = T. */
static bool cu_ok(const lpo_karg *cu, int64_t T) {
    if (!ref_i32(cu) || cu->shape[0] < 1) return false;
    const int32_t *p = cu->data;
    for (int64_t s = 0; s + 1 < cu->shape[0]; s++)
        if (p[s] > p[s + 1]) return false;
    return p[0] == 0 && p[cu->shape[0] - 1] == T;
}

/* Absent, or for each sequence n rows within one earlier sequence. */
static bool prefix_ok(const lpo_karg *prefix, const lpo_karg *cu) {
    const int64_t S = cu->shape[0] - 1;
    const int32_t *at = cu->data, *p = prefix->data;
    if (!p) return true;
    if (!ref_i32(prefix) || !ref_is(prefix, S, 2)) return false;
    for (int64_t s = 0; s < S; s++) {
        const int32_t row = p[2 * s], n = p[2 * s + 1];
        bool within = n == 0;
        for (int64_t r = 0; r < s && n > 0 && row >= 0; r++)
            within |= at[r] <= row && row < at[r + 1] && n <= at[r + 1] - row;
        if (!within) return false;
    }
    return true;
}

/* The keys of one query: n_prefix rows from `prefix` on, then own ones from `own` on. */
typedef struct keys {
    int64_t prefix, n_prefix, own, n;
} keys;

static keys keys_of(const lpo_karg *cu, const lpo_karg *prefix, int64_t s, int64_t t, bool causal) {
    const int32_t *at = cu->data, *p = prefix->data;
    keys k = {.own = at[s]};
    if (p && p[2 * s + 1]) k.prefix = p[2 * s], k.n_prefix = p[2 * s + 1];
    k.n = k.n_prefix + (causal ? t + 1 : at[s + 1]) - at[s];
    return k;
}

static int64_t key_row(const keys *k, int64_t j) {
    return j < k->n_prefix ? k->prefix + j : k->own + j - k->n_prefix;
}

typedef struct heads {
    int64_t n_q, n_kv, d, W, group;
} heads;

static bool heads_of(const lpo_kcall *c, heads *h) {
    *h = (heads){c->attrs.n_q, c->attrs.n_kv, c->attrs.d_head, 0, 0};
    if (h->n_q <= 0 || h->n_kv <= 0 || h->n_q % h->n_kv || h->d <= 0) return false;
    h->W = (h->n_q + 2 * h->n_kv) * h->d;
    h->group = h->n_q / h->n_kv;
    return true;
}

static double dot(const lpo_karg *a, int64_t ia, const lpo_karg *b, int64_t ib, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += ref_get(a, ia + i) * ref_get(b, ib + i);
    return sum;
}

size_t lpo_ref_attn_scratch(const lpo_kcall *c) {
    return (size_t)c->arg[2].shape[0] * sizeof(double);
}

int lpo_ref_attn(const lpo_kcall *c) {
    const lpo_karg *o = &c->arg[0], *lse = &c->arg[1], *qkv = &c->arg[2], *cu = &c->arg[3],
                   *prefix = &c->arg[4];
    heads H;
    if (!ref_real(o) || !ref_real_or_absent(lse) || !ref_real(qkv) || !heads_of(c, &H)) return -1;
    const int64_t T = qkv->shape[0], W = H.W, d = H.d;
    if (!ref_is(qkv, T, W) || !ref_is(o, T, H.n_q * d) || !ref_is(lse, H.n_q, T) || !cu_ok(cu, T) ||
        !prefix_ok(prefix, cu))
        return -1;
    double *p = c->scratch;
    const int32_t *at = cu->data;
    for (int64_t s = 0; s + 1 < cu->shape[0]; s++)
        for (int64_t h = 0; h < H.n_q; h++)
            for (int64_t t = at[s]; t < at[s + 1]; t++) {
                const int64_t q = t * W + h * d, k = (H.n_q + h / H.group) * d, v = k + H.n_kv * d;
                const keys K = keys_of(cu, prefix, s, t, c->attrs.causal);
                double max = -INFINITY, sum = 0;
                for (int64_t j = 0; j < K.n; j++) {
                    p[j] = (double)c->attrs.scale * dot(qkv, q, qkv, key_row(&K, j) * W + k, d);
                    max = fmax(max, p[j]);
                }
                for (int64_t j = 0; j < K.n; j++) sum += exp(p[j] - max);
                for (int64_t i = 0; i < d; i++) {
                    double out = 0;
                    for (int64_t j = 0; j < K.n; j++)
                        out += exp(p[j] - max) / sum * ref_get(qkv, key_row(&K, j) * W + v + i);
                    ref_put(o, (t * H.n_q + h) * d + i, out);
                }
                if (lse->data) ref_put(lse, h * T + t, max + log(sum));
            }
    return 0;
}

size_t lpo_ref_attn_bwd_scratch(const lpo_kcall *c) {
    return (size_t)lpo_karg_count(&c->arg[2]) * sizeof(double);
}

int lpo_ref_attn_bwd(const lpo_kcall *c) {
    const lpo_karg *dqkv = &c->arg[0], *dout = &c->arg[1], *qkv = &c->arg[2], *o = &c->arg[3],
                   *lse = &c->arg[4], *cu = &c->arg[5], *prefix = &c->arg[6];
    heads H;
    if (!ref_real(dqkv) || !ref_real(dout) || !ref_real(qkv) || !ref_real(o) || !ref_real(lse) ||
        !heads_of(c, &H))
        return -1;
    const int64_t T = qkv->shape[0], W = H.W, d = H.d;
    if (!ref_is(qkv, T, W) || !ref_is(dqkv, T, W) || !ref_is(o, T, H.n_q * d) ||
        !ref_is(dout, T, H.n_q * d) || !ref_is(lse, H.n_q, T) || !cu_ok(cu, T) || !prefix_ok(prefix, cu))
        return -1;
    double *acc = c->scratch, scale = (double)c->attrs.scale;
    memset(acc, 0, (size_t)(T * W) * sizeof *acc);
    const int32_t *at = cu->data;
    for (int64_t s = 0; s + 1 < cu->shape[0]; s++)
        for (int64_t h = 0; h < H.n_q; h++)
            for (int64_t t = at[s]; t < at[s + 1]; t++) {
                const int64_t q = t * W + h * d, out = (t * H.n_q + h) * d, k = (H.n_q + h / H.group) * d,
                              v = k + H.n_kv * d;
                const keys K = keys_of(cu, prefix, s, t, c->attrs.causal);
                const double do_o = dot(dout, out, o, out, d);
                for (int64_t m = 0; m < K.n; m++) {
                    const int64_t j = key_row(&K, m);
                    double p = exp(scale * dot(qkv, q, qkv, j * W + k, d) - ref_get(lse, h * T + t));
                    double ds = p * (dot(dout, out, qkv, j * W + v, d) - do_o) * scale;
                    for (int64_t i = 0; i < d; i++) {
                        acc[j * W + v + i] += p * ref_get(dout, out + i);
                        acc[q + i] += ds * ref_get(qkv, j * W + k + i);
                        acc[j * W + k + i] += ds * ref_get(qkv, q + i);
                    }
                }
            }
    for (int64_t i = 0; i < T * W; i++) ref_put(dqkv, i, acc[i]);
    return 0;
}
