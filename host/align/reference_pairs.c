/* SPDX-License-Identifier: Apache-2.0 */
/* reference_pairs.c -- DPO and its relatives: losses of the difference between the two responses' scores,
 * where a score is the log-ratio of policy and reference (or an f-divergence of it). h below is that
 * difference. */
#include "align/pairs.h"

#define MODIFIERS " ld_alpha=none wpo=0 f_divergence=reverse_kl f_alpha=0.5"

/* A loss that is an op of kernels/pair_loss.h as it stands, on sums or on means over tokens. */
static void set_op(lpo_pairs *p, uint32_t op, uint32_t flags) {
    p->rule.op = op;
    p->rule.flags = flags;
    if (!isnan(LPO_HP(p->x, eps))) lpo_pairs_fill(p, LPO_PAIR_IN_EPS, LPO_HP(p->x, eps));
}

static lpo_status dpo(lpo_pairs *p, lpo_error *err) {
    (void)err;
    set_op(p, LPO_PAIR_LOGISTIC, 0);
    return LPO_OK;
}

static lpo_status rdpo_check(const lpo_hypers *h, const char *name, lpo_error *err) {
    if (h->value[LPO_HP_eps] < 0.5) return LPO_OK;
    return lpo_fail(err, LPO_EINVAL,
                    "%s: eps=%g: with half the labels flipped there is nothing to learn: set eps below 0.5",
                    name, h->value[LPO_HP_eps]);
}

static lpo_status rdpo(lpo_pairs *p, lpo_error *err) {
    (void)err;
    set_op(p, LPO_PAIR_ROBUST, 0);
    return LPO_OK;
}

/* Squared distance of a difference from 1/(2 beta); the difference of sums, or of means over tokens. */
static lpo_status ipo_sum(lpo_pairs *p, lpo_error *err) {
    (void)err;
    set_op(p, LPO_PAIR_SQUARED, 0);
    lpo_pairs_fill(p, LPO_PAIR_IN_SHIFT_W, 1 / (2 * p->rule.beta));
    return LPO_OK;
}
static lpo_status ipo(lpo_pairs *p, lpo_error *err) {
    lpo_status s = ipo_sum(p, err);
    p->rule.flags = LPO_PAIR_BY_TOKEN;
    return s;
}

static lpo_status sigmoid_norm(lpo_pairs *p, lpo_error *err) {
    (void)err;
    set_op(p, LPO_PAIR_LOGISTIC, LPO_PAIR_BY_TOKEN);
    return LPO_OK;
}

static lpo_status hinge(lpo_pairs *p, lpo_error *err) {
    (void)err;
    set_op(p, LPO_PAIR_HINGE, 0);
    return LPO_OK;
}

static lpo_status exo_check(const lpo_hypers *h, const char *name, lpo_error *err) {
    double eps = h->value[LPO_HP_eps];
    if (eps > 0 && eps < 1) return LPO_OK;
    return lpo_fail(err, LPO_EINVAL, "%s: eps=%g: the target distribution needs 0 < eps < 1 (default 0.001)",
                    name, eps);
}

static lpo_status exo_pair(lpo_pairs *p, lpo_error *err) {
    (void)err;
    set_op(p, LPO_PAIR_EXO, 0);
    return LPO_OK;
}

static lpo_status discopop(lpo_pairs *p, lpo_error *err) {
    (void)err;
    set_op(p, LPO_PAIR_DISCOPOP, 0);
    return LPO_OK;
}

static lpo_status rpo_cumulative(lpo_pairs *p, lpo_error *err) {
    for (int64_t i = 0; i < p->n; i++)
        p->in[i][LPO_PAIR_IN_LIKELIHOOD] = p->in[i][LPO_PAIR_IN_WEIGHT] * LPO_HP(p->x, eta) * p->rule.beta;
    return dpo(p, err);
}

/* dpo + coef * mean likelihood of the chosen response. */
static lpo_status dpo_average(lpo_pairs *p, double coef, lpo_error *err) {
    for (int64_t i = 0; i < p->n; i++)
        p->in[i][LPO_PAIR_IN_LIKELIHOOD] = p->in[i][LPO_PAIR_IN_WEIGHT] * coef / p->n_w[i];
    return dpo(p, err);
}

static lpo_status rpo_average(lpo_pairs *p, lpo_error *err) {
    return dpo_average(p, LPO_HP(p->x, nll), err);
}

static lpo_status llava_hound(lpo_pairs *p, lpo_error *err) {
    lpo_pairs_add_nll(p, LPO_HP(p->x, nll_gamma));
    for (int64_t i = 0; i < p->n; i++) p->in[i][LPO_PAIR_IN_WEIGHT] *= LPO_HP(p->x, dpo_alpha);
    return dpo(p, err);
}

/* The label's uncertainty is its smoothing: BALD lies in [0, ln 2], so eps in [0, 1/2]. The paper's own
 * formula gives eps >= 1/2, which turns every label round. */
static lpo_status upo(lpo_pairs *p, lpo_error *err) {
    const double *bald = p->x->col[LPO_COL_bald].data;
    lpo_status s = dpo_average(p, LPO_HP(p->x, lambda), err);
    for (int64_t i = 0; i < p->n && !s; i++) {
        double eps = bald[i] / (2 * lpo_real_log(2));
        if (!(eps >= 0 && eps <= 0.5 + 1e-9))
            return lpo_fail(err, LPO_EINVAL, "bald: row %lld is %g: expected a value in [0, ln 2]",
                            (long long)i, bald[i]);
        p->in[i][LPO_PAIR_IN_EPS] = eps;
    }
    return s;
}

