/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c -- what a model would need, from its headers alone.
 * Nothing is estimated that can be counted: the forward and backward pass of the batch asked for is recorded
 * and planned on a device whose memory has sizes but no bytes, so parameters, gradients and activations are
 * what a real run allocates. Optimizer states are arithmetic. */
#include "model/lora_parts.h"
#include "model/pack.h"
#include "model/parts.h"

#include <stdlib.h>
#include <string.h>

/* The device without bytes; it keeps the most working memory a kernel of the CPU would ask for. */
static const lpo_driver paper;
typedef struct paper_device {
    lpo_device_head head;
    size_t scratch_bytes;
} paper_device;

static int paper_count(void) {
    return 1;
}

static lpo_status paper_open(lpo_device **out, int index, lpo_error *err) {
    (void)index;
    *out = NULL;
    return lpo_fail(err, LPO_EUNSUPPORTED, "the device for plans is not one to run on");
}

static void paper_close(lpo_device *d) {
    (void)d;
}

static void paper_info(lpo_device_info *out, lpo_device *d) {
    (void)d;
    *out = (lpo_device_info){.name = "paper"};
}

static lpo_status paper_alloc(lpo_buffer **out, lpo_device *d, size_t size_bytes, lpo_error *err) {
    lpo_buffer_head *h = malloc(sizeof *h);
    if (!h) return lpo_fail(err, LPO_ENOMEM, "no memory for a buffer");
    *h = (lpo_buffer_head){d, size_bytes, NULL};
    *out = (lpo_buffer *)h;
    return LPO_OK;
}

static void paper_release(lpo_buffer *b) {
    free(b);
}

static lpo_status paper_upload(lpo_buffer *dst, size_t offset_bytes, const void *src, size_t size_bytes,
                               lpo_error *err) {
    (void)dst, (void)offset_bytes, (void)src, (void)size_bytes, (void)err;
    return LPO_OK;
}

static lpo_status paper_download(void *dst, lpo_buffer *src, size_t offset_bytes, size_t size_bytes,
                                 lpo_error *err) {
    (void)src, (void)offset_bytes, (void)err;
    memset(dst, 0, size_bytes);
    return LPO_OK;
}

static bool paper_supports(lpo_device *d, const lpo_step *s) {
    paper_device *paper_of = (paper_device *)d;
    lpo_kcall c = {.attrs = s->attrs};
    for (int i = 0; i < LPO_MAX_ARGS; i++) {
        if (!s->arg[i].buffer) continue;
        c.arg[i] = (lpo_karg){.data = s->arg[i].buffer, .dtype = s->arg[i].dtype, .ndim = s->arg[i].ndim};
        memcpy(c.arg[i].shape, s->arg[i].shape, sizeof c.arg[i].shape);
    }
    const lpo_kernel *k = &lpo_kernels_cpu[s->op];
    const size_t need = k->scratch ? k->scratch(&c) : 0;
    if (need > paper_of->scratch_bytes) paper_of->scratch_bytes = need;
    return true;
}

static lpo_status paper_submit(lpo_device *d, const lpo_step *s, lpo_error *err) {
    (void)d, (void)s, (void)err;
    return LPO_OK;
}

static lpo_status paper_wait(lpo_device *d, lpo_error *err) {
    (void)d, (void)err;
    return LPO_OK;
}

static const lpo_driver paper = {"paper",      paper_count,   paper_open,   paper_close,    paper_info,
                                 paper_alloc,  paper_release, paper_upload, paper_download, paper_supports,
                                 paper_submit, paper_wait,    NULL};

lpo_memory_options lpo_memory_options_default(void) {
    return (lpo_memory_options){.dtype = "bf16",
                                .n_frames = 16,
                                .height = 448,
                                .width = 448,
                                .n_prompt = 64,
                                .n_response = 512,
                                .n_pairs = 1,
                                .lora_rank = 64};
}

/* A pair's clip and sequences. */
typedef struct example {
    lpo_clip_input clip;
    uint8_t *patches;
    int32_t *ids;
    lpo_seq_input *seqs;
    lpo_clip_input *clips;
    lpo_model_batch batch;
    int32_t n_video;
    int64_t patch_bytes; /* of one clip */
} example;

static void example_clear(example *e) {
    free(e->patches);
    free(e->ids);
    free(e->seqs);
    free(e->clips);
}

/* Qwen's frames are whole merged patches; the nearest. */
static void set_grid(example *e, const lpo_model *m, const lpo_memory_options *o) {
    const lpo_vision_config *v = &m->config.vision;
    e->clip.second_per_grid = 1;
    e->clip.grid_t = (o->n_frames + v->temporal_patch - 1) / v->temporal_patch;
    const int32_t unit = v->patch_size * v->merge_size;
    e->clip.grid_h = v->side ? v->side : (o->height + unit / 2) / unit * v->merge_size;
    e->clip.grid_w = v->side ? v->side : (o->width + unit / 2) / unit * v->merge_size;
}

