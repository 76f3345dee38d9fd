/* SPDX-License-Identifier: Apache-2.0 */
/* reference_free.c -- pair losses without a frozen reference inside the preference term: SimPO and its
 * adaptive-margin kin, CPO, ORPO, EXPO, and plain supervised tuning on the chosen response. */
#include "align/pairs.h"

static double mean_w(const lpo_pairs *p, int64_t i) {
    return p->lw[i] / p->nw[i];
}
static double mean_l(const lpo_pairs *p, int64_t i) {
    return p->ll[i] / p->nl[i];
}

static void mean_rewards(lpo_pairs *p) {
    for (int64_t i = 0; i < p->n; i++) {
        p->reward_w[i] = LPO_HP(p->x, beta) * mean_w(p, i);
        p->reward_l[i] = LPO_HP(p->x, beta) * mean_l(p, i);
    }
}

/* Add the smoothed logistic loss of m = beta (mean_w - mean_l - margin). */
static void add_mean_margin(lpo_pairs *p, int64_t i, double margin) {
    double beta = LPO_HP(p->x, beta), dm;
    double loss = lpo_smoothed(beta * (mean_w(p, i) - mean_l(p, i) - margin), LPO_HP(p->x, eps), &dm);
    lpo_pairs_add_logp(p, i, loss, beta * dm / p->nw[i], -beta * dm / p->nl[i]);
}

static lpo_status simpo(lpo_pairs *p, lpo_error *err) {
    (void)err;
    for (int64_t i = 0; i < p->n; i++) add_mean_margin(p, i, LPO_HP(p->x, gamma_r));
    mean_rewards(p);
    return LPO_OK;
}

/* The margin grows with how far the pair's length-normalised log-ratio stands above the running mean. Running
 * values that the user supplies (mu_prev, sd_prev) count as settled: they are not bias-corrected. */
static lpo_status alpha_dpo(lpo_pairs *p, lpo_error *err) {
    lpo_term *x = p->x;
    lpo_ema *e = x->ema;
    double mean, std, *u = lpo_arena_alloc(x->arena, (size_t)p->n, sizeof *u);
    if (!u) return lpo_fail(err, LPO_ENOMEM, "alpha_dpo: %lld pairs", (long long)p->n);
    for (int64_t i = 0; i < p->n; i++) u[i] = p->sw[i] / p->nw[i] - p->sl[i] / p->nl[i];
    if (e->weight == 0 && !isnan(LPO_HP(x, mu_prev)))
        *e = (lpo_ema){LPO_HP(x, mu_prev), LPO_HP(x, sd_prev), 1};
    lpo_mean_std(&mean, &std, u, p->n);
    /* A batch of one has no spread of its own: its distance from the running mean stands in. */
    if (p->n == 1) std = e->weight > 0 ? fabs(u[0] - e->mean / e->weight) : 0;
    lpo_ema_update(e, LPO_HP(x, decay), mean, std);
    double mu = e->mean / e->weight, sd = e->spread / e->weight;
    for (int64_t i = 0; i < p->n; i++) {
        double z = lpo_sg(x, sd > 0 ? (u[i] - mu) / sd : 0);
        add_mean_margin(p, i, LPO_HP(x, gamma_r) + LPO_HP(x, alpha) * z);
    }
    mean_rewards(p);
    return LPO_OK;
}

static lpo_status alpha_dpo_check(const lpo_hypers *h, const char *name, lpo_error *err) {
    if (isnan(h->value[LPO_HP_mu_prev]) == isnan(h->value[LPO_HP_sd_prev])) return LPO_OK;
    return lpo_fail(err, LPO_EINVAL, "%s: mu_prev and sd_prev go together: set both or neither", name);
}

/* AlphaPO's reward of a log-probability, (1 - p^-alpha)/alpha; alpha 0 is the log-probability itself. */
static double alpha_reward(double logp, double alpha, double *d) {
    *d = alpha == 0 ? 1 : exp(-alpha * logp);
    return alpha == 0 ? logp : -expm1(-alpha * logp) / alpha;
}

/* TRL's CPO: sums for sigmoid and hinge, token means for ipo and simpo, all + cpo_alpha NLL. */
static lpo_status cpo(lpo_pairs *p, lpo_error *err) {
    (void)err;
    lpo_term *x = p->x;
    int kind = (int)LPO_HP(x, cpo_loss), mean = kind == LPO_CPO_IPO || kind == LPO_CPO_SIMPO;
    double beta = LPO_HP(x, beta), eps = LPO_HP(x, eps), d = 0, loss, dw, dl;
    double margin = kind == LPO_CPO_SIMPO ? LPO_HP(x, simpo_gamma) / beta : 0;
    for (int64_t i = 0; i < p->n; i++) {
        double nw = mean ? p->nw[i] : 1, nl = mean ? p->nl[i] : 1;
        double rw = alpha_reward(p->lw[i] / nw, LPO_HP(x, alpha), &dw),
               rl = alpha_reward(p->ll[i] / nl, LPO_HP(x, alpha), &dl);
        double z = rw - rl - margin;
        if (kind == LPO_CPO_HINGE) {
            loss = fmax(0, 1 - beta * z);
            d = loss > 0 ? -beta : 0;
        } else if (kind == LPO_CPO_IPO) {
            double e = z - 1 / (2 * beta);
            loss = e * e;
            d = 2 * e;
        } else {
            loss = lpo_smoothed(beta * z, eps, &d);
            d *= beta;
        }
        lpo_pairs_add_logp(p, i, loss, d * dw / nw, -d * dl / nl);
        p->reward_w[i] = beta * rw;
        p->reward_l[i] = beta * rl;
    }
    lpo_pairs_add_nll(p, LPO_HP(x, cpo_alpha));
    return LPO_OK;
}

