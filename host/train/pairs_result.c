/* SPDX-License-Identifier: Apache-2.0 */
/* pairs_result.c -- see pairs_result.h. */
#include "train/pairs_result.h"

#include "align/rank.h"
#include "base/clock.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { RESAMPLES = 1000 };
const char *const PAIRS_FATE_NAME[] = {"kept", "gap", "identical", "empty", "judge", "bad"};

/* ---- options ---- */

static json_t *hex(uint64_t h) {
    return json_sprintf("%016llx", (unsigned long long)h);
}

static json_t *text_or_null(const char *s) {
    return s && s[0] ? json_string(s) : json_null();
}

lpo_status pairs_options_to_json(json_t **out, const pairs_run *r, lpo_error *err) {
    const lpo_pairs_options *o = r->o;
    char spec[512];
    lpo_view_choice_format(spec, &r->augment);
    uint64_t prompts = 0;
    for (int k = 0; k < LPO_PROMPTS; k++)
        prompts = XXH64(r->prompts.text[k], strlen(r->prompts.text[k]) + 1, prompts);
    json_t *j = NULL;
    const lpo_status s = lpo_partial_identity(&j, o->model, o->adapter, o->place, o->chat_template, o->dtype,
                                              &o->clips, &r->census, err);
    if (s) return s;
    json_object_set_new(j, "trust", text_or_null(r->judge ? NULL : o->trust));
    json_object_set_new(j, "templates", hex(prompts));
    json_object_set_new(j, "augment", json_string(spec));
    json_object_set_new(j, "min_gap", json_real(o->min_gap));
    json_object_set_new(j, "max_tokens", json_integer(o->max_tokens));
    json_object_set_new(j, "temperature_chosen", json_real(o->temperature_chosen));
    json_object_set_new(j, "temperature_rejected", json_real(o->temperature_rejected));
    json_object_set_new(j, "top_p", json_real(o->top_p));
    json_object_set_new(j, "top_k", json_integer(o->top_k));
    json_object_set_new(j, "seed", json_integer((json_int_t)o->seed));
    json_object_set_new(j, "limit", json_integer((json_int_t)o->limit));
    json_object_set_new(j, "judge_cmd", text_or_null(o->judge_cmd));
    json_object_set_new(j, "judge_url", text_or_null(o->judge_url));
    json_object_set_new(j, "judge_model", text_or_null(o->judge_model));
    json_object_set_new(j, "no_prior", json_boolean(o->no_prior));
    json_object_set_new(j, "no_reflection", json_boolean(o->no_reflection));
    *out = j;
    return LPO_OK;
}

/* ---- counts ---- */

#define COUNT(name, field)                                                                                   \
    { name, offsetof(pairs_counts, field) }
static const struct {
    const char *name;
    size_t at;
} INTEGER[] = {COUNT("lines", n_lines),
               COUNT("parsed", n_parsed),
               COUNT("questions", n_questions),
               COUNT("pairs", n_pairs),
               COUNT("bad", n_bad),
               COUNT("gap", n_dropped[PAIRS_GAP]),
               COUNT("identical", n_dropped[PAIRS_IDENTICAL]),
               COUNT("empty", n_dropped[PAIRS_EMPTY]),
               COUNT("judge", n_dropped[PAIRS_JUDGE]),
               COUNT("judge_calls", judge.calls),
               COUNT("judge_retries", judge.retries),
               COUNT("judge_timeouts", judge.timeouts),
               COUNT("judge_bad_replies", judge.bad_replies),
               COUNT("judge_late_replies", judge.late_replies),
               COUNT("judge_restarts", judge.restarts),
               COUNT("judge_failed", judge.failed)},
  REAL[] = {COUNT("trust_chosen", trust[PAIRS_WINNER]), COUNT("trust_rejected", trust[PAIRS_LOSER]),
            COUNT("reward_chosen", reward[PAIRS_WINNER]), COUNT("reward_rejected", reward[PAIRS_LOSER]),
            COUNT("grounding", grounding)};
enum { INTEGERS = sizeof INTEGER / sizeof *INTEGER, REALS = sizeof REAL / sizeof *REAL };

json_t *pairs_counts_to_json(const pairs_counts *c) {
    json_t *o = json_object();
    for (size_t i = 0; i < INTEGERS; i++)
        json_object_set_new(o, INTEGER[i].name,
                            json_integer((json_int_t) * (const int64_t *)((const char *)c + INTEGER[i].at)));
    for (size_t i = 0; i < REALS; i++)
        json_object_set_new(o, REAL[i].name, json_real(*(const double *)((const char *)c + REAL[i].at)));
    return o;
}

lpo_status pairs_counts_from_json(pairs_counts *c, const json_t *o, const char *where, lpo_error *err) {
    lpo_status s = LPO_OK;
    for (size_t i = 0; i < INTEGERS && !s; i++)
        s = lpo_json_int((int64_t *)((char *)c + INTEGER[i].at), o, INTEGER[i].name, 0, INT64_MAX, where,
                         err);
    for (size_t i = 0; i < REALS && !s; i++)
        s = lpo_json_real((double *)((char *)c + REAL[i].at), o, REAL[i].name, -INFINITY, INFINITY, where,
                          err);
    return s;
}

