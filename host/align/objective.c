/* SPDX-License-Identifier: Apache-2.0 */
/* objective.c -- a parsed objective: a weighted sum of table rows, each with its hyper-parameters and running
 * state. */
#include "align/pairs.h"
#include "align/term.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TERMS = 8, STATE_PER_TERM = 3, ARENA_BLOCK = 64 * 1024 };

typedef struct part {
    const lpo_objective_row *row;
    lpo_hypers h;
    double weight;
    lpo_ema ema, ema_before;
    lpo_term *x; /* of the evaluation under way, in the arena */
    lpo_pairs *pairs;
    lpo_objective_stats stats;
} part;

struct lpo_objective {
    int n_parts;
    part parts[MAX_TERMS];
    lpo_objective_stats stats;
    const lpo_batch_columns *in; /* of the evaluation under way */
    lpo_arena *arena;
    lpo_sg_tape *tape;
};

static_assert(LPO_N_COLUMNS <= 64, "a mask of columns is one uint64_t");

/* ---- names ---- */

/* Finds name among "alias alias(key=value,...)"; *presets points behind '(' or is NULL. */
static int alias_in(const char *aliases, const char *name, size_t n, const char **presets) {
    for (const char *s = aliases; *s;) {
        size_t len = strcspn(s, " (");
        *presets = s[len] == '(' ? s + len + 1 : NULL;
        if (len == n && !memcmp(s, name, n)) return 1;
        s += strcspn(s, " ");
        s += *s == ' ';
    }
    *presets = NULL;
    return 0;
}

static lpo_status unknown_name(const char *name, size_t n, lpo_error *err) {
    char list[440] = "";
    size_t at = 0;
    const lpo_objective_row *r;
    for (int i = 0; (r = lpo_row_at(i)) && at < sizeof list; i++)
        at += (size_t)snprintf(list + at, sizeof list - at, " %s", r->info.name);
    int len = n < 60 ? (int)n : 60;
    if (n == 4 && !memcmp(name, "sapo", 4))
        return lpo_fail(
            err, LPO_ENOTFOUND,
            "objective \"sapo\" names two methods: sapo_dpo and sapo_orpo (self-augmented preferences), "
            "sapo_soft_gate (soft adaptive policy optimisation)");
    return lpo_fail(err, LPO_ENOTFOUND, "unknown objective \"%.*s\": the known ones are%s", len, name, list);
}

static lpo_status find_row(const lpo_objective_row **row, const char **presets, const char *name, size_t n,
                           lpo_error *err) {
    *presets = NULL;
    for (int i = 0; (*row = lpo_row_at(i)); i++)
        if ((strlen((*row)->info.name) == n && !memcmp((*row)->info.name, name, n)) ||
            alias_in((*row)->info.aliases, name, n, presets))
            return LPO_OK;
    return unknown_name(name, n, err);
}

/* Apply "key=value,...)". A preset that does not parse is a mistake in the table. */
static lpo_status apply_presets(part *p, const char *presets, lpo_error *err) {
    while (presets && *presets && *presets != ')') {
        size_t key = strcspn(presets, "="), value = strcspn(presets + key + 1, ",)");
        char text[40];
        assert(presets[key] == '=' && value < sizeof text);
        memcpy(text, presets + key + 1, value);
        text[value] = 0;
        lpo_status s =
            lpo_hypers_set(&p->h, p->row->info.defaults, presets, key, text, p->row->info.name, err);
        assert(s == LPO_OK);
        if (s) return s;
        presets += key + 1 + value + (presets[key + 1 + value] == ',');
    }
    return LPO_OK;
}

static const char *skip_space(const char *s) {
    return s + strspn(s, " \t");
}