/* log of the odds of a response whose mean log-probability is z < 0, and its derivative. */
static double log_odds(double z, double *d) {
    double one_minus_p = -expm1(z);
    *d = 1 / one_minus_p;
    return z - log(one_minus_p);
}

static lpo_status orpo(lpo_pairs *p, lpo_error *err) {
    double beta = LPO_HP(p->x, beta), dw, dl;
    for (int64_t i = 0; i < p->n; i++) {
        double zw = mean_w(p, i), zl = mean_l(p, i);
        if (!(zw < 0 && zl < 0))
            return lpo_fail(err, LPO_EINVAL, "%s: row %lld: the odds ratio needs log-probabilities below 0",
                            zw < 0 ? "S_l" : "S_w", (long long)i);
        double z = log_odds(zw, &dw) - log_odds(zl, &dl), d = -beta * lpo_sigmoid(-z);
        lpo_pairs_add_logp(p, i, beta * lpo_nls(z), d * dw / p->nw[i], -d * dl / p->nl[i]);
    }
    lpo_pairs_add_nll(p, 1);
    mean_rewards(p);
    return LPO_OK;
}

/* Preference term on the policy alone; KL(reference || policy) estimated on one sample of the reference a
 * prompt. */
static lpo_status expo(lpo_pairs *p, lpo_error *err) {
    (void)err;
    lpo_term *x = p->x;
    const double *su = x->col[LPO_COL_S_u].data, *ru = x->col[LPO_COL_R_u].data;
    double lambda = LPO_HP(x, lambda);
    for (int64_t i = 0; i < p->n; i++) {
        double z = p->lw[i] - p->ll[i], d = -lpo_sigmoid(-z);
        lpo_pairs_add_logp(p, i, lpo_nls(z) + lambda * (ru[i] - su[i]), d, -d);
        x->grad[LPO_COL_S_u][i] -= lambda / (double)p->n;
    }
    return LPO_OK;
}

static lpo_status sft(lpo_pairs *p, lpo_error *err) {
    (void)err;
    lpo_pairs_add_nll(p, 1);
    return LPO_OK;
}

#define NEEDS (LPO_NEED_S | LPO_NEED_N)
#define ROW(NAME, FN, CHECK, NEED, DEFAULTS, ALIASES, SOURCE, SUMMARY)                                       \
    { .info = {NAME, ALIASES, "pair", DEFAULTS, SOURCE, SUMMARY, NEED}, .pairs = FN, .check = CHECK }

const lpo_objective_row lpo_rows_reference_free[] = {
    ROW("simpo", simpo, NULL, NEEDS, "beta=2 gamma_r=0.25 eps=0", "", "arXiv 2405.14734",
        "mean-likelihood reward with a fixed margin"),
    ROW("alpha_dpo", alpha_dpo, alpha_dpo_check, NEEDS | LPO_NEED_R,
        "beta=2.5 gamma_r=0.6 alpha=0.2 eps=0 decay=0.9 mu_prev=auto sd_prev=auto",
        "alpha_dpo_first_step(mu_prev=0,sd_prev=0)", "arXiv 2410.10148",
        "simpo with a margin that adapts to each pair"),
    ROW("cpo", cpo, NULL, NEEDS, "cpo_loss=sigmoid beta=0.1 eps=0 cpo_alpha=1 simpo_gamma=0.5 alpha=0",
        "trl_cpo_sigmoid(loss_type=sigmoid) trl_cpo_hinge(loss_type=hinge) trl_cpo_ipo(loss_type=ipo) "
        "trl_cpo_simpo(loss_type=simpo,beta=2,cpo_alpha=0) "
        "cpo_simpo(loss_type=simpo) cpo_hinge(loss_type=hinge) cpo_ipo(loss_type=ipo) "
        "trl_cpo_alphapo(loss_type=simpo,beta=2,cpo_alpha=0,alpha=0.25) "
        "alphapo(loss_type=simpo,beta=2,cpo_alpha=0,alpha=0.25)",
        "arXiv 2401.08417; alphapo arXiv 2501.03884", "dpo without a reference, + NLL"),
    ROW("orpo", orpo, NULL, NEEDS, "beta=0.1", "trl_orpo", "arXiv 2403.07691", "NLL + log odds ratio"),
    ROW("sapo_orpo", orpo, NULL, NEEDS, "beta=0.05", "", "arXiv 2405.20830", "orpo on self-augmented pairs"),
    ROW("expo", expo, NULL, LPO_NEED_S | LPO_C(S_u) | LPO_C(R_u), "lambda=0.1", "expo_compositional",
        "arXiv 2506.07492, compositional",
        "log-sigmoid of the policy's difference + KL to the reference on its sample"),
    ROW("sft", sft, NULL, LPO_C(S_w) | LPO_C(n_w), "", "trl_sft", "-",
        "token-mean NLL of the chosen responses"),
    {.info = {.name = NULL}},
};