static lpo_status example_make(example *e, const lpo_model *m, const lpo_memory_options *o, lpo_error *err) {
    memset(e, 0, sizeof *e);
    if (o->n_frames < 1 || o->n_frames > 4096 || o->height < 1 || o->width < 1 || o->height > 16384 ||
        o->width > 16384 || o->n_prompt < 1 || o->n_response < 1 || o->n_pairs < 1 || o->n_pairs > 1024 ||
        o->n_prompt > 1 << 20 || o->n_response > 1 << 20 || o->lora_rank < 1 || o->lora_rank > 65536)
        return lpo_fail(err, LPO_EINVAL, "frames, sizes, tokens, pairs and rank must be positive and sane");
    set_grid(e, m, o);
    const int64_t rows = (int64_t)e->clip.grid_t * e->clip.grid_h * e->clip.grid_w;
    const int64_t video = lpo_clip_rows(m, &e->clip), len = video + o->n_prompt + o->n_response;
    if (m->config.video_pad_id < 0)
        return lpo_fail(err, LPO_EUNSUPPORTED, "the vocabulary has no video token");
    if (len > m->config.max_positions)
        return lpo_fail(err, LPO_ELIMIT, "%lld tokens (%lld of the video) exceed max_position_embeddings %d",
                        (long long)len, (long long)video, m->config.max_positions);
    const size_t n_seqs = 2 * (size_t)o->n_pairs;
    e->n_video = (int32_t)video;
    e->patch_bytes = rows * m->layout.patch_w->shape[1];
    e->patches = calloc((size_t)e->patch_bytes, 1);
    e->ids = calloc((size_t)len, sizeof *e->ids);
    e->seqs = calloc(n_seqs, sizeof *e->seqs);
    e->clips = calloc((size_t)o->n_pairs, sizeof *e->clips);
    if (!e->patches || !e->ids || !e->seqs || !e->clips)
        return lpo_fail(err, LPO_ENOMEM, "no memory for an example of %lld tokens", (long long)len);
    static const float levels[3 * 256];
    e->clip.patches = e->patches;
    e->clip.levels = levels;
    const int32_t text = m->config.video_pad_id == 0;
    for (int64_t i = 0; i < len; i++) e->ids[i] = i < video ? m->config.video_pad_id : text;
    for (int i = 0; i < o->n_pairs; i++) e->clips[i] = e->clip;
    for (size_t s = 0; s < n_seqs; s++)
        e->seqs[s] = (lpo_seq_input){e->ids, (int32_t)len, e->n_video + o->n_prompt, (int32_t)s / 2};
    e->batch = (lpo_model_batch){e->clips, e->seqs, o->n_pairs, (int32_t)n_seqs};
    return LPO_OK;
}

/* Bytes of the arena of one pass, and of working memory; groups "": no backward pass. */
static lpo_status plan_pass(lpo_memory_part *out, lpo_model *m, const lpo_model_batch *b, const char *groups,
                            bool checkpoint, lpo_error *err) {
    lpo_tape *t = NULL;
    lpo_forward_out f;
    paper_device *d = (paper_device *)lpo_model_placement(m)->device[0];
    d->scratch_bytes = 0;
    lpo_status st = lpo_model_set_trainable(m, groups, err);
    if (!st) st = lpo_model_alloc_grads(m, err);
    if (!st) st = lpo_tape_create(&t, lpo_model_placement(m), err);
    if (!st)
        st = lpo_model_record(
            &f, t, m, b,
            &(lpo_forward_options){.checkpoint = checkpoint, .want_stats = true, .dropout_seed = 1}, err);
    if (!st && groups[0])
        lpo_tape_backward(t, f.logp, lpo_tape_input(t, LPO_F32, 1, (int64_t[]){f.n_tokens}, NULL));
    if (!st) st = lpo_tape_plan(t, err);
    if (!st) out->activations = (int64_t)lpo_tape_arena_bytes(t);
    if (!st) out->host += (int64_t)d->scratch_bytes;
    lpo_tape_destroy(t);
    return st;
}

/* The same with adapters on every Linear of the decoder, and with dropout, as they are trained by default. */
static lpo_status plan_lora(lpo_memory_part *out, lpo_model *m, const lpo_model_batch *b,
                            const lpo_memory_options *o, lpo_error *err) {
    const size_t most = 3 * (size_t)m->layout.n_slots;
    const lpo_lora_options lora = {.r = o->lora_rank, .alpha = 16, .dropout = 0.05};
    bool *all = malloc(most * sizeof *all);
    if (!all) return lpo_fail(err, LPO_ENOMEM, "no memory for adapters");
    for (size_t i = 0; i < most; i++) all[i] = true;
    lpo_status st = lpo_lora_create(m, &lora, all, err);
    if (!st) st = plan_pass(out, m, b, "lora", o->gradient_checkpointing, err);
    lpo_lora_destroy(m);
    free(all);
    return st;
}

