/* SPDX-License-Identifier: Apache-2.0 */
/* pairs.c -- see pairs.h. Modifiers follow TRL: ld_alpha (2409.06411) scales the log-probabilities beyond the
 * shorter response's length, wpo (2406.11827) weighs a pair by the likelihood of both responses under the
 * policy, length- and entropy-normalised and constant to the gradient, f_divergence (2309.16240) replaces log
 * u by f'(u) up to constants. */
#include "align/pairs.h"

#include <assert.h>
#include <math.h>

static int has(const lpo_hypers *h, int id) {
    return (h->known >> id & 1) && !isnan(h->value[id]);
}

uint64_t lpo_pairs_needs(uint64_t needs, const lpo_hypers *h) {
    if (has(h, LPO_HP_ld_alpha)) {
        if (needs & LPO_NEED_R) needs |= LPO_NEED_RT;
        needs = (needs & ~(LPO_NEED_S | LPO_NEED_R)) | LPO_NEED_T;
    }
    if (has(h, LPO_HP_wpo) && h->value[LPO_HP_wpo] != 0)
        needs |= LPO_NEED_T | LPO_NEED_N | LPO_C(sump2_w) | LPO_C(sump2_l);
    return needs;
}

double lpo_sum_tokens(const double *v, const double *weight, int64_t n) {
    double lane[LPO_PAIR_LANES] = {0}, total = 0;
    for (int64_t t = 0; t < n; t++) lane[t % LPO_PAIR_LANES] += weight ? weight[t] * v[t] : v[t];
    for (int i = 0; i < LPO_PAIR_LANES; i++) total += lane[i];
    return total;
}

void lpo_pairs_fill(lpo_pairs *p, int column, double value) {
    for (int64_t i = 0; i < p->n; i++) p->in[i][column] = value;
}

void lpo_pairs_add_nll(lpo_pairs *p, double coef) {
    double tokens = 0, share = 0;
    for (int64_t i = 0; i < p->n; i++) {
        tokens += p->n_w[i];
        share += p->in[i][LPO_PAIR_IN_WEIGHT];
    }
    for (int64_t i = 0; i < p->n; i++) p->in[i][LPO_PAIR_IN_LIKELIHOOD] += coef * share / tokens;
}

static int64_t row_len(const lpo_column *c, int64_t i) {
    return c->row_start[i + 1] - c->row_start[i];
}

/* Row sums of a token column. */
static lpo_status sum_rows(const double **out, lpo_term *x, int tokens, const double *weight,
                           lpo_error *err) {
    const lpo_column *t = &x->col[tokens];
    double *sum = lpo_arena_alloc(x->arena, (size_t)x->n_rows, sizeof *sum);
    if (!sum) return lpo_fail(err, LPO_ENOMEM, "objective: %lld pairs", (long long)x->n_rows);
    for (int64_t i = 0; i < x->n_rows; i++) {
        const int64_t at = t->row_start[i];
        sum[i] = lpo_sum_tokens(t->data + at, weight ? weight + at : NULL, row_len(t, i));
    }
    *out = sum;
    return LPO_OK;
}

lpo_status lpo_pairs_weigh_tokens(lpo_pairs *p, const double *token_w, const double *token_l,
                                  lpo_error *err) {
    p->token_w = token_w;
    p->token_l = token_l;
    lpo_status s = sum_rows(&p->s_w, p->x, LPO_COL_t_w, token_w, err);
    return s ? s : sum_rows(&p->s_l, p->x, LPO_COL_t_l, token_l, err);
}

/* 1 for the tokens up to the shorter response's length, ld_alpha for those beyond. */
static double *shared_weights(lpo_term *x, int tokens, double ld_alpha) {
    const lpo_column *t = &x->col[tokens];
    double *w = lpo_arena_alloc(x->arena, (size_t)(t->n ? t->n : 1), sizeof *w);
    for (int64_t i = 0; w && i < x->n_rows; i++) {
        const int64_t a = row_len(&x->col[LPO_COL_t_w], i), b = row_len(&x->col[LPO_COL_t_l], i);
        for (int64_t k = 0; k < row_len(t, i); k++)
            w[t->row_start[i] + k] = k < (a < b ? a : b) ? 1 : ld_alpha;
    }
    return w;
}

