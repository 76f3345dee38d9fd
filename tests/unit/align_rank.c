/* SPDX-License-Identifier: Apache-2.0 */
/* align_rank.c -- Spearman's rho and its bootstrap interval. */
#include "align/rank.h"
#include "base/rng.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static lpo_rank_correlation correlate(const double *x, const double *y, size_t n, size_t group, int resamples,
                                      uint64_t seed) {
    lpo_error err;
    lpo_rank_correlation r;
    double *own = malloc((2 * n + 1) * sizeof *own); /* the call overwrites */
    memcpy(own, x, n * sizeof *own);
    memcpy(own + n, y, n * sizeof *own);
    cr_assert_eq(lpo_rank_correlate(&r, own, own + n, n, group, resamples, seed, &err), LPO_OK, "%s",
                 err.msg);
    free(own);
    return r;
}

/* Truth: only the order counts; ties share their mean rank (the third value: Pearson on mean ranks, worked
 * out apart in Python). */
Test(rank, known_values) {
    const double up[] = {1, 2, 3, 4, 5}, bent[] = {1, 10, 100, 1000, 1e6}, down[] = {9, 7, 5, 3, 1};
    cr_expect_float_eq(correlate(up, bent, 5, 1, 0, 1).rho, 1, 1e-15);
    cr_expect_float_eq(correlate(up, down, 5, 1, 0, 1).rho, -1, 1e-15);
    const double x[] = {1, 2, 2, 3, 5, 8}, y[] = {2, 1, 4, 4, 6, 5};
    cr_expect_float_eq(correlate(x, y, 6, 1, 0, 1).rho, 0.8088235294117647, 1e-12);
}

/* Truth: a column that never changes has no order to compare. */
Test(rank, constant_is_nan) {
    const double x[] = {1, 2, 3, 4}, y[] = {7, 7, 7, 7};
    lpo_rank_correlation r = correlate(x, y, 4, 2, 100, 1);
    cr_expect(isnan(r.rho) && isnan(r.low) && isnan(r.high));
    cr_expect(isnan(correlate(x, y, 0, 1, 100, 1).rho));
}

/* Truth: the interval surrounds rho, is the same for the same seed and another for another, and narrows as
 * the sample grows. */
Test(rank, bootstrap) {
    enum { N = 4000 };
    static double x[N], y[N];
    lpo_rng rng = lpo_rng_init(3, 0);
    for (int i = 0; i < N; i++) {
        x[i] = lpo_rng_normal(&rng);
        y[i] = x[i] + lpo_rng_normal(&rng);
    }
    lpo_rank_correlation small = correlate(x, y, 200, 2, 500, 1), again = correlate(x, y, 200, 2, 500, 1),
                         other = correlate(x, y, 200, 2, 500, 2), large = correlate(x, y, N, 2, 500, 1);
    cr_expect(memcmp(&small, &again, sizeof small) == 0);
    cr_expect(small.rho == other.rho && small.low != other.low);
    cr_expect(small.low < small.rho && small.rho < small.high);
    /* x and x + noise of the same size: Pearson .707, Spearman about .69. */
    cr_expect(large.low < .69 && .69 < large.high, "%g..%g", large.low, large.high);
    cr_expect_lt(large.high - large.low, .4 * (small.high - small.low));
}

/* Truth: answers of one question are resampled together: doubling every value adds no certainty. */
Test(rank, groups_stay_together) {
    enum { N = 200 };
    static double x[2 * N], y[2 * N], x1[N], y1[N];
    lpo_rng rng = lpo_rng_init(5, 0);
    for (int i = 0; i < N; i++) {
        x1[i] = x[2 * i] = x[2 * i + 1] = lpo_rng_normal(&rng);
        y1[i] = y[2 * i] = y[2 * i + 1] = .5 * x[2 * i] + lpo_rng_normal(&rng);
    }
    lpo_rank_correlation once = correlate(x1, y1, N, 1, 400, 1), grouped = correlate(x, y, 2 * N, 2, 400, 1),
                         loose = correlate(x, y, 2 * N, 1, 400, 1);
    cr_expect_float_eq(grouped.high - grouped.low, once.high - once.low, 1e-3);
    cr_expect_lt(loose.high - loose.low, .85 * (grouped.high - grouped.low));
    lpo_error err;
    lpo_rank_correlation r;
    cr_expect_eq(lpo_rank_correlate(&r, x, y, 5, 2, 1, 1, &err), LPO_EINVAL);
}
