/* SPDX-License-Identifier: Apache-2.0 */
/* init.c -- a seeded random model as a folder.
 * Every disk tensor draws from its own stream, so the weights do not depend on sharding; shards are generated
 * and written one at a time, which is what lets a small machine make a 7B folder. */
#include "base/file.h"
#include "base/rng.h"
#include "model/parts.h"
#include "tensor/dtype.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const size_t SHARD_BYTES = (size_t)1500 << 20;
enum { TOKENIZER_MAX_BYTES = 64 << 20 };

typedef struct drawer {
    const lpo_layout *layout;
    int32_t dtype;
    uint64_t seed;
    double std;
} drawer;

static lpo_status fill_random(void *user, void *dst, const lpo_slot *s, const lpo_part *p, lpo_error *err) {
    enum { PIECE = 4096 };
    const drawer *d = user;
    lpo_rng rng = lpo_rng_init(d->seed, (uint64_t)(s - d->layout->slots) * 4 + (uint64_t)(p - s->part));
    const size_t n = (size_t)p->rows * (size_t)(s->p.ndim == 2 ? s->p.shape[1] : 1),
                 size = lpo_dtype_bytes(d->dtype);
    double piece[PIECE];
    for (size_t i = 0; i < n; i += PIECE) {
        const size_t k = n - i < PIECE ? n - i : PIECE;
        for (size_t j = 0; j < k; j++)
            piece[j] = s->init == LPO_INIT_NORMAL ? d->std * lpo_rng_normal(&rng) : s->init == LPO_INIT_ONE;
        lpo_status st = lpo_dtype_convert((char *)dst + i * size, d->dtype, piece, LPO_F64, (int64_t)k, err);
        if (st) return st;
    }
    return LPO_OK;
}

/* Keys of `over` win; an object inside (vision_config, rope_scaling) is merged key by key. */
static lpo_status override(json_t *config, const char *text, lpo_error *err) {
    json_t *over, *v;
    const char *key;
    lpo_status st = lpo_json_parse(&over, text, strlen(text), "config override", err);
    if (st) return st;
    if (!json_is_object(over)) {
        json_decref(over);
        return lpo_fail(err, LPO_EFORMAT, "config override: expected a JSON object");
    }
    json_object_foreach(over, key, v) {
        json_t *old = json_object_get(config, key);
        if (json_is_object(old) && json_is_object(v))
            json_object_update(old, v);
        else
            json_object_set(config, key, v);
    }
    json_decref(over);
    return LPO_OK;
}

static lpo_status copy_tokenizer(const char *dir, const char *path, lpo_error *err) {
    char *from = lpo_path_dir(path), *to = lpo_path_join(dir, "tokenizer.json"), *data = NULL;
    size_t size;
    lpo_status st = from && to ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "%s: out of memory", dir);
    if (!st) st = lpo_file_read(&data, &size, path, TOKENIZER_MAX_BYTES, err);
    if (!st) st = lpo_side_files_copy(dir, from, true, err);
    if (!st) st = lpo_file_write(to, data, size, err);
    free(data);
    free(to);
    free(from);
    return st;
}

static lpo_status write_preprocessor(const char *dir, const lpo_family *f, const char *size, lpo_error *err) {
    char *path = lpo_path_join(dir, "preprocessor_config.json");
    json_t *j = lpo_preprocessor_of_size(f, size);
    lpo_status st =
        path && j ? lpo_json_save(j, path, err) : lpo_fail(err, LPO_ENOMEM, "%s: out of memory", dir);
    json_decref(j);
    free(path);
    return st;
}

/* Write everything of a settled configuration. */
static lpo_status write_folder(const char *dir, const lpo_init_options *o, json_t *config, const char *size,
                               const char *tokenizer, lpo_error *err) {
    lpo_model_config c;
    lpo_layout l;
    int32_t dtype = !strcmp(size, "tiny") || !strcmp(size, "small") ? LPO_F32 : LPO_BF16;
    int style[LPO_N_WHERES];
    lpo_status st = o->dtype ? lpo_model_dtype(&dtype, o->dtype, err) : LPO_OK;
    if (!st) st = lpo_config_parse(&c, config, "config", err);
    if (!st && c.tied < 0) c.tied = 0;
    if (!st) st = lpo_layout_create(&l, &c, err);
    if (st) return st;
    for (int i = 0; i < LPO_N_WHERES; i++) style[i] = c.family->init_style;
    drawer d = {&l, dtype, o->seed, c.init_range};
    st = lpo_dir_create(dir, err);
    if (!st) st = lpo_weights_write(dir, &l, style, dtype, SHARD_BYTES, fill_random, &d, err);
    lpo_layout_clear(&l);
    if (!st && tokenizer) st = copy_tokenizer(dir, tokenizer, err);
    if (!st) st = write_preprocessor(dir, c.family, size, err);
    json_t *bos = json_object_get(config, "bos_token_id");
    if (json_is_integer(bos) && c.n_eos == 1 && json_integer_value(bos) != c.eos_ids[0])
        c.eos_ids[c.n_eos++] = (int32_t)json_integer_value(bos); /* <|endoftext|> ends an answer too */
    if (!st) st = lpo_config_save(dir, config, &c, dtype, err);
    return st;
}

lpo_status lpo_model_init(const char *dir, const lpo_init_options *o, lpo_error *err) {
    const char *size = o->size ? o->size : "tiny", *named = o->family ? o->family : "qwen2_vl";
    const lpo_family *family = lpo_family_named(named);
    json_t *tokenizer = NULL, *config = NULL;
    char *path = NULL;
    lpo_status st = LPO_OK;
    if (!family)
        return lpo_fail(err, LPO_EUNSUPPORTED, "family \"%.40s\" is not supported (%s)", named,
                        lpo_family_names());
    if (o->tokenizer) {
        struct stat info;
        bool folder = !stat(o->tokenizer, &info) && S_ISDIR(info.st_mode);
        path = folder ? lpo_path_join(o->tokenizer, "tokenizer.json") : strdup(o->tokenizer);
        st = path ? lpo_json_load(&tokenizer, path, TOKENIZER_MAX_BYTES, err)
                  : lpo_fail(err, LPO_ENOMEM, "%s: out of memory", dir);
    }
    if (!st) st = lpo_config_of_size(&config, family, size, tokenizer, err);
    if (!st && o->config) st = override(config, o->config, err);
    if (!st) st = write_folder(dir, o, config, size, path, err);
    json_decref(config);
    json_decref(tokenizer);
    free(path);
    return st;
}
