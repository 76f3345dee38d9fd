/* SPDX-License-Identifier: Apache-2.0 */
/* lora_files.c -- adapters from and to PEFT's folders.
 * Tensors are called base_model.model.MODULE.lora_A.weight, where MODULE is the Linear's name in
 * transformers' model, which is not always its name in the checkpoint. Reading, only the module's last words
 * count, so that adapters made under older names load too. */
#include "model/lora_parts.h"

#include "base/file.h"
#include "base/json.h"
#include "tensor/dtype.h"
#include "tensor/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_MAX = 16 << 20 };
static const char CONFIG[] = "adapter_config.json", WEIGHTS[] = "adapter_model.safetensors";

static const lpo_driver *driver_of(const lpo_model *m) {
    return lpo_device_driver(m->devices->placement.device[0]);
}

/* ---- saving ---- */

/* What stands before "layers." in the names of transformers' modules; LLaVA-NeXT's own code has no inner
 * language_model. */
static const char *module_prefix(const lpo_model *m) {
    const char *on_disk = m->layout.family->prefix[m->style[LPO_WHERE_TEXT]][LPO_WHERE_TEXT];
    const bool own = m->layout.family->tower == LPO_TOWER_VIT && !strcmp(on_disk, "model.");
    return own ? on_disk : "model.language_model.";
}

typedef struct stems {
    const lpo_lora *lora;
    const char *prefix;
    json_t *leaves, *all;
    int n_parts;
    bool whole; /* a Linear that has adapters has them in every layer */
} stems;

static const char *leaf_of(const char *stem) {
    const char *dot = strrchr(stem, '.');
    return dot ? dot + 1 : stem;
}

static bool has(const json_t *list, const char *text) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!strcmp(json_string_value(json_array_get(list, i)), text)) return true;
    return false;
}

static lpo_status note_stem(void *user, lpo_slot *s, const lpo_part *p, uint64_t number, lpo_error *err) {
    (void)number;
    (void)err;
    stems *k = user;
    char stem[256], name[512];
    lpo_lora_stem(stem, p);
    snprintf(name, sizeof name, "%s%s", k->prefix, stem);
    if (s->adapter[p - s->part]) {
        json_array_append_new(k->all, json_string(name));
        if (!has(k->leaves, leaf_of(stem))) json_array_append_new(k->leaves, json_string(leaf_of(stem)));
    }
    return LPO_OK;
}

static lpo_status check_whole(void *user, lpo_slot *s, const lpo_part *p, uint64_t number, lpo_error *err) {
    (void)number;
    (void)err;
    stems *k = user;
    char stem[256];
    lpo_lora_stem(stem, p);
    if (has(k->leaves, leaf_of(stem)) && !s->adapter[p - s->part]) k->whole = false;
    return LPO_OK;
}

/* A pattern where the same Linears of every layer have adapters (the tower has some of the same names), else
 * every module by name. */
static json_t *target_modules(lpo_model *m) {
    stems k = {m->lora, module_prefix(m), json_array(), json_array(), 0, true};
    lpo_lora_each_part(m, note_stem, &k, NULL);
    lpo_lora_each_part(m, check_whole, &k, NULL);
    if (!k.whole) {
        json_decref(k.leaves);
        return k.all;
    }
    char text[1024] = "(?!.*(?:visual|vision)).*\\.(?:";
    for (size_t i = 0; i < json_array_size(k.leaves); i++) {
        const size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "%s%s", i ? "|" : "",
                 json_string_value(json_array_get(k.leaves, i)));
    }
    const size_t n = strlen(text);
    snprintf(text + n, sizeof text - n, ")");
    json_decref(k.leaves);
    json_decref(k.all);
    return json_string(text);
}

/* PEFT's own files have a whole alpha as an integer. */
static json_t *number(double x) {
    return x == floor(x) && x < 1e15 ? json_integer((json_int_t)x) : json_real(x);
}

