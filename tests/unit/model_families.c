/* SPDX-License-Identifier: Apache-2.0 */
/* Truth: for 26 small models of the four families `transformers` computes these log-probabilities, video
 * rows, hidden rows, gradients, AdamW steps and greedy answers (tests/golden/families.py wrote them; of
 * LLaVA-Video under LLaVA-NeXT's names it says what stands in for a class transformers does not have).
 * Weights and clips follow from their names by a hash, here and there alike; each case is written to disk in
 * another dtype, published naming and sharding before it is loaded, so what is tested is a folder. */
#include "model/generate.h"
#include "model/pack.h"
#include "model/parts.h"
#include "model_tiny.h"
#include "tensor/dtype.h"

#include <unistd.h>

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

static double seven(uint64_t hash, uint64_t i) {
    const int k = (int)(bits(hash, i) >> 56) - 127;
    return k == 128 ? 0 : k / 128.0;
}

static double sign(uint64_t hash, uint64_t salt, uint64_t i) {
    return bits(hash + salt, i) & 1 ? -1 : 1;
}

/* The name the hash is taken of: on disk, in the oldest published style. */
static uint64_t hash_of(const lpo_layout *l, const lpo_slot *s, const lpo_part *p, char name[256]) {
    cr_assert(lpo_part_name(name, l, s, p, 0));
    return name_hash(name);
}

static lpo_status fill_hashed(void *user, void *dst, const lpo_slot *s, const lpo_part *p, lpo_error *err) {
    const lpo_layout *l = ((void **)user)[0];
    const int32_t dtype = *(int32_t *)((void **)user)[1];
    char name[256];
    const uint64_t h = hash_of(l, s, p, name);
    size_t n = 1;
    for (int i = 0; i < p->ndim; i++) n *= (size_t)p->shape[i];
    const double fan = (double)n / (double)p->shape[0];
    const double scale = p->ndim == 1 ? 1 : exp2(floor(log2(2.5 / sqrt(fan)) + 0.5));
    double *w = malloc(n * sizeof *w);
    cr_assert(w);
    for (size_t i = 0; i < n; i++)
        w[i] = s->init == LPO_INIT_NORMAL ? seven(h, i) * scale
                                          : (s->init == LPO_INIT_ONE) + ((int)(bits(h, i) >> 59) - 16) / 64.0;
    lpo_status st = lpo_dtype_convert(dst, dtype, w, LPO_F64, (int64_t)n, err);
    free(w);
    return st;
}

static const json_t *key(const json_t *o, const char *name) {
    const json_t *v = json_object_get(o, name);
    cr_assert(v, "%s", name);
    return v;
}

static double num(const json_t *o, size_t i) {
    return json_number_value(json_array_get(o, i));
}

/* Case number i as a folder: dtype, names and shards take turns. */
static void write_folder(const char *dir, const json_t *c, int i) {
    static const int32_t dtypes[] = {LPO_BF16, LPO_F32, LPO_F16};
    lpo_error err = {0};
    lpo_model_config config;
    lpo_layout l;
    MUST(lpo_config_parse(&config, key(c, "config"), "case", &err));
    MUST(lpo_layout_create(&l, &config, &err));
    int32_t dtype = dtypes[i % 3];
    int style[LPO_N_WHERES];
    for (int k = 0; k < LPO_N_WHERES; k++) style[k] = (i + (k == 0)) % l.family->n_styles;
    MUST(lpo_dir_create(dir, &err));
    MUST(lpo_weights_write(dir, &l, style, dtype, i % 2 ? 40000 : 1 << 30, fill_hashed,
                           (void *[]){&l, &dtype}, &err));
    char path[256];
    snprintf(path, sizeof path, "%s/config.json", dir);
    MUST(lpo_json_save(key(c, "config"), path, &err));
    lpo_layout_clear(&l);
}

typedef struct problem {
    const json_t *c;
    const char *name;
    lpo_model *m;
    float *patches;
    lpo_clip_input clip;
    int32_t ids[512];
    lpo_seq_input seq;
    lpo_model_batch batch;
} problem;

