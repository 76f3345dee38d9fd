/* SPDX-License-Identifier: Apache-2.0 */
/* pair_loss.h -- the loss of one (chosen, rejected) pair, its derivatives and rewards: the one text that both
 * host/align and hls/reward_reduce compile, so that `--place reduce` never changes a bit. C11 and C++14,
 * synthesizable; OpenCL C and CUDA C++ behind gpu/dialect.h (gpu/reduce.cl).
 *
 * A pair is two sums S of token log-probabilities, their token counts, and a row of LPO_PAIR_IN_* numbers.
 * Its scores are x = f(S - R), by token if asked; its loss
 *
 *     weight * op(x_w - shift_w, x_l - shift_l) - likelihood * S_w + constant
 *
 * so one op serves many objectives: leanpo, simpo and dpo differ in the reference and the divisor alone.
 * Everything that is the same for all pairs of a batch is in lpo_pair_rule; what an objective holds constant
 * (smoothing, margins, weights) is worked out by host/align and comes as numbers. */
#ifndef LPO_KERNELS_PAIR_LOSS_H
#define LPO_KERNELS_PAIR_LOSS_H
#include "kernels/real.h"

/* X(op, the objectives that are it). z = beta ((x_w - x_l) - (shift_w - shift_l)). */
#define LPO_PAIR_OP_LIST(X)                                                                                  \
    X(LOGISTIC, "leanpo simpo alpha_dpo dpo cdpo sapo_dpo sigmoid_norm rpo rpo_average llava_hound_dpo upo " \
                "cpo expo bmc")                                                                              \
    X(MARGIN, "leanpo") /* logistic with smoothing eps sigmoid(-z/tau) */                                    \
    X(ROBUST, "rdpo")                                                                                        \
    X(SQUARED, "ipo ipo_sum cpo")                                                                            \
    X(HINGE, "hinge cpo")                                                                                    \
    X(EXO, "exo_pair")                                                                                       \
    X(DISCOPOP, "discopop")                                                                                  \
    X(ODDS, "orpo sapo_orpo")                                                                                \
    X(SPPO, "sppo sppo_hard")                                                                                \
    X(NCA, "nca_pair")                                                                                       \
    X(BCO, "bco_pair")                                                                                       \
    X(APO_ZERO, "apo_zero")                                                                                  \
    X(APO_DOWN, "apo_down")                                                                                  \
    X(LIKELIHOOD, "sft")

enum {
#define LPO_X(op, objectives) LPO_PAIR_##op,
    LPO_PAIR_OP_LIST(LPO_X)
#undef LPO_X
        LPO_PAIR_N_OPS
};

/* f: the score of a log-ratio. The first four are f'(u) of an f-divergence up to constants, the last is
 * AlphaPO's reward, which takes the log-probability by token. */
enum {
    LPO_SCORE_REVERSE_KL,
    LPO_SCORE_FORWARD_KL,
    LPO_SCORE_JS,
    LPO_SCORE_ALPHA,
    LPO_SCORE_ALPHA_REWARD,
    LPO_SCORE_N
};

/* Bits of lpo_pair_rule.flags. */
enum {
    LPO_PAIR_BY_TOKEN = 1,     /* scores are divided by the number of tokens */
    LPO_PAIR_REWARD_SCORE = 2, /* rewards are beta times the scores, not the log-ratios */
};

typedef struct lpo_pair_rule {
    uint32_t op, score, flags;
    double beta;
    double tau;   /* MARGIN, DISCOPOP */
    double alpha; /* of the ALPHA scores */
    double n;     /* pairs of the batch: derivatives are those of the mean loss */
} lpo_pair_rule;

/* A pair's row of numbers. */
enum {
    LPO_PAIR_IN_R_W, /* the reference's sums; 0 without one */
    LPO_PAIR_IN_R_L,
    LPO_PAIR_IN_SHIFT_W, /* a margin, or a target */
    LPO_PAIR_IN_SHIFT_L,
    LPO_PAIR_IN_EPS, /* label smoothing; MARGIN: its largest */
    LPO_PAIR_IN_WEIGHT,
    LPO_PAIR_IN_LIKELIHOOD,
    LPO_PAIR_IN_CONSTANT,
    LPO_PAIR_IN_COLUMNS
};