/* Values of the adapters of every Linear of the decoder but lm_head: rank * (in + out) each, as on disk. */
static int64_t count_lora(const lpo_layout *l, int64_t rank) {
    int64_t n = 0;
    for (int i = 0; i < l->n_slots; i++) {
        const lpo_slot *s = &l->slots[i];
        if (s->where != LPO_WHERE_TEXT || s->p.ndim != 2 || &s->p == l->embed_w) continue;
        for (int k = 0; k < s->n_parts; k++) n += rank * (s->part[k].rows + s->p.shape[1]);
    }
    return n;
}

/* Beside the device: code, codecs and decoded frames (some 32 MiB), the patches as read, as packed and as
 * sent; and, to save a checkpoint, one shard of it. */
static int64_t host_bytes(const example *e, int64_t saved) {
    const int64_t shard = (int64_t)5000 << 20, process = (int64_t)32 << 20;
    return process + 3 * e->patch_bytes * e->batch.n_clips + (saved < shard ? saved : shard);
}

/* Gradient f32, two moments, and a master copy where the values are kept in less. */
static int64_t state_bytes(int64_t n_values, int32_t dtype, int64_t *grads) {
    *grads += 4 * n_values;
    return (dtype == LPO_F32 ? 8 : 12) * n_values;
}

static lpo_status fill(lpo_model_memory *out, lpo_model *m, const lpo_memory_options *o, lpo_error *err) {
    example e;
    const int64_t size = (int64_t)lpo_dtype_bytes(m->dtype), n = lpo_layout_count(&m->layout, false);
    const lpo_block_config *c = &m->config.block;
    int64_t unused = 0, adapters = count_lora(&m->layout, o->lora_rank);
    for (int i = 0; i < m->layout.n_slots; i++) {
        const lpo_param *p = &m->layout.slots[i].p;
        if (m->layout.slots[i].unused) unused += p->shape[0] * (p->ndim == 2 ? p->shape[1] : 1);
    }
    lpo_status st = example_make(&e, m, o, err);
    out->n_video = e.n_video;
    out->n_sequence = e.n_video + o->n_prompt + o->n_response;
    out->train.weights = out->lora.weights = out->inference.weights = size * n;
    out->train.optimizer = state_bytes(n - unused, m->dtype, &out->train.grads);
    out->lora.weights += size * adapters;
    out->lora.optimizer = state_bytes(adapters, m->dtype, &out->lora.grads);
    out->lora_values = adapters;
    out->inference.cache = 2 * size * m->config.n_layers * c->n_kv * c->d_head * out->n_sequence;
    out->train.host = host_bytes(&e, size * n);
    out->lora.host = host_bytes(&e, size * adapters);
    out->inference.host = host_bytes(&e, 0);
    if (!st) st = plan_pass(&out->train, m, &e.batch, "all", o->gradient_checkpointing, err);
    if (!st) st = plan_lora(&out->lora, m, &e.batch, o, err);
    lpo_model_batch one = e.batch;
    one.n_clips = one.n_seqs = 1;
    if (!st) st = plan_pass(&out->inference, m, &one, "", false, err);
    lpo_memory_part *all[] = {&out->train, &out->lora, &out->inference};
    for (int i = 0; i < 3; i++)
        all[i]->total = all[i]->weights + all[i]->grads + all[i]->optimizer + all[i]->activations +
                        all[i]->cache + all[i]->host;
    example_clear(&e);
    return st;
}

lpo_status lpo_model_get_memory(lpo_model_memory *out, const char *dir, const lpo_memory_options *options,
                                lpo_error *err) {
    memset(out, 0, sizeof *out);
    const lpo_memory_options o = options ? *options : lpo_memory_options_default();
    lpo_model_config c;
    json_t *json = NULL;
    lpo_model *m = NULL;
    int32_t dtype;
    paper_device d = {.head = {&paper}};
    lpo_devices *devices = calloc(1, sizeof *devices);
    if (!devices) return lpo_fail(err, LPO_ENOMEM, "no memory for a device");
    *devices = (lpo_devices){.placement = {{(lpo_device *)&d}, 1}, .refs = 1};
    lpo_status st = lpo_model_dtype(&dtype, o.dtype, err);
    if (!st) st = lpo_config_load(&c, &json, dir, err);
    if (!st) st = lpo_config_tie(&c, dir, err);
    if (!st) st = lpo_model_create(&m, &c, json, dir, dtype, devices, err);
    if (!st) st = lpo_model_alloc_params(m, err);
    if (!st) st = fill(out, m, &o, err);
    lpo_model_destroy(m);
    json_decref(json);
    lpo_devices_release(devices);
    return st;
}
