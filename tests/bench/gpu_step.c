/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_step.c -- one preference step (forward, LeanPO, backward, AdamW) of a real model's shape on any device,
 * driven line by line through stdin so that a peer can take turns with it: see scripts/gpu-check.
 * Weights, ids and patches are random and come from no file: a number is a hash of its tensor's name and its
 * place, which gpu_step_peer.py repeats, so that both sides start from the same bits at any size.
 *   bench_gpu_step --device cuda --shape qwen2-vl-2b --dir D [--lora R] [--dtype bf16] [--keep] [--separate]
 *                  [--layers N]
 * --keep keeps all activations (else every block is recomputed in the backward pass). D receives config.json
 * and inputs.json for the peer. Commands: step, profile (a step whose ops are timed one by one), quit.
 *   bench_gpu_step --device cuda --ceilings     product and copy, the most this library gets out of the
 * device Every answer is one line of JSON on stdout; 77 is the exit status where the device does not exist.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "leanpo/device.h"
#include "leanpo/objective.h"
#include "model/family.h"
#include "model/lora_parts.h"
#include "tensor/dtype.h"
#include "train/engine.h"
#include "train/optimizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SKIPPED = 77, CHUNK = 1 << 24 /* values made at a time */ };

typedef struct shape {
    const char *name, *family, *size;
    int grid[3], n_prompt, n_response; /* patches; text tokens */
} shape;

static const shape shapes[] = {{"tiny", "qwen2_vl", "tiny", {2, 4, 4}, 16, 24},
                               {"small", "qwen2_vl", "small", {2, 8, 8}, 16, 48},
                               {"long", "qwen2_vl", "tiny", {4, 16, 16}, 64, 128},
                               {"qwen2-vl-2b", "qwen2_vl", "2b", {8, 32, 32}, 64, 512},
                               {"qwen2-vl-7b", "qwen2_vl", "7b", {8, 32, 32}, 64, 512}};

typedef struct arguments {
    const char *device, *dir, *dtype;
    const shape *shape;
    int lora, layers;
    bool keep, separate, ceilings;
} arguments;

static lpo_error err;

static void say(json_t *line) {
    json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
    putchar('\n');
    fflush(stdout);
    json_decref(line);
}

static void must(lpo_status s) {
    if (!s) return;
    say(json_pack("{s:s, s:s}", "event", "error", "message", err.msg));
    exit(1);
}

/* ---- numbers from names: the same in tests/golden/families.py and gpu_step_peer.py ---- */

static uint64_t name_hash(const char *name) {
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    return h;
}

