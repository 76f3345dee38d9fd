/* SPDX-License-Identifier: Apache-2.0 */
/* save.c -- a model becomes a Hugging Face folder.
 * Weights first, config.json last: a folder with a config.json is whole. Each file is atomic. Shards are
 * planned before the first is written, because their names count them. */
#include "base/file.h"
#include "model/lora.h"
#include "model/parts.h"
#include "tensor/dtype.h"
#include "tensor/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const size_t SHARD_BYTES = (size_t)5000 << 20;
enum { SIDE_FILE_MAX = 256 << 20 };

typedef struct entry {
    const lpo_slot *slot;
    const lpo_part *part;
    char name[256];
    size_t size_bytes;
    int shard;
} entry;

typedef struct plan {
    entry *at;
    int n, n_shards;
    size_t total, largest; /* bytes of all, of the largest shard */
} plan;

static lpo_status plan_make(plan *p, const lpo_layout *l, const int *style, int32_t dtype, size_t shard_bytes,
                            lpo_error *err) {
    memset(p, 0, sizeof *p);
    p->at = calloc((size_t)l->n_slots * 3, sizeof *p->at);
    if (!p->at) return lpo_fail(err, LPO_ENOMEM, "no memory to plan a save");
    size_t used = 0;
    for (int i = 0; i < l->n_slots; i++)
        for (int k = 0; k < l->slots[i].n_parts; k++) {
            entry *e = &p->at[p->n++];
            e->slot = &l->slots[i];
            e->part = &e->slot->part[k];
            lpo_part_name(e->name, l, e->slot, e->part, style[e->slot->where]);
            e->size_bytes = (size_t)e->part->rows * (size_t)(e->slot->p.ndim == 2 ? e->slot->p.shape[1] : 1) *
                            lpo_dtype_bytes(dtype);
            if (used && used + e->size_bytes > shard_bytes) {
                p->n_shards++;
                used = 0;
            }
            e->shard = p->n_shards;
            used += e->size_bytes;
            if (used > p->largest) p->largest = used;
            p->total += e->size_bytes;
        }
    p->n_shards++;
    return LPO_OK;
}

static void shard_name(char out[64], int shard, int n_shards) {
    if (n_shards == 1)
        snprintf(out, 64, "model.safetensors");
    else
        snprintf(out, 64, "model-%05d-of-%05d.safetensors", shard + 1, n_shards);
}

static lpo_status write_shard(const char *dir, const plan *p, int shard, int32_t dtype, char *memory,
                              lpo_tensor_info *info, lpo_fill_fn *fill, void *user, lpo_error *err) {
    int n = 0;
    size_t used = 0;
    lpo_status st = LPO_OK;
    for (int i = 0; i < p->n && !st; i++) {
        const entry *e = &p->at[i];
        if (e->shard != shard) continue;
        st = fill(user, memory + used, e->slot, e->part, err);
        info[n] = (lpo_tensor_info){.name = e->name,
                                    .dtype = dtype,
                                    .ndim = e->part->ndim,
                                    .data = memory + used,
                                    .size_bytes = e->size_bytes};
        memcpy(info[n++].shape, e->part->shape, sizeof e->part->shape);
        used += e->size_bytes;
    }
    if (st) return st;
    static const char *const meta[] = {"format", "pt", NULL};
    char name[64];
    shard_name(name, shard, p->n_shards);
    char *path = lpo_path_join(dir, name);
    if (!path) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", dir);
    st = lpo_safetensors_write(path, info, n, meta, NULL, err);
    free(path);
    return st;
}

