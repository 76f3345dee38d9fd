/* SPDX-License-Identifier: Apache-2.0 */
/* demo_seed.c -- one seed of the experiment, stage by stage, through the public library alone. Training runs,
 * pairs and the world go on where they stopped, so running the stages again costs only what is missing. */
#include "demo.h"
#include "leanpo/model.h"
#include "leanpo/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const demo_cell demo_cells[] = {
    {"SFT on winners", "sft-1e-4", "sft", "1e-4", NULL, NULL, DEMO_PAIRS, false},
    {"DPO", "dpo-1e-4", "dpo", "1e-4", NULL, NULL, DEMO_PAIRS, false},
    {"SimPO", "simpo-1e-4", "simpo", "1e-4", NULL, NULL, DEMO_PAIRS, false},
    {"LeanPO", "leanpo-1e-4", "leanpo", "1e-4", NULL, NULL, DEMO_PAIRS, false},
    {"DPO, lr 3e-5", "dpo-3e-5", "dpo", "3e-5", NULL, NULL, DEMO_PAIRS, false},
    {"LeanPO, lr 3e-5", "leanpo-3e-5", "leanpo", "3e-5", NULL, NULL, DEMO_PAIRS, false},
    {"LeanPO + 1.0 SFT", "leanpo-sft-1e-4", "leanpo+1.0*sft", "1e-4", NULL, NULL, DEMO_PAIRS, true},
    {"DPO + 1.0 SFT", "dpo-sft-1e-4", "dpo+1.0*sft", "1e-4", NULL, NULL, DEMO_PAIRS, true},
    {"LeanPO, no smoothing", "leanpo-none-1e-4", "leanpo", "1e-4", "fixed", "0", DEMO_PAIRS, true},
    {"LeanPO, fixed .1", "leanpo-fixed-1e-4", "leanpo", "1e-4", "fixed", "0.1", DEMO_PAIRS, true},
    {"LeanPO, no hint", "leanpo-no-hint", "leanpo", "1e-4", NULL, NULL, DEMO_NO_HINT, true},
    {"LeanPO, no reflection", "leanpo-no-reflection", "leanpo", "1e-4", NULL, NULL, DEMO_NO_REFLECTION, true},
    {"LeanPO, plain losers", "leanpo-plain-loser", "leanpo", "1e-4", NULL, NULL, DEMO_PLAIN_LOSER, true},
    {"LeanPO, template pairs", "leanpo-template", "leanpo", "1e-4", NULL, NULL, DEMO_TEMPLATE, true},
    {"LeanPO, 25% flipped", "leanpo-flipped", "leanpo", "1e-4", NULL, NULL, DEMO_FLIPPED, true},
    {0}};

static const char *const PAIRS_FILE[DEMO_N_PAIRS] = {
    "pairs.jsonl",          "pairs.no-hint.jsonl", "pairs.no-reflection.jsonl", "pairs.plain-loser.jsonl",
    "pairs.template.jsonl", "pairs.flipped.jsonl"};

double demo_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool demo_has(const demo *d, int cell) {
    return !demo_cells[cell].full || d->full;
}

static void begin(demo_seed *s, const char *name) {
    s->stage[s->n_stages] = name;
    s->started = demo_now();
    fprintf(stderr, "== seed %llu: %s\n", (unsigned long long)s->seed, name);
}
/* A stage's time is that of all the processes that worked on it. */
static void end(demo_seed *s) {
    char path[DEMO_PATH + 64];
    snprintf(path, sizeof path, "%s/seconds.json", s->dir);
    json_t *o = json_load_file(path, 0, NULL);
    if (!json_is_object(o)) {
        json_decref(o);
        o = json_object();
    }
    const char *name = s->stage[s->n_stages];
    const double seconds = json_number_value(json_object_get(o, name)) + demo_now() - s->started;
    json_object_set_new(o, name, json_real(seconds));
    json_dump_file(o, path, JSON_INDENT(1)); /* not worth failing for */
    json_decref(o);
    s->seconds[s->n_stages++] = seconds;
}

