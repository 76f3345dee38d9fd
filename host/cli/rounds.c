/* SPDX-License-Identifier: Apache-2.0 */
/* rounds.c -- see rounds.h. */
#include "rounds.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PATH_BYTES = 4096, MOST_ROUNDS = 1000 };

cli_rounds cli_rounds_default(void) {
    return (cli_rounds){.o = lpo_pairs_options_default()};
}

static lpo_status make_pairs(lpo_pairs_result *out, const cli_rounds *r, const lpo_train_options *o,
                             int round, const char *model, const char *data, const char *to, int resume,
                             lpo_error *err) {
    lpo_pairs_options p = r->o;
    p.model = model;
    p.data = data;
    p.out = to;
    p.place = lpo_train_options_get(o, "place");
    p.dtype = lpo_train_options_get(o, "dtype");
    p.chat_template = lpo_train_options_get(o, "chat_template");
    p.clips = lpo_train_options_clips(o);
    p.n_threads = atoi(lpo_train_options_get(o, "n_threads"));
    p.max_bad = strtod(lpo_train_options_get(o, "max_bad"), NULL);
    /* Another round draws other answers to the same questions. */
    p.seed = strtoull(lpo_train_options_get(o, "seed"), NULL, 10) + (uint64_t)round;
    p.resume = resume;
    return lpo_pairs(out, &p, cli_progress, NULL, err);
}

