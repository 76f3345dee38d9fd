/* SPDX-License-Identifier: Apache-2.0 */
/* reference_pairs.c -- DPO and its relatives: losses of the difference between the two responses' scores,
 * where a score is the log-ratio of policy and reference (or an f-divergence of it). h below is that
 * difference. */
#include "align/pairs.h"

#define MODIFIERS " ld_alpha=none wpo=0 f_divergence=reverse_kl f_alpha=0.5"

static double h_of(const lpo_pairs *p, int64_t i) {
    return p->sw[i] - p->sl[i];
}

/* Add a loss of h with derivative dh. */
static void add_h(lpo_pairs *p, int64_t i, double loss, double dh) {
    lpo_pairs_add(p, i, loss, dh, -dh);
}

static lpo_status dpo(lpo_pairs *p, lpo_error *err) {
    (void)err;
    double beta = LPO_HP(p->x, beta), eps = LPO_HP(p->x, eps), dm;
    for (int64_t i = 0; i < p->n; i++) {
        double loss = lpo_smoothed(beta * h_of(p, i), eps, &dm);
        add_h(p, i, loss, beta * dm);
    }
    p->x->stats->eps_mean = eps;
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
    double beta = LPO_HP(p->x, beta), eps = LPO_HP(p->x, eps), c = 1 - 2 * eps;
    for (int64_t i = 0; i < p->n; i++) {
        double z = beta * h_of(p, i);
        add_h(p, i, ((1 - eps) * lpo_nls(z) - eps * lpo_nls(-z)) / c,
              -beta * ((1 - eps) * lpo_sigmoid(-z) + eps * lpo_sigmoid(z)) / c);
    }
    return LPO_OK;
}

/* Squared distance of a difference from 1/(2 beta); the difference of sums, or of means over tokens. */
static lpo_status ipo(lpo_pairs *p, lpo_error *err) {
    (void)err;
    double target = 1 / (2 * LPO_HP(p->x, beta));
    for (int64_t i = 0; i < p->n; i++) {
        double nw = p->nw ? p->nw[i] : 1, nl = p->nl ? p->nl[i] : 1;
        double e = p->sw[i] / nw - p->sl[i] / nl - target;
        lpo_pairs_add(p, i, e * e, 2 * e / nw, -2 * e / nl);
    }
    return LPO_OK;
}

static lpo_status sigmoid_norm(lpo_pairs *p, lpo_error *err) {
    (void)err;
    double beta = LPO_HP(p->x, beta);
    for (int64_t i = 0; i < p->n; i++) {
        double z = beta * (p->sw[i] / p->nw[i] - p->sl[i] / p->nl[i]), d = -beta * lpo_sigmoid(-z);
        lpo_pairs_add(p, i, lpo_nls(z), d / p->nw[i], -d / p->nl[i]);
    }
    return LPO_OK;
}

static lpo_status hinge(lpo_pairs *p, lpo_error *err) {
    (void)err;
    double beta = LPO_HP(p->x, beta);
    for (int64_t i = 0; i < p->n; i++) {
        double gap = 1 - beta * h_of(p, i);
        if (gap > 0) add_h(p, i, gap, -beta);
    }
    return LPO_OK;
}

static lpo_status exo_check(const lpo_hypers *h, const char *name, lpo_error *err) {
    double eps = h->value[LPO_HP_eps];
    if (eps > 0 && eps < 1) return LPO_OK;
    return lpo_fail(err, LPO_EINVAL, "%s: eps=%g: the target distribution needs 0 < eps < 1 (default 0.001)",
                    name, eps);
}

/* KL of (sigmoid(z), sigmoid(-z)) from (1-eps, eps). */
static lpo_status exo_pair(lpo_pairs *p, lpo_error *err) {
    (void)err;
    double beta = LPO_HP(p->x, beta), eps = LPO_HP(p->x, eps), log_odds = log1p(-eps) - log(eps);
    for (int64_t i = 0; i < p->n; i++) {
        double z = beta * h_of(p, i), qw = lpo_sigmoid(z), ql = lpo_sigmoid(-z);
        add_h(p, i, qw * (-lpo_nls(z) - log1p(-eps)) + ql * (-lpo_nls(-z) - log(eps)),
              beta * qw * ql * (z - log_odds));
    }
    return LPO_OK;
}

