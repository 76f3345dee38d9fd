/* SPDX-License-Identifier: Apache-2.0 */
/* sample.c -- greedy, temperature, top-k, top-p. */
#include "model/sample.h"

#include <math.h>
#include <stdlib.h>

enum { LANES = 16 };

/* Larger probability first, lower id among equals: a total order, so every selection is unique. */
static int before(const void *a, const void *b) {
    const lpo_candidate *x = a, *y = b;
    if (x->p != y->p) return x->p > y->p ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void sift_down(lpo_candidate *heap, int32_t n, int32_t i) {
    for (;;) {
        int32_t last = i, l = 2 * i + 1;
        if (l < n && before(&heap[last], &heap[l]) < 0) last = l;
        if (l + 1 < n && before(&heap[last], &heap[l + 1]) < 0) last = l + 1;
        if (last == i) return;
        lpo_candidate t = heap[i];
        heap[i] = heap[last];
        heap[last] = t;
        i = last;
    }
}

/* The k first candidates, in any order, at the front: a heap whose root is the worst kept. */
static void keep_top(lpo_candidate *c, int32_t n, int32_t k) {
    for (int32_t i = k / 2 - 1; i >= 0; i--) sift_down(c, k, i);
    for (int32_t i = k; i < n; i++) {
        if (before(&c[i], &c[0]) >= 0) continue;
        c[0] = c[i];
        sift_down(c, k, 0);
    }
}

/* The shortest sorted prefix with at least top_p of the mass. Tokens of no more than (1 - top_p)/n of it can
 * be left out of the sort: all of them together are not enough to matter. */
static int32_t keep_nucleus(lpo_candidate *c, int32_t n, double top_p) {
    double total = 0, sum = 0;
    for (int32_t i = 0; i < n; i++) total += c[i].p;
    const double least = (1 - top_p) * total / n;
    int32_t k = 0, best = 0;
    for (int32_t i = 1; i < n; i++)
        if (before(&c[i], &c[best]) < 0) best = i;
    const lpo_candidate top = c[best];
    for (int32_t i = 0; i < n; i++)
        if (c[i].p > least) c[k++] = c[i];
    if (!k) c[k++] = top;
    qsort(c, (size_t)k, sizeof *c, before);
    for (int32_t i = 0; i < k; i++) {
        sum += c[i].p;
        if (sum >= top_p * total) return i + 1;
    }
    return k;
}

/* The largest value, in lanes: one chain of comparisons would wait for itself. -INFINITY of nothing but NaN.
 */
static float largest(const float *x, int32_t n) {
    float lane[LANES], top = -INFINITY;
    int32_t i = 0;
    for (int k = 0; k < LANES; k++) lane[k] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) lane[k] = x[i + k] > lane[k] ? x[i + k] : lane[k];
    for (; i < n; i++) top = x[i] > top ? x[i] : top;
    for (int k = 0; k < LANES; k++) top = lane[k] > top ? lane[k] : top;
    return top;
}

int32_t lpo_sample_row(const float *logits, int32_t n_valid, const lpo_gen_options *o, lpo_rng *rng,
                       lpo_candidate *work) {
    const double u = lpo_rng_uniform(rng);
    const float top = largest(logits, n_valid);
    int32_t best = 0, n = n_valid;
    while (best < n - 1 && logits[best] != top) best++;
    if (!(o->temperature > 0)) return best;
    for (int32_t i = 0; i < n; i++)
        work[i] = (lpo_candidate){exp(((double)logits[i] - (double)logits[best]) / o->temperature), i};
    const bool top_k = o->top_k > 0 && o->top_k < n, top_p = o->top_p < 1;
    if (top_k) {
        keep_top(work, n, o->top_k);
        n = o->top_k;
        qsort(work, (size_t)n, sizeof *work, before); /* the walk below must not see the heap's order */
    }
    if (top_p) n = keep_nucleus(work, n, o->top_p);
    double total = 0, sum = 0;
    for (int32_t i = 0; i < n; i++) total += work[i].p;
    for (int32_t i = 0; i < n; i++) {
        sum += work[i].p;
        if (u * total < sum) return work[i].id;
    }
    return best; /* rounding at the very end, or logits that are not numbers */
}

double lpo_sample_logp(const float *logits, int32_t n_vocab, int32_t id) {
    const double max = (double)largest(logits, n_vocab);
    double sum = 0;
    for (int32_t i = 0; i < n_vocab; i++) sum += exp((double)logits[i] - max);
    return (double)logits[id] - max - log(sum);
}