/* The case's folder: one written here, or, with LEANPO_FAMILIES_DIR, the one transformers wrote there; then
 * what we save of it lies beside it, for transformers to load (tests/golden/families.sh). */
static void load_folder(problem *p, int i, const char *place) {
    lpo_error err = {0};
    char dir[512], saved[520];
    const char *theirs = getenv("LEANPO_FAMILIES_DIR");
    static char *root;
    if (!root) root = temp_dir();
    snprintf(dir, sizeof dir, "%s/%s", theirs ? theirs : root, p->name);
    if (!theirs) write_folder(dir, p->c, i);
    MUST(lpo_model_load(&p->m, dir, &(lpo_model_options){.place = place, .dtype = "f32"}, &err));
    snprintf(saved, sizeof saved, "%s.saved", dir);
    if (theirs)
        MUST(lpo_model_save(p->m, saved, NULL, &err));
    else
        MUST(lpo_dir_remove(dir, &err));
}

static void open_problem(problem *p, const json_t *c, int i, const char *place) {
    char clip[64];
    memset(p, 0, sizeof *p);
    p->c = c;
    p->name = json_string_value(key(c, "name"));
    load_folder(p, i, place);
    const json_t *g = key(c, "grid");
    const size_t n = (size_t)(num(g, 0) * num(g, 1) * num(g, 2)) * (size_t)p->m->layout.patch_w->shape[1];
    p->patches = malloc(n * sizeof *p->patches);
    snprintf(clip, sizeof clip, "%s clip", p->name);
    const uint64_t h = name_hash(clip);
    for (size_t k = 0; k < n; k++) p->patches[k] = (float)(2 * seven(h, k));
    p->clip = (lpo_clip_input){p->patches,
                               (int32_t)num(g, 0),
                               (int32_t)num(g, 1),
                               (int32_t)num(g, 2),
                               json_number_value(key(c, "seconds")),
                               NULL};
    const json_t *prompt = key(c, "prompt"), *response = key(c, "response");
    int32_t n_ids = 0;
    for (size_t k = 0; k < json_array_size(prompt); k++) p->ids[n_ids++] = (int32_t)num(prompt, k);
    for (size_t k = 0; k < json_array_size(response); k++) p->ids[n_ids++] = (int32_t)num(response, k);
    p->seq = (lpo_seq_input){p->ids, n_ids, (int32_t)json_array_size(prompt), 0};
    p->batch = (lpo_model_batch){&p->clip, &p->seq, 1, 1};
}

static void close_problem(problem *p) {
    lpo_model_destroy(p->m);
    free(p->patches);
}

/* Two sign projections of a value against the golden's; they grow with sqrt(n) of its scale. */
static void check_projections(const problem *p, const char *what, int layer, lpo_tape *t, lpo_val x,
                              const json_t *want) {
    lpo_error err = {0};
    int64_t rows, cols;
    cr_assert(!lpo_val_dim(t, x, 0, &rows) && !lpo_val_dim(t, x, 1, &cols));
    float *v = malloc((size_t)(rows * cols) * sizeof *v);
    MUST(lpo_tape_plan(t, &err));
    MUST(lpo_tape_run(t, 0, -1, &err));
    MUST(lpo_tape_read(v, t, x, &err));
    const uint64_t h = name_hash(what);
    double norm = 0;
    for (int64_t i = 0; i < rows * cols; i++) norm += (double)v[i] * v[i];
    for (int k = 0; k < 2; k++) {
        double sum = 0;
        for (int64_t i = 0; i < rows * cols; i++) sum += v[i] * sign(h, (uint64_t)k, (uint64_t)i);
        cr_expect(fabs(sum - num(want, (size_t)k)) <= 1e-4 * sqrt(norm),
                  "%s: %s after layer %d: %.7g, the reference has %.7g", p->name, what, layer, sum,
                  num(want, (size_t)k));
    }
    free(v);
}

