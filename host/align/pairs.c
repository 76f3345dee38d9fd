/* SPDX-License-Identifier: Apache-2.0 */
/* pairs.c -- see pairs.h. Modifiers follow TRL: ld_alpha (2409.06411) scales the log-probabilities beyond the
 * shorter response's length, wpo (2406.11827) weighs a pair by the likelihood of both responses under the
 * policy, length- and entropy-normalised and constant to the gradient, f_divergence (2309.16240) replaces log
 * u by f'(u) up to constants. */
#include "align/pairs.h"

/* exp(.) beyond this only overflows; TRL clamps the alpha divergence at the same place. */
static const double EXP_MAX = 80.0;

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

static int64_t row_len(const lpo_column *c, int64_t i) {
    return c->row_start[i + 1] - c->row_start[i];
}

/* Tokens both responses of pair i have. */
static int64_t shared_len(const lpo_term *x, int64_t i) {
    int64_t a = row_len(&x->col[LPO_COL_t_w], i), b = row_len(&x->col[LPO_COL_t_l], i);
    return a < b ? a : b;
}

/* Log-probabilities of column `sum`, or of its tokens with those beyond the shared length scaled by ld_alpha.
 */
static const double *log_probs(lpo_term *x, int sum, int tokens, double ld_alpha) {
    if (isnan(ld_alpha)) return x->col[sum].data;
    double *out = lpo_arena_alloc(x->arena, (size_t)x->n_rows, sizeof *out);
    const lpo_column *t = &x->col[tokens];
    for (int64_t i = 0; out && i < x->n_rows; i++) {
        const double *v = t->data + t->row_start[i];
        int64_t shared = shared_len(x, i);
        for (int64_t k = 0; k < row_len(t, i); k++) out[i] += k < shared ? v[k] : ld_alpha * v[k];
    }
    return out;
}

/* d loss / d log_probs carried back to the column it came from. */
static void give_back(lpo_term *x, int sum, int tokens, double ld_alpha, const double *g) {
    if (isnan(ld_alpha)) {
        for (int64_t i = 0; i < x->n_rows; i++) x->grad[sum][i] += g[i];
        return;
    }
    const lpo_column *t = &x->col[tokens];
    for (int64_t i = 0; i < x->n_rows; i++) {
        int64_t shared = shared_len(x, i);
        for (int64_t k = 0; k < row_len(t, i); k++)
            x->grad[tokens][t->row_start[i] + k] += k < shared ? g[i] : ld_alpha * g[i];
    }
}

/* Score of a log-ratio z and its derivative. */
static double score(const lpo_term *x, double z, double *dz) {
    double c;
    switch (isnan(LPO_HP(x, f_divergence)) ? LPO_FDIV_REVERSE_KL : (int)LPO_HP(x, f_divergence)) {
    case LPO_FDIV_FORWARD_KL: *dz = exp(-z); return -exp(-z);
    case LPO_FDIV_JS: *dz = lpo_sigmoid(-z); return -lpo_nls(z);
    case LPO_FDIV_ALPHA:
        c = LPO_HP(x, f_alpha) - 1;
        if (fabs(c) < 1e-6) break; /* its limit is reverse KL */
        *dz = c * z > EXP_MAX ? 0 : exp(c * z);
        return exp(fmin(c * z, EXP_MAX)) / c;
    }
    *dz = 1;
    return z;
}

static double wpo_log_weight(const lpo_term *x, int64_t i, int tokens, int sump2, int len) {
    const lpo_column *t = &x->col[tokens], *p2 = &x->col[sump2];
    double sum = 0;
    for (int64_t k = t->row_start[i]; k < t->row_start[i + 1]; k++) sum += t->data[k] - log(p2->data[k]);
    return sum / x->col[len].data[i];
}

static lpo_status weigh(double *weight, lpo_term *x, lpo_error *err) {
    int on = !isnan(LPO_HP(x, wpo)) && LPO_HP(x, wpo) != 0;
    for (int c = LPO_COL_sump2_w; on && c <= LPO_COL_sump2_l; c++)
        for (int64_t k = 0; k < x->col[c].n; k++)
            if (!(x->col[c].data[k] > 0))
                return lpo_fail(err, LPO_EINVAL,
                                "%s: value %lld is %g: a sum of squared probabilities is above 0",
                                lpo_column_name(c), (long long)k, x->col[c].data[k]);
    for (int64_t i = 0; i < x->n_rows; i++)
        weight[i] = !on ? 1
                        : lpo_sg(x, exp(wpo_log_weight(x, i, LPO_COL_t_w, LPO_COL_sump2_w, LPO_COL_n_w) +
                                        wpo_log_weight(x, i, LPO_COL_t_l, LPO_COL_sump2_l, LPO_COL_n_l)));
    return LPO_OK;
}

