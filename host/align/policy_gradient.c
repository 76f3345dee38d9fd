/* SPDX-License-Identifier: Apache-2.0 */
/* policy_gradient.c -- clipped policy gradients on rollouts: GRPO and its kin, and DVPO's policy step.
 * Four choices make them all: the surrogate of a token (clipped, soft, or a constant weight on its
 * log-probability), the level of the importance ratio (a token's, or the sequence's geometric mean), the
 * normaliser, and a KL to a reference added per token (Schulman's k3 estimator). Layout: one row a rollout,
 * advantages a row's or a token's. */
#include "align/term.h"

/* A surrogate's value and derivatives: by the log of the importance ratio, and by the token's
 * log-probability. */
typedef struct surrogate {
    double loss, d_ratio, d_logp;
} surrogate;

/* -min(ratio A, clip(ratio) A). Where both are equal each gives half its derivative, as in PyTorch. */
static surrogate clipped(const lpo_term *x, double ratio, double a) {
    double lo = 1 - LPO_HP(x, clip),
           hi = 1 + (isnan(LPO_HP(x, clip_high)) ? LPO_HP(x, clip) : LPO_HP(x, clip_high));
    double max = LPO_HP(x, clip_max); /* NaN: none; then fmin and > leave the ratio alone */
    double one = fmin(ratio, max) * a, two = fmin(fmax(ratio, lo), hi) * a;
    double d_one = ratio > max ? 0 : ratio * a, d_two = ratio < lo || ratio > hi ? 0 : ratio * a;
    if (one < two) return (surrogate){-one, -d_one, 0};
    if (two < one) return (surrogate){-two, -d_two, 0};
    return (surrogate){-one, -(d_one + d_two) / 2, 0};
}

static surrogate soft_gate(const lpo_term *x, double ratio, double a) {
    double tau = a > 0 ? LPO_HP(x, tau_pos) : LPO_HP(x, tau_neg), z = tau * (ratio - 1);
    return (surrogate){-4 / tau * lpo_sigmoid(z) * a, -4 * lpo_sigmoid(z) * lpo_sigmoid(-z) * ratio * a, 0};
}

/* A constant weight on the log-probability. */
static surrogate weighted(lpo_term *x, double weight, double logp, double a) {
    weight = lpo_sg(x, weight);
    return (surrogate){-weight * a * logp, 0, -weight * a};
}

/* VESPO's gamma weight of the whole sequence: e^lambda w^k e^(-lambda w), 1 at w = 1. Bounds as in the
 * authors' code. */
static double gamma_weight(const lpo_term *x, double log_w, double a) {
    double k = a >= 0 ? LPO_HP(x, k_pos) : LPO_HP(x, k_neg);
    double lambda = fmax(a >= 0 ? LPO_HP(x, lam_pos) : LPO_HP(x, lam_neg), 1e-4);
    log_w = fmin(fmax(log_w, lpo_real_log(1e-8)), 20);
    return lpo_real_exp(lambda + k * log_w - lambda * lpo_real_exp(log_w));
}

/* One rollout: n tokens from `at` of column t, `sum` the clamped sum and `mean` the mean of its log-ratios.
 */
typedef struct rollout {
    const double *t, *old, *ref;
    const double *adv; /* per token, or one value */
    int per_token;
    int64_t n;
    double mean, sum;
} rollout;

static surrogate token_surrogate(lpo_term *x, const rollout *r, int64_t k, double adv) {
    int sequence = LPO_HP(x, level) == LPO_LEVEL_SEQUENCE;
    double ratio = lpo_real_exp(sequence ? r->mean : r->t[k] - r->old[k]);
    switch ((int)LPO_HP(x, surrogate)) {
    case LPO_PG_CISPO: {
        double cap = isnan(LPO_HP(x, clip_high)) ? LPO_HP(x, clip) : LPO_HP(x, clip_high);
        return weighted(x, fmin(ratio, cap), r->t[k], adv);
    }
    case LPO_PG_SAPO: return soft_gate(x, ratio, adv);
    case LPO_PG_VESPO: return weighted(x, gamma_weight(x, r->sum, adv), r->t[k], adv);
    }
    return clipped(x, ratio, adv);
}

