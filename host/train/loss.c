/* SPDX-License-Identifier: Apache-2.0 */
/* loss.c -- see loss.h. */
#include "train/loss.h"

#include "train/reduce.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TERMS = 8 };
#define BIT(c) (UINT64_C(1) << LPO_COL_##c)

static const uint64_t REJECTED = BIT(S_l) | BIT(n_l) | BIT(t_l) | BIT(R_l) | BIT(rt_l);
static const uint64_t FROM_POLICY = BIT(S_w) | BIT(S_l) | BIT(n_w) | BIT(n_l) | BIT(t_w) | BIT(t_l);
static const uint64_t FROM_REFERENCE = BIT(R_w) | BIT(R_l) | BIT(rt_w) | BIT(rt_l);
static const uint64_t FROM_TOKENS = BIT(d_w) | BIT(d_l);

/* Columns a record may bring along, and the keys it may call them by. */
static const struct {
    int column;
    const char *keys[3];
} RECORD_KEYS[] = {
    {LPO_COL_R_w, {"ref_chosen_logps", "reference_chosen_logps", "R_w"}},
    {LPO_COL_R_l, {"ref_rejected_logps", "reference_rejected_logps", "R_l"}},
    {LPO_COL_S_w_aug, {"S_w_aug"}},
    {LPO_COL_G_w, {"G_w"}},
    {LPO_COL_p_w, {"p_w"}},
    {LPO_COL_p_l, {"p_l"}},
    {LPO_COL_bald, {"bald"}},
};
enum { N_RECORD_KEYS = sizeof RECORD_KEYS / sizeof *RECORD_KEYS };

typedef struct term {
    lpo_objective *o;
    bool by_tokens; /* a mean over chosen tokens, not over rows */
    bool told;      /* that it is not reduced where it was asked for */
    lpo_reduce *job;
} term;

struct lpo_loss {
    lpo_objective *all; /* the whole sum: what it needs, and the one voice of errors */
    term terms[MAX_TERMS];
    int n_terms;
    uint64_t needs;
    uint64_t from_record; /* columns read from record keys */
    bool grounding;       /* S_w_aug and G_w from the key "grounding" */
    bool reference;
    lpo_reducer *reducer; /* of the pairs; NULL: host/align */
    lpo_arena *arena;
};

static lpo_status set_everywhere(lpo_loss *l, const char *key, const char *value, lpo_error *err) {
    lpo_status s = lpo_objective_set(l->all, key, value, err);
    /* The whole has taken it: a term that refuses it is one that does not know the key. */
    for (int i = 0; i < l->n_terms && !s; i++) lpo_objective_set(l->terms[i].o, key, value, NULL);
    return s;
}

static lpo_status set_pairs(lpo_loss *l, const char *pairs, lpo_error *err) {
    lpo_status s = LPO_OK;
    for (const char *p = pairs; *p && !s;) {
        size_t n = strcspn(p, ",");
        char pair[160];
        if (n >= sizeof pair) return lpo_fail(err, LPO_EINVAL, "option set: \"%.60s...\" is too long", p);
        memcpy(pair, p, n);
        pair[n] = 0;
        char *eq = strchr(pair, '=');
        if (!eq) return lpo_fail(err, LPO_EINVAL, "option set: expected key=value at \"%s\"", pair);
        *eq = 0;
        s = set_everywhere(l, pair, eq + 1, err);
        p += n + (p[n] == ',');
    }
    return s;
}

static lpo_status split(lpo_loss *l, const char *spec, lpo_error *err) {
    lpo_status s = LPO_OK;
    for (const char *p = spec; !s;) {
        char text[128], *name;
        strtod(p, &name); /* a weight may hold a plus of its own: 1e+2*sft */
        size_t n = (size_t)(name - p) + strcspn(name, "+");
        if (n >= sizeof text || l->n_terms == MAX_TERMS)
            return lpo_fail(err, LPO_ELIMIT, "objective \"%.80s\": too long", spec);
        memcpy(text, p, n);
        text[n] = 0;
        term *t = &l->terms[l->n_terms];
        s = lpo_objective_create(&t->o, text, err);
        if (s) break;
        l->n_terms++;
        t->by_tokens = !(lpo_objective_needs(t->o) & ~(BIT(S_w) | BIT(n_w) | BIT(t_w)));
        if (!p[n]) break;
        p += n + 1;
    }
    return s;
}

