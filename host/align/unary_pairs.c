/* SPDX-License-Identifier: Apache-2.0 */
/* unary_pairs.c -- losses that judge each response's score by itself (sppo, nca, bco, apo), and aot, which
 * compares the sorted scores of the batch instead of the two of a pair. */
#include "align/pairs.h"

#include <stdlib.h>

#define LD_WPO    " ld_alpha=none wpo=0"
#define MODIFIERS LD_WPO " f_divergence=reverse_kl f_alpha=0.5"

static lpo_status sppo(lpo_pairs *p, lpo_error *err) {
    (void)err;
    const double *p_w = p->x->col[LPO_COL_p_w].data, *p_l = p->x->col[LPO_COL_p_l].data;
    p->rule.op = LPO_PAIR_SPPO;
    for (int64_t i = 0; i < p->n; i++) {
        p->in[i][LPO_PAIR_IN_SHIFT_W] = (p_w[i] - 0.5) / p->rule.beta;
        p->in[i][LPO_PAIR_IN_SHIFT_L] = (p_l[i] - 0.5) / p->rule.beta;
    }
    return LPO_OK;
}

/* Win probabilities 1 and 0, and TRL's loss without the half. */
static lpo_status sppo_hard(lpo_pairs *p, lpo_error *err) {
    (void)err;
    p->rule.op = LPO_PAIR_SPPO;
    lpo_pairs_fill(p, LPO_PAIR_IN_SHIFT_W, 0.5 / p->rule.beta);
    lpo_pairs_fill(p, LPO_PAIR_IN_SHIFT_L, -0.5 / p->rule.beta);
    for (int64_t i = 0; i < p->n; i++) p->in[i][LPO_PAIR_IN_WEIGHT] *= 2;
    return LPO_OK;
}

static lpo_status nca_pair(lpo_pairs *p, lpo_error *err) {
    (void)err;
    p->rule.op = LPO_PAIR_NCA;
    return LPO_OK;
}

static lpo_status bco_pair(lpo_pairs *p, lpo_error *err) {
    (void)err;
    p->rule.op = LPO_PAIR_BCO;
    return LPO_OK;
}

static lpo_status apo_zero(lpo_pairs *p, lpo_error *err) {
    (void)err;
    p->rule.op = LPO_PAIR_APO_ZERO;
    return LPO_OK;
}

static lpo_status apo_down(lpo_pairs *p, lpo_error *err) {
    (void)err;
    p->rule.op = LPO_PAIR_APO_DOWN;
    return LPO_OK;
}

typedef struct ranked {
    double value;
    int64_t row;
} ranked;

