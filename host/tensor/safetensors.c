/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors.c -- the reader.
 * A file: u64 little-endian header length | JSON header | tensor bytes. The header gives each tensor's dtype,
 * shape and [begin, end) in the bytes behind it. The format wants these ranges to tile the rest of the file
 * exactly; that is checked, because a gap is a place to hide bytes and an overlap is two names for one
 * tensor. Only after all checks does a pointer into the mapping exist. */
#include "tensor/safetensors.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/json.h"
#include "tensor/dtype.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_HEADER = 100 * 1000 * 1000, MAX_SHARDS = 4096, MAX_TENSORS = 1 << 20 };

typedef struct shard {
    const char *path;
    lpo_mapping map;
    json_t *header;
} shard;

struct lpo_safetensors {
    lpo_arena *arena; /* names, paths, shard and tensor tables */
    shard *shards;
    int n_shards;
    lpo_tensor_info *tensors; /* sorted by name; malloc'd, grows shard by shard */
    int n_tensors, cap_tensors;
};

static lpo_status tensor_error(lpo_error *err, lpo_status code, const char *path, const char *name,
                               const char *what) {
    return lpo_fail(err, code, "%s: tensor \"%.160s\": %s", path, name, what);
}

static lpo_status no_memory(lpo_error *err, const char *path) {
    return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
}

static lpo_status parse_shape(lpo_tensor_info *out, const json_t *shape, const char *path, lpo_error *err) {
    size_t n = json_array_size(shape);
    if (!json_is_array(shape) || n > 8)
        return tensor_error(err, LPO_EFORMAT, path, out->name,
                            "shape is not an array of at most 8 dimensions");
    out->ndim = (int)n;
    int64_t count = 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *d = json_array_get(shape, i);
        if (!json_is_integer(d) || json_integer_value(d) < 0)
            return tensor_error(err, LPO_EFORMAT, path, out->name,
                                "a dimension is not a non-negative integer");
        out->shape[i] = json_integer_value(d);
        if (__builtin_mul_overflow(count, out->shape[i], &count))
            return tensor_error(err, LPO_EFORMAT, path, out->name, "its number of elements overflows");
    }
    if (__builtin_mul_overflow((size_t)count, lpo_dtype_bytes(out->dtype), &out->size_bytes))
        return tensor_error(err, LPO_EFORMAT, path, out->name, "its size in bytes overflows");
    return LPO_OK;
}

/* One entry of the header -> *out; data is the tensor area of data_bytes. */
static lpo_status parse_tensor(lpo_tensor_info *out, const json_t *entry, const unsigned char *data,
                               size_t data_bytes, const char *path, lpo_error *err) {
    const json_t *dtype = json_object_get(entry, "dtype"), *offsets = json_object_get(entry, "data_offsets");
    if (!json_is_string(dtype) || json_array_size(offsets) != 2)
        return tensor_error(err, LPO_EFORMAT, path, out->name, "needs dtype, shape and two data_offsets");
    out->dtype = lpo_dtype_parse(json_string_value(dtype));
    if (out->dtype < 0)
        return lpo_fail(err, LPO_EUNSUPPORTED,
                        "%s: tensor \"%.160s\": dtype %.32s; known are F64, F32, F16, BF16, I64, I32, U8",
                        path, out->name, json_string_value(dtype));
    lpo_status s = parse_shape(out, json_object_get(entry, "shape"), path, err);
    if (s) return s;
    const json_t *b = json_array_get(offsets, 0), *e = json_array_get(offsets, 1);
    if (!json_is_integer(b) || !json_is_integer(e) || json_integer_value(b) < 0 ||
        json_integer_value(e) < json_integer_value(b))
        return tensor_error(err, LPO_EFORMAT, path, out->name, "data_offsets are not two rising integers");
    uint64_t begin = (uint64_t)json_integer_value(b), end = (uint64_t)json_integer_value(e);
    if (end > data_bytes)
        return lpo_fail(
            err, LPO_EFORMAT,
            "%s: tensor \"%.160s\": ends at byte %llu of %zu; the file is cut short, fetch it again", path,
            out->name, (unsigned long long)end, data_bytes);
    if (end - begin != out->size_bytes)
        return lpo_fail(err, LPO_EFORMAT,
                        "%s: tensor \"%.160s\": its offsets hold %llu bytes, its shape and dtype need %zu",
                        path, out->name, (unsigned long long)(end - begin), out->size_bytes);
    out->data = data + begin;
    out->file = path;
    return LPO_OK;
}

static int by_address(const void *a, const void *b) {
    const lpo_tensor_info *x = a, *y = b;
    uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;
    if (p != q) return p < q ? -1 : 1;
    return x->size_bytes < y->size_bytes
               ? -1
               : x->size_bytes > y->size_bytes; /* empty ones before their neighbour */
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const lpo_tensor_info *)a)->name, ((const lpo_tensor_info *)b)->name);
}

