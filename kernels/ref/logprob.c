/* SPDX-License-Identifier: Apache-2.0 */
/* logprob.c -- log-probability of each row's target under softmax(h w^T), one row of logits at a time.
 * A negative target means the row is not scored: logp is 0 and no gradient flows. Ids >= n_valid have
 * probability 0. */
#include "kernels/ref/ref.h"

static int64_t n_valid_of(const lpo_kcall *c, int64_t V) {
    return c->attrs.n_valid > 0 && c->attrs.n_valid < V ? c->attrs.n_valid : V;
}

static bool targets_ok(const lpo_karg *target, int64_t T, int64_t V) {
    if (!ref_i32(target) || target->shape[0] != T) return false;
    for (int64_t t = 0; t < T; t++)
        if (((const int32_t *)target->data)[t] >= V) return false;
    return true;
}

static void logits_of_row(double *z, const lpo_karg *h, const lpo_karg *w, int64_t t, int64_t n, int64_t H) {
    for (int64_t v = 0; v < n; v++) {
        z[v] = 0;
        for (int64_t i = 0; i < H; i++) z[v] += ref_get(h, t * H + i) * ref_get(w, v * H + i);
    }
}

size_t lpo_ref_logprob_scratch(const lpo_kcall *c) {
    return (size_t)c->arg[5].shape[0] * sizeof(double);
}

int lpo_ref_logprob(const lpo_kcall *c) {
    const lpo_karg *logp = &c->arg[0], *lse = &c->arg[1], *entropy = &c->arg[2], *hit = &c->arg[3],
                   *h = &c->arg[4], *w = &c->arg[5], *target = &c->arg[6];
    if (!ref_real(logp) || !ref_real(lse) || !ref_real_or_absent(entropy) ||
        (hit->data && hit->dtype != LPO_I32) || !ref_real(h) || !ref_real(w))
        return -1;
    const int64_t T = h->shape[0], H = h->shape[1], V = w->shape[0], n = n_valid_of(c, V);
    if (!ref_is(h, T, H) || !ref_is(w, V, H) || !targets_ok(target, T, V) || !ref_is_vec(logp, T) ||
        !ref_is_vec(lse, T) || !ref_is_vec(entropy, T) || !ref_is_vec(hit, T))
        return -1;
    double *z = c->scratch;
    for (int64_t t = 0; t < T; t++) {
        const int32_t goal = ((const int32_t *)target->data)[t];
        logits_of_row(z, h, w, t, n, H);
        int64_t best = 0;
        for (int64_t v = 1; v < n; v++)
            if (z[v] > z[best]) best = v;
        double sum = 0, mean = 0;
        for (int64_t v = 0; v < n; v++) sum += exp(z[v] - z[best]);
        for (int64_t v = 0; v < n; v++) mean += exp(z[v] - z[best]) / sum * z[v];
        const double l = z[best] + log(sum);
        ref_put(logp, t, goal < 0 ? 0 : goal < n ? z[goal] - l : -INFINITY);
        ref_put(lse, t, l);
        if (entropy->data) ref_put(entropy, t, l - mean);
        if (hit->data) ((int32_t *)hit->data)[t] = goal == best;
    }
    return 0;
}

size_t lpo_ref_logprob_bwd_scratch(const lpo_kcall *c) {
    return (size_t)(c->arg[5].shape[0] + c->arg[5].shape[1]) * sizeof(double);
}

int lpo_ref_logprob_bwd(const lpo_kcall *c) {
    const lpo_karg *dh = &c->arg[0], *dw = &c->arg[1], *dlogp = &c->arg[2], *lse = &c->arg[3],
                   *h = &c->arg[4], *w = &c->arg[5], *target = &c->arg[6];
    if (!ref_real(dh) || !ref_real_or_absent(dw) || !ref_real(dlogp) || !ref_real(lse) || !ref_real(h) ||
        !ref_real(w))
        return -1;
    const int64_t T = h->shape[0], H = h->shape[1], V = w->shape[0], n = n_valid_of(c, V);
    if (!ref_is(h, T, H) || !ref_is(w, V, H) || !ref_is(dh, T, H) || !ref_is(dw, V, H) ||
        !targets_ok(target, T, V) || !ref_is_vec(dlogp, T) || !ref_is_vec(lse, T))
        return -1;
    double *z = c->scratch, *sum = z + V;
    for (int64_t t = 0; t < T; t++) {
        const int32_t goal = ((const int32_t *)target->data)[t];
        const double d = goal < 0 || goal >= n ? 0 : ref_get(dlogp, t), l = ref_get(lse, t);
        logits_of_row(z, h, w, t, n, H);
        for (int64_t v = 0; v < n; v++)
            z[v] = d * ((v == goal) - exp(z[v] - l)); /* now the gradient of the logit */
        memset(sum, 0, (size_t)H * sizeof *sum);
        for (int64_t v = 0; v < n; v++)
            for (int64_t i = 0; i < H; i++) sum[i] += z[v] * ref_get(w, v * H + i);
        for (int64_t i = 0; i < H; i++) ref_put(dh, t * H + i, sum[i]);
        for (int64_t v = 0; dw->data && v < n; v++)
            for (int64_t i = 0; i < H; i++)
                ref_put(dw, v * H + i, ref_get(dw, v * H + i) + z[v] * ref_get(h, t * H + i));
    }
    return 0;
}