/* keys: name, value, name, value, ..., NULL; a NULL value leaves the default. */
static lpo_status set_all(lpo_train_options *o, const char *const *keys, lpo_error *err) {
    lpo_status st = LPO_OK;
    for (int i = 0; keys[i] && !st; i += 2)
        if (keys[i + 1]) st = lpo_train_options_set(o, keys[i], keys[i + 1], err);
    return st;
}

static void run_path(char out[DEMO_PATH], const demo_seed *s, const char *name) {
    snprintf(out, DEMO_PATH, "%.3000s/runs/%s", s->dir, name);
}

/* Train s->model on world/data into runs/name; the model becomes the run's last checkpoint. */
static lpo_status train(const demo *d, demo_seed *s, const char *name, const char *data,
                        const char *const *keys, int n_keys, lpo_error *err) {
    char path[DEMO_PATH + 64], run[DEMO_PATH], seed[32], threads[32], config[DEMO_PATH + 16];
    lpo_train_result r;
    run_path(run, s, name);
    snprintf(path, sizeof path, "%s/%s", s->world, data);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)s->seed);
    snprintf(threads, sizeof threads, "%d", d->n_threads);
    snprintf(config, sizeof config, "%s/config.json", run);
    const char *all[64] = {"model",
                           s->model,
                           "data",
                           path,
                           "out",
                           run,
                           "seed",
                           seed,
                           "n_threads",
                           threads,
                           "place",
                           d->place,
                           "batch_size",
                           "32",
                           "gradient_accumulation_steps",
                           "1",
                           "save_steps",
                           "100",
                           "save_total_limit",
                           "1",
                           "resume",
                           access(config, F_OK) ? "false" : "true"};
    int n_common = 0;
    while (all[n_common]) n_common += 2; /* names; values may be NULL */
    memcpy(all + n_common, keys, (size_t)n_keys * sizeof *keys);
    all[n_common + n_keys] = NULL;
    lpo_train_options *o = lpo_train_options_create();
    if (!o) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    lpo_status st = set_all(o, all, err);
    if (!st) st = lpo_train(&r, o, cli_interrupted, cli_progress, NULL, err);
    if (!st) snprintf(s->model, sizeof s->model, "%s", r.last_checkpoint);
    lpo_train_options_destroy(o);
    return st;
}
#define KEYS(...)                                                                                            \
    (const char *const[]){__VA_ARGS__}, (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static lpo_status evaluate(const demo *d, demo_seed *s, lpo_eval_result *r, const char *name,
                           lpo_error *err) {
    char data[DEMO_PATH + 64], out[DEMO_PATH + 64];
    lpo_eval_options o = lpo_eval_options_default();
    snprintf(data, sizeof data, "%s/qa.heldout.jsonl", s->world);
    snprintf(out, sizeof out, "%s/answers.%s.jsonl", s->dir, name);
    o.model = s->model;
    o.data = data;
    o.out = out;
    o.place = d->place;
    o.n_threads = d->n_threads;
    lpo_status st = lpo_eval(r, &o, cli_progress, NULL, err);
    if (st) return st;
    s->chance = demo_chance(s, r);
    fprintf(stderr, "   held-out accuracy %.3f\n", r->accuracy);
    return LPO_OK;
}

static lpo_status make_world(const demo *d, demo_seed *s, lpo_error *err) {
    char path[DEMO_PATH + 64], init[DEMO_PATH];
    begin(s, "world");
    lpo_world_options w = lpo_world_options_default();
    w.n_videos = d->n_sft + d->n_pairs + d->n_probe + d->n_heldout;
    w.seed = s->seed;
    w.size_px = 112;
    w.heldout = (double)d->n_heldout / w.n_videos;
    w.n_threads = d->n_threads;
    w.progress = cli_progress;
    snprintf(path, sizeof path, "%s/world.json", s->world); /* written last */
    json_t *done = json_load_file(path, 0, NULL);
    const bool same = json_integer_value(json_object_get(done, "n_videos")) == w.n_videos &&
                      json_integer_value(json_object_get(done, "seed")) == (json_int_t)s->seed;
    json_decref(done);
    lpo_status st = same ? LPO_OK : lpo_world_write(s->world, &w, err);
    snprintf(init, sizeof init, "%.3000s/model", s->dir);
    snprintf(path, sizeof path, "%s/config.json", init);
    if (!st && access(path, F_OK)) {
        snprintf(path, sizeof path, "%s/tokenizer.json", s->world);
        lpo_init_options i = {.family = "qwen2_vl", .size = "tiny", .tokenizer = path, .seed = s->seed};
        st = lpo_model_init(init, &i, err);
    }
    snprintf(s->model, sizeof s->model, "%s", init);
    end(s);
    return st;
}

static lpo_status supervise(const demo *d, demo_seed *s, lpo_error *err) {
    const char *a = d->quick ? "20" : "300", *b = d->quick ? "20" : "200", *c = d->quick ? "40" : "500";
    const int n = d->n_sft;
    begin(s, "captions");
    lpo_status st =
        demo_take_lines(s, "captions.jsonl", "captions.one.jsonl", (demo_selection){0, n, 1, 0, 0}, err);
    if (!st)
        st = demo_take_lines(s, "captions.jsonl", "captions.mix.jsonl", (demo_selection){0, n, 0, .35, 0},
                             err);
#define CAPTIONS(steps)                                                                                      \
    KEYS("objective", "sft", "learning_rate", "1e-3", "lr_scheduler_type", "linear", "lr_min_ratio", "0.2",  \
         "max_steps", steps, "train_groups", "all", "displacement_size", "0")
    if (!st) st = train(d, s, "captions-one", "captions.one.jsonl", CAPTIONS(a), err);
    if (!st) st = train(d, s, "captions-mix", "captions.mix.jsonl", CAPTIONS(b), err);
    if (!st) st = evaluate(d, s, &s->before, "before-sft", err);
    end(s);
    if (st) return st;
    begin(s, "SFT");
    st = demo_take_lines(s, "qa.train.jsonl", "qa.plain.jsonl", (demo_selection){0, n, 0, 0, 0}, err);
    if (!st) st = demo_mix_prompts(s, "qa.plain.jsonl", "qa.sft.jsonl", err);
    if (!st)
        st = train(d, s, "sft", "qa.sft.jsonl",
                   KEYS("objective", "sft", "learning_rate", "1e-3", "warmup_steps", "60",
                        "lr_scheduler_type", "cosine", "lr_min_ratio", "0.1", "max_steps", c, "train_groups",
                        "all", "displacement_size", "0"),
                   err);
    if (!st) st = evaluate(d, s, &s->sft, "sft", err);
    snprintf(s->sft_model, sizeof s->sft_model, "%s", s->model);
    end(s);
    return st;
}

static lpo_status sample(const demo *d, demo_seed *s, const char *qa, const char *to, demo_pairs kind,
                         lpo_error *err) {
    char data[DEMO_PATH + 64], out[DEMO_PATH + 64];
    lpo_pairs_result r;
    snprintf(data, sizeof data, "%s/%s", s->world, qa);
    snprintf(out, sizeof out, "%s/%s", s->world, to);
    lpo_pairs_options o = lpo_pairs_options_default();
    o.templates = "world";
    o.max_tokens = 32;
    o.no_prior = kind == DEMO_NO_HINT;
    o.no_reflection = kind == DEMO_NO_REFLECTION || kind == DEMO_NO_HINT; /* reflection shows the truth too */
    o.resume = 1;
    if (kind == DEMO_PLAIN_LOSER) o.augment = "none";
    o.model = s->sft_model;
    o.data = data;
    o.out = out;
    o.place = d->place;
    o.seed = s->seed;
    o.n_threads = d->n_threads;
    lpo_status st = lpo_pairs(&r, &o, cli_progress, NULL, err);
    if (st) return st;
    s->pairs[kind].n_questions = r.n_questions;
    s->pairs[kind].n_pairs = r.n_pairs;
    s->pairs[kind].trust_chosen = r.trust_chosen;
    s->pairs[kind].trust_rejected = r.trust_rejected;
    s->pairs[kind].rho = r.rho;
    s->pairs[kind].rho_low = r.rho_low;
    s->pairs[kind].rho_high = r.rho_high;
    return LPO_OK;
}

static lpo_status make_pairs(const demo *d, demo_seed *s, lpo_error *err) {
    const int a = d->n_sft, b = a + d->n_pairs, c = b + d->n_probe;
    begin(s, "pairs");
    lpo_status st =
        demo_take_lines(s, "qa.train.jsonl", "qa.pairs.jsonl", (demo_selection){a, b, 0, 0, 3}, err);
    if (!st)
        st = demo_take_lines(s, "qa.train.jsonl", "qa.probe.jsonl", (demo_selection){b, c, 0, 0, 3}, err);
    if (!st) st = sample(d, s, "qa.probe.jsonl", "pairs.probe.jsonl", DEMO_PAIRS, err);
    if (!st) st = sample(d, s, "qa.pairs.jsonl", PAIRS_FILE[DEMO_PAIRS], DEMO_PAIRS, err);
    for (int k = DEMO_NO_HINT; d->full && k <= DEMO_PLAIN_LOSER && !st; k++)
        st = sample(d, s, "qa.pairs.jsonl", PAIRS_FILE[k], (demo_pairs)k, err);
    if (!st && d->full) st = demo_template_pairs(s, "qa.pairs.jsonl", PAIRS_FILE[DEMO_TEMPLATE], err);
    if (!st && d->full) st = demo_flip_pairs(s, PAIRS_FILE[DEMO_PAIRS], PAIRS_FILE[DEMO_FLIPPED], err);
    end(s);
    return st;
}

static lpo_status run_cell(const demo *d, demo_seed *s, int i, lpo_error *err) {
    const demo_cell *c = &demo_cells[i];
    demo_outcome *o = &s->cell[i];
    char probe[DEMO_PATH + 64], run[DEMO_PATH];
    snprintf(probe, sizeof probe, "%s/pairs.probe.jsonl", s->world);
    snprintf(s->model, sizeof s->model, "%s", s->sft_model);
    fprintf(stderr, "-- seed %llu: %s\n", (unsigned long long)s->seed, c->name);
    lpo_status st =
        train(d, s, c->folder, PAIRS_FILE[c->pairs],
              KEYS("objective", c->objective, "learning_rate", c->learning_rate, "smoothing", c->smoothing,
                   "label_smoothing", c->label_smoothing, "warmup_steps", "10", "lr_scheduler_type", "linear",
                   "max_steps", d->quick ? "10" : "60", "train_groups", "llm", "eval_data", probe,
                   "displacement_size", "256", "eval_steps", d->quick ? "5" : "15"),
              err);
    if (!st) st = evaluate(d, s, &o->eval, c->folder, err);
    run_path(run, s, c->folder);
    if (!st) st = demo_read_curve(&o->curve, run, err);
    if (i == DEMO_LEANPO_3E5) snprintf(s->leanpo_model, sizeof s->leanpo_model, "%s", s->model);
    o->done = !st;
    return st;
}

lpo_status demo_run_seed(demo *d, demo_seed *s, lpo_error *err) {
    lpo_status st = make_world(d, s, err);
    if (!st) st = supervise(d, s, err);
    if (!st) st = make_pairs(d, s, err);
    if (st) return st;
    begin(s, "preference training");
    for (int i = 0; demo_cells[i].name && !st; i++)
        if (demo_has(d, i)) st = run_cell(d, s, i, err);
    end(s);
    return st;
}