/* The tensors of one file must tile its data area. */
static lpo_status check_tiling(lpo_tensor_info *t, int n, const unsigned char *data, size_t data_bytes,
                               const char *path, lpo_error *err) {
    if (n) qsort(t, (size_t)n, sizeof *t, by_address);
    uintptr_t at = (uintptr_t)data;
    for (int i = 0; i < n; i++) {
        if ((uintptr_t)t[i].data != at)
            return tensor_error(err, LPO_EFORMAT, path, t[i].name,
                                (uintptr_t)t[i].data < at ? "overlaps the tensor before it"
                                                          : "leaves a gap before it");
        at += t[i].size_bytes;
    }
    if (at != (uintptr_t)data + data_bytes)
        return lpo_fail(err, LPO_EFORMAT, "%s: %zu bytes behind the last tensor belong to none", path,
                        (size_t)((uintptr_t)data + data_bytes - at));
    return LPO_OK;
}

static lpo_status check_meta(const json_t *meta, const char *path, lpo_error *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(meta)) return lpo_fail(err, LPO_EFORMAT, "%s: __metadata__ is not an object", path);
    json_object_foreach((json_t *)(uintptr_t)meta, key, value) {
        if (!json_is_string(value))
            return lpo_fail(err, LPO_EFORMAT, "%s: __metadata__ key \"%.80s\" is not a string", path, key);
    }
    return LPO_OK;
}

static lpo_status reserve(lpo_safetensors *s, size_t more, const char *path, lpo_error *err) {
    if (more > MAX_TENSORS || (size_t)s->n_tensors + more > MAX_TENSORS)
        return lpo_fail(err, LPO_ELIMIT, "%s: more than %d tensors", path, MAX_TENSORS);
    int need = s->n_tensors + (int)more;
    if (need <= s->cap_tensors) return LPO_OK;
    lpo_tensor_info *p = realloc(s->tensors, sizeof *p * (size_t)need);
    if (!p) return no_memory(err, path);
    s->tensors = p;
    s->cap_tensors = need;
    return LPO_OK;
}

static lpo_status parse_header(lpo_safetensors *s, shard *f, const unsigned char *data, size_t data_bytes,
                               lpo_error *err) {
    if (!json_is_object(f->header))
        return lpo_fail(err, LPO_EFORMAT, "%s: its header is not a JSON object", f->path);
    lpo_status st = reserve(s, json_object_size(f->header), f->path, err);
    if (st) return st;
    const char *name;
    json_t *entry;
    int first = s->n_tensors;
    json_object_foreach(f->header, name, entry) {
        if (!strcmp(name, "__metadata__")) {
            st = check_meta(entry, f->path, err);
        } else {
            lpo_tensor_info *t = &s->tensors[s->n_tensors++];
            *t = (lpo_tensor_info){.name = name}; /* lives as long as the header does */
            st = parse_tensor(t, entry, data, data_bytes, f->path, err);
        }
        if (st) return st;
    }
    return check_tiling(s->tensors + first, s->n_tensors - first, data, data_bytes, f->path, err);
}

static lpo_status open_shard(lpo_safetensors *s, const char *path, lpo_error *err) {
    shard *f = &s->shards[s->n_shards];
    f->path = lpo_arena_strdup(s->arena, path);
    if (!f->path) return no_memory(err, path);
    s->n_shards++; /* from here on close() releases it */
    lpo_status st = lpo_file_map(&f->map, path, err);
    if (st) return st;
    const unsigned char *p = f->map.data;
    size_t size = f->map.size_bytes;
    if (size < 8)
        return lpo_fail(err, LPO_EFORMAT, "%s: %zu bytes, too short for a safetensors file", path, size);
    uint64_t header = 0;
    for (int i = 7; i >= 0; i--) header = header << 8 | p[i];
    if (header > MAX_HEADER || header > size - 8)
        return lpo_fail(err, LPO_EFORMAT,
                        "%s: a header of %llu bytes in a file of %zu: not safetensors, or cut short", path,
                        (unsigned long long)header, size);
    st = lpo_json_parse(&f->header, (const char *)p + 8, (size_t)header, path, err);
    return st ? st : parse_header(s, f, p + 8 + header, size - 8 - (size_t)header, err);
}

/* Every name must be found once over all shards. */
static lpo_status sort_names(lpo_safetensors *s, lpo_error *err) {
    if (s->n_tensors) qsort(s->tensors, (size_t)s->n_tensors, sizeof *s->tensors, by_name);
    for (int i = 1; i < s->n_tensors; i++)
        if (!strcmp(s->tensors[i - 1].name, s->tensors[i].name))
            return tensor_error(err, LPO_EFORMAT, s->tensors[i].file, s->tensors[i].name,
                                "is in another shard too");
    return LPO_OK;
}