/* Stops each stack after every layer in turn, so that the first wrong one has a name. */
static void check_layers(problem *p) {
    lpo_error err = {0};
    lpo_tape *t;
    lpo_arena *a = lpo_arena_create(1 << 16);
    MUST(lpo_tape_create(&t, lpo_model_placement(p->m), &err));
    lpo_model_config *c = &p->m->config;
    const json_t *tower = key(p->c, "tower"), *text = key(p->c, "text");
    cr_assert_eq(json_array_size(tower), (size_t)c->vision.n_run, "%s", p->name);
    cr_assert_eq(json_array_size(text), (size_t)c->n_layers, "%s", p->name);
    const int n_run = c->vision.n_run, n_layers = c->n_layers;
    int32_t take[1] = {p->seq.n_ids};
    lpo_packed pack;
    MUST(lpo_pack(&pack, a, p->m, &p->batch, take, false, &err));
    for (c->vision.n_run = 1; c->vision.n_run <= n_run; c->vision.n_run++) {
        lpo_tape_reset(t);
        lpo_val x = lpo_record_vision(t, p->m, &pack, false);
        check_projections(p, "tower", c->vision.n_run, t, x,
                          json_array_get(tower, (size_t)c->vision.n_run - 1));
    }
    c->vision.n_run = n_run;
    const int64_t rows[1] = {pack.n_rows}, mix[2] = {pack.n_rows, 1}, cu[1] = {2},
                  rope[2] = {pack.n_rows, c->block.d_head / 2};
    for (c->n_layers = 1; c->n_layers <= n_layers; c->n_layers++) {
        lpo_tape_reset(t);
        lpo_val x = lpo_tape_embed(t, lpo_tape_param(t, p->m->layout.embed_w),
                                   lpo_tape_input(t, LPO_I32, 1, rows, pack.ids));
        x = lpo_tape_rowmix(t, x, lpo_record_vision(t, p->m, &pack, false),
                            lpo_tape_input(t, LPO_I32, 2, mix, pack.mix), LPO_NONE);
        x = lpo_record_decoder(t, p->m, x, lpo_tape_input(t, LPO_F32, 2, rope, pack.cos),
                               lpo_tape_input(t, LPO_F32, 2, rope, pack.sin),
                               lpo_tape_input(t, LPO_I32, 1, cu, pack.cu), LPO_NONE, false, NULL);
        const int32_t last = pack.n_rows - 1;
        x = lpo_record_rows(t, p->m, x, &last, 1);
        check_projections(p, "text", c->n_layers, t, x, json_array_get(text, (size_t)c->n_layers - 1));
    }
    c->n_layers = n_layers;
    lpo_tape_destroy(t);
    lpo_arena_destroy(a);
}

/* One AdamW step of parameter `s` from its gradient: what changes, in place of *after. */
static void adamw(problem *p, lpo_param *s, float *before, float *after) {
    lpo_error err = {0};
    const lpo_driver *d = lpo_device_driver(lpo_model_placement(p->m)->device[0]);
    lpo_device *device = lpo_model_placement(p->m)->device[0];
    const size_t n = param_count(s);
    lpo_buffer *m, *v;
    MUST(d->alloc(&m, device, n * 4, &err));
    MUST(d->alloc(&v, device, n * 4, &err));
    memset(host_of(m, 0), 0, n * 4);
    memset(host_of(v, 0), 0, n * 4);
    memcpy(before, host_of(s->data, 0), n * 4);
    lpo_step step = {.op = LPO_OP_ADAMW};
    lpo_buffer *at[5] = {s->data, m, v, NULL, s->grad};
    for (int i = 0; i < 5; i++)
        if (at[i])
            step.arg[i] = (lpo_dtensor){.buffer = at[i],
                                        .offset_bytes = i == 4 ? s->grad_offset_bytes : 0,
                                        .dtype = LPO_F32,
                                        .ndim = 1,
                                        .shape = {(int64_t)n}};
    step.attrs = (lpo_attrs){.lr = 1e-3,
                             .beta1 = .9,
                             .beta2 = .999,
                             .eps = 1e-4,
                             .weight_decay = .01,
                             .bias1 = 1 - .9,
                             .bias2 = 1 - .999,
                             .g_scale = 1};
    MUST(d->submit(device, &step, &err));
    MUST(d->wait(device, &err));
    memcpy(after, host_of(s->data, 0), n * 4);
    memcpy(host_of(s->data, 0), before, n * 4);
    d->release(m);
    d->release(v);
}

