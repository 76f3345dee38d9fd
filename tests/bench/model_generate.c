/* SPDX-License-Identifier: Apache-2.0 */
/* model_generate.c -- tokens a second: prompts answered one by one and many at a time; the step of one token
 * behind a long prompt, beside the time it takes to read the weights from memory; and what eight questions on
 * one clip gain from encoding it once and from sharing the rows of their common beginning.
 * usage: bench_model_generate [THREADS [OUT.json [CASE [PART]]]], PART of steps, batching, questions. Models
 * have random weights: the whole tiny one, and one layer of the 2B (with two of its tower's 32 blocks and
 * 16,384 of its 151,936 ids: a single layer under the full head would be a measurement of the head). Then
 * model_generate_peer.py does the text half in torch and prints both in one table. Times are the best of
 * several. */
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "kernels/cpu/cpu.h"
#include "leanpo/model.h"
#include "model/generator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define IDS(pad, eos)                                                                                        \
    "\"bos_token_id\":3,\"eos_token_id\":" #eos ",\"vision_start_token_id\":4,\"vision_end_token_id\":5,"    \
    "\"image_token_id\":6,\"video_token_id\":" #pad

typedef struct subject {
    const char *name, *size, *config;
    int vocab, n_prompts, n_prompt, n_tokens, repeats;
    int at_once[3];
    lpo_clip_input clip; /* of the questions */
    double weights;      /* values a step of one token reads: those of the layers and the head */
} subject;

static const subject subjects[] = {
    {"tiny",
     "tiny",
     "{\"vocab_size\":4000," IDS(7, 3999) "}",
     4000,
     64,
     48,
     64,
     3,
     {1, 8, 64},
     {.grid_t = 4, .grid_h = 4, .grid_w = 4, .second_per_grid = 1},
     0},
    {"2B layer",
     "2b",
     "{\"num_hidden_layers\":1,\"vocab_size\":16384," IDS(7, 16383) ",\"vision_config\":{\"depth\":2}}",
     16384,
     16,
     64,
     16,
     2,
     {1, 4, 16},
     {.grid_t = 4, .grid_h = 16, .grid_w = 16, .second_per_grid = 1},
     1536. * (2048 + 1536 + 3 * 8960 + 16384)},
};

static json_t *rows;
static int threads;
static const char *only = "";

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool wants(const char *what) {
    return strstr(what, only);
}

static void must(lpo_status st, const lpo_error *err) {
    if (!st) return;
    fprintf(stderr, "bench_model_generate: %s\n", err->msg);
    exit(1);
}

static void report(const char *what, const char *how, double value, const char *unit) {
    printf("%-44s %-22s %10.1f %s\n", what, how, value, unit);
    fflush(stdout);
    json_array_append_new(rows, json_pack("{s:s, s:s, s:i, s:f, s:s}", "what", what, "how", how, "threads",
                                          threads, "value", value, "unit", unit));
}

/* Seconds for all requests; every answer is n_tokens long (its last id is never drawn). */
static double run(lpo_model *m, const lpo_gen_request *r, int n, lpo_generator_options o) {
    lpo_error err = {0};
    lpo_generator *g;
    lpo_gen_seq s;
    uint64_t user;
    const double start = now();
    must(lpo_generator_create(&g, m, &o, &err), &err);
    for (int i = 0; i < n; i++) must(lpo_generator_add(g, &r[i], &err), &err);
    for (int i = 0; i < n; i++) {
        must(lpo_generator_next(&s, &user, g, &err), &err);
        lpo_gen_seq_clear(&s);
    }
    lpo_generator_destroy(g);
    return now() - start;
}

static double best_of(lpo_model *m, const lpo_gen_request *r, int n, lpo_generator_options o, int repeats) {
    double best = 1e9;
    for (int i = 0; i < repeats; i++) {
        const double t = run(m, r, n, o);
        if (t < best) best = t;
    }
    return best;
}

