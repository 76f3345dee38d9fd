/* SPDX-License-Identifier: Apache-2.0 */
/* reduce_gpu.c -- pairs through kernels/gpu/reduce.cl. One buffer up, the input as it lies; one buffer down:
 * rows of the pairs | the batch's sums | each pair's share of them, which stays. The shares are added in the
 * order of the pairs by a second launch. */
#include "base/trace.h"
#include "device/gpu/gpu.h"
#include "train/reduce.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct on_gpu {
    lpo_reducer reducer;
    char name[64];
    lpo_device *device;
    const lpo_driver *driver;
} on_gpu;

typedef struct run {
    lpo_buffer *in, *out;
    double *rows; /* where the results come down to */
    size_t rows_bytes;
} run;

static lpo_status start(const on_gpu *g, const run *r, const lpo_pairs *p, const lpo_reduce_input *in,
                        lpo_error *err) {
    const size_t batch = in->n_pairs * sizeof *p->out;
    const char *from = (const char *)in->pair_in;
    const lpo_gpu_tensor part = {r->out, batch + sizeof p->batch, LPO_F64};
    lpo_gpu_launch l = {
        .kernel = LPO_GPU_REDUCE_PAIRS,
        .groups = {(uint32_t)in->n_pairs},
        .tensor = {{r->out, 0, LPO_F64},
                   part,
                   {r->in, (size_t)((const char *)in->logp - from), LPO_F32},
                   {.dtype = LPO_F64},
                   {r->in, (size_t)((const char *)in->seg_start - from), LPO_I32},
                   {r->in, 0, LPO_F64}},
        .n = {p->rule.op, p->rule.score, p->rule.flags, p->n},
        .real = {p->rule.beta, p->rule.tau, p->rule.alpha},
    };
    if (in->weight) l.tensor[3] = (lpo_gpu_tensor){r->in, (size_t)((const char *)in->weight - from), LPO_F64};
    lpo_status s = lpo_gpu_enqueue(g->device, &l, err);
    if (s) return s;
    return lpo_gpu_enqueue(g->device,
                           &(lpo_gpu_launch){.kernel = LPO_GPU_REDUCE_BATCH,
                                             .tensor = {{r->out, batch, LPO_F64}, part},
                                             .n = {p->n}},
                           err);
}

static lpo_status submit(void *self, void **job, lpo_pairs *p, const lpo_reduce_input *in, lpo_arena *arena,
                         lpo_error *err) {
    const on_gpu *g = self;
    const double t = lpo_trace_begin();
    run *r = lpo_arena_alloc(arena, 1, sizeof *r);
    const size_t rows_bytes = in->n_pairs * sizeof *p->out + sizeof p->batch;
    double *rows = lpo_arena_alloc(arena, rows_bytes / sizeof *rows, sizeof *rows);
    if (!r || !rows) return lpo_fail(err, LPO_ENOMEM, "out of memory to reduce a batch");
    *r = (run){.rows = rows, .rows_bytes = rows_bytes};
    lpo_status s = g->driver->alloc(&r->in, g->device, in->size_bytes, err);
    if (!s) s = g->driver->alloc(&r->out, g->device, rows_bytes + in->n_pairs * sizeof p->batch, err);
    if (!s) s = g->driver->upload(r->in, 0, in->pair_in, in->size_bytes, err);
    if (!s) s = start(g, r, p, in, err);
    lpo_trace_end(t, "reduce", g->name, NULL, (double)in->size_bytes, 0);
    if (s) {
        g->driver->release(r->in);
        g->driver->release(r->out);
    } else
        *job = r;
    return s;
}

static lpo_status wait(void *self, void *job, lpo_pairs *p, lpo_error *err) {
    const on_gpu *g = self;
    run *r = job;
    const double t = lpo_trace_begin();
    lpo_status s = g->driver->wait(g->device, err);
    if (!s) s = g->driver->download(r->rows, r->out, 0, r->rows_bytes, err);
    if (!s) {
        memcpy(p->out, r->rows, r->rows_bytes - sizeof p->batch);
        memcpy(p->batch, (const char *)r->rows + r->rows_bytes - sizeof p->batch, sizeof p->batch);
    }
    g->driver->release(r->in);
    g->driver->release(r->out);
    lpo_trace_end(t, "reduce", g->name, NULL, (double)r->rows_bytes, 0);
    return s;
}

static void close_reducer(void *self) {
    on_gpu *g = self;
    lpo_device_close(g->device);
    free(g);
}

lpo_status lpo_reducer_on_gpu(lpo_reducer **out, const char *device, lpo_error *err) {
    on_gpu *g = calloc(1, sizeof *g);
    *out = NULL;
    if (!g) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    lpo_status s = lpo_device_open(&g->device, device, err);
    if (!s && !lpo_gpu_is(g->device))
        s = lpo_fail(err, LPO_EUNSUPPORTED, "%s: reduce has no kernels for it", device);
    if (s) {
        lpo_device_close(g->device);
        free(g);
        return s;
    }
    g->driver = lpo_device_driver(g->device);
    snprintf(g->name, sizeof g->name, "%s", device);
    g->reducer = (lpo_reducer){g, g->name, submit, wait, close_reducer};
    *out = &g->reducer;
    return LPO_OK;
}
