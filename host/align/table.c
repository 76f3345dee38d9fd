/* SPDX-License-Identifier: Apache-2.0 */
/* table.c -- the one table of objectives: the families, in the order --help lists them, and what they compute
 * with. */
#include "align/term.h"

#include <assert.h>

static const lpo_objective_row *const FAMILIES[] = {
    lpo_rows_smoothed,       lpo_rows_reference_pairs, lpo_rows_unary_pairs, lpo_rows_reference_free,
    lpo_rows_token_weighted, lpo_rows_policy_gradient, lpo_rows_value,
};

const lpo_objective_row *lpo_row_at(int i) {
    for (size_t f = 0; f < sizeof FAMILIES / sizeof *FAMILIES; f++)
        for (const lpo_objective_row *r = FAMILIES[f]; r->info.name; r++)
            if (i-- == 0) return r;
    return NULL;
}

const lpo_objective_info *lpo_objective_at(int i) {
    const lpo_objective_row *r = i < 0 ? NULL : lpo_row_at(i);
    return r ? &r->info : NULL;
}

double lpo_sg(lpo_term *x, double v) {
    lpo_sg_tape *t = x->tape;
    if (!t) return v;
    assert(t->at < (t->replay ? t->n : t->cap));
    if (t->replay) return t->value[t->at++];
    t->value[t->at++] = v;
    t->n = t->at;
    return v;
}

void lpo_ema_update(lpo_ema *e, double decay, double mean, double spread) {
    e->mean = decay * e->mean + (1 - decay) * mean;
    e->spread = decay * e->spread + (1 - decay) * spread;
    e->weight = decay * e->weight + (1 - decay);
}

void lpo_mean_std(double *mean, double *std, const double *v, int64_t n) {
    double sum = 0, square = 0;
    for (int64_t i = 0; i < n; i++) sum += v[i];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) square += (v[i] - *mean) * (v[i] - *mean);
    *std = n > 1 ? sqrt(square / (double)(n - 1)) : 0;
}
