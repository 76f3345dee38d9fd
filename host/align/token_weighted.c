/* SPDX-License-Identifier: Apache-2.0 */
/* token_weighted.c -- BMC (2408.07471): dpo on log-ratios whose differing tokens count more the less likely
 * they are. lambda_t = 1 + d_t min(1/pi_t, delta), constant to the gradient. ref_weights says whose
 * probabilities weigh the reference's tokens: the policy's (the paper: one weight a token) or the reference's
 * own (the authors' code). */
#include "align/pairs.h"

static double token_weight(double differs, double logp, double delta) {
    return 1 + differs * (-logp < lpo_real_log(delta) ? lpo_real_exp(-logp) : delta);
}

/* Weights of a side's tokens, and the reference's weighted sums to column `r` of the pairs. */
static double *weigh(lpo_pairs *p, int tokens, int reference, int differs, int r) {
    lpo_term *x = p->x;
    const lpo_column *t = &x->col[tokens];
    const double *rt = x->col[reference].data, *d = x->col[differs].data, delta = LPO_HP(x, delta);
    const size_t n = (size_t)(t->n ? t->n : 1);
    double *w = lpo_arena_alloc(x->arena, n, sizeof *w), *own = lpo_arena_alloc(x->arena, n, sizeof *own);
    if (!w || !own) return NULL;
    for (int64_t k = 0; k < t->n; k++) {
        w[k] = lpo_sg(x, token_weight(d[k], t->data[k], delta));
        own[k] =
            LPO_HP(x, ref_weights) == LPO_REF_WEIGHTS_REFERENCE ? token_weight(d[k], rt[k], delta) : w[k];
    }
    for (int64_t i = 0; i < p->n; i++) {
        const int64_t at = t->row_start[i];
        p->in[i][r] = lpo_sum_tokens(rt + at, own + at, t->row_start[i + 1] - at);
    }
    return w;
}

static lpo_status bmc(lpo_pairs *p, lpo_error *err) {
    double *w = weigh(p, LPO_COL_t_w, LPO_COL_rt_w, LPO_COL_d_w, LPO_PAIR_IN_R_W);
    double *l = weigh(p, LPO_COL_t_l, LPO_COL_rt_l, LPO_COL_d_l, LPO_PAIR_IN_R_L);
    if (!w || !l) return lpo_fail(err, LPO_ENOMEM, "bmc: %lld pairs", (long long)p->n);
    return lpo_pairs_weigh_tokens(p, w, l, err);
}

const lpo_objective_row lpo_rows_token_weighted[] = {
    {.info = {.name = "bmc",
              .aliases = "bmc_paper(ref_weights=policy) bmc_code(ref_weights=reference)",
              .family = "token",
              .defaults = "beta=0.05 delta=3 ref_weights=policy",
              .source = "arXiv 2408.07471",
              .summary = "dpo on token-weighted log-ratios of bridged pairs",
              .needs = LPO_NEED_T | LPO_NEED_RT | LPO_C(d_w) | LPO_C(d_l)},
     .pairs = bmc},
    {.info = {.name = NULL}},
};