static lpo_gen_request *make_requests(const subject *s, int n, int n_prompt) {
    lpo_gen_request *r = calloc((size_t)n, sizeof *r);
    lpo_rng rng = lpo_rng_init(1, 0);
    for (int i = 0; i < n; i++) {
        int32_t *ids = malloc((size_t)n_prompt * sizeof *ids);
        for (int k = 0; k < n_prompt; k++)
            ids[k] = 10 + (int32_t)lpo_rng_below(&rng, (uint32_t)s->vocab - 20);
        r[i] = (lpo_gen_request){.ids = ids,
                                 .n_ids = n_prompt,
                                 .stream = (uint64_t)i,
                                 .options = lpo_gen_options_default(),
                                 .user = (uint64_t)i};
        r[i].options.max_tokens = s->n_tokens;
        r[i].options.n_valid = s->vocab - 1;
    }
    return r;
}

static void free_requests(lpo_gen_request *r, int n) {
    for (int i = 0; i < n; i++) free((int32_t *)r[i].ids);
    free(r);
}

static void batching(const subject *s, lpo_model *m) {
    lpo_gen_request *r = make_requests(s, s->n_prompts, s->n_prompt);
    char what[64], how[32];
    snprintf(what, sizeof what, "%s: %d prompts of %d, %d tokens each", s->name, s->n_prompts, s->n_prompt,
             s->n_tokens);
    for (int i = 0; i < 3; i++) {
        const double t =
            best_of(m, r, s->n_prompts, (lpo_generator_options){.max_seqs = s->at_once[i]}, s->repeats);
        snprintf(how, sizeof how, "%d at a time", s->at_once[i]);
        report(what, how, s->n_prompts * s->n_tokens / t, "tokens/s");
    }
    free_requests(r, s->n_prompts);
}

/* Bytes a second that all threads read together, the best of several: a step of one token can take no less
 * than its weights take. */
static double read_speed(void) {
    const int64_t n = (int64_t)1 << 27;
    float *all = malloc((size_t)n * sizeof *all), sum = 0;
    double best = 0;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < n; i++) all[i] = 1;
    for (int k = 0; k < 5; k++) {
        const double start = now();
#pragma omp parallel for schedule(static) num_threads(threads) reduction(+ : sum)
        for (int64_t i = 0; i < n; i += 4096) {
            float part[16] = {0};
            for (int64_t at = i; at < i + 4096; at += 16)
                for (int lane = 0; lane < 16; lane++) part[lane] += all[at + lane];
            for (int lane = 0; lane < 16; lane++) sum += part[lane];
        }
        const double speed = (double)n * sizeof *all / (now() - start);
        if (speed > best) best = speed;
    }
    free(all);
    if (sum < 0) printf("%f\n", (double)sum);
    return best;
}

enum { PAST = 1000, STEPS = 32 };
/* The steps that all of the batch take together: from when the last has its first token to when the first has
 * its last. */
typedef struct together {
    int n, begun, tokens;
    bool over;
    int had[8];
    double start, end;
} together;

static int on_token(void *user, int seq, int32_t id) {
    together *t = user;
    (void)id;
    const double at = now();
    if (t->begun == t->n && !t->over) {
        t->tokens++;
        t->end = at;
    }
    if (t->had[seq]++ == 0 && ++t->begun == t->n) t->start = t->end = at;
    t->over |= t->had[seq] == STEPS;
    return LPO_TOKEN_NEXT;
}

/* One token of each of n sequences, PAST tokens behind them. */
static double step(const subject *s, lpo_model *m, int n, double floor_ms) {
    lpo_gen_request *r = make_requests(s, n, PAST);
    double best = 1e9;
    for (int k = 0; k < 3; k++) {
        together t = {.n = n};
        for (int i = 0; i < n; i++) {
            r[i].options.max_tokens = STEPS;
            r[i].fn = on_token;
            r[i].fn_user = &t;
        }
        run(m, r, n, (lpo_generator_options){.max_seqs = n});
        const double each = (t.end - t.start) / t.tokens;
        if (each < best) best = each;
    }
    free_requests(r, n);
    const double ms = best * n * 1e3;
    printf("%-44s   a step takes %.2f ms, %.2f times the reading of its weights\n", "", ms, ms / floor_ms);
    return 1 / best;
}

