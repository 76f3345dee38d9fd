/* SPDX-License-Identifier: Apache-2.0 */
/* model.c -- a model's life: devices, parameter and gradient memory, what is trainable, clones.
 * Parameters have a buffer each (they are loaded one by one and never move); gradients are one buffer, so
 * that zeroing them and taking their norm are single passes. */
#include "model/lora_parts.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN_BYTES = 64, COPY_BYTES = 8 << 20 };

lpo_model_options lpo_model_options_default(void) {
    return (lpo_model_options){.place = "cpu", .dtype = "f32"};
}

lpo_status lpo_model_dtype(int32_t *out, const char *name, lpo_error *err) {
    static const struct {
        const char *name;
        int32_t dtype;
    } known[] = {{"f32", LPO_F32},     {"bf16", LPO_BF16},     {"f16", LPO_F16},     {"f64", LPO_F64},
                 {"float32", LPO_F32}, {"bfloat16", LPO_BF16}, {"float16", LPO_F16}, {"float64", LPO_F64}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name)) {
            *out = known[i].dtype;
            return LPO_OK;
        }
    return lpo_fail(err, LPO_EINVAL, "dtype \"%.40s\" is not known (f32, bf16, f16, f64)", name);
}

void lpo_devices_release(lpo_devices *d) {
    if (!d || --d->refs) return;
    for (int i = 0; i < d->placement.n_devices; i++) lpo_device_close(d->placement.device[i]);
    free(d);
}

lpo_status lpo_devices_open(lpo_devices **out, const char *place, lpo_error *err) {
    *out = NULL;
    lpo_devices *d = calloc(1, sizeof *d);
    if (!d) return lpo_fail(err, LPO_ENOMEM, "no memory for a placement");
    d->refs = 1;
    lpo_status st = LPO_OK;
    const char *at = place;
    while (!st) {
        char name[64];
        size_t n = strcspn(at, ",");
        if (n == 0 || n >= sizeof name || d->placement.n_devices == 8) {
            st = lpo_fail(err, LPO_EINVAL,
                          "placement \"%.80s\": expected up to 8 device names separated by commas", place);
            break;
        }
        memcpy(name, at, n);
        name[n] = 0;
        st = lpo_device_open(&d->placement.device[d->placement.n_devices], name, err);
        if (!st) d->placement.n_devices++;
        if (!at[n]) break;
        at += n + 1;
    }
    if (st)
        lpo_devices_release(d);
    else
        *out = d;
    return st;
}

lpo_status lpo_model_create(lpo_model **out, const lpo_model_config *c, json_t *json, const char *dir,
                            int32_t dtype, lpo_devices *devices, lpo_error *err) {
    *out = NULL;
    lpo_model *m = calloc(1, sizeof *m);
    if (!m) return lpo_fail(err, LPO_ENOMEM, "no memory for a model");
    m->config = *c;
    m->dtype = dtype;
    lpo_status st = lpo_layout_create(&m->layout, c, err);
    if (st) goto fail;
    m->own_params = lpo_arena_alloc(m->layout.arena, (size_t)m->layout.n_slots, sizeof(lpo_param *));
    m->params = m->own_params;
    m->n_params = m->layout.n_slots;
    m->dir = strdup(dir);
    m->scratch = lpo_arena_create(1 << 20);
    if (!m->params || !m->dir || !m->scratch) {
        st = lpo_fail(err, LPO_ENOMEM, "no memory for a model");
        goto fail;
    }
    for (int i = 0; i < m->layout.n_slots; i++) {
        m->params[i] = &m->layout.slots[i].p;
        m->params[i]->dtype = dtype;
    }
    m->json = json_incref(json);
    m->devices = devices;
    devices->refs++;
    *out = m;
    return LPO_OK;
fail:
    lpo_model_destroy(m);
    return st;
}

static const lpo_driver *driver_of(const lpo_model *m) {
    return lpo_device_driver(m->devices->placement.device[0]);
}

