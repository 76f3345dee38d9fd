/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_demo.c -- the whole loop on the moving-shapes world, through the public library alone:
 * videos -> captions (one object, then any) -> SFT on questions -> pairs from the model's own answers ->
 * LeanPO -> evaluation before and after. Videos are split once, by number: the first `sft` train, the next
 * `pairs` make preference data, the next `probe` hold pairs on which displacement is measured, and the
 * held-out ones are only ever asked. Every number printed is in demo.json. */
#include "cli.h"
#include "leanpo/model.h"
#include "leanpo/report.h"
#include "leanpo/train.h"
#include "leanpo/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct demo {
    const char *out, *place, *objective, *learning_rate;
    uint64_t seed;
    int n_threads, n_sft, n_pairs, n_probe, n_heldout, quick;
    char world[3000], init[3000], held[3000], model[4096]; /* model: the last stage's checkpoint */
    lpo_eval_result before, sft, after;
    lpo_sample_pairs_result pairs;
    lpo_train_result leanpo;
    double chance, seconds[16];
    const char *stage[16];
    int n_stages;
    json_t *samples; /* rows of question, truth, answers */
} demo;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double stage_start;
static void begin(demo *d, const char *name) {
    d->stage[d->n_stages] = name;
    stage_start = now_s();
    fprintf(stderr, "== %s\n", name);
}
static void end(demo *d) {
    d->seconds[d->n_stages++] = now_s() - stage_start;
}

/* Which lines of a world file a stage takes. */
typedef struct selection {
    int first, last;  /* video numbers, last exclusive */
    int n_objects;    /* 0 = any */
    double share_one; /* with n_objects 0: keep one-object lines until they are this share (0 = all lines) */
} selection;

static int video_number(const json_t *line) {
    const char *v = json_string_value(json_object_get(line, "video"));
    const char *name = v ? strrchr(v, '/') : NULL;
    return name ? atoi(name + 1) : -1;
}

/* Copy the selected lines of world/FROM to world/TO (beside it, so relative video paths hold). */
static lpo_status take_lines(const demo *d, const char *from, const char *to, selection pick,
                             lpo_error *err) {
    char src[4096], dst[4096];
    snprintf(src, sizeof src, "%s/%s", d->world, from);
    snprintf(dst, sizeof dst, "%s/%s", d->world, to);
    FILE *in = fopen(src, "r"), *out = in ? fopen(dst, "w") : NULL;
    char *line = NULL;
    size_t cap = 0;
    long n = 0;
    while (out && getline(&line, &cap, in) > 0) {
        json_t *o = json_loads(line, 0, NULL);
        int v = video_number(o);
        long long objects = json_integer_value(json_object_get(o, "n_objects"));
        bool keep = v >= pick.first && v < pick.last && (!pick.n_objects || objects == pick.n_objects);
        /* one-object captions thinned to the wanted share by their number, so the choice is fixed */
        if (keep && pick.share_one > 0 && objects == 1)
            keep = (v * 7919 % 1000) < (int)(1000 * pick.share_one / (1 - pick.share_one));
        if (keep) {
            fputs(line, out);
            n++;
        }
        json_decref(o);
    }
    free(line);
    bool bad = !in || !out || ferror(in) || ferror(out);
    if (in) fclose(in);
    if (out) bad |= fclose(out) != 0;
    if (bad) return lpo_fail(err, LPO_EIO, "%s: cannot copy lines from %s", dst, src);
    if (!n) return lpo_fail(err, LPO_EFORMAT, "%s: no line selected", src);
    return LPO_OK;
}

/* keys: name, value, name, value, ..., NULL */
static lpo_status train(demo *d, lpo_train_result *result, const char *name, const char *data,
                        const char *const *keys, lpo_error *err) {
    char path[4096], run[4096], seed[32], threads[32];
    lpo_train_options *o = lpo_train_options_create();
    if (!o) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    snprintf(path, sizeof path, "%s/%s", d->world, data);
    snprintf(run, sizeof run, "%s/runs/%s", d->out, name);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)d->seed);
    snprintf(threads, sizeof threads, "%d", d->n_threads);
    const char *common[] = {"model",
                            d->model,
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
                            "train_groups",
                            "all",
                            "save_steps",
                            "0",
                            "displacement_size",
                            "0",
                            NULL};
    lpo_status s = LPO_OK;
    for (int i = 0; common[i] && !s; i += 2)
        if (common[i + 1]) s = lpo_train_options_set(o, common[i], common[i + 1], err);
    for (int i = 0; keys[i] && !s; i += 2) s = lpo_train_options_set(o, keys[i], keys[i + 1], err);
    if (!s) s = lpo_train(result, o, cli_interrupted, cli_progress, NULL, err);
    if (!s) snprintf(d->model, sizeof d->model, "%s", result->last_checkpoint);
    lpo_train_options_destroy(o);
    return s;
}

