/* SPDX-License-Identifier: Apache-2.0 */
/* far.h -- a device as unkind as driver.h allows: its memory is not host memory, it supports only the ops it
 * is told, work is queued and runs only when waited for, and upload and download do not wait. What is right
 * on it needs every copy and every wait the tape makes. Inside, a real host device does the work. */
#ifndef TEST_OPS_FAR_H
#define TEST_OPS_FAR_H
#include "device/driver.h"

#include <stdlib.h>

enum { FAR_QUEUE = 512 };

typedef struct far_device {
    lpo_device_head head;
    lpo_device *inner;
    uint32_t ops; /* bit per op */
    int n_queued, n_run, n_allocs;
    lpo_step queue[FAR_QUEUE];
} far_device;

typedef struct far_buffer {
    lpo_buffer_head head;
    lpo_buffer *inner;
} far_buffer;

static inline int far_count(void) {
    return 0;
}
static inline lpo_status far_open(lpo_device **out, int index, lpo_error *err) {
    (void)index;
    *out = NULL;
    return lpo_fail(err, LPO_ENOTFOUND, "far devices are made by far_create");
}
static inline void far_close(lpo_device *d) {
    lpo_device_close(((far_device *)d)->inner);
    free(d);
}
static inline void far_info(lpo_device_info *out, lpo_device *d) {
    (void)d;
    *out = (lpo_device_info){.name = "far"};
}
static inline lpo_status far_alloc(lpo_buffer **out, lpo_device *d, size_t size_bytes, lpo_error *err) {
    far_device *f = (far_device *)d;
    far_buffer *b = calloc(1, sizeof *b);
    lpo_status s = lpo_device_driver(f->inner)->alloc(&b->inner, f->inner, size_bytes, err);
    b->head = (lpo_buffer_head){.device = d, .size_bytes = size_bytes};
    f->n_allocs++;
    *out = (lpo_buffer *)b;
    return s;
}
static inline void far_release(lpo_buffer *buf) {
    far_buffer *b = (far_buffer *)buf;
    if (!b) return;
    lpo_device_driver(lpo_buffer_device(b->inner))->release(b->inner);
    free(b);
}
static inline lpo_status far_upload(lpo_buffer *dst, size_t offset_bytes, const void *src, size_t size_bytes,
                                    lpo_error *err) {
    lpo_buffer *b = ((far_buffer *)dst)->inner;
    return lpo_device_driver(lpo_buffer_device(b))->upload(b, offset_bytes, src, size_bytes, err);
}
static inline lpo_status far_download(void *dst, lpo_buffer *src, size_t offset_bytes, size_t size_bytes,
                                      lpo_error *err) {
    lpo_buffer *b = ((far_buffer *)src)->inner;
    return lpo_device_driver(lpo_buffer_device(b))->download(dst, b, offset_bytes, size_bytes, err);
}
static inline bool far_supports(lpo_device *d, const lpo_step *s) {
    far_device *f = (far_device *)d;
    return f->ops >> s->op & 1u && lpo_device_driver(f->inner)->supports(f->inner, s);
}
static inline lpo_status far_wait(lpo_device *d, lpo_error *err) {
    far_device *f = (far_device *)d;
    lpo_status s = LPO_OK;
    for (int i = 0; i < f->n_queued && !s; i++)
        s = lpo_device_driver(f->inner)->submit(f->inner, &f->queue[i], err);
    f->n_run += f->n_queued;
    f->n_queued = 0;
    return s;
}
static inline lpo_status far_submit(lpo_device *d, const lpo_step *s, lpo_error *err) {
    far_device *f = (far_device *)d;
    if (f->n_queued == FAR_QUEUE) {
        lpo_status st = far_wait(d, err);
        if (st) return st;
    }
    lpo_step *q = &f->queue[f->n_queued++];
    *q = *s;
    for (int i = 0; i < LPO_MAX_ARGS; i++) {
        if (!q->arg[i].buffer) continue;
        if (lpo_buffer_device(q->arg[i].buffer) != d)
            return lpo_fail(err, LPO_EDEVICE, "argument %d is not far memory", i);
        q->arg[i].buffer = ((far_buffer *)q->arg[i].buffer)->inner;
    }
    return LPO_OK;
}

static const lpo_driver far_driver = {"far",      far_count,   far_open,   far_close,    far_info,
                                      far_alloc,  far_release, far_upload, far_download, far_supports,
                                      far_submit, far_wait,    NULL};

/* Takes inner over. */
static inline lpo_device *far_create(lpo_device *inner, uint32_t ops) {
    far_device *f = calloc(1, sizeof *f);
    f->head.driver = &far_driver;
    f->inner = inner;
    f->ops = ops;
    return (lpo_device *)f;
}
#endif
