/* SPDX-License-Identifier: Apache-2.0 */
/* token_weighted.c -- BMC (2408.07471): dpo on log-ratios whose differing tokens count more the less likely
 * they are. lambda_t = 1 + d_t min(1/pi_t, delta), constant to the gradient. ref_weights says whose
 * probabilities weigh the reference's tokens: the policy's (the paper: one weight a token) or the reference's
 * own (the authors' code). */
#include "align/term.h"

typedef struct side {
    int t, rt, d;
} side;
static const side SIDES[2] = {{LPO_COL_t_w, LPO_COL_rt_w, LPO_COL_d_w},
                              {LPO_COL_t_l, LPO_COL_rt_l, LPO_COL_d_l}};

static double token_weight(double differs, double logp, double delta) {
    return 1 + differs * (-logp < log(delta) ? exp(-logp) : delta);
}

/* Weighted log-ratio of row i; lambda receives the policy's weights. */
static double weighted_ratio(lpo_term *x, const side *s, int64_t i, double *lambda) {
    const lpo_column *t = &x->col[s->t];
    const double *rt = x->col[s->rt].data, *d = x->col[s->d].data;
    double delta = LPO_HP(x, delta), sum = 0;
    int own = LPO_HP(x, ref_weights) == LPO_REF_WEIGHTS_REFERENCE;
    for (int64_t k = t->row_start[i]; k < t->row_start[i + 1]; k++) {
        lambda[k] = lpo_sg(x, token_weight(d[k], t->data[k], delta));
        sum += lambda[k] * t->data[k] - (own ? token_weight(d[k], rt[k], delta) : lambda[k]) * rt[k];
    }
    return sum;
}

static lpo_status bmc(double *loss, lpo_term *x, lpo_error *err) {
    double beta = LPO_HP(x, beta), n = (double)x->n_rows;
    double *lambda[2];
    for (int j = 0; j < 2; j++) {
        lambda[j] = lpo_arena_alloc(x->arena, (size_t)x->col[SIDES[j].t].n, sizeof **lambda);
        if (!lambda[j]) return lpo_fail(err, LPO_ENOMEM, "bmc: %lld tokens", (long long)x->col[SIDES[j].t].n);
    }
    *loss = 0;
    for (int64_t i = 0; i < x->n_rows; i++) {
        double w = weighted_ratio(x, &SIDES[0], i, lambda[0]), l = weighted_ratio(x, &SIDES[1], i, lambda[1]);
        double z = beta * (w - l), g[2] = {-beta * lpo_sigmoid(-z) / n, beta * lpo_sigmoid(-z) / n};
        *loss += lpo_nls(z) / n;
        for (int j = 0; j < 2; j++) {
            const lpo_column *t = &x->col[SIDES[j].t];
            for (int64_t k = t->row_start[i]; k < t->row_start[i + 1]; k++)
                x->grad[SIDES[j].t][k] += g[j] * lambda[j][k];
        }
        x->stats->reward_chosen += beta * w / n;
        x->stats->reward_rejected += beta * l / n;
        x->stats->accuracy += (w > l) / n;
        x->stats->margin += z / n;
    }
    x->stats->has_rewards = 1;
    return LPO_OK;
}

const lpo_objective_row lpo_rows_token_weighted[] = {
    {.info = {.name = "bmc",
              .aliases = "bmc_paper(ref_weights=policy) bmc_code(ref_weights=reference)",
              .family = "token",
              .defaults = "beta=0.05 delta=3 ref_weights=policy",
              .source = "arXiv 2408.07471",
              .summary = "dpo on token-weighted log-ratios of bridged pairs",
              .needs = LPO_NEED_T | LPO_NEED_RT | LPO_C(d_w) | LPO_C(d_l)},
     .eval = bmc},
    {.info = {.name = NULL}},
};