static uint64_t bits(uint64_t hash, uint64_t i) {
    uint64_t z = (i + hash) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* k/128, k in -127..127: with a power of two in front exact in bf16. */
static float seven(uint64_t hash, uint64_t i) {
    const int k = (int)(bits(hash, i) >> 56) - 127;
    return k == 128 ? 0 : (float)k / 128;
}

static float power_of_two_near(double x) {
    return (float)exp2(floor(log2(x) + 0.5));
}

/* n values of p from `first` on: constant, or hashed and scaled. All threads: a 7B has 8 billion. */
static void fill(lpo_model *m, const lpo_param *p, int64_t first, int64_t n, const char *name, bool hashed,
                 float scale) {
    enum { BLOCK = 1 << 13 };
    const lpo_driver *d = lpo_device_driver(lpo_buffer_device(p->data));
    const uint64_t h = name_hash(name);
    const size_t size = lpo_dtype_bytes(m->dtype);
    const int64_t most = n < CHUNK ? n : CHUNK;
    char *low = malloc((size_t)most * size);
    if (!low) must(lpo_fail(&err, LPO_ENOMEM, "no memory for %s", name));
    for (int64_t at = 0; at < n; at += most) {
        const int64_t k = n - at < most ? n - at : most;
#pragma omp parallel for
        for (int64_t b = 0; b < k; b += BLOCK) {
            float wide[BLOCK];
            const int64_t here = k - b < BLOCK ? k - b : BLOCK;
            for (int64_t i = 0; i < here; i++)
                wide[i] = hashed ? scale * seven(h, (uint64_t)(at + b + i)) : scale;
            lpo_dtype_convert(low + (size_t)b * size, m->dtype, wide, LPO_F32, here,
                              NULL); /* between floats */
        }
        must(d->upload(p->data, (size_t)(first + at) * size, low, (size_t)k * size, &err));
    }
    free(low);
}

static void fill_model(lpo_model *m) {
    for (int i = 0; i < m->layout.n_slots; i++) {
        const lpo_slot *s = &m->layout.slots[i];
        const int64_t cols = s->p.ndim == 2 ? s->p.shape[1] : 1;
        const bool random = s->init == LPO_INIT_NORMAL;
        const float scale =
            random ? power_of_two_near(m->config.init_range * sqrt(3)) : s->init == LPO_INIT_ONE;
        for (int k = 0; k < s->n_parts; k++) {
            char name[256];
            lpo_part_name(name, &m->layout, s, &s->part[k], 0);
            fill(m, &s->p, s->part[k].row * cols, s->part[k].rows * cols, name, random, scale);
        }
    }
}

static void fill_adapters(lpo_model *m) {
    for (int i = 0; m->lora && i < m->lora->n; i++) {
        const lpo_param *a = &m->lora->adapters[i].a;
        fill(m, a, 0, a->shape[0] * a->shape[1], a->name, true,
             power_of_two_near(1 / sqrt((double)a->shape[1])));
    }
}

static lpo_model *make_model(const arguments *a) {
    json_t *json;
    lpo_model_config c;
    lpo_devices *devices;
    lpo_model *m;
    int32_t dtype;
    must(lpo_model_dtype(&dtype, a->dtype, &err));
    must(lpo_config_of_size(&json, lpo_family_named(a->shape->family), a->shape->size, NULL, &err));
    if (a->layers) json_object_set_new(json, "num_hidden_layers", json_integer(a->layers));
    must(lpo_config_parse(&c, json, a->shape->name, &err));
    must(lpo_dir_create(a->dir, &err));
    must(lpo_config_save(a->dir, json, &c, dtype, &err));
    must(lpo_devices_open(&devices, a->device, &err));
    must(lpo_model_create(&m, &c, json, a->dir, dtype, devices, &err));
    must(lpo_model_alloc_params(m, &err));
    lpo_devices_release(devices);
    json_decref(json);
    fill_model(m);
    if (a->lora) must(lpo_lora_attach(m, &(lpo_lora_options){.r = a->lora, .alpha = a->lora}, 1, &err));
    fill_adapters(m);
    must(lpo_model_set_trainable(m, a->lora ? "lora" : "llm", &err));
    must(lpo_model_alloc_grads(m, &err));
    return m;
}

/* ---- the pair ---- */

typedef struct pair {
    lpo_sample sample;
    lpo_batch_clip clip;
    lpo_batch batch;
    int32_t *ids[2];
    float *patches;
} pair;

static json_t *ids_json(const int32_t *ids, int n) {
    json_t *a = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(a, json_integer(ids[i]));
    return a;
}

/* Text, the video, text; then the response. Ids below every special one. */
static void make_pair(pair *p, const lpo_model *m, const arguments *a) {
    const shape *s = a->shape;
    const lpo_model_config *c = &m->config;
    const int64_t n_patches = (int64_t)s->grid[0] * s->grid[1] * s->grid[2],
                  cols = m->layout.patch_w->shape[1];
    const int video = (int)(n_patches / (c->vision.merge_size * c->vision.merge_size)),
              half = s->n_prompt / 2, n_prompt = s->n_prompt + video, n = n_prompt + s->n_response;
    int32_t limit = c->vocab_size < 151643 ? c->vocab_size - 6 : 151643;
    p->patches = malloc((size_t)(n_patches * cols) * sizeof(float));
    for (int k = 0; k < 2; k++) p->ids[k] = malloc((size_t)n * sizeof(int32_t));
    if (!p->patches || !p->ids[0] || !p->ids[1]) must(lpo_fail(&err, LPO_ENOMEM, "no memory for a pair"));
    for (int64_t i = 0; i < n_patches * cols; i++) p->patches[i] = 2 * seven(name_hash("clip"), (uint64_t)i);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < n; i++) {
            const uint64_t h = name_hash(i < n_prompt ? "prompt" : k ? "rejected" : "chosen");
            const bool pad = i >= half && i < half + video;
            p->ids[k][i] = i == half - 1       ? c->vision_start_id
                           : i == half + video ? c->vision_end_id
                           : pad               ? c->video_pad_id
                                               : (int32_t)(bits(h, (uint64_t)i) % (uint64_t)limit);
        }
    p->sample = (lpo_sample){.n_prompt = n_prompt,
                             .chosen = {p->ids[0], (size_t)n, (size_t)n},
                             .rejected = {p->ids[1], (size_t)n, (size_t)n}};
    p->clip = (lpo_batch_clip){p->patches, s->grid[0], s->grid[1], s->grid[2], 1, NULL};
    p->batch = (lpo_batch){.n_samples = 1, .samples = &p->sample, .n_clips = 1, .clips = &p->clip};
    json_t *j =
        json_pack("{s:o, s:o, s:i, s:[iii], s:i, s:i, s:f, s:s, s:i}", "chosen", ids_json(p->ids[0], n),
                  "rejected", ids_json(p->ids[1], n), "n_prompt", n_prompt, "grid", s->grid[0], s->grid[1],
                  s->grid[2], "patch_cols", (int)cols, "video_pad_id", c->video_pad_id, "weight_scale",
                  (double)power_of_two_near(c->init_range * sqrt(3)), "dtype", a->dtype, "lora", a->lora);
    char *path = lpo_path_join(a->dir, "inputs.json");
    must(path ? lpo_json_save(j, path, &err) : lpo_fail(&err, LPO_ENOMEM, "out of memory"));
    free(path);
    json_decref(j);
}