lpo_status lpo_loss_create(lpo_loss **out, const lpo_train_options *o, lpo_error *err) {
    static const struct {
        lpo_train_option_id id;
        const char *key;
    } direct[] = {{LPO_TRAIN_beta, "beta"},
                  {LPO_TRAIN_smoothing, "smoothing"},
                  {LPO_TRAIN_label_smoothing, "label_smoothing"}};
    const char *spec = lpo_train_str(o, LPO_TRAIN_objective);
    *out = NULL;
    lpo_loss *l = calloc(1, sizeof *l);
    if (!l) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    l->arena = lpo_arena_create((size_t)1 << 18);
    lpo_status s = l->arena ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "out of memory");
    if (!s) s = lpo_objective_create(&l->all, spec, err);
    if (!s) s = split(l, spec, err);
    for (size_t i = 0; i < sizeof direct / sizeof *direct && !s; i++) {
        const char *value = lpo_train_str(o, direct[i].id);
        if (*value) s = set_everywhere(l, direct[i].key, value, err);
        if (s) lpo_fail_in(err, s, "objective %s", spec);
    }
    if (!s) s = set_pairs(l, lpo_train_str(o, LPO_TRAIN_set), err);
    if (!s) s = lpo_objective_check(l->all, err);
    if (s) {
        lpo_loss_destroy(l);
        return s;
    }
    l->needs = lpo_objective_needs(l->all);
    if (strstr(spec, "sapo_dpo"))
        lpo_log(LPO_LOG_WARN, "objective sapo_dpo: the reference here stays the one the run starts with; it "
                              "does not follow an average of the policy");
    *out = l;
    return LPO_OK;
}

void lpo_loss_destroy(lpo_loss *l) {
    if (!l) return;
    for (int i = 0; i < l->n_terms; i++) lpo_objective_destroy(l->terms[i].o);
    lpo_objective_destroy(l->all);
    lpo_arena_destroy(l->arena);
    free(l);
}

bool lpo_loss_needs_pairs(const lpo_loss *l) {
    return (l->needs & REJECTED) != 0;
}
bool lpo_loss_needs_reference(const lpo_loss *l) {
    return l->reference;
}

void lpo_loss_place(lpo_loss *l, lpo_reducer *reducer, bool quiet) {
    l->reducer = reducer;
    for (int i = 0; i < l->n_terms; i++) l->terms[i].told = quiet;
}

/* ---- columns ---- */

static const json_t *record_value(const lpo_record *r, int i) {
    for (int k = 0; k < 3 && RECORD_KEYS[i].keys[k]; k++) {
        const json_t *v = json_object_get(r->json, RECORD_KEYS[i].keys[k]);
        if (json_is_number(v)) return v;
    }
    return NULL;
}

static bool all_have(const lpo_dataset *d, int i) {
    for (int64_t k = 0; k < lpo_dataset_count(d); k++)
        if (!record_value(lpo_dataset_at(d, k), i)) return false;
    return true;
}

static bool all_have_grounding(const lpo_dataset *d) {
    for (int64_t k = 0; k < lpo_dataset_count(d); k++)
        if (!json_is_number(json_object_get(lpo_dataset_at(d, k)->json, "grounding"))) return false;
    return true;
}

lpo_status lpo_loss_bind(lpo_loss *l, const lpo_dataset *d, lpo_error *err) {
    uint64_t missing = l->needs & ~FROM_POLICY & ~FROM_TOKENS;
    l->from_record = 0;
    for (int i = 0; i < N_RECORD_KEYS; i++)
        if ((missing | BIT(G_w)) >> RECORD_KEYS[i].column & 1 && all_have(d, i))
            l->from_record |= UINT64_C(1) << RECORD_KEYS[i].column;
    /* One side's sum from the records and the other's from the reference would not belong together. */
    const uint64_t sums = missing & FROM_REFERENCE;
    l->reference = sums && (sums & ~l->from_record);
    if (l->reference) l->from_record &= ~FROM_REFERENCE;
    missing &= ~l->from_record & ~FROM_REFERENCE;
    l->grounding = missing & BIT(S_w_aug) && all_have_grounding(d);
    if (l->grounding) missing &= ~BIT(S_w_aug);
    if (!missing) return LPO_OK;
    char list[300] = "";
    size_t used = 0;
    for (int c = 0; c < LPO_N_COLUMNS && used < sizeof list; c++)
        if (missing >> c & 1)
            used += (size_t)snprintf(list + used, sizeof list - used, " %s", lpo_column_name(c));
    return lpo_fail(
        err, LPO_EINVAL,
        "%s: the objective needs%s, which neither the policy nor the records give; add them as keys of every "
        "record (S_w_aug may be given as \"grounding\"), or choose another objective",
        lpo_dataset_path(d), list);
}

