/* SPDX-License-Identifier: Apache-2.0 */
/* unary_pairs.c -- losses that judge each response's score by itself (sppo, nca, bco, apo), and aot, which
 * compares the sorted scores of the batch instead of the two of a pair. */
#include "align/pairs.h"

#include <stdlib.h>

#define LD_WPO    " ld_alpha=none wpo=0"
#define MODIFIERS LD_WPO " f_divergence=reverse_kl f_alpha=0.5"

static lpo_status sppo(lpo_pairs *p, lpo_error *err) {
    (void)err;
    const double *pw = p->x->col[LPO_COL_p_w].data, *pl = p->x->col[LPO_COL_p_l].data;
    double beta = LPO_HP(p->x, beta);
    for (int64_t i = 0; i < p->n; i++) {
        double ew = p->sw[i] - (pw[i] - 0.5) / beta, el = p->sl[i] - (pl[i] - 0.5) / beta;
        lpo_pairs_add(p, i, (ew * ew + el * el) / 2, ew, el);
    }
    return LPO_OK;
}

static lpo_status sppo_hard(lpo_pairs *p, lpo_error *err) {
    (void)err;
    double target = 0.5 / LPO_HP(p->x, beta);
    for (int64_t i = 0; i < p->n; i++) {
        double ew = p->sw[i] - target, el = p->sl[i] + target;
        lpo_pairs_add(p, i, ew * ew + el * el, 2 * ew, 2 * el);
    }
    return LPO_OK;
}

static lpo_status nca_pair(lpo_pairs *p, lpo_error *err) {
    (void)err;
    double beta = LPO_HP(p->x, beta);
    for (int64_t i = 0; i < p->n; i++) {
        double w = beta * p->sw[i], l = beta * p->sl[i];
        lpo_pairs_add(p, i, lpo_nls(w) + lpo_nls(-w) / 2 + lpo_nls(-l) / 2,
                      beta * (lpo_sigmoid(w) / 2 - lpo_sigmoid(-w)), beta * lpo_sigmoid(l) / 2);
    }
    return LPO_OK;
}

static lpo_status bco_pair(lpo_pairs *p, lpo_error *err) {
    (void)err;
    double beta = LPO_HP(p->x, beta);
    for (int64_t i = 0; i < p->n; i++) {
        double w = beta * p->sw[i], l = beta * p->sl[i];
        lpo_pairs_add(p, i, lpo_nls(w) + lpo_nls(-l), -beta * lpo_sigmoid(-w), beta * lpo_sigmoid(l));
    }
    return LPO_OK;
}

/* sigmoid(z)'s derivative, in a form that keeps its small values. */
static double bell(double z) {
    return lpo_sigmoid(z) * lpo_sigmoid(-z);
}

static lpo_status apo_zero(lpo_pairs *p, lpo_error *err) {
    (void)err;
    double beta = LPO_HP(p->x, beta);
    for (int64_t i = 0; i < p->n; i++) {
        double w = beta * p->sw[i], l = beta * p->sl[i];
        lpo_pairs_add(p, i, lpo_sigmoid(-w) + lpo_sigmoid(l), -beta * bell(w), beta * bell(l));
    }
    return LPO_OK;
}

/* The chosen response's own term takes the log-ratio, the pair's the scores (they differ under an
 * f-divergence). */
static lpo_status apo_down(lpo_pairs *p, lpo_error *err) {
    (void)err;
    double beta = LPO_HP(p->x, beta);
    for (int64_t i = 0; i < p->n; i++) {
        double w = beta * (p->lw[i] - p->rw[i]), h = beta * (p->sw[i] - p->sl[i]);
        lpo_pairs_add_logp(p, i, lpo_sigmoid(w), beta * bell(w), 0);
        lpo_pairs_add(p, i, lpo_sigmoid(-h), -beta * bell(h), beta * bell(h));
    }
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

static ranked *rank(lpo_pairs *p, const double *a, const double *b, double sign_b) {
    ranked *r = lpo_arena_alloc(p->x->arena, (size_t)p->n, sizeof *r);
    for (int64_t i = 0; r && i < p->n; i++) r[i] = (ranked){a[i] + sign_b * b[i], i};
    if (r) qsort(r, (size_t)p->n, sizeof *r, by_value);
    return r;
}

/* The k-th smallest difference of the policy against the k-th smallest of the reference. */
static lpo_status aot(lpo_pairs *p, lpo_error *err) {
    double beta = LPO_HP(p->x, beta), dm;
    ranked *policy = rank(p, p->lw, p->ll, -1), *reference = rank(p, p->rw, p->rl, -1);
    if (!policy || !reference) return lpo_fail(err, LPO_ENOMEM, "aot: %lld pairs", (long long)p->n);
    for (int64_t k = 0; k < p->n; k++) {
        int64_t i = policy[k].row;
        double loss = lpo_smoothed(beta * (policy[k].value - reference[k].value), LPO_HP(p->x, eps), &dm);
        p->loss[k] += p->weight[k] * loss;
        p->g_lw[i] += p->weight[k] * beta * dm;
        p->g_ll[i] -= p->weight[k] * beta * dm;
    }
    return LPO_OK;
}

/* The k-th smallest chosen log-ratio against the k-th smallest rejected one. */
static lpo_status aot_unpaired(lpo_pairs *p, lpo_error *err) {
    double beta = LPO_HP(p->x, beta), dm;
    ranked *w = rank(p, p->lw, p->rw, -1), *l = rank(p, p->ll, p->rl, -1);
    if (!w || !l) return lpo_fail(err, LPO_ENOMEM, "aot_unpaired: %lld pairs", (long long)p->n);
    for (int64_t k = 0; k < p->n; k++) {
        double loss = lpo_smoothed(beta * (w[k].value - l[k].value), LPO_HP(p->x, eps), &dm);
        p->loss[k] += p->weight[k] * loss;
        p->g_lw[w[k].row] += p->weight[k] * beta * dm;
        p->g_ll[l[k].row] -= p->weight[k] * beta * dm;
    }
    return LPO_OK;
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
