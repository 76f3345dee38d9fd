/* SPDX-License-Identifier: Apache-2.0 */
/* rank.h -- does one number order things as another does? Spearman's rho and how sure it is. */
#ifndef LPO_ALIGN_RANK_H
#define LPO_ALIGN_RANK_H
#include "leanpo/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct lpo_rank_correlation {
    double rho;       /* NaN when either column is constant or n < 2 */
    double low, high; /* the middle 95% of the bootstrap; NaN like rho */
    size_t n;
} lpo_rank_correlation;

/* Pearson's correlation of the ranks of x[n] and y[n], ties sharing their mean rank. The interval resamples
 * groups of `group` neighbours (the answers to one question stand or fall together; n is a multiple of it),
 * n_resamples times; ranks stay those of the whole sample. The same numbers for the same seed. x and y are
 * overwritten: a million questions are a lot of ranks. */
lpo_status lpo_rank_correlate(lpo_rank_correlation *out, double *x, double *y, size_t n, size_t group,
                              int n_resamples, uint64_t seed, lpo_error *err);
#endif