/* ---- the step ---- */

typedef struct op_sum {
    int n;
    double seconds, flops, bytes;
} op_sum;

typedef struct bench {
    lpo_model *m;
    lpo_engine e;
    lpo_optimizer *opt;
    lpo_objective *leanpo;
    pair p;
    int k; /* steps done */
    int phase;
    op_sum ops[2][LPO_N_OPS + 1]; /* forward, backward */
} bench;

static void on_op(void *user, lpo_op op, int device, double start_s, double seconds, double flops,
                  double bytes) {
    bench *b = user;
    op_sum *s = &b->ops[b->phase][op];
    (void)device, (void)start_s;
    *s = (op_sum){s->n + 1, s->seconds + seconds, s->flops + flops, s->bytes + bytes};
}

static void wait_for_device(bench *b) {
    lpo_device *d = lpo_model_placement(b->m)->device[0];
    must(lpo_device_driver(d)->wait(d, &err));
}

static double mean(const double *x, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += x[i];
    return s / (double)n;
}

/* Of everything the step's numbers depend on: two runs that agree here did the same arithmetic. */
static uint64_t digest(const lpo_rows *r, double norm) {
    uint64_t h = 0xcbf29ce484222325u, v;
    for (int64_t i = 0; i <= r->start_w[1] + r->start_l[1]; i++) {
        const double x = i < r->start_w[1]                   ? r->t_w[i]
                         : i < r->start_w[1] + r->start_l[1] ? r->t_l[i - r->start_w[1]]
                                                             : norm;
        memcpy(&v, &x, sizeof v);
        h = (h ^ v) * 0x100000001b3u;
    }
    return h;
}