/* Weight of each of a rollout's tokens in the loss. */
static double normaliser(const lpo_term *x, int64_t n, double all_tokens, double longest) {
    double rows = (double)x->n_rows;
    switch ((int)LPO_HP(x, surrogate)) {
    case LPO_PG_GRPO:
    case LPO_PG_SAPO: return 1 / (rows * (double)n);
    case LPO_PG_DR_GRPO: return 1 / (rows * (isnan(LPO_HP(x, max_len)) ? longest : LPO_HP(x, max_len)));
    case LPO_PG_LUSPO: return 1 / rows;
    }
    return 1 / all_tokens;
}

/* Adds one rollout's loss and gradient g (of its tokens), each token weighing `norm`. */
static double add_rollout(lpo_term *x, const rollout *r, double norm, double shift, double scale, double *g) {
    double loss = 0, g_sequence = 0, kl = LPO_HP(x, kl);
    int sequence = LPO_HP(x, level) == LPO_LEVEL_SEQUENCE, unbiased = LPO_HP(x, kl_unbiased) != 0;
    for (int64_t k = 0; k < r->n; k++) {
        surrogate s = token_surrogate(x, r, k, ((r->per_token ? r->adv[k] : r->adv[0]) - shift) * scale);
        if (kl != 0) {
            double d = r->ref[k] - r->t[k], k3 = lpo_real_expm1(d) - d;
            double ratio = unbiased ? lpo_real_exp(sequence ? r->mean : r->t[k] - r->old[k]) : 1;
            s.loss += kl * k3 * ratio;
            s.d_logp -= kl * lpo_real_expm1(d) * ratio;
            if (unbiased) s.d_ratio += kl * k3 * ratio;
        }
        loss += norm * s.loss;
        g[k] += norm * s.d_logp;
        if (sequence)
            g_sequence += norm * s.d_ratio;
        else
            g[k] += norm * s.d_ratio;
    }
    for (int64_t k = 0; sequence && k < r->n; k++) g[k] += g_sequence / (double)r->n;
    return loss;
}

static rollout rollout_at(const lpo_term *x, int64_t i) {
    const lpo_column *t = &x->col[LPO_COL_t], *old = &x->col[LPO_COL_old], *ref = &x->col[LPO_COL_ref],
                     *adv = &x->col[LPO_COL_adv];
    rollout r = {.t = t->data + t->row_start[i],
                 .old = old->data + old->row_start[i],
                 .n = (int64_t)x->col[LPO_COL_n].data[i]};
    r.ref = ref->data ? ref->data + ref->row_start[i] : NULL;
    r.per_token = adv->row_start != NULL;
    r.adv = adv->data + (adv->row_start ? adv->row_start[i] : i);
    for (int64_t k = 0; k < r.n; k++) {
        double d = r.t[k] - r.old[k];
        r.mean += d / (double)r.n;
        r.sum += fmin(fmax(d, -20), 20);
    }
    return r;
}

/* Mean and 1/std of the advantages of all tokens; 0 and 1 unless asked for. */
static void whitening(double *shift, double *scale, const lpo_term *x, double all_tokens) {
    *shift = 0;
    *scale = 1;
    if (LPO_HP(x, whiten) == 0) return;
    double sum = 0, square = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < x->n_rows; i++) {
            rollout r = rollout_at(x, i);
            for (int64_t k = 0; k < r.n; k++) {
                double a = (r.per_token ? r.adv[k] : r.adv[0]) - *shift;
                if (pass == 0) sum += a;
                if (pass == 1) square += a * a;
            }
        }
        if (pass == 0) *shift = sum / all_tokens;
    }
    *scale = 1 / (sqrt(square / all_tokens) + 1e-8);
}

