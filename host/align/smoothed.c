/* SPDX-License-Identifier: Apache-2.0 */
/* smoothed.c -- LeanPO (2506.05260) and its dynamic label smoothing.
 * The reward is the mean log-likelihood times beta; no reference model. The paper's smoothing rule is not
 * public: the five here are this project's interpretation, each a function margin -> eps, constant to the
 * gradient. */
#include "align/pairs.h"

/* `smoothing` unset: a constant when somebody gave one, else by margin. */
static int smoothing_kind(double smoothing, uint64_t given) {
    if (!isnan(smoothing)) return (int)smoothing;
    return given & LPO_BIT(LPO_HP_eps) ? LPO_SMOOTH_FIXED : LPO_SMOOTH_MARGIN;
}

static double or_else(double v, double fallback) {
    return isnan(v) ? fallback : v;
}

static uint64_t leanpo_needs(const lpo_hypers *h) {
    int kind = smoothing_kind(h->value[LPO_HP_smoothing], h->given);
    return kind == LPO_SMOOTH_GROUNDING ? LPO_C(S_w_aug) : 0;
}

static lpo_status leanpo_check(const lpo_hypers *h, const char *name, lpo_error *err) {
    int kind = smoothing_kind(h->value[LPO_HP_smoothing], h->given);
    double tau = h->value[LPO_HP_tau], eps_max = h->value[LPO_HP_eps_max];
    if (kind == LPO_SMOOTH_MARGIN && tau <= 1)
        return lpo_fail(
            err, LPO_EINVAL,
            "%s: smoothing=margin with tau=%g: at tau 1 it only rescales the gradient, below it flips: "
            "set tau above 1 (default 2)",
            name, tau);
    if (kind != LPO_SMOOTH_FIXED && (h->given & LPO_BIT(LPO_HP_eps)))
        return lpo_fail(err, LPO_EINVAL,
                        "%s: eps is read with smoothing=fixed only; the other rules take eps_max", name);
    if (kind == LPO_SMOOTH_SCHEDULE && eps_max < h->value[LPO_HP_eps_min])
        return lpo_fail(err, LPO_EINVAL, "%s: eps_max=%g is below eps_min=%g", name, eps_max,
                        h->value[LPO_HP_eps_min]);
    return LPO_OK;
}

/* eps_min + (eps_max - eps_min)/2 (1 + cos(pi t/T)). */
static lpo_status schedule(double *eps, const lpo_term *x, lpo_error *err) {
    double t = or_else(LPO_HP(x, step), (double)x->step),
           total = or_else(LPO_HP(x, total), (double)x->total_steps);
    if (!(total > 0))
        return lpo_fail(err, LPO_EINVAL,
                        "leanpo: smoothing=schedule needs the number of steps: set total (and step)");
    double lo = LPO_HP(x, eps_min), hi = or_else(LPO_HP(x, eps_max), fmax(0.2, lo));
    *eps = lo + (hi - lo) / 2 * (1 + cos(acos(-1.0) * fmin(t / total, 1)));
    return LPO_OK;
}

/* Running statistics of the margins: mean, and mean square in place of a spread, so that batches of one work
 * too. */
static void batch_statistics(double *mean, double *std, const lpo_pairs *p, const double *m) {
    double mu, sd;
    lpo_mean_std(&mu, &sd, m, p->n);
    lpo_ema *e = p->x->ema;
    lpo_ema_update(e, LPO_HP(p->x, decay), mu, sd * sd + mu * mu);
    *mean = e->mean / e->weight;
    double var = e->spread / e->weight - *mean * *mean;
    *std = var > 0 ? sqrt(var) : 0;
}

/* How much the chosen response's log-probability a token owes to the video (unaugmented minus augmented). */
static double grounding(const lpo_pairs *p, int64_t i) {
    const double *given = p->x->col[LPO_COL_G_w].data;
    return ((given ? given[i] : p->s_w[i]) - p->x->col[LPO_COL_S_w_aug].data[i]) / p->n_w[i];
}

static lpo_status fill_eps(lpo_pairs *p, const double *m, lpo_error *err) {
    lpo_term *x = p->x;
    double mean = 0, std = 0, constant = LPO_HP(x, eps), hi = LPO_HP(x, eps_max), tau = LPO_HP(x, tau);
    int kind = smoothing_kind(LPO_HP(x, smoothing), x->hp_given);
    p->rule.tau = or_else(tau, 2);
    if (kind == LPO_SMOOTH_SCHEDULE) {
        lpo_status s = schedule(&constant, x, err);
        if (s) return s;
    }
    if (kind == LPO_SMOOTH_MARGIN && !x->tape) { /* the op's own rule */
        p->rule.op = LPO_PAIR_MARGIN;
        constant = or_else(hi, 0.4);
    }
    if (kind == LPO_SMOOTH_BATCH) batch_statistics(&mean, &std, p, m);
    for (int64_t i = 0; i < p->n; i++) {
        double e = constant, z = std > 0 ? (m[i] - mean) / std : 0;
        if (kind == LPO_SMOOTH_MARGIN && x->tape) e = or_else(hi, 0.4) * lpo_sigmoid(-m[i] / p->rule.tau);
        if (kind == LPO_SMOOTH_BATCH) e = or_else(hi, 0.2) * lpo_sigmoid(-LPO_HP(x, kappa) * z);
        if (kind == LPO_SMOOTH_GROUNDING)
            e = or_else(hi, 0.3) * lpo_real_exp(-fmax(0, grounding(p, i)) / or_else(tau, 0.1));
        p->in[i][LPO_PAIR_IN_EPS] = lpo_sg(x, e);
    }
    return LPO_OK;
}

static lpo_status leanpo(lpo_pairs *p, lpo_error *err) {
    double *m = lpo_arena_alloc(p->x->arena, (size_t)p->n, sizeof *m), gamma = LPO_HP(p->x, gamma_r);
    if (!m) return lpo_fail(err, LPO_ENOMEM, "leanpo: %lld pairs", (long long)p->n);
    p->rule.flags = LPO_PAIR_BY_TOKEN | LPO_PAIR_REWARD_SCORE;
    lpo_pairs_fill(p, LPO_PAIR_IN_SHIFT_W, gamma);
    for (int64_t i = 0; i < p->n; i++)
        m[i] = p->rule.beta * (p->s_w[i] / p->n_w[i] - p->s_l[i] / p->n_l[i] - gamma);
    return fill_eps(p, m, err);
}

const lpo_objective_row lpo_rows_smoothed[] = {
    {.info = {.name = "leanpo",
              .aliases = "leanpo_fixed_eps(smoothing=fixed) leanpo_A_schedule(smoothing=schedule) "
                         "leanpo_B_margin(smoothing=margin) leanpo_C_batchnorm(smoothing=batch) "
                         "leanpo_D_grounding(smoothing=grounding)",
              .family = "pair",
              .defaults =
                  "beta=2 gamma_r=0 smoothing=auto eps=0.1 eps_min=0 eps_max=auto tau=auto kappa=1 decay=0.9 "
                  "step=auto total=auto",
              .source = "arXiv 2506.05260; smoothing rules ours",
              .summary = "mean-likelihood reward, no reference, dynamic label smoothing",
              .needs = LPO_NEED_S | LPO_NEED_N},
     .pairs = leanpo,
     .optional = LPO_C(G_w),
     .needs = leanpo_needs,
     .check = leanpo_check},
    {.info = {.name = NULL}},
};
