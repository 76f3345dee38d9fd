/* SPDX-License-Identifier: Apache-2.0 */
/* columns.c -- from the caller's batch to what a loss function may trust: every needed column present, of the
 * right shape, finite, lengths agreeing. Loss functions index without looking. */
#include "align/pairs.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int ragged, differentiable;
} COLUMN[LPO_N_COLUMNS] = {
#define LPO_X(name, ragged, diff, meaning) {#name, ragged, diff},
    LPO_COLUMN_LIST(LPO_X)
#undef LPO_X
};

const char *lpo_column_name(int column) {
    return column < 0 || column >= LPO_N_COLUMNS ? NULL : COLUMN[column].name;
}

/* Columns that can be made from another's rows: its sums, or its lengths. */
static const struct {
    int column, from, lengths;
} DERIVED[] = {
    {LPO_COL_S_w, LPO_COL_t_w, 0},  {LPO_COL_S_l, LPO_COL_t_l, 0}, {LPO_COL_R_w, LPO_COL_rt_w, 0},
    {LPO_COL_R_l, LPO_COL_rt_l, 0}, {LPO_COL_n_w, LPO_COL_t_w, 1}, {LPO_COL_n_l, LPO_COL_t_l, 1},
    {LPO_COL_n, LPO_COL_t, 1},      {LPO_COL_n, LPO_COL_q, 1},
};

/* Token columns whose rows must be as long as the first one's. */
static const int SAME_ROWS[][2] = {
    {LPO_COL_t_w, LPO_COL_rt_w}, {LPO_COL_t_w, LPO_COL_d_w}, {LPO_COL_t_w, LPO_COL_sump2_w},
    {LPO_COL_t_l, LPO_COL_rt_l}, {LPO_COL_t_l, LPO_COL_d_l}, {LPO_COL_t_l, LPO_COL_sump2_l},
};
/* Token columns that must hold at least n tokens a row. */
static const int HOLD_N[] = {LPO_COL_t, LPO_COL_old, LPO_COL_ref, LPO_COL_adv, LPO_COL_q};

static int own_length(int c) {
    return c == LPO_COL_theta || c == LPO_COL_ref_logps || c == LPO_COL_w || c == LPO_COL_l;
}

static lpo_status check_shape(const lpo_column *c, int id, int64_t n_rows, lpo_error *err) {
    const char *name = COLUMN[id].name;
    if (!c->row_start) {
        if (COLUMN[id].ragged == 1)
            return lpo_fail(err, LPO_EINVAL, "%s: expected a list of tokens per row", name);
        if (c->n != n_rows && !own_length(id))
            return lpo_fail(err, LPO_EINVAL, "%s: %lld values for %lld rows", name, (long long)c->n,
                            (long long)n_rows);
        return LPO_OK;
    }
    if (COLUMN[id].ragged == 0)
        return lpo_fail(err, LPO_EINVAL, "%s: expected one value per row, not a list", name);
    if (c->row_start[0] != 0 || c->row_start[n_rows] != c->n)
        return lpo_fail(err, LPO_EINVAL, "%s: rows do not cover its %lld values", name, (long long)c->n);
    for (int64_t i = 0; i < n_rows; i++)
        if (c->row_start[i + 1] < c->row_start[i])
            return lpo_fail(err, LPO_EINVAL, "%s: row %lld has a negative length", name, (long long)i);
    return LPO_OK;
}

static lpo_status check_values(const lpo_column *c, int id, lpo_error *err) {
    int count = id == LPO_COL_n_w || id == LPO_COL_n_l || id == LPO_COL_n;
    double least = id == LPO_COL_n ? 0 : 1;
    for (int64_t k = 0; k < c->n; k++) {
        double v = c->data[k];
        if (isfinite(v) && !(count && (v < least || v != floor(v) || v > 1e9))) continue;
        if (!isfinite(v) && c->row_start) {
            int64_t row = 0;
            while (c->row_start[row + 1] <= k) row++;
            return lpo_fail(err, LPO_ENUMERIC, "%s: row %lld, token %lld is %g", COLUMN[id].name,
                            (long long)row, (long long)(k - c->row_start[row]), v);
        }
        if (!isfinite(v))
            return lpo_fail(err, LPO_ENUMERIC, "%s: row %lld is %g", COLUMN[id].name, (long long)k, v);
        return lpo_fail(err, LPO_EINVAL, "%s: row %lld is %g: expected a number of tokens, at least %g",
                        COLUMN[id].name, (long long)k, v, least);
    }
    return LPO_OK;
}

