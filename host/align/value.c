/* SPDX-License-Identifier: Apache-2.0 */
/* value.c -- DVPO's global value model by temporal differences, and EXPO's exact loss over a few candidates.
 */
#include "align/term.h"

/* Token values q regressed on gamma times the next token's value, the last on the response's reward. */
static lpo_status gvm_td(double *loss, lpo_term *x, lpo_error *err) {
    const lpo_column *q = &x->col[LPO_COL_q];
    double tokens = 0, gamma = LPO_HP(x, discount);
    for (int64_t i = 0; i < x->n_rows; i++) tokens += x->col[LPO_COL_n].data[i];
    if (tokens < 1) return lpo_fail(err, LPO_EINVAL, "n: every response is empty");
    *loss = 0;
    for (int64_t i = 0; i < x->n_rows; i++) {
        int64_t n = (int64_t)x->col[LPO_COL_n].data[i];
        const double *v = q->data + q->row_start[i];
        for (int64_t k = 0; k < n; k++) {
            double target = k + 1 < n ? lpo_sg(x, gamma * v[k + 1]) : x->col[LPO_COL_r].data[i];
            *loss += (v[k] - target) * (v[k] - target) / tokens;
            x->grad[LPO_COL_q][q->row_start[i] + k] += 2 * (v[k] - target) / tokens;
        }
    }
    return LPO_OK;
}

/* log softmax of theta. */
static void log_softmax(double *out, const double *theta, int64_t n) {
    double max = theta[0], sum = 0;
    for (int64_t i = 1; i < n; i++) max = fmax(max, theta[i]);
    for (int64_t i = 0; i < n; i++) sum += lpo_real_exp(theta[i] - max);
    for (int64_t i = 0; i < n; i++) out[i] = theta[i] - max - lpo_real_log(sum);
}

/* The comparisons of the authors' toy (three candidates), taken when a batch names none. */
static const double TOY_W[] = {0, 0, 1, 0}, TOY_L[] = {1, 2, 2, 1};

static lpo_status candidate(int64_t *out, const char *column, double v, int64_t i, int64_t n,
                            lpo_error *err) {
    if (!(v >= 0 && v < (double)n) || v != floor(v))
        return lpo_fail(err, LPO_EINVAL, "%s: row %lld is %g: expected a candidate from 0 to %lld", column,
                        (long long)i, v, (long long)n - 1);
    *out = (int64_t)v;
    return LPO_OK;
}

static lpo_status expo_toy(double *loss, lpo_term *x, lpo_error *err) {
    int64_t n = x->col[LPO_COL_theta].n, m = x->col[LPO_COL_w].n, a = 0, b = 0;
    const double *w = x->col[LPO_COL_w].data, *l = x->col[LPO_COL_l].data,
                 *ref = x->col[LPO_COL_ref_logps].data;
    if (!w && !l && n == 3) {
        w = TOY_W;
        l = TOY_L;
        m = 4;
    }
    if (!w || !l || m < 1 || (w != TOY_W && x->col[LPO_COL_l].n != m))
        return lpo_fail(err, LPO_EINVAL,
                        "expo_toy: w and l list the comparisons, one winner and one loser each: give both");
    if (n < 1 || x->col[LPO_COL_ref_logps].n != n)
        return lpo_fail(err, LPO_EINVAL, "ref_logps: %lld values for %lld candidates",
                        (long long)x->col[LPO_COL_ref_logps].n, (long long)n);
    double *lp = lpo_arena_alloc(x->arena, (size_t)n, 2 * sizeof *lp), *g = lp + n, sum = 0;
    if (!lp) return lpo_fail(err, LPO_ENOMEM, "expo_toy: %lld candidates", (long long)n);
    log_softmax(lp, x->col[LPO_COL_theta].data, n);
    *loss = 0;
    for (int64_t i = 0; i < m; i++) {
        lpo_status s = candidate(&a, "w", w[i], i, n, err);
        if (s == LPO_OK) s = candidate(&b, "l", l[i], i, n, err);
        if (s) return s;
        double d = -lpo_sigmoid(lp[b] - lp[a]) / (double)m;
        *loss += lpo_nls(lp[a] - lp[b]) / (double)m;
        g[a] += d;
        g[b] -= d;
    }
    /* The authors average the KL's terms over the candidates. */
    double scale = LPO_HP(x, lambda) / (double)n;
    for (int64_t i = 0; i < n; i++) {
        *loss += scale * lpo_real_exp(ref[i]) * (ref[i] - lp[i]);
        g[i] -= scale * lpo_real_exp(ref[i]);
    }
    for (int64_t i = 0; i < n; i++) sum += g[i];
    for (int64_t i = 0; i < n; i++) x->grad[LPO_COL_theta][i] += g[i] - lpo_real_exp(lp[i]) * sum;
    return LPO_OK;
}

const lpo_objective_row lpo_rows_value[] = {
    {.info = {.name = "gvm_td",
              .aliases = "dvpo_gvm_td",
              .family = "value",
              .defaults = "discount=1",
              .source = "arXiv 2502.16944",
              .summary = "fits DVPO's value model: semi-gradient temporal differences",
              .needs = LPO_C(q) | LPO_C(r) | LPO_C(n)},
     .eval = gvm_td},
    {.info = {.name = "expo_toy",
              .aliases = "expo_toy_exact",
              .family = "candidates",
              .defaults = "lambda=1",
              .source = "arXiv 2506.07492",
              .summary = "EXPO with the exact KL over a handful of candidates",
              .needs = LPO_C(theta) | LPO_C(ref_logps)},
     .eval = expo_toy,
     .optional = LPO_C(w) | LPO_C(l)},
    {.info = {.name = NULL}},
};