static lpo_status write_index(const char *dir, const plan *p, lpo_error *err) {
    char *path = lpo_path_join(dir, "model.safetensors.index.json");
    json_t *map = json_object(),
           *index = json_pack("{s:{s:I}}", "metadata", "total_size", (json_int_t)p->total);
    lpo_status st = path && map && index ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "%s: out of memory", dir);
    for (int i = 0; i < p->n && !st; i++) {
        char name[64];
        shard_name(name, p->at[i].shard, p->n_shards);
        json_object_set_new(map, p->at[i].name, json_string(name));
    }
    if (!st) {
        json_object_set(index, "weight_map", map);
        st = lpo_json_save(index, path, err);
    }
    json_decref(map);
    json_decref(index);
    free(path);
    return st;
}

/* A folder holds one form or the other; what an earlier save left of the other form would be loaded instead.
 */
static void drop_other_form(const char *dir, int n_shards) {
    char *stale = lpo_path_join(dir, n_shards == 1 ? "model.safetensors.index.json" : "model.safetensors");
    if (stale) unlink(stale);
    free(stale);
}

lpo_status lpo_weights_write(const char *dir, const lpo_layout *l, const int style[LPO_N_WHERES],
                             int32_t dtype, size_t shard_bytes, lpo_fill_fn *fill, void *user,
                             lpo_error *err) {
    plan p;
    lpo_status st = plan_make(&p, l, style, dtype, shard_bytes, err);
    if (st) return st;
    lpo_tensor_info *info = calloc((size_t)p.n, sizeof *info);
    char *memory = malloc(p.largest);
    if (!info || !memory) st = lpo_fail(err, LPO_ENOMEM, "no memory for a shard of %zu bytes", p.largest);
    for (int i = 0; i < p.n_shards && !st; i++)
        st = write_shard(dir, &p, i, dtype, memory, info, fill, user, err);
    if (!st && p.n_shards > 1) st = write_index(dir, &p, err);
    if (!st) drop_other_form(dir, p.n_shards);
    free(memory);
    free(info);
    free(p.at);
    return st;
}

/* The first eight go with a tokenizer. */
static const char *const side_names[] = {"tokenizer.json",
                                         "tokenizer_config.json",
                                         "vocab.json",
                                         "merges.txt",
                                         "added_tokens.json",
                                         "special_tokens_map.json",
                                         "chat_template.json",
                                         "chat_template.jinja",
                                         "preprocessor_config.json",
                                         "video_preprocessor_config.json",
                                         "processor_config.json",
                                         "generation_config.json"};

lpo_status lpo_side_files_copy(const char *to, const char *from, bool tokenizer_only, lpo_error *err) {
    const size_t n = tokenizer_only ? 8 : sizeof side_names / sizeof *side_names;
    char *real_to = realpath(to, NULL), *real_from = realpath(from, NULL);
    bool same = real_to && real_from && !strcmp(real_to, real_from);
    free(real_to);
    free(real_from);
    lpo_status st = LPO_OK;
    for (size_t i = 0; i < n && !st && !same; i++) {
        char *src = lpo_path_join(from, side_names[i]), *dst = lpo_path_join(to, side_names[i]), *data;
        size_t size;
        if (!src || !dst)
            st = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", to);
        else if (lpo_path_exists(src)) {
            st = lpo_file_read(&data, &size, src, SIDE_FILE_MAX, err);
            if (!st) {
                st = lpo_file_write(dst, data, size, err);
                free(data);
            }
        }
        free(src);
        free(dst);
    }
    return st;
}

static const char *torch_name(int32_t dtype) {
    return dtype == LPO_BF16  ? "bfloat16"
           : dtype == LPO_F16 ? "float16"
           : dtype == LPO_F64 ? "float64"
                              : "float32";
}

static lpo_status save_generation(const char *dir, const lpo_model_config *c, lpo_error *err) {
    char *path = lpo_path_join(dir, "generation_config.json");
    json_t *eos = json_array(), *g = json_object();
    lpo_status st = path && eos && g ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "%s: out of memory", dir);
    if (!st && !lpo_path_exists(path)) {
        for (int i = 0; i < c->n_eos; i++) json_array_append_new(eos, json_integer(c->eos_ids[i]));
        json_object_set_new(g, "do_sample", json_false());
        if (c->n_eos) {
            json_object_set(g, "eos_token_id", eos);
            json_object_set_new(g, "pad_token_id", json_integer(c->eos_ids[c->n_eos - 1]));
        }
        st = lpo_json_save(g, path, err);
    }
    json_decref(g);
    json_decref(eos);
    free(path);
    return st;
}