/* Every tensor on disk that is part of the computation: its gradient, and what a step makes of it. The bias
 * of a key without rotation has none but rounding: a softmax does not see it; hence the absolute term, a
 * thousandth of the smallest true norms. */
static void check_gradients(problem *p) {
    lpo_error err = {0};
    const lpo_layout *l = &p->m->layout;
    size_t checked = 0;
    for (int i = 0; i < l->n_slots; i++) {
        lpo_slot *s = &p->m->layout.slots[i];
        if (s->unused) {
            cr_expect(!s->p.trainable && !s->p.grad);
            continue;
        }
        const size_t n = param_count(&s->p), cols = (size_t)(s->p.ndim == 2 ? s->p.shape[1] : 1);
        float *before = malloc(n * 4), *after = malloc(n * 4);
        const float *g = host_of(s->p.grad, s->p.grad_offset_bytes);
        adamw(p, &s->p, before, after);
        for (int k = 0; k < s->n_parts; k++) {
            char name[256];
            const uint64_t h = hash_of(l, s, &s->part[k], name);
            const json_t *want = json_object_get(key(p->c, "grad"), name);
            cr_assert(want, "%s: the reference has no gradient of %s", p->name, name);
            const size_t first = (size_t)s->part[k].row * cols, m = (size_t)s->part[k].rows * cols;
            double sum[3] = {0}, step = 0;
            for (size_t j = 0; j < m; j++) {
                const double x = g[first + j];
                sum[0] += x * x;
                sum[1] += x * sign(h, 0, j);
                sum[2] += x * sign(h, 1, j);
                step += ((double)after[first + j] - before[first + j]) * sign(h, 0, j);
            }
            sum[0] = sqrt(sum[0]);
            for (size_t j = 0; j < 3; j++)
                cr_expect(fabs(sum[j] - num(want, j)) <= 1e-3 * num(want, 0) + 1e-6,
                          "%s: gradient of %s, figure %zu: %.7g, the reference has %.7g", p->name, name, j,
                          sum[j], num(want, j));
            const double moved = json_number_value(key(key(p->c, "adamw"), name));
            cr_expect(fabs(step - moved) <= 1e-5 * sqrt((double)m),
                      "%s: AdamW on %s: moved by %.7g, the reference by %.7g", p->name, name, step, moved);
            checked++;
        }
        free(before);
        free(after);
    }
    cr_assert_eq(checked, json_object_size(key(p->c, "grad")), "%s: a gradient is missing", p->name);
    MUST(lpo_model_zero_grads(p->m, &err));
}

static void check_loss(problem *p, bool checkpoint) {
    lpo_error err = {0};
    lpo_tape *t;
    MUST(lpo_model_set_trainable(p->m, "all", &err));
    MUST(lpo_model_alloc_grads(p->m, &err));
    MUST(lpo_tape_create(&t, lpo_model_placement(p->m), &err));
    lpo_forward_out out;
    MUST(lpo_model_record(&out, t, p->m, &p->batch, &(lpo_forward_options){.checkpoint = checkpoint}, &err));
    float logp[64], dy[64];
    const json_t *want = key(p->c, "logp");
    cr_assert_eq((size_t)out.n_tokens, json_array_size(want));
    for (int64_t i = 0; i < out.n_tokens; i++) dy[i] = -1.0f / (float)out.n_tokens;
    lpo_val grad = lpo_tape_input(t, LPO_F32, 1, &out.n_tokens, dy);
    lpo_tape_backward(t, out.logp, grad);
    MUST(lpo_tape_plan(t, &err));
    MUST(lpo_tape_run(t, 0, -1, &err));
    MUST(lpo_tape_read(logp, t, out.logp, &err));
    double far = 0;
    for (int64_t i = 0; i < out.n_tokens; i++) far = fmax(far, fabs(logp[i] - num(want, (size_t)i)));
    cr_expect_leq(far, 1e-4, "%s: log-probabilities are %g off", p->name, far);
    lpo_tape_destroy(t);
    check_gradients(p);
}