static int by_value(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Rows by ascending value; NULL when there is no memory for them. */
static ranked *rank(lpo_pairs *p, double (*value)(const lpo_pairs *p, int64_t i)) {
    ranked *r = lpo_arena_alloc(p->x->arena, (size_t)p->n, sizeof *r);
    for (int64_t i = 0; r && i < p->n; i++) r[i] = (ranked){value(p, i), i};
    if (r) qsort(r, (size_t)p->n, sizeof *r, by_value);
    return r;
}
static double policy_gap(const lpo_pairs *p, int64_t i) {
    return p->s_w[i] - p->s_l[i];
}
static double reference_gap(const lpo_pairs *p, int64_t i) {
    return p->in[i][LPO_PAIR_IN_R_W] - p->in[i][LPO_PAIR_IN_R_L];
}
static double ratio_w(const lpo_pairs *p, int64_t i) {
    return p->s_w[i] - p->in[i][LPO_PAIR_IN_R_W];
}
static double ratio_l(const lpo_pairs *p, int64_t i) {
    return p->s_l[i] - p->in[i][LPO_PAIR_IN_R_L];
}

/* The k-th smallest of `upper` against the k-th smallest of `lower`; paired: both responses of a value's row
 * made it. */
static lpo_status dominance(lpo_pairs *p, const ranked *upper, const ranked *lower, bool paired,
                            lpo_error *err) {
    double beta = p->rule.beta, dm;
    if (!upper || !lower) return lpo_fail(err, LPO_ENOMEM, "aot: %lld pairs", (long long)p->n);
    for (int64_t k = 0; k < p->n; k++) {
        const double weight = p->in[k][LPO_PAIR_IN_WEIGHT];
        double loss = lpo_smoothed(beta * (upper[k].value - lower[k].value), LPO_HP(p->x, eps), &dm);
        p->out[k][LPO_PAIR_LOSS] += weight * loss;
        p->out[upper[k].row][LPO_PAIR_G_W] += weight * beta * dm;
        p->out[paired ? upper[k].row : lower[k].row][LPO_PAIR_G_L] -= weight * beta * dm;
    }
    return LPO_OK;
}

/* The k-th smallest difference of the policy against the k-th smallest of the reference. */
static lpo_status whole_aot(lpo_pairs *p, lpo_error *err) {
    return dominance(p, rank(p, policy_gap), rank(p, reference_gap), true, err);
}
static lpo_status aot(lpo_pairs *p, lpo_error *err) {
    (void)err;
    lpo_pairs_fill(p, LPO_PAIR_IN_EPS, LPO_HP(p->x, eps));
    p->whole = whole_aot;
    return LPO_OK;
}

/* The k-th smallest chosen log-ratio against the k-th smallest rejected one. */
static lpo_status whole_aot_unpaired(lpo_pairs *p, lpo_error *err) {
    return dominance(p, rank(p, ratio_w), rank(p, ratio_l), false, err);
}
static lpo_status aot_unpaired(lpo_pairs *p, lpo_error *err) {
    lpo_status s = aot(p, err);
    p->whole = whole_aot_unpaired;
    return s;
}

#define NEEDS (LPO_NEED_S | LPO_NEED_R)
#define ROW(NAME, FN, NEED, DEFAULTS, ALIASES, SOURCE, SUMMARY)                                              \
    { .info = {NAME, ALIASES, "pair", DEFAULTS, SOURCE, SUMMARY, NEED}, .pairs = FN }

const lpo_objective_row lpo_rows_unary_pairs[] = {
    ROW("sppo", sppo, NEEDS | LPO_C(p_w) | LPO_C(p_l), "beta=0.001" MODIFIERS, "", "arXiv 2405.00675",
        "log-ratios regressed on win probabilities"),
    ROW("sppo_hard", sppo_hard, NEEDS, "beta=0.1" MODIFIERS, "trl_sppo_hard",
        "arXiv 2405.00675, TRL sppo_hard", "sppo with win probabilities 1 and 0"),
    ROW("nca_pair", nca_pair, NEEDS, "beta=0.1" MODIFIERS, "trl_nca_pair", "arXiv 2402.05369",
        "noise-contrastive: absolute likelihoods count"),
    ROW("bco_pair", bco_pair, NEEDS, "beta=0.1" MODIFIERS, "trl_bco_pair", "arXiv 2404.04656, TRL bco_pair",
        "binary classification of each response"),
    ROW("aot", aot, NEEDS, "beta=0.1 eps=0" LD_WPO, "trl_aot", "arXiv 2406.05882",
        "stochastic dominance over the reference's differences"),
    ROW("aot_unpaired", aot_unpaired, NEEDS, "beta=0.1 eps=0" LD_WPO, "trl_aot_unpaired", "arXiv 2406.05882",
        "stochastic dominance of chosen over rejected log-ratios"),
    ROW("apo_zero", apo_zero, NEEDS, "beta=0.1" LD_WPO, "trl_apo_zero", "arXiv 2408.06266",
        "chosen up, rejected down, each bounded"),
    ROW("apo_down", apo_down, NEEDS, "beta=0.1" MODIFIERS, "trl_apo_down", "arXiv 2408.06266",
        "both down, rejected more"),
    {.info = {.name = NULL}},
};