static lpo_column flat(const double *data, int64_t n) {
    return (lpo_column){.data = data, .n = n};
}
static lpo_column ragged(const double *data, const int64_t *start, int64_t n) {
    /* A NULL column is an absent one; an empty one is not. */
    static const double none;
    return (lpo_column){.data = data ? data : &none, .n = start[n], .row_start = start};
}

static lpo_status record_columns(lpo_batch_columns *in, lpo_loss *l, const lpo_rows *r, lpo_error *err) {
    for (int i = 0; i < N_RECORD_KEYS; i++) {
        const int c = RECORD_KEYS[i].column;
        if (!(l->from_record >> c & 1)) continue;
        double *v = lpo_arena_alloc(l->arena, (size_t)r->n, sizeof *v);
        if (!v) return lpo_fail(err, LPO_ENOMEM, "out of memory");
        for (int32_t k = 0; k < r->n; k++) v[k] = json_number_value(record_value(r->samples[k].record, i));
        in->col[c] = flat(v, r->n);
    }
    if (!l->grounding) return LPO_OK;
    /* grounding is (G_w - S_w_aug) / n_w: any two numbers that differ by it will do. */
    double *g = lpo_arena_alloc(l->arena, (size_t)r->n, sizeof *g),
           *zero = lpo_arena_alloc(l->arena, (size_t)r->n, sizeof *g);
    if (!g || !zero) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    for (int32_t k = 0; k < r->n; k++)
        g[k] = json_number_value(json_object_get(r->samples[k].record->json, "grounding")) *
               (double)(r->start_w[k + 1] - r->start_w[k]);
    in->col[LPO_COL_G_w] = flat(g, r->n);
    in->col[LPO_COL_S_w_aug] = flat(zero, r->n);
    return LPO_OK;
}

/* One side of the reference, in the order of the rows. */
static lpo_status reference_column(lpo_column *out, lpo_loss *l, const lpo_rows *r, const float *t,
                                   const int64_t *start, int64_t n_records, const int64_t *row_start,
                                   lpo_error *err) {
    double *v = lpo_arena_alloc(l->arena, (size_t)row_start[r->n], sizeof *v);
    if (!v) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    for (int32_t k = 0; k < r->n; k++) {
        const lpo_record *rec = r->samples[k].record;
        const int64_t n = row_start[k + 1] - row_start[k];
        if (rec->index >= n_records || start[rec->index + 1] - start[rec->index] != n)
            return lpo_fail(err, LPO_EFORMAT,
                            "record %s: the reference has another number of tokens; was the data changed?",
                            rec->id);
        for (int64_t i = 0; i < n; i++) v[row_start[k] + i] = (double)t[start[rec->index] + i];
    }
    *out = ragged(v, row_start, r->n);
    return LPO_OK;
}

static lpo_status diff_columns(lpo_batch_columns *in, lpo_loss *l, const lpo_rows *r, lpo_error *err) {
    double *w = lpo_arena_alloc(l->arena, (size_t)r->start_w[r->n], sizeof *w);
    double *x = lpo_arena_alloc(l->arena, (size_t)r->start_l[r->n], sizeof *x);
    lpo_status s = w && x ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "out of memory");
    for (int32_t k = 0; k < r->n && !s; k++) {
        const lpo_sample *sm = &r->samples[k];
        s = lpo_token_diff(w + r->start_w[k], x + r->start_l[k], sm->chosen.ids + sm->n_prompt,
                           r->start_w[k + 1] - r->start_w[k], sm->rejected.ids + sm->n_prompt,
                           r->start_l[k + 1] - r->start_l[k], l->arena, err);
    }
    in->col[LPO_COL_d_w] = ragged(w, r->start_w, r->n);
    in->col[LPO_COL_d_l] = ragged(x, r->start_l, r->n);
    return s;
}

