/* SPDX-License-Identifier: Apache-2.0 */
/* reference_free.c -- pair losses without a frozen reference inside the preference term: SimPO and its
 * adaptive-margin kin, CPO, ORPO, EXPO, and plain supervised tuning on the chosen response. */
#include "align/pairs.h"

static void set_means(lpo_pairs *p, uint32_t op, double shift) {
    p->rule.op = op;
    p->rule.flags = LPO_PAIR_BY_TOKEN | LPO_PAIR_REWARD_SCORE;
    lpo_pairs_fill(p, LPO_PAIR_IN_SHIFT_W, shift);
    if (!isnan(LPO_HP(p->x, eps))) lpo_pairs_fill(p, LPO_PAIR_IN_EPS, LPO_HP(p->x, eps));
}

static lpo_status simpo(lpo_pairs *p, lpo_error *err) {
    (void)err;
    set_means(p, LPO_PAIR_LOGISTIC, LPO_HP(p->x, gamma_r));
    return LPO_OK;
}

/* The margin grows with how far the pair's length-normalised log-ratio stands above the running mean. Running
 * values that the user supplies (mu_prev, sd_prev) count as settled: they are not bias-corrected. */
static lpo_status alpha_dpo(lpo_pairs *p, lpo_error *err) {
    lpo_term *x = p->x;
    lpo_ema *e = x->ema;
    double mean, std, *u = lpo_arena_alloc(x->arena, (size_t)p->n, sizeof *u);
    if (!u) return lpo_fail(err, LPO_ENOMEM, "alpha_dpo: %lld pairs", (long long)p->n);
    for (int64_t i = 0; i < p->n; i++)
        u[i] = (p->s_w[i] - p->in[i][LPO_PAIR_IN_R_W]) / p->n_w[i] -
               (p->s_l[i] - p->in[i][LPO_PAIR_IN_R_L]) / p->n_l[i];
    if (e->weight == 0 && !isnan(LPO_HP(x, mu_prev)))
        *e = (lpo_ema){LPO_HP(x, mu_prev), LPO_HP(x, sd_prev), 1};
    lpo_mean_std(&mean, &std, u, p->n);
    /* A batch of one has no spread of its own: its distance from the running mean stands in. */
    if (p->n == 1) std = e->weight > 0 ? fabs(u[0] - e->mean / e->weight) : 0;
    lpo_ema_update(e, LPO_HP(x, decay), mean, std);
    double mu = e->mean / e->weight, sd = e->spread / e->weight;
    set_means(p, LPO_PAIR_LOGISTIC, LPO_HP(x, gamma_r));
    for (int64_t i = 0; i < p->n; i++)
        p->in[i][LPO_PAIR_IN_SHIFT_W] += LPO_HP(x, alpha) * lpo_sg(x, sd > 0 ? (u[i] - mu) / sd : 0);
    /* The reference speaks through the margin alone. */
    lpo_pairs_fill(p, LPO_PAIR_IN_R_W, 0);
    lpo_pairs_fill(p, LPO_PAIR_IN_R_L, 0);
    return LPO_OK;
}

static lpo_status alpha_dpo_check(const lpo_hypers *h, const char *name, lpo_error *err) {
    if (isnan(h->value[LPO_HP_mu_prev]) == isnan(h->value[LPO_HP_sd_prev])) return LPO_OK;
    return lpo_fail(err, LPO_EINVAL, "%s: mu_prev and sd_prev go together: set both or neither", name);
}

/* TRL's CPO: sums for sigmoid and hinge, token means for ipo and simpo, all + cpo_alpha NLL; alpha turns the
 * scores into AlphaPO's rewards. */
static lpo_status cpo(lpo_pairs *p, lpo_error *err) {
    (void)err;
    lpo_term *x = p->x;
    int kind = (int)LPO_HP(x, cpo_loss);
    set_means(p,
              kind == LPO_CPO_HINGE ? LPO_PAIR_HINGE
              : kind == LPO_CPO_IPO ? LPO_PAIR_SQUARED
                                    : LPO_PAIR_LOGISTIC,
              kind == LPO_CPO_IPO     ? 1 / (2 * p->rule.beta)
              : kind == LPO_CPO_SIMPO ? LPO_HP(x, simpo_gamma) / p->rule.beta
                                      : 0);
    if (kind == LPO_CPO_SIGMOID || kind == LPO_CPO_HINGE) p->rule.flags = LPO_PAIR_REWARD_SCORE;
    p->rule.score = LPO_SCORE_ALPHA_REWARD;
    p->rule.alpha = LPO_HP(x, alpha);
    lpo_pairs_add_nll(p, LPO_HP(x, cpo_alpha));
    return LPO_OK;
}

static lpo_status orpo(lpo_pairs *p, lpo_error *err) {
    for (int64_t i = 0; i < p->n; i++)
        if (!(p->s_w[i] < 0 && p->s_l[i] < 0))
            return lpo_fail(err, LPO_EINVAL, "%s: row %lld: the odds ratio needs log-probabilities below 0",
                            p->s_w[i] < 0 ? "S_l" : "S_w", (long long)i);
    lpo_pairs_add_nll(p, 1);
    set_means(p, LPO_PAIR_ODDS, 0);
    lpo_pairs_fill(p, LPO_PAIR_IN_WEIGHT, p->rule.beta);
    return LPO_OK;
}

/* Preference term on the policy alone; KL(reference || policy) estimated on one sample of the reference a
 * prompt. */
static lpo_status expo(lpo_pairs *p, lpo_error *err) {
    (void)err;
    lpo_term *x = p->x;
    const double *s_u = x->col[LPO_COL_S_u].data, *r_u = x->col[LPO_COL_R_u].data;
    double lambda = LPO_HP(x, lambda);
    for (int64_t i = 0; i < p->n; i++) {
        p->in[i][LPO_PAIR_IN_CONSTANT] = lambda * (r_u[i] - s_u[i]);
        x->grad[LPO_COL_S_u][i] -= lambda / (double)p->n;
    }
    return LPO_OK;
}

static lpo_status sft(lpo_pairs *p, lpo_error *err) {
    (void)err;
    p->rule.op = LPO_PAIR_LIKELIHOOD;
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