/* Chance: for each question type one over the number of its possible answers, weighted as the types occur;
 * from world.json. */
static double chance_accuracy(const demo *d, const lpo_eval_result *r) {
    char path[4096];
    snprintf(path, sizeof path, "%s/world.json", d->world);
    json_t *w = json_load_file(path, 0, NULL);
    const json_t *by_type = json_object_get(w, "types");
    double sum = 0;
    int64_t n = 0;
    for (int i = 0; i < r->n_types; i++) {
        sum += (double)r->type[i].n *
               json_number_value(json_object_get(json_object_get(by_type, r->type[i].name), "chance"));
        n += r->type[i].n;
    }
    json_decref(w);
    return n ? sum / (double)n : 0;
}

static lpo_status evaluate(demo *d, lpo_eval_result *r, const char *name, lpo_error *err) {
    char data[4096], out[4096];
    lpo_eval_options o = lpo_eval_options_default();
    snprintf(data, sizeof data, "%s/qa.heldout.jsonl", d->world);
    snprintf(out, sizeof out, "%s/answers.%s.jsonl", d->out, name);
    o.model = d->model;
    o.data = data;
    o.out = out;
    o.place = d->place;
    o.n_threads = d->n_threads;
    lpo_status s = lpo_eval(r, &o, cli_progress, NULL, err);
    if (!s) d->chance = chance_accuracy(d, r);
    if (!s)
        printf("held-out accuracy %-12s %.3f  (chance %.3f, %lld questions)\n", name, r->accuracy, d->chance,
               (long long)r->n);
    fflush(stdout);
    return s;
}

static lpo_status make_world(demo *d, lpo_error *err) {
    begin(d, "world: moving-shapes videos");
    lpo_world_options w = lpo_world_options_default();
    int n = d->n_sft + d->n_pairs + d->n_probe + d->n_heldout;
    w.n_videos = n;
    w.seed = d->seed;
    w.size_px = 112;
    w.heldout = (double)d->n_heldout / n;
    w.n_threads = d->n_threads;
    w.progress = cli_progress;
    lpo_status s = lpo_world_write(d->world, &w, err);
    end(d);
    if (s) return s;
    char tokenizer[4096];
    snprintf(tokenizer, sizeof tokenizer, "%s/tokenizer.json", d->world);
    lpo_init_options i = {.family = "qwen2_vl", .size = "tiny", .tokenizer = tokenizer, .seed = d->seed};
    snprintf(d->model, sizeof d->model, "%s", d->init);
    return lpo_model_init(d->init, &i, err);
}

static lpo_status supervise(demo *d, lpo_error *err) {
    lpo_train_result r;
    const char *steps_a = d->quick ? "20" : "300", *steps_b = d->quick ? "20" : "200",
               *steps_sft = d->quick ? "40" : "500";
    begin(d, "captions: one object, then any");
    lpo_status s = take_lines(d, "captions.jsonl", "captions.one.jsonl", (selection){0, d->n_sft, 1, 0}, err);
    if (!s) s = take_lines(d, "captions.jsonl", "captions.mix.jsonl", (selection){0, d->n_sft, 0, .35}, err);
    if (!s)
        s = train(d, &r, "captions-one", "captions.one.jsonl",
                  (const char *[]){"objective", "sft", "learning_rate", "1e-3", "lr_scheduler_type", "linear",
                                   "lr_min_ratio", "0.2", "max_steps", steps_a, NULL},
                  err);
    if (!s)
        s = train(d, &r, "captions-mix", "captions.mix.jsonl",
                  (const char *[]){"objective", "sft", "learning_rate", "1e-3", "lr_scheduler_type", "linear",
                                   "lr_min_ratio", "0.2", "max_steps", steps_b, NULL},
                  err);
    end(d);
    if (s) return s;
    begin(d, "evaluate before SFT");
    s = evaluate(d, &d->before, "before SFT", err);
    end(d);
    if (s) return s;
    begin(d, "SFT on questions");
    s = take_lines(d, "qa.train.jsonl", "qa.sft.jsonl", (selection){0, d->n_sft, 0, 0}, err);
    if (!s)
        s = train(d, &r, "sft", "qa.sft.jsonl",
                  (const char *[]){"objective", "sft", "learning_rate", "1e-3", "warmup_steps", "60",
                                   "lr_scheduler_type", "cosine", "lr_min_ratio", "0.1", "max_steps",
                                   steps_sft, NULL},
                  err);
    end(d);
    if (s) return s;
    begin(d, "evaluate after SFT");
    s = evaluate(d, &d->sft, "after SFT", err);
    end(d);
    return s;
}