/* Make column id from the token column it derives from; LPO_ENOTFOUND when that is absent too. */
static lpo_status derive(lpo_term *x, int id, const lpo_batch_columns *in, lpo_error *err) {
    for (size_t d = 0; d < sizeof DERIVED / sizeof *DERIVED; d++) {
        const lpo_column *from = &in->col[DERIVED[d].from];
        if (DERIVED[d].column != id || !from->data) continue;
        lpo_status s = check_shape(from, DERIVED[d].from, x->n_rows, err);
        if (s == LPO_OK) s = check_values(from, DERIVED[d].from, err);
        if (s) return s;
        double *v = lpo_arena_alloc(x->arena, (size_t)x->n_rows, sizeof *v);
        if (!v) return lpo_fail(err, LPO_ENOMEM, "objective: %lld rows", (long long)x->n_rows);
        for (int64_t i = 0; i < x->n_rows; i++) {
            const int64_t n = from->row_start[i + 1] - from->row_start[i];
            v[i] = DERIVED[d].lengths ? (double)n : lpo_sum_tokens(from->data + from->row_start[i], NULL, n);
        }
        x->col[id] = (lpo_column){v, x->n_rows, NULL};
        return LPO_OK;
    }
    return LPO_ENOTFOUND;
}

static lpo_status missing(int id, uint64_t needs, const char *name, lpo_error *err) {
    char list[200] = "";
    size_t at = 0;
    for (int c = 0; c < LPO_N_COLUMNS && at < sizeof list - 1; c++)
        if (needs >> c & 1) at += (size_t)snprintf(list + at, sizeof list - at, " %s", COLUMN[c].name);
    return lpo_fail(err, LPO_ENOTFOUND, "column %s is missing: %s reads%s", COLUMN[id].name, name, list);
}

static int64_t row_len(const lpo_column *c, int64_t i) {
    return c->row_start[i + 1] - c->row_start[i];
}

static lpo_status check_lengths(const lpo_term *x, lpo_error *err) {
    for (size_t p = 0; p < sizeof SAME_ROWS / sizeof *SAME_ROWS; p++) {
        const lpo_column *a = &x->col[SAME_ROWS[p][0]], *b = &x->col[SAME_ROWS[p][1]];
        for (int64_t i = 0; a->data && b->data && i < x->n_rows; i++)
            if (row_len(a, i) != row_len(b, i))
                return lpo_fail(err, LPO_EINVAL, "%s: row %lld has %lld tokens, %s has %lld",
                                COLUMN[SAME_ROWS[p][1]].name, (long long)i, (long long)row_len(b, i),
                                COLUMN[SAME_ROWS[p][0]].name, (long long)row_len(a, i));
    }
    for (size_t p = 0; p < sizeof HOLD_N / sizeof *HOLD_N; p++) {
        const lpo_column *a = &x->col[HOLD_N[p]], *n = &x->col[LPO_COL_n];
        for (int64_t i = 0; n->data && a->row_start && i < x->n_rows; i++)
            if ((double)row_len(a, i) < n->data[i])
                return lpo_fail(err, LPO_EINVAL, "%s: row %lld has %lld tokens, n says %g",
                                COLUMN[HOLD_N[p]].name, (long long)i, (long long)row_len(a, i), n->data[i]);
    }
    return LPO_OK;
}

lpo_status lpo_columns_resolve(lpo_term *x, const lpo_batch_columns *in, uint64_t needs, uint64_t optional,
                               const char *name, lpo_error *err) {
    for (int c = 0; c < LPO_N_COLUMNS; c++) {
        lpo_status s = LPO_OK;
        if (in->col[c].data && ((needs | optional) >> c & 1)) {
            x->col[c] = in->col[c];
            s = check_shape(&x->col[c], c, x->n_rows, err);
            if (s == LPO_OK) s = check_values(&x->col[c], c, err);
        } else if (needs >> c & 1) {
            s = derive(x, c, in, err);
            if (s == LPO_ENOTFOUND) s = missing(c, needs, name, err);
        } else
            continue;
        if (s) return s;
        if (!COLUMN[c].differentiable) continue;
        size_t n = (size_t)x->col[c].n;
        x->grad[c] = lpo_arena_alloc(x->arena, n ? n : 1, sizeof *x->grad[c]);
        if (!x->grad[c]) return lpo_fail(err, LPO_ENOMEM, "objective: a column of %zu values", n);
    }
    return check_lengths(x, err);
}

void lpo_columns_give_back(double *const grads[LPO_N_COLUMNS], const lpo_batch_columns *in, const lpo_term *x,
                           double weight) {
    for (int c = 0; c < LPO_N_COLUMNS; c++) {
        if (!x->grad[c]) continue;
        if (in->col[c].data) {
            for (int64_t k = 0; grads[c] && k < in->col[c].n; k++) grads[c][k] += weight * x->grad[c][k];
            continue;
        }
        for (size_t d = 0; d < sizeof DERIVED / sizeof *DERIVED; d++) {
            int t = DERIVED[d].from;
            if (DERIVED[d].column != c || !in->col[t].data || !grads[t]) continue;
            const int64_t *start = in->col[t].row_start;
            for (int64_t i = 0; i < x->n_rows; i++)
                for (int64_t k = start[i]; k < start[i + 1]; k++) grads[t][k] += weight * x->grad[c][i];
        }
    }
}