/* What a pair comes to: the sums, its loss, derivatives of the batch's mean loss by the sums, rewards,
 * smoothing. */
enum {
    LPO_PAIR_S_W,
    LPO_PAIR_S_L,
    LPO_PAIR_LOSS,
    LPO_PAIR_G_W,
    LPO_PAIR_G_L,
    LPO_PAIR_REWARD_W,
    LPO_PAIR_REWARD_L,
    LPO_PAIR_SMOOTHING,
    LPO_PAIR_COLUMNS
};

/* Of the batch: means over the pairs, the share of pairs with reward chosen > rejected, tokens. */
enum {
    LPO_BATCH_LOSS,
    LPO_BATCH_REWARD_W,
    LPO_BATCH_REWARD_L,
    LPO_BATCH_ACCURACY,
    LPO_BATCH_MARGIN,
    LPO_BATCH_SMOOTHING,
    LPO_BATCH_TOKENS_W,
    LPO_BATCH_TOKENS_L,
    LPO_BATCH_COLUMNS
};

/* Token log-probabilities add up in so many interleaved partial sums (token t into sum t mod LANES), which
 * are then added in order: an adder's latency is hidden in the fabric, and the order is fixed everywhere. */
enum { LPO_PAIR_LANES = 16 };

typedef struct lpo_pair {
    double s_w, s_l, n_w, n_l;
    double in[LPO_PAIR_IN_COLUMNS];
} lpo_pair;

/* A score; *d its derivative by the log-probability, but for the division by n. */
LPO_FN double lpo_pair_score(lpo_pair_rule k, double ratio, double n, double *d) {
    double c = k.alpha - 1.0;
    *d = 1.0;
    if (k.score == LPO_SCORE_FORWARD_KL) {
        *d = lpo_real_exp(-ratio);
        return -*d / n;
    }
    if (k.score == LPO_SCORE_JS) {
        *d = lpo_sigmoid(-ratio);
        return -lpo_nls(ratio) / n;
    }
    if (k.score == LPO_SCORE_ALPHA && (c >= 1e-6 || c <= -1e-6)) {    /* else its limit, reverse KL */
        double e = lpo_real_exp(c * ratio > 80.0 ? 80.0 : c * ratio); /* TRL clamps there too */
        *d = c * ratio > 80.0 ? 0.0 : e;
        return e / c / n;
    }
    if (k.score == LPO_SCORE_ALPHA_REWARD && k.alpha != 0.0) { /* (1 - p^-alpha)/alpha */
        *d = lpo_real_exp(-k.alpha * (ratio / n));
        return -lpo_real_expm1(-k.alpha * (ratio / n)) / k.alpha;
    }
    return ratio / n;
}

/* (1-eps) -log sigmoid(z) + eps -log sigmoid(-z), and its derivative. */
LPO_FN double lpo_smoothed(double z, double eps, double *dz) {
    *dz = lpo_sigmoid(z) - (1.0 - eps);
    return (1.0 - eps) * lpo_nls(z) + eps * lpo_nls(-z);
}

/* Sigmoid's derivative, in a form that keeps its small values. */
LPO_FN double lpo_bell(double z) {
    return lpo_sigmoid(z) * lpo_sigmoid(-z);
}

/* log of the odds of a response whose mean log-probability is x < 0, and its derivative. */
LPO_FN double lpo_log_odds(double x, double *d) {
    double one_minus_p = -lpo_real_expm1(x);
    *d = 1.0 / one_minus_p;
    return x - lpo_real_log(one_minus_p);
}

/* A loss with its derivatives by the two scores, and by the chosen log-ratio itself. */
typedef struct lpo_pair_value {
    double loss, d_w, d_l, d_ratio_w;
} lpo_pair_value;

