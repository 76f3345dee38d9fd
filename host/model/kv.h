/* SPDX-License-Identifier: Apache-2.0 */
/* kv.h -- the memory of keys and values: one tensor a layer, handed out to sequences by the row.
 * Every sequence has a span of consecutive rows, as long as it can become. The tensors grow with what is
 * asked for, up to a bound. */
#ifndef LPO_MODEL_KV_H
#define LPO_MODEL_KV_H
#include "model/pack.h"

typedef struct lpo_kv_span {
    int32_t first, n;
} lpo_kv_span;

typedef struct lpo_kv {
    lpo_model *m;
    lpo_cache cache;   /* shape: rows that exist, 1, 2, n_kv*d_head */
    size_t row_bytes;  /* of one token in all layers */
    int64_t max_rows;  /* the bound */
    lpo_kv_span *span; /* given away, by first row */
    int n_spans, max_spans;
} lpo_kv;

/* Nothing is allocated on the device yet. */
lpo_status lpo_kv_init(lpo_kv *kv, lpo_model *m, size_t max_bytes, int max_spans, lpo_error *err);
void lpo_kv_clear(lpo_kv *kv); /* a zeroed one is fine */

int32_t lpo_kv_take(lpo_kv *kv, int32_t n);               /* the first of n rows, or -1: no room */
void lpo_kv_shrink(lpo_kv *kv, int32_t first, int32_t n); /* keep n of the span's rows; 0: give it back */
lpo_status lpo_kv_grow(lpo_kv *kv, int64_t n, lpo_error *err); /* n rows in all, at most max_rows */

/* Rows [from, from+n) of every layer to [to, to+n), which do not overlap them. Queued on the device. */
lpo_status lpo_kv_copy(lpo_kv *kv, int32_t to, int32_t from, int32_t n, lpo_error *err);
#endif