static void fill_stats(lpo_objective_stats *s, const lpo_pairs *p) {
    double n = (double)p->n;
    s->has_rewards = 1;
    for (int64_t i = 0; i < p->n; i++) {
        s->reward_chosen += p->reward_w[i] / n;
        s->reward_rejected += p->reward_l[i] / n;
        s->accuracy += (p->reward_w[i] > p->reward_l[i]) / n;
        s->margin += (p->reward_w[i] - p->reward_l[i]) / n;
    }
}

void lpo_pairs_add_nll(lpo_pairs *p, double coef) {
    double tokens = 0, sum = 0;
    for (int64_t i = 0; i < p->n; i++) {
        tokens += p->nw[i];
        sum += p->lw[i];
    }
    /* The same batch value stands for every pair; pair i's share of the derivative reaches all
     * log-probabilities. */
    double share = 0;
    for (int64_t i = 0; i < p->n; i++) {
        p->loss[i] += p->weight[i] * coef * -sum / tokens;
        share += p->weight[i];
    }
    for (int64_t i = 0; i < p->n; i++) p->g_lw[i] -= share * coef / tokens;
}

lpo_status lpo_pairs_eval(double *loss, lpo_pairs_fn *fn, lpo_term *x, lpo_error *err) {
    int64_t n = x->n_rows;
    double ld = LPO_HP(x, ld_alpha), beta = LPO_HP(x, beta);
    double *m = lpo_arena_alloc(x->arena, (size_t)n, 12 * sizeof *m);
    int has_ref = x->col[LPO_COL_R_w].data || x->col[LPO_COL_rt_w].data;
    lpo_pairs p = {.x = x, .n = n, .nw = x->col[LPO_COL_n_w].data, .nl = x->col[LPO_COL_n_l].data};
    p.lw = log_probs(x, LPO_COL_S_w, LPO_COL_t_w, ld);
    p.ll = log_probs(x, LPO_COL_S_l, LPO_COL_t_l, ld);
    if (has_ref) {
        p.rw = log_probs(x, LPO_COL_R_w, LPO_COL_rt_w, ld);
        p.rl = log_probs(x, LPO_COL_R_l, LPO_COL_rt_l, ld);
    }
    if (!m || !p.lw || (has_ref && !(p.rw && p.rl)))
        return lpo_fail(err, LPO_ENOMEM, "objective: %lld pairs", (long long)n);
    double *sw = m, *sl = m + n, *dsw = m + 2 * n, *dsl = m + 3 * n, *weight = m + 4 * n;
    p.loss = m + 5 * n;
    p.g_lw = m + 6 * n;
    p.g_ll = m + 7 * n;
    p.g_sw = m + 8 * n;
    p.g_sl = m + 9 * n;
    p.reward_w = m + 10 * n;
    p.reward_l = m + 11 * n;
    int one_sided = !p.ll; /* sft reads no rejected response */
    if (isnan(beta)) beta = 1;
    for (int64_t i = 0; i < n; i++) {
        double a = p.lw[i] - (p.rw ? p.rw[i] : 0), b = one_sided ? 0 : p.ll[i] - (p.rl ? p.rl[i] : 0);
        sw[i] = score(x, a, &dsw[i]);
        sl[i] = score(x, b, &dsl[i]);
        p.reward_w[i] = beta * a;
        p.reward_l[i] = beta * b;
    }
    p.sw = sw;
    p.sl = sl;
    p.weight = weight;
    lpo_status s = weigh(weight, x, err);
    if (s == LPO_OK) s = fn(&p, err);
    if (s) return s;
    *loss = 0;
    for (int64_t i = 0; i < n; i++) {
        *loss += p.loss[i] / (double)n;
        p.g_lw[i] = (p.g_lw[i] + p.g_sw[i] * dsw[i]) / (double)n;
        p.g_ll[i] = (p.g_ll[i] + p.g_sl[i] * dsl[i]) / (double)n;
    }
    give_back(x, LPO_COL_S_w, LPO_COL_t_w, ld, p.g_lw);
    if (!one_sided) {
        give_back(x, LPO_COL_S_l, LPO_COL_t_l, ld, p.g_ll);
        fill_stats(x->stats, &p);
    }
    return LPO_OK;
}