/* Losses of the difference z; d is the derivative by z. */
LPO_FN double lpo_pair_difference(lpo_pair_rule k, double z, double eps, double *d) {
    switch (k.op) {
    case LPO_PAIR_ROBUST: {
        double c = 1.0 - 2.0 * eps;
        *d = -((1.0 - eps) * lpo_sigmoid(-z) + eps * lpo_sigmoid(z)) / c;
        return ((1.0 - eps) * lpo_nls(z) - eps * lpo_nls(-z)) / c;
    }
    case LPO_PAIR_HINGE: *d = z < 1.0 ? -1.0 : 0.0; return z < 1.0 ? 1.0 - z : 0.0;
    case LPO_PAIR_EXO: { /* KL of (sigmoid(z), sigmoid(-z)) from (1-eps, eps) */
        double log_1_eps = lpo_real_log1p(-eps), log_eps = lpo_real_log(eps);
        double q_w = lpo_sigmoid(z), q_l = lpo_sigmoid(-z);
        *d = q_w * q_l * (z - (log_1_eps - log_eps));
        return q_w * (-lpo_nls(z) - log_1_eps) + q_l * (-lpo_nls(-z) - log_eps);
    }
    case LPO_PAIR_DISCOPOP: { /* logistic and exponential loss, blended by sigmoid(z/tau) */
        double on = lpo_sigmoid(z / k.tau), off = lpo_sigmoid(-z / k.tau), logistic = lpo_nls(z);
        /* exp(-z) sigmoid(z/tau) without the overflow of either factor: log of the product first. */
        double e_on = lpo_real_exp(-z - lpo_nls(z / k.tau));
        *d = -lpo_sigmoid(-z) * off - e_on + (e_on - logistic * on) * off / k.tau;
        return logistic * off + e_on;
    }
    default: return lpo_smoothed(z, eps, d);
    }
}

/* Losses that judge each response by itself: w, l are beta times the scores. */
LPO_FN lpo_pair_value lpo_pair_unary(lpo_pair_rule k, double w, double l, double ratio_w) {
    lpo_pair_value v = {0, 0, 0, 0};
    switch (k.op) {
    case LPO_PAIR_NCA:
        v.loss = lpo_nls(w) + lpo_nls(-w) / 2.0 + lpo_nls(-l) / 2.0;
        v.d_w = k.beta * (lpo_sigmoid(w) / 2.0 - lpo_sigmoid(-w));
        v.d_l = k.beta * lpo_sigmoid(l) / 2.0;
        break;
    case LPO_PAIR_BCO:
        v.loss = lpo_nls(w) + lpo_nls(-l);
        v.d_w = -k.beta * lpo_sigmoid(-w);
        v.d_l = k.beta * lpo_sigmoid(l);
        break;
    case LPO_PAIR_APO_ZERO:
        v.loss = lpo_sigmoid(-w) + lpo_sigmoid(l);
        v.d_w = -k.beta * lpo_bell(w);
        v.d_l = k.beta * lpo_bell(l);
        break;
    default: /* APO_DOWN: its own term takes the log-ratio, the pair's the scores */
        v.loss = lpo_sigmoid(k.beta * ratio_w) + lpo_sigmoid(-(w - l));
        v.d_ratio_w = k.beta * lpo_bell(k.beta * ratio_w);
        v.d_w = -k.beta * lpo_bell(w - l);
        v.d_l = -v.d_w;
    }
    return v;
}