/* The rows are the steps of one trajectory: one loss of the summed differences, so that no step's derivative
 * is known before the last step is read. */
static lpo_status whole_trajectory(lpo_pairs *p, lpo_error *err) {
    (void)err;
    double beta = p->rule.beta, sum = 0;
    for (int64_t i = 0; i < p->n; i++)
        sum += (p->s_w[i] - p->in[i][LPO_PAIR_IN_R_W]) - (p->s_l[i] - p->in[i][LPO_PAIR_IN_R_L]);
    for (int64_t i = 0; i < p->n; i++) {
        p->out[i][LPO_PAIR_LOSS] = lpo_nls(beta * sum);
        p->out[i][LPO_PAIR_G_W] = -p->rule.n * beta * lpo_sigmoid(-beta * sum);
        p->out[i][LPO_PAIR_G_L] = -p->out[i][LPO_PAIR_G_W];
    }
    return LPO_OK;
}
static lpo_status trajectory(lpo_pairs *p, lpo_error *err) {
    (void)err;
    p->whole = whole_trajectory;
    return LPO_OK;
}

#define NEEDS (LPO_NEED_S | LPO_NEED_R)
#define ROW(NAME, FN, CHECK, NEED, DEFAULTS, ALIASES, SOURCE, SUMMARY)                                       \
    { .info = {NAME, ALIASES, "pair", DEFAULTS, SOURCE, SUMMARY, NEED}, .pairs = FN, .check = CHECK }

const lpo_objective_row lpo_rows_reference_pairs[] = {
    ROW("dpo", dpo, NULL, NEEDS, "beta=0.1 eps=0" MODIFIERS,
        "sigmoid trl_sigmoid ld_dpo(ld_alpha=0.5) wpo_dpo(wpo=1) "
        "trl_fdiv_reverse_kl(f_divergence=reverse_kl) "
        "trl_fdiv_forward_kl(f_divergence=forward_kl) trl_fdiv_js(f_divergence=js) "
        "trl_fdiv_alpha(f_divergence=alpha)",
        "arXiv 2305.18290", "log-sigmoid of the difference of log-ratios"),
    ROW("cdpo", dpo, NULL, NEEDS, "beta=0.1 eps=0.1" MODIFIERS, "", "arXiv 2305.18290 with label smoothing",
        "dpo, a share eps of labels taken as flipped"),
    ROW("rdpo", rdpo, rdpo_check, NEEDS, "beta=0.1 eps=0.1" MODIFIERS, "rdpo_robust robust trl_robust",
        "arXiv 2403.00409", "unbiased under label flips of rate eps"),
    ROW("ipo", ipo, NULL, NEEDS | LPO_NEED_N, "beta=0.1" MODIFIERS, "trl_ipo", "arXiv 2310.12036, per token",
        "squared distance of the mean difference from 1/(2 beta)"),
    ROW("ipo_sum", ipo_sum, NULL, NEEDS, "beta=0.1" MODIFIERS, "", "arXiv 2310.12036",
        "ipo on summed log-ratios"),
    ROW("sigmoid_norm", sigmoid_norm, NULL, NEEDS | LPO_NEED_N, "beta=0.1" MODIFIERS, "trl_sigmoid_norm",
        "TRL sigmoid_norm", "dpo on log-ratios averaged over tokens"),
    ROW("hinge", hinge, NULL, NEEDS, "beta=0.1" MODIFIERS, "trl_hinge", "arXiv 2305.10425",
        "max(0, 1 - beta h)"),
    ROW("exo_pair", exo_pair, exo_check, NEEDS, "beta=0.1 eps=0.001" MODIFIERS, "trl_exo_pair",
        "arXiv 2402.00856", "reverse KL to the smoothed preference"),
    ROW("discopop", discopop, NULL, NEEDS, "beta=0.1 tau=0.05" MODIFIERS, "trl_discopop", "arXiv 2406.08414",
        "logistic and exponential loss blended by the margin"),
    ROW("rpo", rpo_cumulative, NULL, NEEDS, "beta=0.01 eta=0.005 eps=0" MODIFIERS, "rpo_cumulative",
        "arXiv 2405.16436", "dpo + summed likelihood of the chosen response"),
    ROW("rpo_average", rpo_average, NULL, NEEDS | LPO_NEED_N, "beta=0.5 nll=0.2 eps=0" MODIFIERS, "",
        "arXiv 2405.16436", "dpo + mean likelihood of the chosen response"),
    ROW("llava_hound_dpo", llava_hound, NULL, NEEDS | LPO_NEED_N,
        "beta=0.1 dpo_alpha=1 nll_gamma=0.1" MODIFIERS, "llava_hound", "arXiv 2404.01258",
        "dpo + token-mean NLL of the chosen responses"),
    ROW("sapo_dpo", dpo, NULL, NEEDS, "beta=0.1 eps=0" MODIFIERS, "", "arXiv 2405.20830",
        "dpo whose reference is an EMA of the policy"),
    ROW("upo", upo, NULL, NEEDS | LPO_NEED_N | LPO_C(bald), "beta=0.1 lambda=0.1" MODIFIERS, "upo_bald",
        "arXiv 2409.11212; eps = BALD/(2 ln 2) ours", "cdpo smoothed by the label's uncertainty, + NLL"),
    ROW("tpo", trajectory, NULL, NEEDS, "beta=0.1", "reagentv_tpo trajectory_dpo", "arXiv 2506.01300",
        "dpo of a trajectory: the rows are its steps"),
    {.info = {.name = NULL}},
};