/* The sums of policy and reference, tokens weighed by ld_alpha. */
static lpo_status fill_sums(lpo_pairs *p, lpo_error *err) {
    lpo_term *x = p->x;
    const double *r_w = x->col[LPO_COL_R_w].data, *r_l = x->col[LPO_COL_R_l].data;
    const double ld = LPO_HP(x, ld_alpha);
    lpo_status s = LPO_OK;
    p->s_w = x->col[LPO_COL_S_w].data;
    p->s_l = x->col[LPO_COL_S_l].data;
    if (!isnan(ld)) {
        const double *w = shared_weights(x, LPO_COL_t_w, ld), *l = shared_weights(x, LPO_COL_t_l, ld);
        if (!w || !l) return lpo_fail(err, LPO_ENOMEM, "objective: %lld pairs", (long long)p->n);
        s = lpo_pairs_weigh_tokens(p, w, l, err);
        if (!s && x->col[LPO_COL_rt_w].data) s = sum_rows(&r_w, x, LPO_COL_rt_w, w, err);
        if (!s && x->col[LPO_COL_rt_l].data) s = sum_rows(&r_l, x, LPO_COL_rt_l, l, err);
    }
    for (int64_t i = 0; i < p->n && !s; i++) {
        p->in[i][LPO_PAIR_IN_R_W] = r_w ? r_w[i] : 0;
        p->in[i][LPO_PAIR_IN_R_L] = r_l ? r_l[i] : 0;
    }
    return s;
}

static double wpo_log_weight(const lpo_term *x, int64_t i, int tokens, int sump2, int len) {
    const lpo_column *t = &x->col[tokens], *p2 = &x->col[sump2];
    double sum = 0;
    for (int64_t k = t->row_start[i]; k < t->row_start[i + 1]; k++)
        sum += t->data[k] - lpo_real_log(p2->data[k]);
    return sum / x->col[len].data[i];
}

static lpo_status fill_weights(lpo_pairs *p, lpo_error *err) {
    lpo_term *x = p->x;
    int on = !isnan(LPO_HP(x, wpo)) && LPO_HP(x, wpo) != 0;
    for (int c = LPO_COL_sump2_w; on && c <= LPO_COL_sump2_l; c++)
        for (int64_t k = 0; k < x->col[c].n; k++)
            if (!(x->col[c].data[k] > 0))
                return lpo_fail(err, LPO_EINVAL,
                                "%s: value %lld is %g: a sum of squared probabilities is above 0",
                                lpo_column_name(c), (long long)k, x->col[c].data[k]);
    lpo_pairs_fill(p, LPO_PAIR_IN_WEIGHT, 1);
    for (int64_t i = 0; on && i < p->n; i++)
        p->in[i][LPO_PAIR_IN_WEIGHT] =
            lpo_sg(x, lpo_real_exp(wpo_log_weight(x, i, LPO_COL_t_w, LPO_COL_sump2_w, LPO_COL_n_w) +
                                   wpo_log_weight(x, i, LPO_COL_t_l, LPO_COL_sump2_l, LPO_COL_n_l)));
    return LPO_OK;
}

static_assert((int)LPO_FDIV_REVERSE_KL == LPO_SCORE_REVERSE_KL &&
                  (int)LPO_FDIV_FORWARD_KL == LPO_SCORE_FORWARD_KL && (int)LPO_FDIV_JS == LPO_SCORE_JS &&
                  (int)LPO_FDIV_ALPHA == LPO_SCORE_ALPHA,
              "f_divergence is a score");

lpo_status lpo_pairs_open(lpo_pairs **out, lpo_pairs_fn *fn, lpo_term *x, lpo_error *err) {
    const size_t n = (size_t)x->n_rows;
    lpo_pairs *p = lpo_arena_alloc(x->arena, 1, sizeof *p);
    double *in = lpo_arena_alloc(x->arena, n, sizeof *p->in),
           *to = lpo_arena_alloc(x->arena, n, sizeof *p->out);
    if (!p || !in || !to) return lpo_fail(err, LPO_ENOMEM, "objective: %lld pairs", (long long)x->n_rows);
    *p =
        (lpo_pairs){.x = x, .n = x->n_rows, .n_w = x->col[LPO_COL_n_w].data, .n_l = x->col[LPO_COL_n_l].data};
    p->in = (double(*)[LPO_PAIR_IN_COLUMNS])in;
    p->out = (double(*)[LPO_PAIR_COLUMNS])to;
    const double f = LPO_HP(x, f_divergence), beta = LPO_HP(x, beta), tau = LPO_HP(x, tau);
    p->rule =
        (lpo_pair_rule){.op = LPO_PAIR_LOGISTIC, .score = isnan(f) ? LPO_SCORE_REVERSE_KL : (uint32_t)f};
    p->rule.beta = isnan(beta) ? 1 : beta;
    p->rule.tau = isnan(tau) ? 1 : tau;
    p->rule.alpha = isnan(LPO_HP(x, f_alpha)) ? 0 : LPO_HP(x, f_alpha);
    p->rule.n = (double)p->n;
    lpo_status s = fill_sums(p, err);
    if (!s) s = fill_weights(p, err);
    if (!s) s = fn(p, err);
    *out = p;
    return s;
}