static lpo_status save_config(lpo_model *m, const char *dir, lpo_error *err) {
    char *path = lpo_path_join(dir, CONFIG), *base = realpath(m->dir, NULL);
    const lpo_lora_options *o = &m->lora->o;
    json_t *j =
        json_pack("{s:s, s:s, s:s, s:i, s:o, s:f, s:b, s:o, s:s, s:b, s:b, s:b, s:n, s:b}", "peft_type",
                  "LORA", "task_type", "CAUSAL_LM", "base_model_name_or_path", base ? base : m->dir, "r",
                  o->r, "lora_alpha", number(o->alpha), "lora_dropout", o->dropout, "use_rslora", o->rslora,
                  "target_modules", target_modules(m), "bias", "none", "fan_in_fan_out", 0, "inference_mode",
                  1, "init_lora_weights", 1, "modules_to_save", "use_dora", 0);
    lpo_status st =
        path && j ? lpo_json_save(j, path, err) : lpo_fail(err, LPO_ENOMEM, "%s: out of memory", dir);
    json_decref(j);
    free(base);
    free(path);
    return st;
}

static lpo_status add_tensor(lpo_tensor_info *t, char **at, lpo_arena *a, const lpo_model *m,
                             const lpo_adapter *ad, const lpo_param *p, const char *kind, lpo_error *err) {
    char stem[256];
    lpo_lora_stem(stem, ad->part);
    t->name = lpo_arena_printf(a, "base_model.model.%s%s.%s.weight", module_prefix(m), stem, kind);
    t->dtype = m->dtype;
    t->ndim = 2;
    memcpy(t->shape, p->shape, 2 * sizeof *t->shape);
    t->data = *at;
    t->size_bytes = (size_t)(p->shape[0] * p->shape[1]) * lpo_dtype_bytes(m->dtype);
    *at += (t->size_bytes + 7) & ~(size_t)7;
    if (!t->name) return lpo_fail(err, LPO_ENOMEM, "no memory to save adapters");
    return driver_of(m)->download((void *)(uintptr_t)t->data, p->data, 0, t->size_bytes, err);
}

static lpo_status save_weights(lpo_model *m, const char *dir, lpo_error *err) {
    const lpo_lora *l = m->lora;
    size_t total = 0;
    for (int i = 0; i < l->n; i++)
        total += (size_t)(l->o.r * (l->adapters[i].a.shape[1] + l->adapters[i].b.shape[0])) *
                     lpo_dtype_bytes(m->dtype) +
                 16;
    char *path = lpo_path_join(dir, WEIGHTS), *data = malloc(total), *at = data;
    lpo_arena *a = lpo_arena_create(1 << 16);
    lpo_tensor_info *t = calloc(2 * (size_t)l->n + 1, sizeof *t);
    lpo_status st = path && data && a && t ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "no memory to save adapters");
    for (int i = 0; i < l->n && !st; i++) {
        st = add_tensor(&t[2 * i], &at, a, m, &l->adapters[i], &l->adapters[i].a, "lora_A", err);
        if (!st) st = add_tensor(&t[2 * i + 1], &at, a, m, &l->adapters[i], &l->adapters[i].b, "lora_B", err);
    }
    if (!st)
        st = lpo_safetensors_write(path, t, 2 * l->n, (const char *const[]){"format", "pt", NULL}, NULL, err);
    free(t);
    lpo_arena_destroy(a);
    free(data);
    free(path);
    return st;
}

lpo_status lpo_lora_save(lpo_model *m, const char *dir, lpo_error *err) {
    if (!m->lora) return lpo_fail(err, LPO_EINVAL, "%s: the model has no adapters to save", dir);
    lpo_status st = lpo_dir_create(dir, err);
    if (!st) st = save_weights(m, dir, err);
    if (!st) st = lpo_side_files_copy(dir, m->dir, true, err);
    return st ? st : save_config(m, dir, err);
}

/* ---- loading ---- */

static lpo_status read_config(json_t **out, char **path, const char *dir, lpo_error *err) {
    *out = NULL;
    *path = lpo_path_join(dir, CONFIG);
    if (!*path) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", dir);
    if (!lpo_path_exists(*path))
        return lpo_fail(err, LPO_ENOTFOUND, "%s: not there; is %s an adapter folder?", *path, dir);
    return lpo_json_load(out, *path, CONFIG_MAX, err);
}