/* "[weight *] name" at *s. */
static lpo_status parse_part(part *p, const char **s, lpo_error *err) {
    p->weight = 1;
    *s = skip_space(*s);
    if (**s == '.' || (**s >= '0' && **s <= '9')) {
        char *end;
        p->weight = strtod(*s, &end);
        const char *star = skip_space(end);
        if (*star != '*' || !isfinite(p->weight))
            return lpo_fail(err, LPO_EINVAL, "objective \"%.60s\": expected \"weight*name\"", *s);
        *s = skip_space(star + 1);
    }
    size_t n = strspn(*s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:-");
    if (n == 0) return lpo_fail(err, LPO_EINVAL, "objective: expected a name at \"%.60s\"", *s);
    const char *presets;
    lpo_status st = find_row(&p->row, &presets, *s, n, err);
    if (st) return st;
    *s = skip_space(*s + n);
    lpo_hypers_init(&p->h, p->row->info.defaults);
    return apply_presets(p, presets, err);
}

lpo_status lpo_objective_create(lpo_objective **out, const char *spec, lpo_error *err) {
    *out = NULL;
    lpo_objective *o = calloc(1, sizeof *o);
    if (!o) return lpo_fail(err, LPO_ENOMEM, "objective %.60s", spec);
    lpo_status s = LPO_OK;
    o->arena = lpo_arena_create(ARENA_BLOCK);
    if (!o->arena) s = lpo_fail(err, LPO_ENOMEM, "objective %.60s", spec);
    for (const char *at = spec; s == LPO_OK; at++) {
        if (o->n_parts == MAX_TERMS) {
            s = lpo_fail(err, LPO_ELIMIT, "objective \"%.60s\": at most %d terms", spec, MAX_TERMS);
            break;
        }
        s = parse_part(&o->parts[o->n_parts], &at, err);
        if (s) break;
        o->n_parts++;
        if (!*at) break;
        if (*at != '+') s = lpo_fail(err, LPO_EINVAL, "objective: expected \"+\" at \"%.60s\"", at);
    }
    if (s) {
        lpo_objective_destroy(o);
        return s;
    }
    *out = o;
    return LPO_OK;
}

void lpo_objective_destroy(lpo_objective *o) {
    if (!o) return;
    lpo_arena_destroy(o->arena);
    free(o);
}

/* ---- hyper-parameters ---- */

static lpo_status unknown_key(const lpo_objective *o, const char *key, lpo_error *err) {
    uint64_t known = 0;
    char list[400];
    for (int i = 0; i < o->n_parts; i++) known |= o->parts[i].h.known;
    lpo_hypers_list(list, sizeof list, known);
    return lpo_fail(err, LPO_EINVAL, "unknown hyper-parameter \"%.40s\": %s", key,
                    *list ? list : "this objective has none");
}

/* A weight is set by "name.weight" alone. */
static lpo_status set_weight(part *p, const char *value, lpo_error *err) {
    char *end;
    double w = strtod(value, &end);
    if (end == value || *end || !isfinite(w) || w < 0)
        return lpo_fail(err, LPO_EINVAL, "%s.weight=%.60s: expected a number, 0 or more", p->row->info.name,
                        value);
    p->weight = w;
    return LPO_OK;
}

lpo_status lpo_objective_set(lpo_objective *o, const char *key, const char *value, lpo_error *err) {
    const char *dot = strchr(key, '.'), *name = dot ? dot + 1 : key;
    int reached = 0;
    for (int i = 0; i < o->n_parts; i++) {
        part *p = &o->parts[i];
        const char *presets;
        size_t n = dot ? (size_t)(dot - key) : 0;
        if (dot && !(strlen(p->row->info.name) == n && !memcmp(p->row->info.name, key, n)) &&
            !alias_in(p->row->info.aliases, key, n, &presets))
            continue;
        lpo_status s = dot && !strcmp(name, "weight")
                           ? set_weight(p, value, err)
                           : lpo_hypers_set(&p->h, p->row->info.defaults, name, strlen(name), value,
                                            p->row->info.name, err);
        if (s == LPO_ENOTFOUND) continue;
        if (s) return s;
        reached = 1;
    }
    return reached ? LPO_OK : unknown_key(o, key, err);
}

lpo_status lpo_objective_check(const lpo_objective *o, lpo_error *err) {
    for (int i = 0; i < o->n_parts; i++) {
        const lpo_objective_row *r = o->parts[i].row;
        lpo_status s = r->check ? r->check(&o->parts[i].h, r->info.name, err) : LPO_OK;
        if (s) return s;
    }
    return LPO_OK;
}

static uint64_t part_needs(const part *p) {
    uint64_t needs = p->row->info.needs;
    if (p->row->needs) needs |= p->row->needs(&p->h);
    return p->row->pairs ? lpo_pairs_needs(needs, &p->h) : needs;
}

uint64_t lpo_objective_needs(const lpo_objective *o) {
    uint64_t needs = 0;
    for (int i = 0; i < o->n_parts; i++) needs |= part_needs(&o->parts[i]);
    return needs;
}

/* ---- evaluation ---- */

/* Columns, checks and running state; pairs are left ready to be reduced, anything else is evaluated in
 * end_part. */
static lpo_status begin_part(lpo_objective *o, part *p, const lpo_batch_columns *in, int64_t step,
                             int64_t total_steps, lpo_error *err) {
    lpo_term *x = lpo_arena_alloc(o->arena, 1, sizeof *x);
    p->x = x;
    p->pairs = NULL;
    if (!x) return lpo_fail(err, LPO_ENOMEM, "objective: %lld rows", (long long)in->n_rows);
    *x = (lpo_term){.n_rows = in->n_rows, .hp = p->h.value, .hp_given = p->h.given, .step = step};
    p->stats = (lpo_objective_stats){0};
    x->total_steps = total_steps;
    x->ema = &p->ema;
    x->stats = &p->stats;
    x->arena = o->arena;
    x->tape = o->tape;
    lpo_status s = lpo_columns_resolve(x, in, part_needs(p), p->row->optional, p->row->info.name, err);
    return s || !p->row->pairs ? s : lpo_pairs_open(&p->pairs, p->row->pairs, x, err);
}

static lpo_status end_part(double *loss, double *const grads[LPO_N_COLUMNS], lpo_objective *o, part *p,
                           lpo_error *err) {
    const lpo_term *x = p->x;
    double value = 0;
    lpo_status s = p->pairs ? lpo_pairs_close(&value, p->pairs, err) : p->row->eval(&value, p->x, err);
    if (s) return s;
    for (int c = 0; c < LPO_N_COLUMNS; c++)
        for (int64_t k = 0; x->grad[c] && k < x->col[c].n; k++)
            if (!isfinite(x->grad[c][k])) value = NAN;
    if (!isfinite(value))
        return lpo_fail(err, LPO_ENUMERIC,
                        "%s: the loss overflows: the inputs are too large for these hyper-parameters",
                        p->row->info.name);
    *loss += p->weight * value;
    if (grads) lpo_columns_give_back(grads, o->in, x, p->weight);
    if (p->stats.has_rewards && !o->stats.has_rewards) o->stats = p->stats;
    return LPO_OK;
}

/* A refused batch leaves no trace in the running state. */
static lpo_status undo(lpo_objective *o, lpo_status s) {
    for (int i = 0; s && i < o->n_parts; i++) o->parts[i].ema = o->parts[i].ema_before;
    return s;
}

lpo_status lpo_objective_begin(lpo_objective *o, const lpo_batch_columns *in, int64_t step,
                               int64_t total_steps, lpo_error *err) {
    if (in->n_rows < 1 || in->n_rows > INT64_C(1) << 31)
        return lpo_fail(err, LPO_EINVAL, "objective: a batch of %lld rows", (long long)in->n_rows);
    lpo_status s = lpo_objective_check(o, err);
    if (s) return s;
    lpo_arena_reset(o->arena);
    o->in = in;
    o->stats = (lpo_objective_stats){0};
    for (int i = 0; i < o->n_parts; i++) o->parts[i].ema_before = o->parts[i].ema;
    for (int i = 0; s == LPO_OK && i < o->n_parts; i++)
        s = begin_part(o, &o->parts[i], in, step, total_steps, err);
    return undo(o, s);
}

lpo_pairs *lpo_objective_pairs(lpo_objective *o, int i, const char **name) {
    *name = i < o->n_parts ? o->parts[i].row->info.name : NULL;
    return i < o->n_parts ? o->parts[i].pairs : NULL;
}

lpo_status lpo_objective_end(double *loss, double *const grads[LPO_N_COLUMNS], lpo_objective *o,
                             lpo_error *err) {
    lpo_status s = LPO_OK;
    *loss = 0;
    for (int c = 0; grads && c < LPO_N_COLUMNS; c++)
        if (grads[c] && o->in->col[c].n > 0) memset(grads[c], 0, (size_t)o->in->col[c].n * sizeof *grads[c]);
    for (int i = 0; s == LPO_OK && i < o->n_parts; i++) s = end_part(loss, grads, o, &o->parts[i], err);
    return undo(o, s);
}

lpo_status lpo_objective_eval(double *loss, double *const grads[LPO_N_COLUMNS], lpo_objective *o,
                              const lpo_batch_columns *in, int64_t step, int64_t total_steps,
                              lpo_error *err) {
    *loss = 0;
    lpo_status s = lpo_objective_begin(o, in, step, total_steps, err);
    return s ? s : lpo_objective_end(loss, grads, o, err);
}

void lpo_objective_get_stats(lpo_objective_stats *out, const lpo_objective *o) {
    *out = o->stats;
}

void lpo_objective_set_tape(lpo_objective *o, lpo_sg_tape *tape) {
    o->tape = tape;
}

/* ---- state ---- */

int lpo_objective_state(const lpo_objective *o, double *out, int cap) {
    int n = o->n_parts * STATE_PER_TERM;
    for (int i = 0; out && i < n && i < cap; i++) {
        const lpo_ema *e = &o->parts[i / STATE_PER_TERM].ema;
        const double all[STATE_PER_TERM] = {e->mean, e->spread, e->weight};
        out[i] = all[i % STATE_PER_TERM];
    }
    return n;
}

lpo_status lpo_objective_restore(lpo_objective *o, const double *in, int n, lpo_error *err) {
    int want = o->n_parts * STATE_PER_TERM;
    if (n != want)
        return lpo_fail(err, LPO_EFORMAT,
                        "objective state has %d values, expected %d: was it saved by another objective?", n,
                        want);
    for (int i = 0; i < n; i++)
        if (!isfinite(in[i])) return lpo_fail(err, LPO_EFORMAT, "objective state: value %d is %g", i, in[i]);
    for (int i = 0; i < o->n_parts; i++) o->parts[i].ema = (lpo_ema){in[3 * i], in[3 * i + 1], in[3 * i + 2]};
    return LPO_OK;
}