static void reduce(lpo_pairs *p) {
    for (int64_t i = 0; i < p->n; i++) {
        lpo_pair pair = {
            p->s_w[i], p->s_l ? p->s_l[i] : 0, p->n_w ? p->n_w[i] : 1, p->n_l ? p->n_l[i] : 1, {0}};
        for (int c = 0; c < LPO_PAIR_IN_COLUMNS; c++) pair.in[c] = p->in[i][c];
        lpo_pair_reduce(p->out[i], p->batch, p->rule, pair);
    }
    for (int c = 0; c < LPO_BATCH_TOKENS_W; c++) p->batch[c] /= p->rule.n;
}

/* The same for losses of the whole batch; their rewards are those of the log-ratios. */
static lpo_status reduce_whole(lpo_pairs *p, lpo_error *err) {
    lpo_status s = p->whole(p, err);
    for (int64_t i = 0; i < p->n && !s; i++) {
        double *row = p->out[i];
        row[LPO_PAIR_SMOOTHING] = p->in[i][LPO_PAIR_IN_EPS];
        row[LPO_PAIR_REWARD_W] = p->rule.beta * (p->s_w[i] - p->in[i][LPO_PAIR_IN_R_W]);
        row[LPO_PAIR_REWARD_L] = p->rule.beta * (p->s_l[i] - p->in[i][LPO_PAIR_IN_R_L]);
        row[LPO_PAIR_G_W] /= p->rule.n;
        row[LPO_PAIR_G_L] /= p->rule.n;
        p->batch[LPO_BATCH_LOSS] += row[LPO_PAIR_LOSS] / p->rule.n;
        p->batch[LPO_BATCH_REWARD_W] += row[LPO_PAIR_REWARD_W] / p->rule.n;
        p->batch[LPO_BATCH_REWARD_L] += row[LPO_PAIR_REWARD_L] / p->rule.n;
        p->batch[LPO_BATCH_ACCURACY] += (row[LPO_PAIR_REWARD_W] > row[LPO_PAIR_REWARD_L]) / p->rule.n;
        p->batch[LPO_BATCH_MARGIN] += (row[LPO_PAIR_REWARD_W] - row[LPO_PAIR_REWARD_L]) / p->rule.n;
        p->batch[LPO_BATCH_SMOOTHING] += p->in[i][LPO_PAIR_IN_EPS] / p->rule.n;
    }
    return s;
}

/* Derivatives by a side's sums, carried to its tokens when they were weighed, else to the sums. */
static void give_back(lpo_pairs *p, int g, int sum, int tokens, const double *weight) {
    const lpo_column *t = &p->x->col[tokens];
    for (int64_t i = 0; i < p->n; i++) {
        if (!weight) p->x->grad[sum][i] += p->out[i][g];
        for (int64_t k = weight ? t->row_start[i] : 0; weight && k < t->row_start[i + 1]; k++)
            p->x->grad[tokens][k] += weight[k] * p->out[i][g];
    }
}

static void smoothing_statistics(lpo_objective_stats *s, const lpo_pairs *p) {
    double squares = 0;
    s->eps_mean = p->batch[LPO_BATCH_SMOOTHING];
    s->eps_min = s->eps_max = p->n ? p->out[0][LPO_PAIR_SMOOTHING] : 0;
    for (int64_t i = 0; i < p->n; i++) {
        const double e = p->out[i][LPO_PAIR_SMOOTHING];
        s->eps_min = fmin(s->eps_min, e);
        s->eps_max = fmax(s->eps_max, e);
        squares += (e - s->eps_mean) * (e - s->eps_mean);
    }
    /* One eps for all has no spread, not that of the rounding of its mean. */
    s->eps_std = s->eps_max > s->eps_min ? sqrt(squares / (double)p->n) : 0;
}

lpo_status lpo_pairs_close(double *loss, lpo_pairs *p, lpo_error *err) {
    if (!p->done && p->whole) {
        lpo_status s = reduce_whole(p, err);
        if (s) return s;
    } else if (!p->done)
        reduce(p);
    *loss = p->batch[LPO_BATCH_LOSS];
    give_back(p, LPO_PAIR_G_W, LPO_COL_S_w, LPO_COL_t_w, p->token_w);
    if (!p->s_l) return LPO_OK; /* sft reads no rejected response */
    give_back(p, LPO_PAIR_G_L, LPO_COL_S_l, LPO_COL_t_l, p->token_l);
    *p->x->stats = (lpo_objective_stats){.reward_chosen = p->batch[LPO_BATCH_REWARD_W],
                                         .reward_rejected = p->batch[LPO_BATCH_REWARD_L],
                                         .accuracy = p->batch[LPO_BATCH_ACCURACY],
                                         .margin = p->batch[LPO_BATCH_MARGIN],
                                         .has_rewards = 1};
    smoothing_statistics(p->x->stats, p);
    return LPO_OK;
}