static json_t *step(bench *b) {
    lpo_rows r;
    double norm, loss, *g[LPO_N_COLUMNS] = {0};
    const double t0 = lpo_now_s(), f0 = b->e.forward_s, b0 = b->e.backward_s;
    b->phase = 0;
    must(lpo_model_zero_grads(b->m, &err));
    must(lpo_engine_forward(&r, &b->e, &b->p.batch, 0, 1, true, true, &err));
    const int64_t n = r.start_w[1];
    g[LPO_COL_t_w] = lpo_arena_alloc(b->e.arena, (size_t)n, sizeof(double));
    g[LPO_COL_t_l] = lpo_arena_alloc(b->e.arena, (size_t)n, sizeof(double));
    lpo_batch_columns in = {.n_rows = 1};
    in.col[LPO_COL_t_w] = (lpo_column){r.t_w, n, r.start_w};
    in.col[LPO_COL_t_l] = (lpo_column){r.t_l, n, r.start_l};
    must(lpo_objective_eval(&loss, g, b->leanpo, &in, b->k, 0, &err));
    b->phase = 1;
    must(lpo_engine_backward(&b->e, &r, g[LPO_COL_t_w], g[LPO_COL_t_l], &err));
    const double t1 = lpo_now_s();
    must(lpo_optimizer_grad_norm(&norm, b->opt, &err));
    must(lpo_optimizer_step(b->opt, 1e-5, ++b->k, &err));
    wait_for_device(b);
    const double t2 = lpo_now_s();
    char hex[20];
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)digest(&r, norm));
    return json_pack("{s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:s, s:I}", "event", "step", "k",
                     b->k, "seconds", t2 - t0, "forward_s", b->e.forward_s - f0, "backward_s",
                     b->e.backward_s - b0, "optimizer_s", t2 - t1, "loss", loss, "logp_chosen",
                     mean(r.t_w, n), "logp_rejected", mean(r.t_l, n), "grad_norm", norm, "bits", hex,
                     "activation_bytes", (json_int_t)lpo_tape_arena_bytes(b->e.tape));
}

static const char *op_name(int op) {
    static const char *const names[] = {
#define LPO_X(id, name, n_args, out, inout) name,
        LPO_OP_LIST(LPO_X)
#undef LPO_X
            "copy"};
    return names[op];
}

/* What a step must do: not the blocks recomputed in the backward pass, nor the products that the gradients of
 * attention (one of five) and of the log-probabilities (the logits) do again. */
static double useful(const op_sum *s, int phase, int op, bool head_trains) {
    if (phase == 0) return s->flops;
    switch (op) {
    case LPO_OP_LINEAR_DX:
    case LPO_OP_LINEAR_DW: return s->flops;
    case LPO_OP_ATTN_BWD: return 0.8 * s->flops;
    case LPO_OP_LOGPROB_BWD: return head_trains ? s->flops * 2 / 3 : s->flops / 2;
    default: return 0;
    }
}

static json_t *profile(bench *b, bool head_trains) {
    double all = 0, must_do = 0, seconds = 0;
    memset(b->ops, 0, sizeof b->ops);
    lpo_tape_trace(b->e.tape, on_op, b);
    json_t *one = step(b), *rows = json_array();
    lpo_tape_trace(b->e.tape, NULL, NULL);
    for (int phase = 0; phase < 2; phase++)
        for (int op = 0; op <= LPO_N_OPS; op++) {
            const op_sum *s = &b->ops[phase][op];
            if (!s->n) continue;
            all += s->flops;
            seconds += s->seconds;
            must_do += useful(s, phase, op, head_trains);
            json_array_append_new(rows,
                                  json_pack("{s:s, s:s, s:i, s:f, s:f, s:f}", "op", op_name(op), "phase",
                                            phase ? "backward" : "forward", "n", s->n, "seconds", s->seconds,
                                            "flops", s->flops, "bytes", s->bytes));
        }
    json_t *out =
        json_pack("{s:s, s:o, s:f, s:f, s:f, s:O, s:O}", "event", "profile", "ops", rows, "ops_seconds",
                  seconds, "flops", all, "useful_flops", must_do, "seconds", json_object_get(one, "seconds"),
                  "optimizer_s", json_object_get(one, "optimizer_s"));
    json_decref(one);
    return out;
}

/* ---- sizes ---- */

/* What `leanpo model info` would have said of this step, of the device's memory. It plans a full step with
 * the tower training too; grads and optimizer are therefore taken as they are here. */
static int64_t planned_bytes(const arguments *a, int64_t weights, int64_t grads, int64_t optimizer) {
    const shape *s = a->shape;
    lpo_model_memory m;
    lpo_memory_options o = {.dtype = a->dtype,
                            .n_frames = 2 * s->grid[0],
                            .height = 14 * s->grid[1],
                            .width = 14 * s->grid[2],
                            .n_prompt = s->n_prompt,
                            .n_response = s->n_response,
                            .n_pairs = 1,
                            .lora_rank = a->lora ? a->lora : 1,
                            .gradient_checkpointing = !a->keep};
    must(lpo_model_get_memory(&m, a->dir, &o, &err));
    return weights + grads + optimizer + (a->lora ? m.lora : m.train).activations;
}

