/* SPDX-License-Identifier: Apache-2.0 */
/* rank.c -- see rank.h. A resample needs of each group only its share of the six sums of a correlation, so
 * these are added up once and a resample is a walk over random groups. */
#include "align/rank.h"

#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

static int by_value(const void *a, const void *b, void *values) {
    const double *v = values, x = v[*(const uint32_t *)a], y = v[*(const uint32_t *)b];
    return (x > y) - (x < y);
}

/* rank[n] of v[n], 1-based, ties at their mean; order[n] is scratch. Centred on the mean rank, so that the
 * sums stay small. */
static void rank_all(double *rank, uint32_t *order, const double *v, size_t n) {
    for (size_t i = 0; i < n; i++) order[i] = (uint32_t)i;
    qsort_r(order, n, sizeof *order, by_value, (void *)(uintptr_t)v);
    for (size_t i = 0, j; i < n; i = j) {
        for (j = i + 1; j < n && v[order[j]] == v[order[i]]; j++) {
        }
        for (size_t k = i; k < j; k++) rank[order[k]] = .5 * (double)(i + 1 + j) - .5 * (double)(n + 1);
    }
}

typedef struct sums {
    double x, y, xx, yy, xy;
} sums;

static void add(sums *s, const sums *o) {
    s->x += o->x;
    s->y += o->y;
    s->xx += o->xx;
    s->yy += o->yy;
    s->xy += o->xy;
}

static double correlation(const sums *s, double n) {
    const double vx = s->xx - s->x * s->x / n, vy = s->yy - s->y * s->y / n;
    return vx > 0 && vy > 0 ? (s->xy - s->x * s->y / n) / sqrt(vx * vy) : (double)NAN;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void interval(lpo_rank_correlation *out, const sums *part, double *draws, size_t n_groups,
                     int n_resamples, uint64_t seed) {
    int n = 0;
    for (int b = 0; b < n_resamples; b++) {
        lpo_rng rng = lpo_rng_init(seed, (uint64_t)b);
        sums s = {0};
        for (size_t g = 0; g < n_groups; g++) add(&s, &part[lpo_rng_below(&rng, (uint32_t)n_groups)]);
        const double r = correlation(&s, (double)out->n);
        if (isfinite(r)) draws[n++] = r;
    }
    if (!n) return;
    qsort(draws, (size_t)n, sizeof *draws, ascending);
    out->low = draws[(int)(.025 * (n - 1) + .5)];
    out->high = draws[(int)(.975 * (n - 1) + .5)];
}

lpo_status lpo_rank_correlate(lpo_rank_correlation *out, const double *x, const double *y, size_t n,
                              size_t group, int n_resamples, uint64_t seed, lpo_error *err) {
    *out = (lpo_rank_correlation){(double)NAN, (double)NAN, (double)NAN, n};
    if (group < 1 || n % group || n > UINT32_MAX || n_resamples < 0)
        return lpo_fail(err, LPO_EINVAL, "%zu values in groups of %zu cannot be resampled %d times", n, group,
                        n_resamples);
    if (n < 2) return LPO_OK;
    const size_t n_groups = n / group;
    double *rank = malloc(2 * n * sizeof *rank), *draws = malloc(((size_t)n_resamples + 1) * sizeof *draws);
    uint32_t *order = malloc(n * sizeof *order);
    sums *part = calloc(n_groups, sizeof *part), all = {0};
    lpo_status s = rank && draws && order && part
                       ? LPO_OK
                       : lpo_fail(err, LPO_ENOMEM, "out of memory for the ranks of %zu answers", n);
    if (!s) {
        rank_all(rank, order, x, n);
        rank_all(rank + n, order, y, n);
        for (size_t i = 0; i < n; i++) {
            const double a = rank[i], b = rank[n + i];
            add(&part[i / group], &(sums){a, b, a * a, b * b, a * b});
        }
        for (size_t g = 0; g < n_groups; g++) add(&all, &part[g]);
        out->rho = correlation(&all, (double)n);
        if (isfinite(out->rho)) interval(out, part, draws, n_groups, n_resamples, seed);
    }
    free(part);
    free(order);
    free(draws);
    free(rank);
    return s;
}