lpo_status lpo_lora_base(char **base, const char *dir, lpo_error *err) {
    char *path;
    json_t *j;
    const char *name;
    *base = NULL;
    lpo_status st = read_config(&j, &path, dir, err);
    if (!st) st = lpo_json_str(&name, j, "base_model_name_or_path", path, err);
    if (!st && !lpo_path_exists(name))
        st = lpo_fail(err, LPO_EIO,
                      "%s: base_model_name_or_path %s is not a folder here; give --model BASE --adapter %s",
                      path, name, dir);
    if (!st && !(*base = strdup(name))) st = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    json_decref(j);
    free(path);
    return st;
}

/* Null, false, "" and empty containers say that a feature is not used. */
static bool is_unused(const json_t *v) {
    return !v || json_is_null(v) || json_is_false(v) || (json_is_array(v) && !json_array_size(v)) ||
           (json_is_object(v) && !json_object_size(v)) || (json_is_string(v) && !*json_string_value(v));
}

static lpo_status parse_config(lpo_lora_options *o, const json_t *j, const char *path, lpo_error *err) {
    static const char *const unsupported[] = {
        "use_dora",          "fan_in_fan_out",          "modules_to_save",
        "rank_pattern",      "alpha_pattern",           "lora_bias",
        "layer_replication", "target_parameters",       "trainable_token_indices",
        "use_qalora",        "alora_invocation_tokens", "use_bdlora"};
    const char *type, *bias = json_string_value(json_object_get(j, "bias"));
    int64_t r;
    lpo_status st = lpo_json_str(&type, j, "peft_type", path, err);
    if (!st && strcmp(type, "LORA"))
        return lpo_fail(err, LPO_EUNSUPPORTED, "%s: peft_type %.40s", path, type);
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported && !st; i++)
        if (!is_unused(json_object_get(j, unsupported[i])))
            st = lpo_fail(err, LPO_EUNSUPPORTED, "%s: \"%s\" is not supported", path, unsupported[i]);
    if (!st && bias && strcmp(bias, "none"))
        st = lpo_fail(err, LPO_EUNSUPPORTED, "%s: bias \"%.40s\" is not supported", path, bias);
    if (!st) st = lpo_json_int(&r, j, "r", 1, 65536, path, err);
    if (st) return st;
    o->r = (int32_t)r;
    o->rslora = json_is_true(json_object_get(j, "use_rslora"));
    st = lpo_json_real(&o->alpha, j, "lora_alpha", 1e-9, 1e9, path, err);
    return st ? st : lpo_json_real_or(&o->dropout, j, "lora_dropout", 0, 0.999999, path, err);
}

/* The tensors of each part: index in the file + 1. */
typedef struct found {
    lpo_safetensors *file;
    int *a, *b; /* by number */
    char module[512];
    int tensor, side, number;
} found;

/* "base_model.model.X.lora_A.weight" or ".lora_A.default.weight" -> X and the side. */
static bool split_name(found *f, const char *name) {
    static const char *const tail[] = {".lora_A.weight", ".lora_B.weight", ".lora_A.default.weight",
                                       ".lora_B.default.weight"};
    const size_t n = strlen(name);
    for (int i = 0; i < 4; i++) {
        const size_t k = strlen(tail[i]);
        if (n <= k || n - k >= sizeof f->module || strcmp(name + n - k, tail[i])) continue;
        memcpy(f->module, name, n - k);
        f->module[n - k] = 0;
        f->side = i % 2;
        return !strstr(f->module, "visual") && !strstr(f->module, "vision");
    }
    return false;
}

static lpo_status match_part(void *user, lpo_slot *s, const lpo_part *p, uint64_t number, lpo_error *err) {
    (void)s;
    (void)err;
    found *f = user;
    char stem[256];
    lpo_lora_stem(stem, p);
    const size_t n = strlen(f->module), k = strlen(stem);
    if (k <= n && !strcmp(f->module + n - k, stem) && (k == n || f->module[n - k - 1] == '.'))
        f->number = (int)number;
    return LPO_OK;
}