static size_t count_of(const lpo_param *p) {
    return (size_t)p->shape[0] * (size_t)(p->ndim == 2 ? p->shape[1] : 1);
}

lpo_status lpo_model_alloc_params(lpo_model *m, lpo_error *err) {
    for (int i = 0; i < m->layout.n_slots; i++) {
        lpo_param *p = m->params[i];
        size_t bytes = count_of(p) * lpo_dtype_bytes(p->dtype);
        lpo_status st = driver_of(m)->alloc(&p->data, m->devices->placement.device[0], bytes, err);
        if (st) return lpo_fail_in(err, st, "parameter %s (%zu bytes)", p->name, bytes);
    }
    return LPO_OK;
}

void lpo_model_destroy(lpo_model *m) {
    if (!m) return;
    if (m->devices) {
        lpo_lora_destroy(m);
        driver_of(m)->release(m->grads);
        for (int i = 0; i < m->layout.n_slots; i++) driver_of(m)->release(m->layout.slots[i].p.data);
    }
    lpo_devices_release(m->devices);
    lpo_arena_destroy(m->scratch);
    lpo_layout_clear(&m->layout);
    json_decref(m->json);
    free(m->dir);
    free(m);
}

lpo_param *const *lpo_model_params(lpo_model *m, int *n) {
    *n = m->n_params;
    return m->params;
}

const lpo_placement *lpo_model_placement(const lpo_model *m) {
    return &m->devices->placement;
}

static void drop_grads(lpo_model *m) {
    driver_of(m)->release(m->grads);
    m->grads = NULL;
    m->grads_count = 0;
    for (int i = 0; i < m->n_params; i++) m->params[i]->grad = NULL;
}

lpo_status lpo_model_alloc_grads(lpo_model *m, lpo_error *err) {
    const size_t size = m->dtype == LPO_F64 ? 8 : 4, unit = ALIGN_BYTES / size;
    drop_grads(m);
    for (int i = 0; i < m->n_params; i++) {
        lpo_param *p = m->params[i];
        if (!p->trainable) continue;
        p->grad_offset_bytes = m->grads_count * size;
        m->grads_count += (count_of(p) + unit - 1) / unit * unit;
    }
    if (!m->grads_count) return LPO_OK;
    lpo_status st =
        driver_of(m)->alloc(&m->grads, m->devices->placement.device[0], m->grads_count * size, err);
    if (st) return lpo_fail_in(err, st, "gradients (%zu bytes)", m->grads_count * size);
    for (int i = 0; i < m->n_params; i++)
        if (m->params[i]->trainable) m->params[i]->grad = m->grads;
    return lpo_model_zero_grads(m, err);
}

lpo_status lpo_model_zero_grads(lpo_model *m, lpo_error *err) {
    if (!m->grads) return LPO_OK;
    lpo_step s = {.op = LPO_OP_FILL};
    s.arg[0] = (lpo_dtensor){.buffer = m->grads,
                             .dtype = m->dtype == LPO_F64 ? LPO_F64 : LPO_F32,
                             .ndim = 1,
                             .shape = {(int64_t)m->grads_count}};
    lpo_device *d = m->devices->placement.device[0];
    lpo_status st = driver_of(m)->submit(d, &s, err);
    return st ? st : driver_of(m)->wait(d, err);
}

enum { LORA = LPO_N_GROUPS, N_NAMES }; /* of groups that can be trained */