/* Logistic and exponential loss, blended by sigmoid(z/tau). */
static lpo_status discopop(lpo_pairs *p, lpo_error *err) {
    (void)err;
    double beta = LPO_HP(p->x, beta), tau = LPO_HP(p->x, tau);
    for (int64_t i = 0; i < p->n; i++) {
        double z = beta * h_of(p, i), on = lpo_sigmoid(z / tau), off = lpo_sigmoid(-z / tau);
        /* exp(-z) sigmoid(z/tau) without the overflow of either factor: log of the product first. */
        double e_on = exp(-z - lpo_nls(z / tau));
        double d = -lpo_sigmoid(-z) * off - e_on + (e_on - lpo_nls(z) * on) * off / tau;
        add_h(p, i, lpo_nls(z) * off + e_on, beta * d);
    }
    return LPO_OK;
}

static lpo_status rpo_cumulative(lpo_pairs *p, lpo_error *err) {
    lpo_status s = dpo(p, err);
    double coef = LPO_HP(p->x, eta) * LPO_HP(p->x, beta);
    for (int64_t i = 0; i < p->n; i++) lpo_pairs_add_logp(p, i, -coef * p->lw[i], -coef, 0);
    return s;
}

static lpo_status rpo_average(lpo_pairs *p, lpo_error *err) {
    lpo_status s = dpo(p, err);
    double c = LPO_HP(p->x, nll);
    for (int64_t i = 0; i < p->n; i++) lpo_pairs_add_logp(p, i, -c * p->lw[i] / p->nw[i], -c / p->nw[i], 0);
    return s;
}

static lpo_status llava_hound(lpo_pairs *p, lpo_error *err) {
    (void)err;
    double beta = LPO_HP(p->x, beta), scale = LPO_HP(p->x, dpo_alpha);
    for (int64_t i = 0; i < p->n; i++) {
        double z = beta * h_of(p, i);
        add_h(p, i, scale * lpo_nls(z), -scale * beta * lpo_sigmoid(-z));
    }
    lpo_pairs_add_nll(p, LPO_HP(p->x, nll_gamma));
    return LPO_OK;
}

/* The label's uncertainty is its smoothing: BALD lies in [0, ln 2], so eps in [0, 1/2]. The paper's own
 * formula gives eps >= 1/2, which turns every label round. */
static lpo_status upo(lpo_pairs *p, lpo_error *err) {
    const double *bald = p->x->col[LPO_COL_bald].data;
    double beta = LPO_HP(p->x, beta), lambda = LPO_HP(p->x, lambda), dm;
    for (int64_t i = 0; i < p->n; i++) {
        double eps = bald[i] / (2 * log(2));
        if (!(eps >= 0 && eps <= 0.5 + 1e-9))
            return lpo_fail(err, LPO_EINVAL, "bald: row %lld is %g: expected a value in [0, ln 2]",
                            (long long)i, bald[i]);
        double loss = lpo_smoothed(beta * h_of(p, i), eps, &dm);
        add_h(p, i, loss, beta * dm);
        lpo_pairs_add_logp(p, i, -lambda * p->lw[i] / p->nw[i], -lambda / p->nw[i], 0);
        p->x->stats->eps_mean += eps / (double)p->n;
    }
    return LPO_OK;
}

/* The rows are the steps of one trajectory: one loss of the summed differences. */
static lpo_status trajectory(lpo_pairs *p, lpo_error *err) {
    (void)err;
    double beta = LPO_HP(p->x, beta), sum = 0, n = (double)p->n;
    for (int64_t i = 0; i < p->n; i++) sum += h_of(p, i);
    double d = -n * beta * lpo_sigmoid(-beta * sum);
    for (int64_t i = 0; i < p->n; i++) add_h(p, i, lpo_nls(beta * sum), d);
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
    ROW("ipo_sum", ipo, NULL, NEEDS, "beta=0.1" MODIFIERS, "", "arXiv 2310.12036",
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