static lpo_status fill_columns(lpo_batch_columns *in, lpo_loss *l, const lpo_rows *r,
                               const lpo_reference *ref, lpo_error *err) {
    *in = (lpo_batch_columns){.n_rows = r->n};
    in->col[LPO_COL_t_w] = ragged(r->t_w, r->start_w, r->n);
    if (lpo_loss_needs_pairs(l)) in->col[LPO_COL_t_l] = ragged(r->t_l, r->start_l, r->n);
    lpo_status s = record_columns(in, l, r, err);
    if (!s && l->reference)
        s = reference_column(&in->col[LPO_COL_rt_w], l, r, ref->t_w, ref->start_w, ref->n, r->start_w, err);
    if (!s && l->reference && lpo_loss_needs_pairs(l))
        s = reference_column(&in->col[LPO_COL_rt_l], l, r, ref->t_l, ref->start_l, ref->n, r->start_l, err);
    if (!s && l->needs & FROM_TOKENS) s = diff_columns(in, l, r, err);
    return s;
}

/* ---- evaluation ---- */

double lpo_loss_value(const lpo_loss_sum *s) {
    return (s->rows ? s->row_loss / (double)s->rows : 0) +
           (s->tokens ? s->token_loss / (double)s->tokens : 0);
}

double lpo_loss_eps_std(const lpo_loss_sum *s) {
    return s->eps_max > s->eps_min ? sqrt(s->eps_squares / (double)s->reward_rows) : 0;
}

static void add_stats(lpo_loss_sum *sum, const lpo_objective *o, int32_t n) {
    lpo_objective_stats st;
    lpo_objective_get_stats(&st, o);
    if (!st.has_rewards || !n) return;
    const double before = (double)sum->reward_rows, all = before + n;
    const double apart = before ? st.eps_mean - sum->eps / before : 0;
    sum->eps_squares += n * st.eps_std * st.eps_std + apart * apart * before * n / all;
    sum->eps_min = before ? fmin(sum->eps_min, st.eps_min) : st.eps_min;
    sum->eps_max = before ? fmax(sum->eps_max, st.eps_max) : st.eps_max;
    sum->reward_rows += n;
    sum->reward_chosen += n * st.reward_chosen;
    sum->reward_rejected += n * st.reward_rejected;
    sum->accuracy += n * st.accuracy;
    sum->margin += n * st.margin;
    sum->eps += n * st.eps_mean;
}

/* Begins every term; those the device takes are under way when this returns, even if it fails. */
static lpo_status begin_terms(lpo_loss *l, const lpo_batch_columns *in, int64_t step, int64_t total_steps,
                              lpo_error *err) {
    lpo_status s = LPO_OK;
    for (int i = 0; i < l->n_terms; i++) l->terms[i].job = NULL;
    for (int i = 0; i < l->n_terms && !s; i++) {
        term *t = &l->terms[i];
        const char *name;
        s = lpo_objective_begin(t->o, in, step, total_steps, err);
        if (s || !l->reducer) continue;
        lpo_pairs *p = lpo_objective_pairs(t->o, 0, &name);
        const char *why = lpo_reduce_refuses(p, in);
        if (!why) s = lpo_reduce_submit(&t->job, l->reducer, p, in, l->arena, err);
        if (why && !t->told)
            lpo_log(LPO_LOG_WARN, "objective %s is reduced on cpu, not on %s: %s", name, l->reducer->name,
                    why);
        t->told |= why != NULL;
    }
    return s;
}

/* Every job is waited for, whatever has failed. */
static lpo_status finish_jobs(lpo_loss *l, lpo_status s, lpo_error *err) {
    for (int i = 0; i < l->n_terms; i++) {
        lpo_status k = l->terms[i].job ? lpo_reduce_wait(l->terms[i].job, s ? NULL : err) : LPO_OK;
        if (!s) s = k;
    }
    return s;
}