void pairs_judge_counts(pairs_run *r) {
    if (!r->judge) return;
    lpo_judge_counts now;
    lpo_judge_get_counts(&now, r->judge);
    const lpo_judge_counts *old = &r->judge_before;
    r->counts.judge = (lpo_judge_counts){old->calls + now.calls,
                                         old->retries + now.retries,
                                         old->timeouts + now.timeouts,
                                         old->bad_replies + now.bad_replies,
                                         old->late_replies + now.late_replies,
                                         old->restarts + now.restarts,
                                         old->failed + now.failed};
}

/* ---- result ---- */

typedef struct columns {
    double *reward, *trust;
    size_t n, cap;
} columns;

static bool add_line(columns *c, const json_t *o) {
    static const char *const key[2][2] = {{"reward_chosen", "trust_chosen"},
                                          {"reward_rejected", "trust_rejected"}};
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 2; i++)
            if (!json_is_number(json_object_get(o, key[k][i]))) return true;
    if (c->n + 2 > c->cap) {
        const size_t cap = c->cap ? 2 * c->cap : 4096;
        double *reward = realloc(c->reward, cap * sizeof *reward);
        if (reward) c->reward = reward;
        double *trust = realloc(c->trust, cap * sizeof *trust);
        if (trust) c->trust = trust;
        if (!reward || !trust) return false;
        c->cap = cap;
    }
    for (int k = 0; k < 2; k++, c->n++) {
        c->reward[c->n] = json_number_value(json_object_get(o, key[k][0]));
        c->trust[c->n] = json_number_value(json_object_get(o, key[k][1]));
    }
    return true;
}

/* Rewards and trusts of all candidates, read back: a run need not hold them in memory. */
static lpo_status correlate(lpo_pairs_result *out, const pairs_run *r, const char *path, lpo_error *err) {
    FILE *f = fopen(path, "re");
    if (!f) return lpo_fail(err, LPO_EIO, "%s: cannot open it: %s", path, strerror(errno));
    columns c = {0};
    char *line = NULL;
    size_t cap = 0;
    lpo_status s = LPO_OK;
    for (ssize_t n; !s && (n = getline(&line, &cap, f)) > 0;) {
        json_t *o = NULL;
        s = lpo_json_parse(&o, line, (size_t)n, path, err);
        if (!s && !add_line(&c, o)) s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
        json_decref(o);
    }
    lpo_rank_correlation rank;
    if (!s) s = lpo_rank_correlate(&rank, c.reward, c.trust, c.n, 2, RESAMPLES, r->o->seed, err);
    if (!s) {
        out->rho = rank.rho;
        out->rho_low = rank.low;
        out->rho_high = rank.high;
        out->n_candidates = (int64_t)c.n;
    }
    free(c.trust);
    free(c.reward);
    free(line);
    fclose(f);
    return s;
}

lpo_status pairs_result_fill(lpo_pairs_result *out, pairs_run *r, const char *candidates, lpo_error *err) {
    const pairs_counts *c = &r->counts;
    const double n = (double)c->n_pairs, s = lpo_now_s() - r->start_s;
    *out = (lpo_pairs_result){.n_questions = c->n_questions,
                              .n_pairs = c->n_pairs,
                              .n_gap = c->n_dropped[PAIRS_GAP],
                              .n_identical = c->n_dropped[PAIRS_IDENTICAL],
                              .n_empty = c->n_dropped[PAIRS_EMPTY],
                              .n_judge = c->n_dropped[PAIRS_JUDGE],
                              .n_bad = c->n_bad,
                              .n_decoded = r->n_decoded,
                              .trust_chosen = c->trust[PAIRS_WINNER] / n,
                              .trust_rejected = c->trust[PAIRS_LOSER] / n,
                              .reward_chosen = c->reward[PAIRS_WINNER] / n,
                              .reward_rejected = c->reward[PAIRS_LOSER] / n,
                              .grounding = r->augmented ? c->grounding / n : (double)NAN,
                              .judge = c->judge,
                              .seconds = s,
                              .questions_per_s = (double)(c->n_questions - r->questions_before) / s,
                              .tokens_per_s = (double)r->n_new_tokens / s,
                              .wait_videos = r->wait_videos_s / s,
                              .wait_judge = r->wait_judge_s / s};
    return correlate(out, r, candidates, err);
}

static json_t *real_or_null(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *pairs_summary(const lpo_pairs_result *x, const pairs_run *r) {
    return json_pack("{sI sI sI s{sI sI sI sI} sf sf sf sf so s{so so so sI} s{sf sf sf sI sf sf} so sO}",
                     "questions", (json_int_t)x->n_questions, "pairs", (json_int_t)x->n_pairs, "quarantined",
                     (json_int_t)x->n_bad, "dropped", "gap", (json_int_t)x->n_gap, "identical",
                     (json_int_t)x->n_identical, "empty", (json_int_t)x->n_empty, "judge",
                     (json_int_t)x->n_judge, "trust_chosen", x->trust_chosen, "trust_rejected",
                     x->trust_rejected, "reward_chosen", x->reward_chosen, "reward_rejected",
                     x->reward_rejected, "grounding", real_or_null(x->grounding), "rho", "value",
                     real_or_null(x->rho), "low", real_or_null(x->rho_low), "high", real_or_null(x->rho_high),
                     "candidates", (json_int_t)x->n_candidates, "timing", "seconds", x->seconds,
                     "questions_per_s", x->questions_per_s, "tokens_per_s", x->tokens_per_s, "videos_decoded",
                     (json_int_t)x->n_decoded, "wait_videos", x->wait_videos, "wait_judge", x->wait_judge,
                     "counts", pairs_counts_to_json(&r->counts), "options", r->options);
}
