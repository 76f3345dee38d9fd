/* SPDX-License-Identifier: Apache-2.0 */
/* rank.c -- see rank.h. Ranks take the place of the values, so that four bytes a value are all it needs
 * beside them; a resample is a walk over random groups, with random numbers of its own. */
#include "align/rank.h"

#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

static int by_value(const void *a, const void *b, void *values) {
    const double *v = values, x = v[*(const uint32_t *)a], y = v[*(const uint32_t *)b];
    return (x > y) - (x < y);
}

/* v[n] becomes its ranks, 1-based, ties at their mean, less the mean rank, so that sums stay small. order[n]:
 * scratch. */
static void rank_all(double *v, uint32_t *order, size_t n) {
    for (size_t i = 0; i < n; i++) order[i] = (uint32_t)i;
    qsort_r(order, n, sizeof *order, by_value, v);
    for (size_t i = 0, j; i < n; i = j) {
        const double value = v[order[i]];
        for (j = i + 1; j < n && v[order[j]] == value; j++) {
        }
        for (size_t k = i; k < j; k++) v[order[k]] = .5 * (double)(i + 1 + j) - .5 * (double)(n + 1);
    }
}

typedef struct sums {
    double x, y, xx, yy, xy;
} sums;

/* The answers of group g. */
static void add(sums *s, const double *x, const double *y, size_t g, size_t group) {
    for (size_t i = g * group; i < (g + 1) * group; i++) {
        s->x += x[i];
        s->y += y[i];
        s->xx += x[i] * x[i];
        s->yy += y[i] * y[i];
        s->xy += x[i] * y[i];
    }
}

static double correlation(const sums *s, double n) {
    const double vx = s->xx - s->x * s->x / n, vy = s->yy - s->y * s->y / n;
    return vx > 0 && vy > 0 ? (s->xy - s->x * s->y / n) / sqrt(vx * vy) : (double)NAN;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void interval(lpo_rank_correlation *out, const double *x, const double *y, double *draws, size_t group,
                     int n_resamples, uint64_t seed) {
    const size_t n_groups = out->n / group;
    int n = 0;
#pragma omp parallel for schedule(dynamic)
    for (int b = 0; b < n_resamples; b++) {
        lpo_rng rng = lpo_rng_init(seed, (uint64_t)b);
        sums s = {0};
        for (size_t g = 0; g < n_groups; g++) add(&s, x, y, lpo_rng_below(&rng, (uint32_t)n_groups), group);
        draws[b] = correlation(&s, (double)out->n);
    }
    for (int b = 0; b < n_resamples; b++)
        if (isfinite(draws[b])) draws[n++] = draws[b];
    if (!n) return;
    qsort(draws, (size_t)n, sizeof *draws, ascending);
    out->low = draws[(int)(.025 * (n - 1) + .5)];
    out->high = draws[(int)(.975 * (n - 1) + .5)];
}

lpo_status lpo_rank_correlate(lpo_rank_correlation *out, double *x, double *y, size_t n, size_t group,
                              int n_resamples, uint64_t seed, lpo_error *err) {
    *out = (lpo_rank_correlation){(double)NAN, (double)NAN, (double)NAN, n};
    if (group < 1 || n % group || n > UINT32_MAX || n_resamples < 0)
        return lpo_fail(err, LPO_EINVAL, "%zu values in groups of %zu cannot be resampled %d times", n, group,
                        n_resamples);
    if (n < 2) return LPO_OK;
    double *draws = malloc(((size_t)n_resamples + 1) * sizeof *draws);
    uint32_t *order = malloc(n * sizeof *order);
    lpo_status s =
        draws && order ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "out of memory for the ranks of %zu answers", n);
    if (!s) {
        sums all = {0};
        rank_all(x, order, n);
        rank_all(y, order, n);
        for (size_t g = 0; g < n / group; g++) add(&all, x, y, g, group);
        out->rho = correlation(&all, (double)n);
        if (isfinite(out->rho)) interval(out, x, y, draws, group, n_resamples, seed);
    }
    free(order);
    free(draws);
    return s;
}