static json_t *ready(const bench *b, const arguments *a, double made_s) {
    lpo_model *m = b->m;
    lpo_device_info info;
    lpo_device *d = lpo_model_placement(m)->device[0];
    lpo_device_driver(d)->info(&info, d);
    int64_t n = 0, trained = lpo_optimizer_n_params(b->opt), size = (int64_t)lpo_dtype_bytes(m->dtype);
    int n_params;
    lpo_param *const *p = lpo_model_params(m, &n_params);
    for (int i = 0; i < n_params; i++) n += p[i]->shape[0] * (p[i]->ndim == 2 ? p[i]->shape[1] : 1);
    const int64_t state = (m->dtype == LPO_BF16 ? 12 : 8) * trained;
    return json_pack("{s:s, s:s, s:s, s:s, s:f, s:I, s:I, s:I, s:I, s:I, s:i, s:I}", "event", "ready",
                     "device", info.name, "driver", lpo_device_driver(d)->name, "dtype", a->dtype, "seconds",
                     made_s, "n_params", (json_int_t)n, "n_trained", (json_int_t)trained, "weight_bytes",
                     (json_int_t)(n * size), "grad_bytes", (json_int_t)(4 * trained), "optimizer_bytes",
                     (json_int_t)state, "n_sequence", (int)b->p.sample.chosen.n, "planned_bytes",
                     (json_int_t)planned_bytes(a, n * size, 4 * trained, state));
}

/* ---- ceilings ---- */

static double best_of_submits(lpo_device *d, const lpo_step *s, int at_once) {
    const lpo_driver *v = lpo_device_driver(d);
    double best = 1e9;
    for (int i = 0; i < 6; i++) {
        const double t0 = lpo_now_s();
        for (int k = 0; k < at_once; k++) must(v->submit(d, s, &err));
        must(v->wait(d, &err));
        const double t = (lpo_now_s() - t0) / at_once;
        if (t < best) best = t;
    }
    return best;
}

static lpo_dtensor tensor(lpo_device *d, int32_t dtype, int64_t rows, int64_t cols) {
    lpo_dtensor t = {.dtype = dtype, .ndim = 2, .shape = {rows, cols}};
    const size_t n = (size_t)(rows * cols), size = lpo_dtype_bytes(dtype);
    float *wide = malloc(n * sizeof *wide);
    void *low = malloc(n * size);
    must(lpo_device_driver(d)->alloc(&t.buffer, d, n * size, &err));
#pragma omp parallel for
    for (size_t i = 0; i < n; i++) wide[i] = seven(1, i);
    must(lpo_dtype_convert(low, dtype, wide, LPO_F32, (int64_t)n, &err));
    must(lpo_device_driver(d)->upload(t.buffer, 0, low, n * size, &err));
    free(low);
    free(wide);
    return t;
}

static lpo_step product(lpo_device *d, int64_t m, int64_t n, int64_t k) {
    return (lpo_step){
        .op = LPO_OP_LINEAR,
        .arg = {tensor(d, LPO_BF16, m, n), tensor(d, LPO_BF16, m, k), tensor(d, LPO_BF16, n, k)}};
}

static void release(const lpo_step *s) {
    for (int i = 0; i < LPO_MAX_ARGS; i++)
        if (s->arg[i].buffer)
            lpo_device_driver(lpo_buffer_device(s->arg[i].buffer))->release(s->arg[i].buffer);
}

/* Seconds of a step that is submitted at_once times; its tensors are released. */
static double timed(lpo_device *d, lpo_step s, int at_once) {
    const double t = best_of_submits(d, &s, at_once);
    release(&s);
    return t;
}

/* bf16 products: square, and of the few rows that generation has with the 7B's widest layer; a copy. What a
 * small product takes says whether the device is one for large ones. */
