/* SPDX-License-Identifier: Apache-2.0 */
/* pairs.h -- the frame around every loss of (chosen, rejected) pairs (folder-internal).
 * The frame applies what is common: ld_alpha shortens log-probabilities, f_divergence turns log-ratios into
 * scores, wpo weighs pairs. A loss function sees the results and says, per pair, the loss and its derivatives
 * by the scores or by the policy's log-probabilities; the frame takes the mean and carries derivatives back
 * to the columns. */
#ifndef LPO_ALIGN_PAIRS_H
#define LPO_ALIGN_PAIRS_H
#include "align/term.h"

typedef struct lpo_pairs {
    lpo_term *x;
    int64_t n;
    const double *lw, *ll; /* policy log-probabilities (sums) of chosen and rejected */
    const double *rw, *rl; /* the reference's; NULL for objectives without one */
    const double *nw, *nl; /* tokens; NULL where not needed */
    const double *sw,
        *sl; /* scores f'(policy/reference): lw-rw, ll-rl for reverse KL; lw, ll without reference */
    const double *weight; /* of each pair in the mean; 1 without wpo */
    double *loss;         /* weighted loss of each pair */
    double *g_lw, *g_ll;  /* derivatives of the sum of loss[] by lw, ll */
    double *g_sw, *g_sl;  /* and by the scores */
    double *reward_w,
        *reward_l; /* for the statistics: beta*(lw-rw), or beta*lw without a reference; may be changed */
} lpo_pairs;

/* Add to pair i a loss with derivatives by its scores / by its log-probabilities. */
static inline void lpo_pairs_add(lpo_pairs *p, int64_t i, double loss, double g_sw, double g_sl) {
    p->loss[i] += p->weight[i] * loss;
    p->g_sw[i] += p->weight[i] * g_sw;
    p->g_sl[i] += p->weight[i] * g_sl;
}
static inline void lpo_pairs_add_logp(lpo_pairs *p, int64_t i, double loss, double g_lw, double g_ll) {
    p->loss[i] += p->weight[i] * loss;
    p->g_lw[i] += p->weight[i] * g_lw;
    p->g_ll[i] += p->weight[i] * g_ll;
}
/* Add coef * negative log-likelihood of the chosen responses, averaged over all their tokens. */
void lpo_pairs_add_nll(lpo_pairs *p, double coef);

/* (1-eps) -log sigmoid(m) + eps -log sigmoid(-m) and its derivative by m. */
static inline double lpo_smoothed(double m, double eps, double *dm) {
    *dm = lpo_sigmoid(m) - (1 - eps);
    return (1 - eps) * lpo_nls(m) + eps * lpo_nls(-m);
}

/* lpo_term_fn of every row that has `pairs`. */
lpo_status lpo_pairs_eval(double *loss, lpo_pairs_fn *fn, lpo_term *x, lpo_error *err);
/* Columns the modifiers ask for, in place of or beside the row's own. */
uint64_t lpo_pairs_needs(uint64_t needs, const lpo_hypers *h);
#endif
