/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors_write.c -- the writer. The header is built whole (it is small), padded with spaces so that the
 * tensors start on an 8-byte boundary, and the tensors are streamed behind it from where they lie. */
#include "base/file.h"
#include "base/json.h"
#include "tensor/dtype.h"
#include "tensor/safetensors.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static lpo_status add_meta(json_t *header, const char *const *pairs, const char *path, lpo_error *err) {
    if (!pairs) return LPO_OK;
    json_t *meta = json_object();
    for (; meta && pairs[0]; pairs += 2) {
        if (!json_object_set_new(meta, pairs[0], json_string(pairs[1]))) continue;
        json_decref(meta);
        return lpo_fail(err, LPO_EINVAL, "%s: metadata \"%.80s\" is not UTF-8", path, pairs[0]);
    }
    if (json_object_set_new(header, "__metadata__", meta))
        return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    return LPO_OK;
}

static lpo_status add_tensor(json_t *header, uint64_t *offset, const lpo_tensor_info *t, const char *path,
                             lpo_error *err) {
    const char *dtype = lpo_dtype_name(t->dtype);
    size_t size = lpo_dtype_bytes(t->dtype);
    bool ok = dtype && t->ndim >= 0 && t->ndim <= 8;
    json_t *shape = json_array();
    for (int i = 0; ok && i < t->ndim; i++) {
        ok = t->shape[i] >= 0 && !__builtin_mul_overflow(size, (size_t)t->shape[i], &size) &&
             !json_array_append_new(shape, json_integer(t->shape[i]));
    }
    if (!ok || size != t->size_bytes || !strcmp(t->name, "__metadata__") ||
        json_object_get(header, t->name)) {
        json_decref(shape);
        return lpo_fail(err, LPO_EINVAL, "%s: tensor \"%.160s\": %s", path, t->name,
                        json_object_get(header, t->name) ? "is given twice"
                                                         : "its dtype, shape and size disagree");
    }
    json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype, "shape", shape, "data_offsets",
                              (json_int_t)*offset, (json_int_t)(*offset + size));
    *offset += size;
    if (!entry || json_object_set_new(header, t->name, entry))
        return lpo_fail(err, LPO_EINVAL, "%s: tensor \"%.160s\": its name is not UTF-8, or out of memory",
                        path, t->name);
    return LPO_OK;
}

static lpo_status put_all(lpo_writer *w, const char *text, const lpo_tensor_info *tensors, int n,
                          lpo_error *err) {
    size_t size = strlen(text), padded = (size + 7) & ~(size_t)7;
    unsigned char length[8];
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)padded >> (8 * i));
    lpo_status s = lpo_writer_put(w, length, sizeof length, err);
    if (!s) s = lpo_writer_put(w, text, size, err);
    if (!s) s = lpo_writer_put(w, "       ", padded - size, err);
    for (int i = 0; i < n && !s; i++) s = lpo_writer_put(w, tensors[i].data, tensors[i].size_bytes, err);
    return s;
}

lpo_status lpo_safetensors_write(const char *path, const lpo_tensor_info *tensors, int n,
                                 const char *const *meta_pairs, uint64_t *xxh64, lpo_error *err) {
    json_t *header = json_object();
    char *text = NULL;
    lpo_writer *w = NULL;
    uint64_t offset = 0;
    lpo_status s = header ? add_meta(header, meta_pairs, path, err)
                          : lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    for (int i = 0; i < n && !s; i++) s = add_tensor(header, &offset, &tensors[i], path, err);
    if (s) goto out;
    text = json_dumps(header, JSON_COMPACT);
    if (!text) {
        s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory for the header", path);
        goto out;
    }
    s = lpo_writer_open(&w, path, err);
    if (s) goto out;
    s = put_all(w, text, tensors, n, err);
    if (s) {
        lpo_writer_abort(w);
        goto out;
    }
    uint64_t hash = lpo_writer_hash(w);
    s = lpo_writer_commit(w, err);
    if (!s && xxh64) *xxh64 = hash;
out:
    free(text);
    json_decref(header);
    return s;
}
