/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors.h -- read and write the safetensors format: 8 bytes of header length, a JSON header, raw
 * tensors. Files are mapped, never copied: lpo_tensor_info.data points into the mapping and lives until
 * close. Nothing a file says is believed before it was checked against the file's size. */
#ifndef LPO_TENSOR_SAFETENSORS_H
#define LPO_TENSOR_SAFETENSORS_H
#include "kernels/op.h"
#include "leanpo/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct lpo_safetensors lpo_safetensors;

typedef struct lpo_tensor_info {
    const char *name;
    int32_t dtype; /* lpo_dtype */
    int ndim;      /* 0 (a scalar) to 8 */
    int64_t shape[8];
    const void *data; /* row-major, little-endian; may be unaligned in files of other writers */
    size_t size_bytes;
    const char *file; /* where it was read from; ignored by the writer */
} lpo_tensor_info;

/* path: a .safetensors file, an .index.json, or a folder holding model.safetensors, its index, or
 * adapter_model.safetensors. */
lpo_status lpo_safetensors_open(lpo_safetensors **out, const char *path, lpo_error *err);
void lpo_safetensors_close(lpo_safetensors *s); /* NULL accepted */

/* Tensors in order of name, over all shards. */
int lpo_safetensors_count(const lpo_safetensors *s);
const lpo_tensor_info *lpo_safetensors_at(const lpo_safetensors *s, int i);
const lpo_tensor_info *lpo_safetensors_find(const lpo_safetensors *s,
                                            const char *name); /* NULL when absent */
/* A string of the first file's __metadata__; NULL when absent. */
const char *lpo_safetensors_meta(const lpo_safetensors *s, const char *key);

/* Write all tensors to one file, atomically, in the order given, each on an 8-byte boundary unless its size
 * breaks it (put wide dtypes first). meta_pairs: key, value, ..., NULL; or NULL. The same arguments give the
 * same bytes; xxh64 (may be NULL) receives their hash. */
lpo_status lpo_safetensors_write(const char *path, const lpo_tensor_info *tensors, int n,
                                 const char *const *meta_pairs, uint64_t *xxh64, lpo_error *err);
#endif