static void steps(const subject *s, lpo_model *m, const char *dtype, int bytes) {
    char what[64];
    if (!s->weights) return;
    snprintf(what, sizeof what, "%s, %s: a token behind %d", s->name, dtype, PAST);
    const double speed = read_speed(), floor_ms = s->weights * bytes / speed * 1e3;
    report(what, "memory reads", speed / 1e9, "GB/s");
    report(what, "weights read", floor_ms, "ms");
    report(what, "1 at a time", step(s, m, 1, floor_ms), "tokens/s");
    report(what, "8 at a time", step(s, m, 8, floor_ms), "tokens/s");
}

/* Eight questions of 16 ids on one clip of eight frames, behind 20 ids and the clip. */
static void questions(const subject *s, lpo_model *m) {
    enum { N = 8, HEAD = 20, OWN = 16 };
    lpo_model_info info;
    lpo_model_get_info(&info, m);
    const int32_t n_patches = s->clip.grid_t * s->clip.grid_h * s->clip.grid_w,
                  pads = n_patches / (info.merge_size * info.merge_size), n = HEAD + 2 + pads + OWN,
                  cols = 3 * info.temporal_patch * info.patch_size * info.patch_size;
    float *patches = malloc((size_t)n_patches * (size_t)cols * sizeof *patches);
    lpo_rng rng = lpo_rng_init(2, 0);
    for (int64_t i = 0; i < (int64_t)n_patches * cols; i++) patches[i] = (float)lpo_rng_normal(&rng);
    lpo_gen_request *r = make_requests(s, N, n);
    lpo_clip_input clip[N];
    for (int i = 0; i < N; i++) {
        int32_t *ids = (int32_t *)r[i].ids;
        clip[i] = s->clip;
        clip[i].patches = patches;
        memcpy(ids, r[0].ids, HEAD * sizeof *ids);
        ids[HEAD] = 4;
        for (int k = 0; k < pads; k++) ids[HEAD + 1 + k] = 7;
        ids[HEAD + 1 + pads] = 5;
    }
    char what[64];
    snprintf(what, sizeof what, "%s: 8 questions on one clip of %d tokens", s->name, pads);
    static const char *const how[] = {"nothing shared", "one encoding", "one encoding, prefix"};
    for (int mode = 0; mode < 3; mode++) {
        for (int i = 0; i < N; i++) r[i].clip = &clip[mode ? 0 : i];
        const lpo_generator_options o = {.max_seqs = N, .no_prefix_cache = mode < 2};
        report(what, how[mode], best_of(m, r, N, o, s->repeats) * 1e3, "ms");
    }
    free_requests(r, N);
    free(patches);
}

static lpo_model *open_model(const subject *s, const char *dtype) {
    lpo_error err = {0};
    char dir[] = "/tmp/leanpo-bench-XXXXXX";
    lpo_model *m;
    if (!mkdtemp(dir)) exit(1);
    must(lpo_model_init(
             dir, &(lpo_init_options){.size = s->size, .config = s->config, .dtype = dtype, .seed = 1}, &err),
         &err);
    must(lpo_model_load(&m, dir, &(lpo_model_options){.place = "cpu", .dtype = dtype}, &err), &err);
    must(lpo_dir_remove(dir, &err), &err);
    return m;
}

int main(int argc, char **argv) {
    lpo_kernels_cpu_threads(argc > 1 ? atoi(argv[1]) : 0);
    threads = lpo_cpu_threads();
    rows = json_array();
    if (argc > 4) only = argv[4];
    printf("%d threads, f32\n", threads);
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        const subject *s = &subjects[i];
        if (argc > 3 && !strstr(s->name, argv[3])) continue;
        lpo_model *m = open_model(s, "f32");
        if (wants("steps")) steps(s, m, "f32", 4);
        if (wants("batching")) batching(s, m);
        if (wants("questions")) questions(s, m);
        lpo_model_destroy(m);
        if (!s->weights || !wants("steps")) continue;
        m = open_model(s, "bf16");
        steps(s, m, "bf16", 2);
        lpo_model_destroy(m);
    }
    if (argc > 2 && argv[2][0] && json_dump_file(rows, argv[2], JSON_INDENT(1))) {
        fprintf(stderr, "bench_model_generate: %s cannot be written\n", argv[2]);
        return 1;
    }
    json_decref(rows);
    return 0;
}