static void ceilings(const char *device) {
    lpo_device *d;
    lpo_device_info info;
    must(lpo_device_open(&d, device, &err));
    lpo_device_driver(d)->info(&info, d);
    const bool fast = timed(d, product(d, 512, 512, 512), 1) < 1e-3;
    const int64_t n = fast ? 8192 : 512, N = fast ? 18944 : 2368, K = fast ? 3584 : 448;
    const int at_once = fast ? 4 : 1;
    const double t = timed(d, product(d, n, n, n), at_once), flops = 2 * (double)n * (double)n * (double)n;
    say(json_pack("{s:s, s:s, s:s, s:I, s:f, s:f}", "event", "ceiling", "what", "product", "device",
                  info.name, "n", (json_int_t)n, "seconds", t, "per_second", flops / t));
    for (int64_t rows = 1; rows <= 16; rows *= 2) {
        const double s = timed(d, product(d, rows, N, K), at_once);
        say(json_pack("{s:s, s:s, s:I, s:f, s:f}", "event", "ceiling", "what", "few rows", "n",
                      (json_int_t)rows, "seconds", s, "per_second", 2 * (double)N * (double)K / s));
    }
    const double s = timed(
        d, (lpo_step){.op = LPO_OP_CAST, .arg = {tensor(d, LPO_F32, n * 4, n), tensor(d, LPO_F32, n * 4, n)}},
        at_once);
    say(json_pack("{s:s, s:s, s:f, s:f}", "event", "ceiling", "what", "copy", "seconds", s, "per_second",
                  32 * (double)n * (double)n / s));
    lpo_device_close(d);
}

/* ---- main ---- */

static int usage(void) {
    fprintf(
        stderr,
        "bench_gpu_step --device D (--ceilings | --shape S --dir DIR [--lora R] [--dtype f32|bf16] [--keep] "
        "[--separate] [--layers N])\nshapes:");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) fprintf(stderr, " %s", shapes[i].name);
    fprintf(stderr, "\n");
    return 2;
}

static bool parse(arguments *a, int argc, char **argv) {
    *a = (arguments){.dtype = "bf16"};
    for (int i = 1; i < argc; i++) {
        const char *o = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(o, "--keep"))
            a->keep = true;
        else if (!strcmp(o, "--separate"))
            a->separate = true;
        else if (!strcmp(o, "--ceilings"))
            a->ceilings = true;
        else if (!v)
            return false;
        else if (!strcmp(o, "--device"))
            a->device = argv[++i];
        else if (!strcmp(o, "--dir"))
            a->dir = argv[++i];
        else if (!strcmp(o, "--dtype"))
            a->dtype = argv[++i];
        else if (!strcmp(o, "--lora"))
            a->lora = atoi(argv[++i]);
        else if (!strcmp(o, "--layers"))
            a->layers = atoi(argv[++i]);
        else if (!strcmp(o, "--shape")) {
            for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
                if (!strcmp(v, shapes[k].name)) a->shape = &shapes[k];
            i++;
        } else
            return false;
    }
    return a->device && (a->ceilings || (a->shape && a->dir));
}

int main(int argc, char **argv) {
    arguments a;
    static bench b;
    lpo_device *d;
    if (!parse(&a, argc, argv)) return usage();
    if (lpo_device_open(&d, a.device, &err)) {
        say(json_pack("{s:s, s:s}", "event", "skipped", "message", err.msg));
        return SKIPPED;
    }
    lpo_device_close(d);
    if (a.ceilings) {
        ceilings(a.device);
        return 0;
    }
    const double t0 = lpo_now_s();
    b.m = make_model(&a);
    must(lpo_optimizer_create(
        &b.opt, b.m, &(lpo_adamw){.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .max_grad_norm = 1}, &err));
    must(lpo_engine_open(&b.e, b.m, !a.keep, &err));
    b.e.separate = a.separate;
    must(lpo_objective_create(&b.leanpo, "leanpo", &err));
    make_pair(&b.p, b.m, &a);
    say(ready(&b, &a, lpo_now_s() - t0));
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        if (!strncmp(line, "quit", 4)) break;
        say(!strncmp(line, "profile", 7) ? profile(&b, !a.lora) : step(&b));
    }
    free(b.p.patches);
    free(b.p.ids[0]);
    free(b.p.ids[1]);
    lpo_objective_destroy(b.leanpo);
    lpo_engine_close(&b.e);
    lpo_optimizer_destroy(b.opt);
    lpo_model_destroy(b.m);
    return 0;
}