static lpo_status open_named_shard(lpo_safetensors *s, const char *dir, const char *file, const char *index,
                                   lpo_error *err) {
    if (!*file || strchr(file, '/'))
        return lpo_fail(err, LPO_EFORMAT, "%s: shard \"%.160s\" is not a plain file name", index, file);
    char *path = lpo_path_join(dir, file);
    if (!path) return no_memory(err, index);
    lpo_status st = LPO_OK;
    bool open = false;
    for (int i = 0; i < s->n_shards; i++) open |= !strcmp(s->shards[i].path, path);
    if (!open && s->n_shards == MAX_SHARDS)
        st = lpo_fail(err, LPO_ELIMIT, "%s: more than %d shards", index, MAX_SHARDS);
    if (!open && !st) st = open_shard(s, path, err);
    free(path);
    return st;
}

static lpo_status open_index(lpo_safetensors *s, const char *path, lpo_error *err) {
    json_t *root = NULL;
    char *dir = lpo_path_dir(path);
    lpo_status st = dir ? lpo_json_load(&root, path, MAX_HEADER, err) : no_memory(err, path);
    json_t *map = st ? NULL : json_object_get(root, "weight_map");
    const char *name, *last = "";
    json_t *file;
    if (!st && !json_is_object(map))
        st = lpo_fail(err, LPO_EFORMAT, "%s: has no object \"weight_map\"", path);
    if (!st) {
        json_object_foreach(map, name, file) {
            if (!json_is_string(file))
                st = tensor_error(err, LPO_EFORMAT, path, name, "its shard is not a string");
            else if (strcmp(last, json_string_value(file))) /* names of one shard mostly follow each other */
                st = open_named_shard(s, dir, last = json_string_value(file), path, err);
            if (st) break;
        }
    }
    if (!st) st = sort_names(s, err);
    if (!st) {
        json_object_foreach(map, name, file) {
            const lpo_tensor_info *t = lpo_safetensors_find(s, name);
            const char *base = t ? strrchr(t->file, '/') : NULL;
            if (t && base && !strcmp(base + 1, json_string_value(file))) continue;
            st = tensor_error(err, LPO_EFORMAT, path, name, "is not in the shard the index names");
            break;
        }
    }
    json_decref(root);
    free(dir);
    return st;
}

/* malloc'd path of what a model folder holds; NULL when nothing (or out of memory). */
static char *find_in_folder(const char *dir) {
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json",
                                        "adapter_model.safetensors"};
    for (int i = 0; i < 3; i++) {
        char *p = lpo_path_join(dir, names[i]);
        if (!p || lpo_path_exists(p)) return p;
        free(p);
    }
    return NULL;
}

lpo_status lpo_safetensors_open(lpo_safetensors **out, const char *path, lpo_error *err) {
    *out = NULL;
    struct stat info;
    char *found = NULL;
    if (!stat(path, &info) && S_ISDIR(info.st_mode)) {
        found = find_in_folder(path);
        if (!found)
            return lpo_fail(err, LPO_ENOTFOUND,
                            "%s: holds neither model.safetensors nor model.safetensors.index.json; a "
                            ".bin checkpoint must be converted first",
                            path);
        path = found;
    }
    lpo_status st = LPO_OK;
    size_t n = strlen(path);
    lpo_safetensors *s = calloc(1, sizeof *s);
    if (s) s->arena = lpo_arena_create(0);
    if (s && s->arena) s->shards = calloc(MAX_SHARDS, sizeof *s->shards);
    if (!s || !s->shards)
        st = no_memory(err, path);
    else if (n >= 5 && !strcmp(path + n - 5, ".json"))
        st = open_index(s, path, err);
    else if (!(st = open_shard(s, path, err)))
        st = sort_names(s, err);
    free(found);
    if (st)
        lpo_safetensors_close(s);
    else
        *out = s;
    return st;
}

void lpo_safetensors_close(lpo_safetensors *s) {
    if (!s) return;
    for (int i = 0; i < s->n_shards; i++) {
        json_decref(s->shards[i].header);
        lpo_file_unmap(&s->shards[i].map);
    }
    free(s->shards);
    free(s->tensors);
    lpo_arena_destroy(s->arena);
    free(s);
}

int lpo_safetensors_count(const lpo_safetensors *s) {
    return s->n_tensors;
}

const lpo_tensor_info *lpo_safetensors_at(const lpo_safetensors *s, int i) {
    return i >= 0 && i < s->n_tensors ? &s->tensors[i] : NULL;
}

const lpo_tensor_info *lpo_safetensors_find(const lpo_safetensors *s, const char *name) {
    lpo_tensor_info key = {.name = name};
    return s->n_tensors ? bsearch(&key, s->tensors, (size_t)s->n_tensors, sizeof key, by_name) : NULL;
}

const char *lpo_safetensors_meta(const lpo_safetensors *s, const char *key) {
    if (!s->n_shards) return NULL;
    return json_string_value(json_object_get(json_object_get(s->shards[0].header, "__metadata__"), key));
}