LPO_FN lpo_pair_value lpo_pair_value_of(lpo_pair_rule k, lpo_pair p, double x_w, double x_l, double ratio_w,
                                        double *eps) {
    lpo_pair_value v = {0, 0, 0, 0};
    const double gap = (x_w - x_l) - (p.in[LPO_PAIR_IN_SHIFT_W] - p.in[LPO_PAIR_IN_SHIFT_L]);
    const double e_w = x_w - p.in[LPO_PAIR_IN_SHIFT_W], e_l = x_l - p.in[LPO_PAIR_IN_SHIFT_L];
    double d = 0, z = k.beta * gap, dx_w, dx_l;
    switch (k.op) {
    case LPO_PAIR_LIKELIHOOD: break;
    case LPO_PAIR_SQUARED:
        v.loss = gap * gap;
        v.d_w = 2.0 * gap;
        v.d_l = -v.d_w;
        break;
    case LPO_PAIR_SPPO:
        v.loss = (e_w * e_w + e_l * e_l) / 2.0;
        v.d_w = e_w;
        v.d_l = e_l;
        break;
    case LPO_PAIR_ODDS:
        z = lpo_log_odds(x_w, &dx_w) - lpo_log_odds(x_l, &dx_l);
        v.loss = lpo_nls(z);
        v.d_w = -lpo_sigmoid(-z) * dx_w;
        v.d_l = lpo_sigmoid(-z) * dx_l;
        break;
    case LPO_PAIR_NCA:
    case LPO_PAIR_BCO:
    case LPO_PAIR_APO_ZERO:
    case LPO_PAIR_APO_DOWN: v = lpo_pair_unary(k, k.beta * x_w, k.beta * x_l, ratio_w); break;
    default:
        if (k.op == LPO_PAIR_MARGIN) *eps *= lpo_sigmoid(-z / k.tau);
        v.loss = lpo_pair_difference(k, z, *eps, &d);
        v.d_w = k.beta * d;
        v.d_l = -v.d_w;
    }
    return v;
}

/* The pair's row, and its share of the batch's sums (added). */
LPO_FN void lpo_pair_reduce(double row[LPO_PAIR_COLUMNS], double batch[LPO_BATCH_COLUMNS], lpo_pair_rule k,
                            lpo_pair p) {
    const double ratio_w = p.s_w - p.in[LPO_PAIR_IN_R_W], ratio_l = p.s_l - p.in[LPO_PAIR_IN_R_L];
    const double per_w = k.flags & LPO_PAIR_BY_TOKEN ? p.n_w : 1.0;
    const double per_l = k.flags & LPO_PAIR_BY_TOKEN ? p.n_l : 1.0;
    const double weight = p.in[LPO_PAIR_IN_WEIGHT], likelihood = p.in[LPO_PAIR_IN_LIKELIHOOD];
    double f_w, f_l, eps = p.in[LPO_PAIR_IN_EPS];
    const double x_w = lpo_pair_score(k, ratio_w, per_w, &f_w);
    const double x_l = lpo_pair_score(k, ratio_l, per_l, &f_l);
    const lpo_pair_value v = lpo_pair_value_of(k, p, x_w, x_l, ratio_w, &eps);
    const int by_score = (k.flags & LPO_PAIR_REWARD_SCORE) != 0, silent = k.op == LPO_PAIR_LIKELIHOOD;
    const double reward_w = silent ? 0.0 : k.beta * (by_score ? x_w : ratio_w);
    const double reward_l = silent ? 0.0 : k.beta * (by_score ? x_l : ratio_l);
    row[LPO_PAIR_S_W] = p.s_w;
    row[LPO_PAIR_S_L] = p.s_l;
    row[LPO_PAIR_LOSS] = weight * v.loss - likelihood * p.s_w + p.in[LPO_PAIR_IN_CONSTANT];
    row[LPO_PAIR_G_W] = (weight * (v.d_w * f_w / per_w + v.d_ratio_w) - likelihood) / k.n;
    row[LPO_PAIR_G_L] = weight * (v.d_l * f_l / per_l) / k.n;
    row[LPO_PAIR_REWARD_W] = reward_w;
    row[LPO_PAIR_REWARD_L] = reward_l;
    row[LPO_PAIR_SMOOTHING] = eps;
    batch[LPO_BATCH_LOSS] += row[LPO_PAIR_LOSS];
    batch[LPO_BATCH_REWARD_W] += reward_w;
    batch[LPO_BATCH_REWARD_L] += reward_l;
    batch[LPO_BATCH_ACCURACY] += reward_w > reward_l ? 1.0 : 0.0;
    batch[LPO_BATCH_MARGIN] += reward_w - reward_l;
    batch[LPO_BATCH_SMOOTHING] += eps;
    batch[LPO_BATCH_TOKENS_W] += p.n_w;
    batch[LPO_BATCH_TOKENS_L] += p.n_l;
}
#endif