lpo_status lpo_model_set_trainable(lpo_model *m, const char *groups, lpo_error *err) {
    static const char *const names[N_NAMES] = {"vision", "projector", "llm", "lora"};
    bool on[N_NAMES] = {false};
    for (const char *at = groups; *at;) {
        size_t n = strcspn(at, ",");
        bool known = n == 3 && !memcmp(at, "all", 3);
        for (int g = 0; g < N_NAMES; g++)
            if ((known && g < LPO_N_GROUPS) || (n == strlen(names[g]) && !memcmp(at, names[g], n)))
                on[g] = true;
        for (int g = 0; g < N_NAMES && !known; g++) known = n == strlen(names[g]) && !memcmp(at, names[g], n);
        if (!known)
            return lpo_fail(err, LPO_EINVAL,
                            "trainable group \"%.*s\" is not known (llm, projector, vision, all, lora)",
                            (int)(n < 40 ? n : 40), at);
        at += at[n] ? n + 1 : n;
    }
    for (int i = 0; i < m->layout.n_slots; i++)
        m->params[i]->trainable = on[m->layout.slots[i].group] && !m->layout.slots[i].unused;
    for (int i = m->layout.n_slots; i < m->n_params; i++) m->params[i]->trainable = on[LORA];
    return LPO_OK;
}

/* Through host memory in pieces: the two buffers may be on devices that cannot copy to each other. */
static lpo_status copy_param(lpo_param *to, const lpo_param *from, const lpo_driver *d, void *piece,
                             lpo_error *err) {
    size_t bytes = count_of(from) * lpo_dtype_bytes(from->dtype);
    for (size_t at = 0; at < bytes; at += COPY_BYTES) {
        size_t n = bytes - at < COPY_BYTES ? bytes - at : COPY_BYTES;
        lpo_status st = d->download(piece, from->data, at, n, err);
        if (!st) st = d->upload(to->data, at, piece, n, err);
        if (st) return lpo_fail_in(err, st, "copying %s", from->name);
    }
    return LPO_OK;
}

lpo_status lpo_model_clone(lpo_model **out, lpo_model *m, lpo_error *err) {
    *out = NULL;
    lpo_model *c = NULL;
    void *piece = malloc(COPY_BYTES);
    lpo_status st = piece ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "no memory to copy a model");
    if (!st) st = lpo_model_create(&c, &m->config, m->json, m->dir, m->dtype, m->devices, err);
    if (!st) st = lpo_model_alloc_params(c, err);
    for (int i = 0; !st && i < m->layout.n_slots; i++)
        st = copy_param(c->params[i], m->params[i], driver_of(m), piece, err);
    free(piece);
    if (st) {
        lpo_model_destroy(c);
        return st;
    }
    memcpy(c->style, m->style, sizeof c->style);
    *out = c;
    return LPO_OK;
}

static void info_of(lpo_model_info *o, const lpo_model_config *c, const lpo_layout *l, const char *dir) {
    *o = (lpo_model_info){.family = c->family->name,
                          .n_params = lpo_layout_count(l, false),
                          .n_vision_params = lpo_layout_count(l, true),
                          .vocab_size = c->vocab_size,
                          .hidden_size = c->block.d_model,
                          .n_layers = c->n_layers,
                          .max_positions = c->max_positions,
                          .video_pad_id = c->video_pad_id,
                          .vision_start_id = c->vision_start_id,
                          .vision_end_id = c->vision_end_id,
                          .n_eos = c->n_eos,
                          .patch_size = c->vision.patch_size,
                          .temporal_patch = c->vision.temporal_patch,
                          .merge_size = c->vision.merge_size,
                          .dir = dir};
    memcpy(o->eos_ids, c->eos_ids, sizeof o->eos_ids);
}

void lpo_model_get_info(lpo_model_info *out, const lpo_model *m) {
    info_of(out, &m->config, &m->layout, m->dir);
}

lpo_status lpo_model_peek(lpo_model_info *out, const char *dir, lpo_error *err) {
    lpo_model_config c;
    lpo_layout l;
    lpo_status st = lpo_config_load(&c, NULL, dir, err);
    if (!st) st = lpo_config_tie(&c, dir, err);
    if (!st) st = lpo_layout_create(&l, &c, err);
    if (st) return st;
    info_of(out, &c, &l, dir);
    lpo_layout_clear(&l);
    return LPO_OK;
}