static lpo_status match_tensors(found *f, bool *chosen, lpo_model *m, lpo_error *err) {
    for (int i = 0; i < lpo_safetensors_count(f->file); i++) {
        const lpo_tensor_info *t = lpo_safetensors_at(f->file, i);
        f->number = -1;
        if (split_name(f, t->name)) lpo_lora_each_part(m, match_part, f, err);
        if (f->number < 0)
            return lpo_fail(err, LPO_EUNSUPPORTED,
                            "%s: tensor %s is not an adapter of a Linear of this model's decoder", t->file,
                            t->name);
        int *at = f->side ? &f->b[f->number] : &f->a[f->number];
        if (*at) return lpo_fail(err, LPO_EFORMAT, "%s: two tensors for %s", t->file, f->module);
        *at = i + 1;
        chosen[f->number] = true;
    }
    return LPO_OK;
}

static lpo_status load_side(lpo_model *m, const lpo_param *p, const found *f, int index, lpo_error *err) {
    if (!index)
        return lpo_fail(err, LPO_EFORMAT, "%s: %s is missing", lpo_safetensors_at(f->file, 0)->file, p->name);
    const lpo_tensor_info *t = lpo_safetensors_at(f->file, index - 1);
    if (t->ndim != 2 || t->shape[0] != p->shape[0] || t->shape[1] != p->shape[1])
        return lpo_fail(err, LPO_EFORMAT, "%s: tensor %s is not [%lld, %lld]", t->file, t->name,
                        (long long)p->shape[0], (long long)p->shape[1]);
    const int64_t n = p->shape[0] * p->shape[1];
    void *raw = malloc((size_t)n * lpo_dtype_bytes(m->dtype));
    lpo_status st = raw ? lpo_dtype_convert(raw, m->dtype, t->data, t->dtype, n, err)
                        : lpo_fail(err, LPO_ENOMEM, "no memory to load adapters");
    if (!st) st = driver_of(m)->upload(p->data, 0, raw, (size_t)n * lpo_dtype_bytes(m->dtype), err);
    free(raw);
    return st ? lpo_fail_in(err, st, "%s: tensor %s", t->file, t->name) : LPO_OK;
}

static lpo_status load_weights(lpo_model *m, const char *path, const lpo_lora_options *o, lpo_error *err) {
    const size_t most = 3 * (size_t)m->layout.n_slots;
    found f = {.a = calloc(most, sizeof *f.a), .b = calloc(most, sizeof *f.b)};
    bool *chosen = calloc(most, sizeof *chosen);
    lpo_status st = f.a && f.b && chosen ? lpo_safetensors_open(&f.file, path, err)
                                         : lpo_fail(err, LPO_ENOMEM, "no memory to load adapters");
    if (!st && !lpo_safetensors_count(f.file)) st = lpo_fail(err, LPO_EFORMAT, "%s: no tensors", path);
    if (!st) st = match_tensors(&f, chosen, m, err);
    if (!st) st = lpo_lora_create(m, o, chosen, err);
    for (int i = 0; !st && i < m->lora->n; i++) {
        const lpo_adapter *ad = &m->lora->adapters[i];
        st = load_side(m, &ad->a, &f, f.a[ad->number], err);
        if (!st) st = load_side(m, &ad->b, &f, f.b[ad->number], err);
        if (st) lpo_lora_destroy(m);
    }
    lpo_safetensors_close(f.file);
    free(chosen);
    free(f.b);
    free(f.a);
    return st;
}

lpo_status lpo_lora_load(lpo_model *m, const char *dir, lpo_error *err) {
    lpo_lora_options o = {0};
    char *path = NULL, *weights = lpo_path_join(dir, WEIGHTS);
    json_t *j = NULL;
    lpo_status st = m->lora ? lpo_fail(err, LPO_EINVAL, "%s: the model has adapters already", dir) : LPO_OK;
    if (!st && !weights) st = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", dir);
    if (!st) st = read_config(&j, &path, dir, err);
    if (!st) st = parse_config(&o, j, path, err);
    if (!st) st = load_weights(m, weights, &o, err);
    json_decref(j);
    free(weights);
    free(path);
    return st;
}