static void check_greedy(problem *p) {
    lpo_error err = {0};
    lpo_gen_options o = lpo_gen_options_default();
    o.max_tokens = 32;
    o.n_valid = 64;
    lpo_gen_seq s = {0};
    p->seq.n_ids = p->seq.n_prompt;
    MUST(lpo_generate(&s, p->m, &p->batch, NULL, &o, NULL, NULL, &err));
    const json_t *want = key(p->c, "greedy");
    cr_expect_eq((size_t)s.n_ids, json_array_size(want), "%s", p->name);
    for (int i = 0; i < s.n_ids; i++)
        cr_expect_eq(s.ids[i], (int32_t)num(want, (size_t)i), "%s: token %d of the answer", p->name, i);
    lpo_gen_seq_clear(&s);
}

static void check_family(const char *family) {
    lpo_error err = {0};
    json_t *all;
    MUST(lpo_json_load(&all, TESTS_DIR "/golden/families/families.json", 4 << 20, &err));
    int found = 0;
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *c = json_array_get(all, i);
        const char *name = json_string_value(key(c, "name"));
        if (strncmp(name, family, strlen(family)) || name[strlen(family)] != '.') continue;
        problem p;
        open_problem(&p, c, (int)i, "cpu");
        check_layers(&p);
        check_loss(&p, found % 2);
        check_greedy(&p);
        close_problem(&p);
        found++;
    }
    json_decref(all);
    cr_assert_geq(found, 6);
}

Test(families, qwen2_vl) {
    check_family("qwen2_vl");
}
Test(families, qwen2_5_vl) {
    check_family("qwen2_5_vl");
}
Test(families, llava_next_video) {
    check_family("llava_next_video");
}
Test(families, llava_video) {
    check_family("llava_video");
}

/* A folder that lacks a tensor, or has one of another shape, says which; frames of another size are refused.
 */
Test(families, says_what_is_wrong) {
    lpo_error err = {0};
    char *root = temp_dir(), dir[128];
    lpo_model *m;
    snprintf(dir, sizeof dir, "%s/m", root);
    MUST(lpo_model_init(dir, &(lpo_init_options){.family = "llava_next_video", .size = "tiny", .seed = 1},
                        &err));
    static const char *const edits[][3] = {
        {"\"num_hidden_layers\": 3,\n    \"num_attention_heads\": 2,\n    \"patch", "4", "encoder.layers.3."},
        {"\"image_size\": 56", "70",
         "position_embedding.weight is [17, 128], but config.json asks for [26, 128]"},
        {"\"intermediate_size\": 384,\n    \"num_hidden_layers\": 3,\n    \"num_attention_heads\": 2,\n    "
         "\"num_key",
         "380", "gate_proj.weight is [384, 128], but config.json asks for [380, 128]"}};
    char path[160], *text;
    size_t n;
    snprintf(path, sizeof path, "%s/config.json", dir);
    MUST(lpo_file_read(&text, &n, path, 1 << 20, &err));
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        char *at = strstr(text, edits[i][0]), *copy = strdup(text);
        cr_assert(at, "%s", edits[i][0]);
        char *value = copy + (strchr(at, ':') + 2 - text);
        memmove(value + strlen(edits[i][1]), value + strcspn(value, ",\n"),
                strlen(value + strcspn(value, ",\n")) + 1);
        memcpy(value, edits[i][1], strlen(edits[i][1]));
        MUST(lpo_file_write(path, copy, strlen(copy), &err));
        cr_expect_eq(lpo_model_load(&m, dir, NULL, &err), LPO_EFORMAT);
        cr_expect(strstr(err.msg, edits[i][2]), "\"%s\" lacks \"%s\"", err.msg, edits[i][2]);
        free(copy);
    }
    MUST(lpo_file_write(path, text, n, &err));
    free(text);
    m = open_small(dir, "cpu", "f32");
    cr_expect_eq(lpo_clip_check(m, &(lpo_clip_input){(float[1]){0}, 2, 4, 6, 1, NULL}, &err), LPO_EINVAL);
    cr_expect(strstr(err.msg, "4 x 6 patches, but the tower's are 4 x 4"), "%s", err.msg);
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}