static lpo_status policy_gradient(double *loss, lpo_term *x, lpo_error *err) {
    double all_tokens = 0, longest = 1, shift, scale;
    for (int64_t i = 0; i < x->n_rows; i++) {
        all_tokens += x->col[LPO_COL_n].data[i];
        longest = fmax(longest, x->col[LPO_COL_n].data[i]);
    }
    if (all_tokens < 1) return lpo_fail(err, LPO_EINVAL, "n: every rollout is empty");
    whitening(&shift, &scale, x, all_tokens);
    *loss = 0;
    for (int64_t i = 0; i < x->n_rows; i++) {
        rollout r = rollout_at(x, i);
        if (r.n == 0) continue;
        *loss += add_rollout(x, &r, normaliser(x, r.n, all_tokens, longest), shift, scale,
                             x->grad[LPO_COL_t] + x->col[LPO_COL_t].row_start[i]);
    }
    return LPO_OK;
}

static uint64_t kl_needs(const lpo_hypers *h) {
    return h->value[LPO_HP_kl] != 0 ? LPO_C(ref) : 0;
}

static lpo_status check(const lpo_hypers *h, const char *name, lpo_error *err) {
    if (h->value[LPO_HP_surrogate] == LPO_PG_LUSPO && h->value[LPO_HP_level] == LPO_LEVEL_TOKEN)
        return lpo_fail(err, LPO_EINVAL,
                        "%s: luspo scales a sequence's ratio by its length: set level=sequence", name);
    return LPO_OK;
}

#define SHARED                                                                                               \
    " kl=0 kl_unbiased=0 clip_max=none max_len=auto whiten=0 tau_pos=1 tau_neg=1.05 k_pos=2 lam_pos=3 "      \
    "k_neg=3 lam_neg=2"
#define ROW(NAME, SURROGATE, LEVEL, CLIP, CLIP_HIGH, ALIASES, SOURCE, SUMMARY)                               \
    {                                                                                                        \
        .info = {NAME,                                                                                       \
                 ALIASES,                                                                                    \
                 "group",                                                                                    \
                 "surrogate=" SURROGATE " level=" LEVEL " clip=" CLIP " clip_high=" CLIP_HIGH SHARED,        \
                 SOURCE,                                                                                     \
                 SUMMARY,                                                                                    \
                 LPO_C(t) | LPO_C(old) | LPO_C(adv) | LPO_C(n)},                                             \
        .eval = policy_gradient, .needs = kl_needs, .check = check                                           \
    }

const lpo_objective_row lpo_rows_policy_gradient[] = {
    ROW("grpo", "grpo", "token", "0.2", "auto", "grpo_grpo grpo_kl(beta=0.04)", "arXiv 2402.03300",
        "clipped ratio on group advantages, mean over each rollout"),
    ROW("bnpo", "bnpo", "token", "0.2", "auto", "grpo_bnpo", "TRL bnpo",
        "grpo averaged over the batch's tokens"),
    ROW("dr_grpo", "dr_grpo", "token", "0.2", "auto", "grpo_dr_grpo", "arXiv 2503.20783",
        "grpo over a constant length"),
    ROW("dapo", "dapo", "token", "0.2", "0.28", "grpo_dapo", "arXiv 2503.14476",
        "bnpo with a higher upper clip"),
    ROW("cispo", "cispo", "token", "0.2", "5", "grpo_cispo", "arXiv 2506.13585",
        "clipped ratio as a constant weight on the log-probability"),
    ROW("sapo_soft_gate", "sapo", "token", "0.2", "auto", "grpo_sapo_soft_gate grpo_sapo", "arXiv 2511.20347",
        "soft adaptive gate in place of the clip (TRL's sapo)"),
    ROW("vespo", "vespo", "token", "0.2", "auto", "grpo_vespo", "TRL vespo",
        "gamma weight of the sequence's ratio"),
    ROW("gspo", "grpo", "sequence", "0.0003", "0.0004", "grpo_gspo", "arXiv 2507.18071",
        "grpo on the sequence's ratio"),
    ROW("luspo", "luspo", "sequence", "0.2", "auto", "grpo_luspo", "TRL luspo",
        "gspo, each rollout weighed by its length"),
    ROW("dvpo", "ppo", "token", "0.2", "auto", "dvpo_policy dvpo_policy_whitened", "arXiv 2502.16944",
        "clipped ratio on a frozen value model's token advantages"),
    {.info = {.name = NULL}},
};
