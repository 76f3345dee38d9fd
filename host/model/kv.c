/* SPDX-License-Identifier: Apache-2.0 */
/* kv.c -- see kv.h. Spans are few (one a running sequence), so the first gap that fits is found by walking
 * them. */
#include "model/kv.h"

#include "model/parts.h"

#include <stdlib.h>
#include <string.h>

static lpo_device *device_of(const lpo_kv *kv) {
    return kv->m->devices->placement.device[0];
}

static int64_t row_values(const lpo_kv *kv) {
    return 2 * kv->cache.shape[3];
}

lpo_status lpo_kv_init(lpo_kv *kv, lpo_model *m, size_t max_bytes, int max_spans, lpo_error *err) {
    const lpo_block_config *c = &m->config.block;
    *kv = (lpo_kv){.m = m, .max_spans = max_spans};
    kv->cache.shape[1] = 1;
    kv->cache.shape[2] = 2;
    kv->cache.shape[3] = (int64_t)c->n_kv * c->d_head;
    kv->row_bytes = (size_t)row_values(kv) * lpo_dtype_bytes(m->dtype) * (size_t)m->config.n_layers;
    const size_t most = max_bytes / kv->row_bytes;
    kv->max_rows = most < INT32_MAX / 2 ? (int64_t)most : INT32_MAX / 2;
    kv->cache.layer = calloc((size_t)m->config.n_layers, sizeof *kv->cache.layer);
    kv->span = calloc((size_t)max_spans, sizeof *kv->span);
    if (!kv->cache.layer || !kv->span)
        return lpo_fail(err, LPO_ENOMEM, "no memory for a cache of %d sequences", max_spans);
    return LPO_OK;
}

void lpo_kv_clear(lpo_kv *kv) {
    for (int i = 0; kv->cache.layer && i < kv->m->config.n_layers; i++)
        lpo_device_driver(device_of(kv))->release(kv->cache.layer[i]);
    free(kv->cache.layer);
    free(kv->span);
    memset(kv, 0, sizeof *kv);
}

int32_t lpo_kv_take(lpo_kv *kv, int32_t n) {
    if (kv->n_spans == kv->max_spans) return -1;
    int64_t at = 0;
    for (int i = 0; i <= kv->n_spans; i++) {
        const int64_t end = i < kv->n_spans ? kv->span[i].first : kv->cache.shape[0];
        if (end - at >= n) {
            memmove(kv->span + i + 1, kv->span + i, (size_t)(kv->n_spans - i) * sizeof *kv->span);
            kv->span[i] = (lpo_kv_span){(int32_t)at, n};
            kv->n_spans++;
            return (int32_t)at;
        }
        if (i < kv->n_spans) at = end + kv->span[i].n;
    }
    return -1;
}

void lpo_kv_shrink(lpo_kv *kv, int32_t first, int32_t n) {
    for (int i = 0; i < kv->n_spans; i++) {
        if (kv->span[i].first != first) continue;
        kv->span[i].n = n;
        if (n) return;
        kv->n_spans--;
        memmove(kv->span + i, kv->span + i + 1, (size_t)(kv->n_spans - i) * sizeof *kv->span);
        return;
    }
}

/* The device's copy: a cast between alike types. */
static lpo_status copy(const lpo_kv *kv, lpo_buffer *dst, int64_t to, lpo_buffer *src, int64_t from,
                       int64_t n, lpo_error *err) {
    const size_t row = (size_t)row_values(kv) * lpo_dtype_bytes(kv->m->dtype);
    lpo_step s = {.op = LPO_OP_CAST};
    s.arg[0] = (lpo_dtensor){.buffer = dst,
                             .offset_bytes = (size_t)to * row,
                             .dtype = kv->m->dtype,
                             .ndim = 1,
                             .shape = {n * row_values(kv)}};
    s.arg[1] = s.arg[0];
    s.arg[1].buffer = src;
    s.arg[1].offset_bytes = (size_t)from * row;
    return lpo_device_driver(device_of(kv))->submit(device_of(kv), &s, err);
}

lpo_status lpo_kv_copy(lpo_kv *kv, int32_t to, int32_t from, int32_t n, lpo_error *err) {
    lpo_status st = LPO_OK;
    for (int i = 0; i < kv->m->config.n_layers && !st && n > 0; i++)
        st = copy(kv, kv->cache.layer[i], to, kv->cache.layer[i], from, n, err);
    return st;
}

/* Layer by layer, so that old and new memory stand side by side for one layer only. */
lpo_status lpo_kv_grow(lpo_kv *kv, int64_t n, lpo_error *err) {
    lpo_device *device = device_of(kv);
    const lpo_driver *d = lpo_device_driver(device);
    const size_t n_layers = (size_t)kv->m->config.n_layers;
    lpo_status st = LPO_OK;
    for (size_t i = 0; i < n_layers && !st; i++) {
        lpo_buffer *larger = NULL;
        st = d->alloc(&larger, device, (size_t)n * (kv->row_bytes / n_layers), err);
        if (!st && kv->cache.shape[0])
            st = copy(kv, larger, 0, kv->cache.layer[i], 0, kv->cache.shape[0], err);
        if (!st) st = d->wait(device, err);
        d->release(st ? larger : kv->cache.layer[i]);
        if (!st) kv->cache.layer[i] = larger;
    }
    if (st)
        return lpo_fail_in(
            err, st,
            "keys and values: %lld tokens x %zu bytes (%zu layers) = %.1f MiB; fewer sequences "
            "at a time or a smaller cache need less",
            (long long)n, kv->row_bytes, n_layers, (double)n * (double)kv->row_bytes / 1048576.0);
    kv->cache.shape[0] = n;
    return LPO_OK;
}