static lpo_status sample(demo *d, const char *qa, const char *to, selection pick, lpo_sample_pairs_result *r,
                         lpo_error *err) {
    char data[4096], out[4096], name[64];
    snprintf(name, sizeof name, "qa.%s", to);
    lpo_status s = take_lines(d, qa, name, pick, err);
    if (s) return s;
    snprintf(data, sizeof data, "%s/%s", d->world, name);
    snprintf(out, sizeof out, "%s/%s", d->world, to);
    lpo_sample_pairs_options o = lpo_sample_pairs_options_default();
    o.model = d->model;
    o.data = data;
    o.out = out;
    o.place = d->place;
    o.seed = d->seed;
    o.n_threads = d->n_threads;
    return lpo_sample_pairs(r, &o, cli_progress, NULL, err);
}

static lpo_status prefer(demo *d, lpo_error *err) {
    lpo_sample_pairs_result probe;
    char eval_data[4096];
    int a = d->n_sft, b = a + d->n_pairs, c = b + d->n_probe;
    begin(d, "pairs from the model's own answers");
    lpo_status s = sample(d, "qa.train.jsonl", "pairs.jsonl", (selection){a, b, 0, 0}, &d->pairs, err);
    if (!s) s = sample(d, "qa.train.jsonl", "pairs.probe.jsonl", (selection){b, c, 0, 0}, &probe, err);
    end(d);
    if (s) return s;
    printf("%lld pairs from %lld questions; content-word F1 of chosen %.3f, rejected %.3f\n",
           (long long)d->pairs.n_pairs, (long long)d->pairs.n_questions, d->pairs.trust_chosen,
           d->pairs.trust_rejected);
    begin(d, "LeanPO");
    snprintf(eval_data, sizeof eval_data, "%s/pairs.probe.jsonl", d->world);
    s = train(d, &d->leanpo, "leanpo", "pairs.jsonl",
              (const char *[]){"objective", d->objective, "learning_rate", d->learning_rate, "warmup_steps",
                               "10", "lr_scheduler_type", "linear", "max_steps", d->quick ? "10" : "60",
                               "train_groups", "llm", "eval_data", eval_data, "displacement_size", "256",
                               "eval_steps", "10", NULL},
              err);
    end(d);
    if (s) return s;
    begin(d, "evaluate after LeanPO");
    s = evaluate(d, &d->after, "after LeanPO", err);
    end(d);
    return s;
}

/* The first answers of each type that preference training changed, beside a few it did not. */
static void collect_samples(demo *d) {
    char a[4096], b[4096];
    snprintf(a, sizeof a, "%s/answers.after SFT.jsonl", d->out);
    snprintf(b, sizeof b, "%s/answers.after LeanPO.jsonl", d->out);
    FILE *fa = fopen(a, "r"), *fb = fopen(b, "r");
    char *la = NULL, *lb = NULL;
    size_t ca = 0, cb = 0;
    while (fa && fb && json_array_size(d->samples) < 16 && getline(&la, &ca, fa) > 0 &&
           getline(&lb, &cb, fb) > 0) {
        json_t *x = json_loads(la, 0, NULL), *y = json_loads(lb, 0, NULL);
        const char *p = json_string_value(json_object_get(x, "prediction")),
                   *q = json_string_value(json_object_get(y, "prediction"));
        if (p && q && strcmp(p, q))
            json_array_append_new(d->samples,
                                  json_pack("{sO sO sO ss ss}", "video", json_object_get(x, "video"),
                                            "question", json_object_get(x, "question"), "answer",
                                            json_object_get(x, "answer"), "after_sft", p, "after_leanpo", q));
        json_decref(x);
        json_decref(y);
    }
    free(la);
    free(lb);
    if (fa) fclose(fa);
    if (fb) fclose(fb);
}