static json_t *number(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

/* What a round was trained with, but for what only changes its pace. */
static json_t *options_of(const lpo_train_options *o) {
    json_t *j = json_object();
    const lpo_option_info *i;
    for (int k = 0; (i = lpo_train_option_at(k)); k++)
        if (strcmp(i->name, "resume") && strcmp(i->name, "n_threads"))
            json_object_set_new(j, i->name, json_string(lpo_train_options_get(o, i->name)));
    return j;
}

static json_t *row(int round, const lpo_pairs_result *p, const lpo_train_result *t,
                   const lpo_train_options *o) {
    json_t *j = json_pack("{si sI sI so so so so so so so so ss}", "round", round, "questions",
                          (json_int_t)p->n_questions, "pairs", (json_int_t)p->n_pairs, "trust_chosen",
                          number(p->trust_chosen), "trust_rejected", number(p->trust_rejected), "trust/rho",
                          number(p->rho), "loss", number(t->loss), "rewards/accuracies",
                          number(t->reward_accuracy), "rewards/margins", number(t->reward_margin),
                          "displacement/chosen", number(t->displacement_chosen), "displacement/rejected",
                          number(t->displacement_rejected), "checkpoint", t->last_checkpoint);
    json_object_set_new(j, "options", options_of(o));
    return j;
}

/* Was it trained with these options, and is its policy still there? Then neither model nor videos need be
 * looked at. Anything else is for lpo_train to go on with, or to refuse. */
static bool is_done(const json_t *was, const lpo_train_options *o) {
    const char *checkpoint = json_string_value(json_object_get(was, "checkpoint"));
    json_t *now = options_of(o);
    struct stat st;
    const bool done = checkpoint && json_equal(json_object_get(was, "options"), now) &&
                      !stat(checkpoint, &st) && strlen(checkpoint) < PATH_BYTES;
    json_decref(now);
    return done;
}

/* One round in OUT/round-K; model: the policy, replaced by the new one. was: its row in an earlier table, or
 * NULL.
 */
static lpo_status run_round(json_t **out, const json_t *was, const cli_rounds *r, lpo_train_options *o,
                            int round, char *model, const char *data, const char *folder, int resume,
                            lpo_error *err) {
    char dir[PATH_BYTES], pairs[PATH_BYTES + 16];
    lpo_pairs_result p;
    lpo_train_result t;
    if (snprintf(dir, sizeof dir, "%s/round-%d", folder, round) >= (int)sizeof dir)
        return lpo_fail(err, LPO_EINVAL, "--out: the path is too long");
    snprintf(pairs, sizeof pairs, "%s/pairs.jsonl", dir);
    mkdir(folder, 0777);
    mkdir(dir, 0777); /* a failure shows when the first file is opened */
    lpo_status s = make_pairs(&p, r, o, round, model, data, pairs, resume, err);
    if (!s) s = lpo_train_options_set(o, "model", model, err);
    if (!s) s = lpo_train_options_set(o, "data", pairs, err);
    if (!s) s = lpo_train_options_set(o, "out", dir, err);
    if (!s && is_done(was, o)) {
        *out = json_deep_copy(was);
    } else if (!s) {
        s = lpo_train(&t, o, cli_interrupted, cli_progress, NULL, err);
        if (!s) *out = row(round, &p, &t, o);
    }
    if (s == LPO_ECANCELED)
        return lpo_fail(err, s, "round %d was interrupted; the same command with --resume goes on", round);
    if (s) return lpo_fail_in(err, s, "round %d", round);
    snprintf(model, PATH_BYTES, "%s", json_string_value(json_object_get(*out, "checkpoint")));
    return LPO_OK;
}

static void print_row(const json_t *o) {
    static const char *const key[] = {"trust/rho", "rewards/accuracies", "displacement/chosen",
                                      "displacement/rejected"};
    double v[4];
    for (int i = 0; i < 4; i++) {
        const json_t *x = json_object_get(o, key[i]);
        v[i] = json_is_number(x) ? json_number_value(x) : (double)NAN;
    }
    printf("round %lld: %lld pairs of %lld questions, rho %.3f; reward accuracy %.3f, displacement: chosen "
           "%+.4f, "
           "rejected %+.4f -> %s\n",
           (long long)json_integer_value(json_object_get(o, "round")),
           (long long)json_integer_value(json_object_get(o, "pairs")),
           (long long)json_integer_value(json_object_get(o, "questions")), v[0], v[1], v[2], v[3],
           json_string_value(json_object_get(o, "checkpoint")));
    fflush(stdout);
}

int cli_rounds_run(const cli_rounds *r, lpo_train_options *o, int resume, int json) {
    if (r->n < 1 || r->n > MOST_ROUNDS)
        return cli_usage("train", "--rounds %d: give 1..%d", r->n, MOST_ROUNDS);
    const char *const needed[] = {"model", "data", "out"};
    for (int i = 0; i < 3; i++)
        if (!*lpo_train_options_get(o, needed[i])) return cli_usage("train", "--%s is needed", needed[i]);
    char model[PATH_BYTES], data[PATH_BYTES], folder[PATH_BYTES], table[PATH_BYTES + 16];
    snprintf(model, sizeof model, "%s", lpo_train_options_get(o, "model"));
    snprintf(data, sizeof data, "%s", lpo_train_options_get(o, "data"));
    snprintf(folder, sizeof folder, "%s", lpo_train_options_get(o, "out"));
    snprintf(table, sizeof table, "%s/rounds.json", folder);
    json_t *rows = json_array(), *before = resume ? json_load_file(table, 0, NULL) : NULL;
    lpo_error err;
    lpo_status s = LPO_OK;
    struct stat st;
    char first[PATH_BYTES + 16];
    snprintf(first, sizeof first, "%s/round-1", folder);
    if (!resume && !stat(first, &st)) /* before its pairs are made anew, for nothing */
        s = lpo_fail(&err, LPO_EINVAL,
                     "%s: holds rounds already; add --resume to go on with them, or choose another --out",
                     folder);
    for (int round = 1; round <= r->n && !s; round++) {
        json_t *o_row = NULL;
        s = run_round(&o_row, json_array_get(before, (size_t)round - 1), r, o, round, model, data, folder,
                      resume, &err);
        if (s) break;
        if (!json) print_row(o_row);
        json_array_append_new(rows, o_row);
        if (json_dump_file(rows, table, JSON_INDENT(2)))
            s = lpo_fail(&err, LPO_EIO, "%s: cannot write it", table);
    }
    json_decref(before);
    if (s) {
        json_decref(rows);
        return cli_fail("train", &err);
    }
    if (json) return cli_print_json(json_pack("{so}", "rounds", rows));
    json_decref(rows);
    return CLI_OK;
}