lpo_status lpo_loss_eval(lpo_loss_sum *sum, double *g_w, double *g_l, lpo_loss *l, const lpo_rows *rows,
                         const lpo_reference *ref, int64_t rows_total, int64_t tokens_total, int64_t step,
                         int64_t total_steps, lpo_error *err) {
    lpo_batch_columns in;
    const int64_t n_w = rows->start_w[rows->n], n_l = rows->start_l[rows->n], reward_rows = sum->reward_rows;
    lpo_arena_reset(l->arena);
    lpo_status s = fill_columns(&in, l, rows, ref, err);
    double *term_w = lpo_arena_alloc(l->arena, (size_t)n_w, sizeof *term_w);
    double *term_l = lpo_arena_alloc(l->arena, (size_t)n_l, sizeof *term_l);
    if (!s && (!term_w || !term_l)) s = lpo_fail(err, LPO_ENOMEM, "out of memory");
    if (s) return s;
    s = begin_terms(l, &in, step, total_steps, err);
    if (g_w) memset(g_w, 0, (size_t)n_w * sizeof *g_w);
    if (g_l) memset(g_l, 0, (size_t)n_l * sizeof *g_l);
    s = finish_jobs(l, s, err);
    for (int i = 0; i < l->n_terms && !s; i++) {
        const term *t = &l->terms[i];
        double *grads[LPO_N_COLUMNS] = {0}, loss;
        grads[LPO_COL_t_w] = term_w;
        if (in.col[LPO_COL_t_l].data) grads[LPO_COL_t_l] = term_l;
        s = lpo_objective_end(&loss, grads, t->o, err);
        if (s) return s;
        const double n = t->by_tokens ? (double)n_w : (double)rows->n;
        const double share = n / (t->by_tokens ? (double)tokens_total : (double)rows_total);
        *(t->by_tokens ? &sum->token_loss : &sum->row_loss) += loss * n;
        for (int64_t k = 0; g_w && k < n_w; k++) g_w[k] += share * term_w[k];
        for (int64_t k = 0; g_l && grads[LPO_COL_t_l] && k < n_l; k++) g_l[k] += share * term_l[k];
        if (sum->reward_rows == reward_rows) add_stats(sum, t->o, rows->n);
    }
    if (s) return s;
    sum->rows += rows->n;
    sum->tokens += n_w;
    return LPO_OK;
}

int lpo_loss_state(const lpo_loss *l, double *out, int cap) {
    int n = 0;
    for (int i = 0; i < l->n_terms; i++)
        n += lpo_objective_state(l->terms[i].o, n < cap ? out + n : NULL, n < cap ? cap - n : 0);
    return n;
}

lpo_status lpo_loss_restore(lpo_loss *l, const double *in, int n, lpo_error *err) {
    int want = lpo_loss_state(l, NULL, 0);
    if (n != want)
        return lpo_fail(err, LPO_EFORMAT, "the saved loss has %d numbers of state, this one %d", n, want);
    lpo_status s = LPO_OK;
    for (int i = 0; i < l->n_terms && !s; i++) {
        int k = lpo_objective_state(l->terms[i].o, NULL, 0);
        s = lpo_objective_restore(l->terms[i].o, in, k, err);
        in += k;
    }
    return s;
}

lpo_status lpo_token_diff(double *d_w, double *d_l, const int32_t *w, int64_t n_w, const int32_t *l,
                          int64_t n_l, lpo_arena *scratch, lpo_error *err) {
    /* len[i][j]: longest common subsequence of w[i..] and l[j..]. */
    const size_t row = (size_t)n_l + 1;
    uint16_t *len =
        n_w > 65535 || n_l > 65535 ? NULL : lpo_arena_alloc(scratch, (size_t)n_w + 1, row * sizeof *len);
    if (!len)
        return lpo_fail(err, LPO_ELIMIT, "responses of %lld and %lld tokens are too long to compare",
                        (long long)n_w, (long long)n_l);
    for (int64_t i = n_w; i-- > 0;)
        for (int64_t j = n_l; j-- > 0;) {
            const uint16_t *at = len + (size_t)i * row + (size_t)j;
            uint16_t best = at[row] > at[1] ? at[row] : at[1];
            if (w[i] == l[j]) best = (uint16_t)(at[row + 1] + 1);
            len[(size_t)i * row + (size_t)j] = best;
        }
    for (int64_t i = 0; i < n_w; i++) d_w[i] = 1;
    for (int64_t j = 0; j < n_l; j++) d_l[j] = 1;
    for (int64_t i = 0, j = 0; i < n_w && j < n_l;) {
        const uint16_t *at = len + (size_t)i * row + (size_t)j;
        if (w[i] == l[j])
            d_w[i++] = d_l[j++] = 0;
        else if (at[row] >= at[1])
            i++;
        else
            j++;
    }
    return LPO_OK;
}