static json_t *types_json(const lpo_eval_result *r) {
    json_t *o = json_object();
    for (int i = 0; i < r->n_types; i++)
        json_object_set_new(o, r->type[i].name, json_real(r->type[i].accuracy));
    return json_pack("{sf sf sf so}", "accuracy", r->accuracy, "content_f1", r->content_f1, "exact_match",
                     r->exact_match, "types", o);
}

static lpo_status write_json(const demo *d, lpo_error *err) {
    json_t *stages = json_array();
    for (int i = 0; i < d->n_stages; i++)
        json_array_append_new(stages, json_pack("{ss sf}", "stage", d->stage[i], "seconds", d->seconds[i]));
    json_t *o = json_pack(
        "{sI sf so so so s{sI sI sf sf} s{ss ss sf sf sf sf} so sO}", "seed", (json_int_t)d->seed, "chance",
        d->chance, "before_sft", types_json(&d->before), "after_sft", types_json(&d->sft), "after_leanpo",
        types_json(&d->after), "pairs", "n_questions", (json_int_t)d->pairs.n_questions, "n_pairs",
        (json_int_t)d->pairs.n_pairs, "trust_chosen", d->pairs.trust_chosen, "trust_rejected",
        d->pairs.trust_rejected, "leanpo", "objective", d->objective, "learning_rate", d->learning_rate,
        "rewards/accuracies", d->leanpo.reward_accuracy, "rewards/margins", d->leanpo.reward_margin,
        "displacement/chosen", d->leanpo.displacement_chosen, "displacement/rejected",
        d->leanpo.displacement_rejected, "stages", stages, "samples", d->samples);
    char path[4096];
    snprintf(path, sizeof path, "%s/demo.json", d->out);
    int bad = !o || json_dump_file(o, path, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    json_decref(o);
    return bad ? lpo_fail(err, LPO_EIO, "%s: cannot write it", path) : LPO_OK;
}

static lpo_status write_report(const demo *d, lpo_error *err) {
    enum { MAX_BARS = 3 * (LPO_EVAL_MAX_TYPES + 1), MAX_ROWS = 20 };
    static lpo_report_bar bars[MAX_BARS];
    lpo_report_row rows[MAX_ROWS] = {{{"question", "truth", "after SFT", "after LeanPO"}}};
    const lpo_eval_result *r[] = {&d->before, &d->sft, &d->after};
    static const char *const label[] = {"before SFT", "after SFT", "after LeanPO"};
    int n_bars = 0, n_rows = 1;
    for (int k = 0; k < 3; k++) bars[n_bars++] = (lpo_report_bar){"all", label[k], r[k]->accuracy, 0, 0};
    for (int t = 0; t < d->sft.n_types; t++)
        for (int k = 0; k < 3; k++)
            bars[n_bars++] = (lpo_report_bar){d->sft.type[t].name, label[k], r[k]->type[t].accuracy, 0, 0};
    size_t i;
    json_t *s;
    json_array_foreach(d->samples, i, s) {
        static const char *const key[] = {"question", "answer", "after_sft", "after_leanpo"};
        for (int c = 0; c < 4; c++) rows[n_rows].cell[c] = json_string_value(json_object_get(s, key[c]));
        if (++n_rows == MAX_ROWS) break;
    }
    char text[1200], timing[1200], runs[4][4096];
    snprintf(
        text, sizeof text,
        "Held-out accuracy: %.3f before SFT, %.3f after SFT, %.3f after LeanPO; chance %.3f; %lld questions "
        "on %d videos the model never saw; one seed (%llu), so a "
        "difference of a few hundredths is noise. An answer is right when its content words are the truth's.",
        d->before.accuracy, d->sft.accuracy, d->after.accuracy, d->chance, (long long)d->after.n,
        d->n_heldout, (unsigned long long)d->seed);
    int at = snprintf(timing, sizeof timing, "Measured on the CPU: ");
    for (int k = 0; k < d->n_stages && at < 1100; k++)
        at += snprintf(timing + at, sizeof timing - (size_t)at, "%s%s %.0f s", k ? "; " : "", d->stage[k],
                       d->seconds[k]);
    const char *paragraphs[] = {text,
                                "LeanPO ran on pairs the model made itself: the best and the worst of its "
                                "own answers by content-word F1 against the truth, the latter mostly on an "
                                "augmented view of the video. Displacement below is the change of the mean "
                                "log-probability per token on pairs that were not trained on.",
                                timing, NULL};
    static const char *const run[] = {"leanpo", "sft", "captions-mix", "captions-one"};
    static const char *const title[] = {"LeanPO", "SFT on questions", "Captions, any video",
                                        "Captions, one object"};
    lpo_report_run list[4];
    for (int k = 0; k < 4; k++) {
        snprintf(runs[k], sizeof runs[k], "%s/runs/%s", d->out, run[k]);
        list[k] = (lpo_report_run){title[k], runs[k]};
    }
    char path[4096];
    lpo_page *p;
    snprintf(path, sizeof path, "%s/report.html", d->out);
    lpo_status st = lpo_page_open(&p, path, "LeanPO on the moving-shapes world", err);
    if (st) return st;
    for (int k = 0; paragraphs[k]; k++) lpo_page_text(p, paragraphs[k]);
    lpo_page_heading(p, "Held-out accuracy by question type");
    lpo_page_bars(p, bars, n_bars);
    lpo_page_heading(p, "Answers that LeanPO changed");
    lpo_page_table(p, rows, n_rows);
    for (int k = 0; k < 4; k++) lpo_page_run(p, &list[k]);
    return lpo_page_close(p, err);
}

int cmd_demo(int argc, char **argv) {
    demo d = {.out = "out/demo",
              .objective = "leanpo",
              .learning_rate = "3e-5",
              .seed = 1,
              .n_sft = 2500,
              .n_pairs = 450,
              .n_probe = 100,
              .n_heldout = 200};
    int n_rest, rc;
    const cli_option opts[] = {
        {"out", CLI_STR, &d.out, "DIR", "folder for everything made (default out/demo)"},
        {"seed", CLI_U64, &d.seed, "S", "of the world, the model and the training (default 1)"},
        {"objective", CLI_STR, &d.objective, "NAME", "preference objective (default leanpo)"},
        {"learning-rate", CLI_STR, &d.learning_rate, "X", "of the preference training (default 3e-5)"},
        {"place", CLI_STR, &d.place, "SPEC", "stage=device,..."},
        {"threads", CLI_INT, &d.n_threads, "N", "default: all"},
        {"quick", CLI_FLAG, &d.quick, NULL, "a tenth of everything: checks the machinery, teaches little"},
        {0},
    };
    if ((rc = cli_parse("demo", opts, argc, argv, &n_rest, NULL, NULL))) return rc;
    if (n_rest) return cli_usage("demo", "unexpected argument \"%s\"", argv[1]);
    if (d.quick) d.n_sft = 200, d.n_pairs = 40, d.n_probe = 20, d.n_heldout = 40;
    if (strlen(d.out) > 2000) return cli_usage("demo", "--out: the path is too long");
    snprintf(d.world, sizeof d.world, "%s/world", d.out);
    snprintf(d.init, sizeof d.init, "%s/model", d.out);
    d.samples = json_array();
    lpo_error err;
    double t0 = now_s();
    lpo_status s = make_world(&d, &err);
    if (!s) s = supervise(&d, &err);
    if (!s) s = prefer(&d, &err);
    if (!s) {
        collect_samples(&d);
        s = write_json(&d, &err);
    }
    if (!s) s = write_report(&d, &err);
    if (!s) {
        printf("log-probability per token on held-out pairs since step 0: chosen %+.4f, rejected %+.4f\n",
               d.leanpo.displacement_chosen, d.leanpo.displacement_rejected);
        printf("held-out accuracy: %.3f before SFT, %.3f after SFT, %.3f after LeanPO (chance %.3f)\n",
               d.before.accuracy, d.sft.accuracy, d.after.accuracy, d.chance);
        printf("%s/report.html  (%.0f s)\n", d.out, now_s() - t0);
    }
    json_decref(d.samples);
    return s ? cli_fail("demo", &err) : CLI_OK;
}