lpo_status lpo_config_save(const char *dir, json_t *json, const lpo_model_config *c, int32_t dtype,
                           lpo_error *err) {
    lpo_status st = save_generation(dir, c, err);
    if (st) return st;
    char *path = lpo_path_join(dir, "config.json");
    json_t *j = json_copy(json);
    if (!path || !j) {
        st = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", dir);
    } else {
        /* Newer files say "dtype"; both are kept true so that no reader is misled. */
        if (json_object_get(j, "dtype")) json_object_set_new(j, "dtype", json_string(torch_name(dtype)));
        if (json_object_get(j, "torch_dtype") || !json_object_get(j, "dtype"))
            json_object_set_new(j, "torch_dtype", json_string(torch_name(dtype)));
        st = lpo_json_save(j, path, err);
    }
    json_decref(j);
    free(path);
    return st;
}

typedef struct saver {
    lpo_model *m;
    int32_t dtype;
} saver;

/* Download p's rows, converting at the end of dst when the widths differ: pieces keep the extra memory small.
 */
static lpo_status fill_from_model(void *user, void *dst, const lpo_slot *s, const lpo_part *p,
                                  lpo_error *err) {
    enum { PIECE = 1 << 16 };
    const saver *v = user;
    const lpo_driver *d = lpo_device_driver(lpo_buffer_device(s->p.data));
    const size_t cols = (size_t)(s->p.ndim == 2 ? s->p.shape[1] : 1), n = (size_t)p->rows * cols,
                 first = (size_t)p->row * cols, size = lpo_dtype_bytes(v->m->dtype),
                 to = lpo_dtype_bytes(v->dtype);
    if (v->dtype == v->m->dtype) return d->download(dst, s->p.data, first * size, n * size, err);
    void *piece = malloc(PIECE * sizeof(double));
    lpo_status st = piece ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "no memory to convert %s", s->p.name);
    for (size_t i = 0; i < n && !st; i += PIECE) {
        size_t k = n - i < PIECE ? n - i : PIECE;
        st = d->download(piece, s->p.data, (first + i) * size, k * size, err);
        if (!st) st = lpo_dtype_convert((char *)dst + i * to, v->dtype, piece, v->m->dtype, (int64_t)k, err);
    }
    free(piece);
    return st;
}

lpo_status lpo_model_save(lpo_model *m, const char *dir, const char *dtype, lpo_error *err) {
    saver v = {m, m->dtype};
    if (m->lora) return lpo_lora_save(m, dir, err);
    lpo_status st = dtype ? lpo_model_dtype(&v.dtype, dtype, err) : LPO_OK;
    if (!st) st = lpo_dir_create(dir, err);
    if (!st)
        st = lpo_weights_write(dir, &m->layout, m->style, v.dtype, SHARD_BYTES, fill_from_model, &v, err);
    if (!st) st = lpo_side_files_copy(dir, m->dir, false, err);
    if (!st) st = lpo_config_save(dir, m->json, &m->config, v.dtype, err);
    return st;
}

lpo_status lpo_model_merge(const char *out, const char *dir, const char *adapter, const char *dtype,
                           lpo_error *err) {
    lpo_model *m;
    lpo_status st = lpo_model_load(&m, dir, &(lpo_model_options){.dtype = dtype, .adapter = adapter}, err);
    if (!st) st = lpo_lora_merge(m, err);
    if (!st) st = lpo_model_save(m, out, NULL, err);
    lpo_model_destroy(m);
    return st;
}
