/* SPDX-License-Identifier: Apache-2.0 */
/* load.c -- a Hugging Face folder becomes a model.
 * Tensors are converted to the storage dtype piece by piece on their way from the mapping to the device, so a
 * load needs no second copy of the model in memory. */
#include "base/file.h"
#include "model/lora_parts.h"
#include "tensor/dtype.h"
#include "tensor/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 20 }; /* elements converted at a time */

lpo_status lpo_config_tie(lpo_model_config *c, const char *dir, lpo_error *err) {
    if (c->tied >= 0) return LPO_OK;
    lpo_safetensors *f;
    lpo_status st = lpo_safetensors_open(&f, dir, err);
    if (st == LPO_ENOTFOUND) c->tied = 0; /* a config.json alone: the classes' default */
    if (st) return st == LPO_ENOTFOUND ? LPO_OK : st;
    c->tied = 1;
    for (int k = 0; k < c->family->n_styles; k++) {
        char name[256];
        snprintf(name, sizeof name, "%slm_head.weight", c->family->prefix[k][LPO_WHERE_HEAD]);
        if (lpo_safetensors_find(f, name)) c->tied = 0;
    }
    lpo_safetensors_close(f);
    return LPO_OK;
}

/* Per prefix, the published style the file has; the first when it has none. */
static void find_style(lpo_model *m, lpo_safetensors *f) {
    bool found[LPO_N_WHERES] = {false};
    for (int i = 0; i < m->layout.n_slots; i++) {
        const lpo_slot *s = &m->layout.slots[i];
        char name[256];
        for (int k = 0; !found[s->where] && lpo_part_name(name, &m->layout, s, &s->part[0], k); k++)
            if (lpo_safetensors_find(f, name)) {
                m->style[s->where] = k;
                found[s->where] = true;
            }
    }
}

static void shape_text(char out[96], int ndim, const int64_t *shape) {
    int n = snprintf(out, 96, "[");
    for (int i = 0; i < ndim && n < 80; i++)
        n += snprintf(out + n, (size_t)(96 - n), "%s%lld", i ? ", " : "", (long long)shape[i]);
    snprintf(out + n, (size_t)(96 - n), "]");
}

static lpo_status check_part(const lpo_tensor_info *t, const lpo_part *p, const char *name, lpo_error *err) {
    bool same = t->ndim == p->ndim;
    for (int i = 0; same && i < p->ndim; i++) same = t->shape[i] == p->shape[i];
    if (!same) {
        char have[96], want[96];
        shape_text(have, t->ndim, t->shape);
        shape_text(want, p->ndim, p->shape);
        return lpo_fail(err, LPO_EFORMAT, "%s: tensor %s is %s, but config.json asks for %s", t->file, name,
                        have, want);
    }
    if (t->dtype != LPO_F32 && t->dtype != LPO_BF16 && t->dtype != LPO_F16 && t->dtype != LPO_F64)
        return lpo_fail(err, LPO_EUNSUPPORTED, "%s: tensor %s is not of type F32, BF16, F16 or F64", t->file,
                        name);
    return LPO_OK;
}

static lpo_status load_part(lpo_model *m, const lpo_slot *s, const lpo_part *p, lpo_safetensors *f,
                            void *piece, lpo_error *err) {
    const lpo_driver *d = lpo_device_driver(m->devices->placement.device[0]);
    char name[256];
    lpo_part_name(name, &m->layout, s, p, m->style[s->where]);
    const lpo_tensor_info *t = lpo_safetensors_find(f, name);
    if (!t)
        return lpo_fail(err, LPO_EFORMAT, "%s: tensor %s is missing (config.json asks for it)", m->dir, name);
    lpo_status st = check_part(t, p, name, err);
    if (st) return st;
    const size_t cols = (size_t)(s->p.ndim == 2 ? s->p.shape[1] : 1), n = (size_t)p->rows * cols;
    const size_t size = lpo_dtype_bytes(m->dtype), from = lpo_dtype_bytes(t->dtype);
    const size_t first = (size_t)p->row * cols;
    for (size_t i = 0; i < n && !st; i += PIECE) {
        size_t k = n - i < PIECE ? n - i : PIECE;
        st = lpo_dtype_convert(piece, m->dtype, (const char *)t->data + i * from, t->dtype, (int64_t)k, err);
        if (!st) st = d->upload(s->p.data, (first + i) * size, piece, k * size, err);
    }
    return st ? lpo_fail_in(err, st, "tensor %s", name) : LPO_OK;
}

static lpo_status load_all(lpo_model *m, lpo_error *err) {
    lpo_safetensors *f = NULL;
    void *piece = malloc(PIECE * sizeof(double));
    lpo_status st = piece ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "no memory to load a model");
    if (!st) st = lpo_safetensors_open(&f, m->dir, err);
    if (!st) find_style(m, f);
    for (int i = 0; !st && i < m->layout.n_slots; i++) {
        const lpo_slot *s = &m->layout.slots[i];
        for (int k = 0; !st && k < s->n_parts; k++) st = load_part(m, s, &s->part[k], f, piece, err);
    }
    lpo_safetensors_close(f);
    free(piece);
    return st;
}

static lpo_status load_folder(lpo_model **out, const char *dir, const lpo_model_options *o, lpo_error *err) {
    const lpo_model_options given = o ? *o : lpo_model_options_default();
    const char *place = given.place ? given.place : "cpu", *dtype_name = given.dtype ? given.dtype : "f32";
    lpo_model_config c;
    json_t *json = NULL;
    lpo_devices *devices = NULL;
    lpo_model *m = NULL;
    int32_t dtype = LPO_F32;
    lpo_status st = lpo_model_dtype(&dtype, dtype_name, err);
    if (!st && dtype == LPO_F16)
        st = lpo_fail(err, LPO_EUNSUPPORTED, "dtype f16 is for files only: train and run in f32 or bf16");
    if (!st && dtype == LPO_F64 && strcmp(place, "ref"))
        st = lpo_fail(err, LPO_EUNSUPPORTED, "dtype f64 needs the place \"ref\"");
    if (!st) st = lpo_config_load(&c, &json, dir, err);
    if (!st) st = lpo_config_tie(&c, dir, err);
    if (!st) st = lpo_devices_open(&devices, place, err);
    if (!st) st = lpo_model_create(&m, &c, json, dir, dtype, devices, err);
    if (!st) st = lpo_model_alloc_params(m, err);
    if (!st) st = load_all(m, err);
    json_decref(json);
    lpo_devices_release(devices);
    if (st)
        lpo_model_destroy(m);
    else
        *out = m;
    return st;
}

/* A folder with adapters and no model stands for its base with them. */
static bool is_adapter(const char *dir) {
    char *config = lpo_path_join(dir, "config.json"), *adapter = lpo_path_join(dir, "adapter_config.json");
    const bool is = config && adapter && !lpo_path_exists(config) && lpo_path_exists(adapter);
    free(adapter);
    free(config);
    return is;
}

lpo_status lpo_model_load(lpo_model **out, const char *dir, const lpo_model_options *o, lpo_error *err) {
    const char *adapter = o ? o->adapter : NULL;
    char *base = NULL;
    lpo_model *m = NULL;
    lpo_status st = LPO_OK;
    *out = NULL;
    if (!adapter && is_adapter(dir)) {
        adapter = dir;
        st = lpo_lora_base(&base, dir, err);
    }
    if (!st) st = load_folder(&m, base ? base : dir, o, err);
    if (!st && adapter) st = lpo_lora_load(m, adapter, err);
    free(base);
    if (st)
        lpo_model_destroy(m);
    else
        *out = m;
    return st;
}
