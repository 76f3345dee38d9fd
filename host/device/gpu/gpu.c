/* SPDX-License-Identifier: Apache-2.0 */
/* gpu.c -- one in-order queue, buffers with an offset, the launches of kernels/gpu/launch.h. Released buffers
 * go to a small pool, so a step that repeats allocates nothing; when memory runs out the pool is emptied
 * before the allocation is given up. Index tables are checked on the device: a fault leaves its code in a
 * word that wait reads. A lost device stays lost: calls on it fail at once, closing it still frees the host's
 * part. */
#include "device/gpu/gpu.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int n_args;
} op_of[LPO_N_OPS] = {
#define LPO_X(id, name, n_args, out, inout) [LPO_OP_##id] = {name, n_args},
    LPO_OP_LIST(LPO_X)
#undef LPO_X
};

static const char *name_of(const lpo_gpu_device *d) {
    return d->head.driver->name;
}

void lpo_gpu_lost(lpo_gpu_device *d, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    if (!d->lost[0]) vsnprintf(d->lost, sizeof d->lost, fmt, ap);
    va_end(ap);
}

static lpo_status alive(const lpo_gpu_device *d, lpo_error *err) {
    if (!d->lost[0]) return LPO_OK;
    return lpo_fail(err, LPO_EDEVICE, "%s %.80s was lost: %s; run again, with --resume", name_of(d),
                    d->info.name, d->lost);
}

static void pool_empty(lpo_gpu_device *d) {
    for (int i = 0; i < d->n_pool; i++) {
        d->backend->free(d, d->pool[i]->memory);
        free(d->pool[i]);
    }
    d->n_pool = 0;
}

/* Device memory, the arithmetic in the error. */
static lpo_status reserve(lpo_gpu_buffer *b, lpo_gpu_device *d, size_t size_bytes, lpo_error *err) {
    lpo_status s = alive(d, err);
    if (s) return s;
    if (size_bytes <= d->alloc_bytes)
        for (int attempt = 0; attempt < 2; attempt++) {
            if (attempt) pool_empty(d);
            if (!d->backend->allocate(&b->memory, d, size_bytes)) continue;
            b->bytes = size_bytes;
            b->borrowed = 0;
            return LPO_OK;
        }
    s = alive(d, err);
    if (s) return s;
    const double mib = 1.0 / (1 << 20);
    char others[64] = "";
    if (d->free_bytes)
        snprintf(others, sizeof others, ", %.1f MiB of them free", (double)d->free_bytes * mib);
    return lpo_fail(err, LPO_ENOMEM,
                    "%s %.80s: out of memory: %.1f MiB more wanted, %.1f MiB in use, the device has %.1f "
                    "MiB%s and gives at "
                    "most %.1f MiB at once; use a smaller batch, fewer frames or gradient checkpointing",
                    name_of(d), d->info.name, (double)size_bytes * mib, (double)d->in_use_bytes * mib,
                    (double)d->info.memory_bytes * mib, others, (double)d->alloc_bytes * mib);
}

lpo_status lpo_gpu_opened(lpo_gpu_device *d, lpo_error *err) {
    const int32_t zero = 0;
    lpo_status s = reserve(&d->status, d, 256, err);
    if (!s) s = d->backend->write(d, &d->status, 0, &zero, sizeof zero, err);
    if (s) d->backend->close(d);
    return s;
}

void lpo_gpu_closing(lpo_gpu_device *d) {
    pool_empty(d);
    if (d->scratch.memory) d->backend->free(d, d->scratch.memory);
    if (d->status.memory) d->backend->free(d, d->status.memory);
    d->scratch = d->status = (lpo_gpu_buffer){0};
}

void lpo_gpu_close(lpo_device *d) {
    ((lpo_gpu_device *)d)->backend->close((lpo_gpu_device *)d);
}

void lpo_gpu_info(lpo_device_info *out, lpo_device *d) {
    *out = ((lpo_gpu_device *)d)->info;
}

lpo_status lpo_gpu_alloc(lpo_buffer **out, lpo_device *dev, size_t size_bytes, lpo_error *err) {
    lpo_gpu_device *d = (lpo_gpu_device *)dev;
    *out = NULL;
    int best = -1;
    for (int i = 0; i < d->n_pool; i++) {
        size_t have = d->pool[i]->bytes;
        if (have >= size_bytes && have - size_bytes <= have / 4 && (best < 0 || have < d->pool[best]->bytes))
            best = i;
    }
    lpo_gpu_buffer *b;
    if (best >= 0) {
        b = d->pool[best];
        d->pool[best] = d->pool[--d->n_pool];
    } else {
        b = calloc(1, sizeof *b);
        if (!b) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", name_of(d));
        lpo_status s = reserve(b, d, size_bytes ? size_bytes : 64, err);
        if (s) {
            free(b);
            return s;
        }
    }
    b->head = (lpo_buffer_head){.device = dev, .size_bytes = size_bytes};
    d->in_use_bytes += b->bytes;
    *out = (lpo_buffer *)b;
    return LPO_OK;
}

void lpo_gpu_release(lpo_buffer *buf) {
    lpo_gpu_buffer *b = (lpo_gpu_buffer *)buf;
    if (!b) return;
    lpo_gpu_device *d = (lpo_gpu_device *)b->head.device;
    d->in_use_bytes -= b->bytes;
    b->borrowed = d->launched;
    if (d->n_pool < LPO_GPU_POOL) {
        d->pool[d->n_pool++] = b;
        return;
    }
    d->backend->free(d, b->memory);
    free(b);
}

static lpo_status check_range(lpo_buffer *b, size_t offset_bytes, size_t size_bytes, lpo_error *err) {
    size_t have = lpo_buffer_bytes(b);
    if (offset_bytes > have || size_bytes > have - offset_bytes)
        return lpo_fail(err, LPO_EINVAL, "%s: %zu bytes at %zu lie outside a buffer of %zu",
                        name_of((lpo_gpu_device *)lpo_buffer_device(b)), size_bytes, offset_bytes, have);
    return LPO_OK;
}

lpo_status lpo_gpu_upload(lpo_buffer *dst, size_t offset_bytes, const void *src, size_t size_bytes,
                          lpo_error *err) {
    lpo_gpu_device *d = (lpo_gpu_device *)lpo_buffer_device(dst);
    lpo_status s = check_range(dst, offset_bytes, size_bytes, err);
    if (!s) s = alive(d, err);
    if (s || !size_bytes) return s;
    return d->backend->write(d, (lpo_gpu_buffer *)dst, offset_bytes, src, size_bytes, err);
}

lpo_status lpo_gpu_download(void *dst, lpo_buffer *src, size_t offset_bytes, size_t size_bytes,
                            lpo_error *err) {
    lpo_gpu_device *d = (lpo_gpu_device *)lpo_buffer_device(src);
    lpo_status s = check_range(src, offset_bytes, size_bytes, err);
    if (!s) s = alive(d, err);
    if (s || !size_bytes) return s;
    return d->backend->read(dst, d, (lpo_gpu_buffer *)src, offset_bytes, size_bytes, err);
}

static void call_of(lpo_gpu_call *c, const lpo_step *s) {
    *c = (lpo_gpu_call){.op = s->op, .k.attrs = s->attrs};
    for (int i = 0; i < op_of[s->op].n_args; i++) {
        const lpo_dtensor *a = &s->arg[i];
        c->k.arg[i] = (lpo_karg){.data = a->buffer, .dtype = a->dtype, .ndim = a->ndim};
        memcpy(c->k.arg[i].shape, a->shape, sizeof a->shape);
        c->offset_bytes[i] = a->offset_bytes;
    }
}

bool lpo_gpu_supports(lpo_device *dev, const lpo_step *s) {
    lpo_gpu_call c;
    call_of(&c, s);
    c.products = ((lpo_gpu_device *)dev)->products;
    return !lpo_gpu_lower(&c) && c.local_bytes + LPO_GPU_STATIC_LOCAL <= ((lpo_gpu_device *)dev)->local_bytes;
}

static lpo_status grow_scratch(lpo_gpu_device *d, size_t need_bytes, lpo_error *err) {
    if (need_bytes <= d->scratch.bytes) return LPO_OK;
    if (d->scratch.memory) d->backend->free(d, d->scratch.memory);
    d->in_use_bytes -= d->scratch.bytes;
    d->scratch = (lpo_gpu_buffer){0};
    lpo_status s = reserve(&d->scratch, d, need_bytes, err);
    if (!s) d->in_use_bytes += need_bytes;
    return s;
}

typedef struct emission {
    lpo_gpu_device *d;
    lpo_error *err;
} emission;

static int emit(void *ctx, const lpo_gpu_launch *l) {
    emission *e = ctx;
    e->d->launched++;
    return e->d->backend->launch(e->d, l, e->err);
}

lpo_status lpo_gpu_submit(lpo_device *dev, const lpo_step *step, lpo_error *err) {
    lpo_gpu_device *d = (lpo_gpu_device *)dev;
    lpo_gpu_call c;
    lpo_status s = alive(d, err);
    if (s) return s;
    call_of(&c, step);
    c.products = d->products;
    for (int i = 0; i < op_of[step->op].n_args; i++) {
        const lpo_karg *a = &c.k.arg[i];
        if (!a->data) continue;
        s = check_range(a->data, c.offset_bytes[i], (size_t)lpo_karg_count(a) * lpo_dtype_bytes(a->dtype),
                        err);
        if (s) return lpo_fail_in(err, s, "%s argument %d", op_of[step->op].name, i);
    }
    if (lpo_gpu_lower(&c))
        return lpo_fail(err, LPO_EUNSUPPORTED, "%s: no kernel of %s for its arguments' dtypes or shapes",
                        name_of(d), op_of[step->op].name);
    s = grow_scratch(d, c.scratch_bytes, err);
    if (s) return lpo_fail_in(err, s, "scratch of %s", op_of[step->op].name);
    c.scratch.buffer = &d->scratch;
    c.status = (lpo_gpu_tensor){&d->status, 0, LPO_I32};
    c.emit = emit;
    c.ctx = &(emission){d, err};
    d->checked = true;
    s = (lpo_status)lpo_gpu_lower(&c);
    d->backend->flush(d);
    return s;
}

lpo_status lpo_gpu_wait(lpo_device *dev, lpo_error *err) {
    static const char *const what[] = {
        [LPO_GPU_FAULT_IDS] = "embed: an id is not in the table",
        [LPO_GPU_FAULT_CU] =
            "attn: the sequences' bounds do not rise from 0 to the number of rows (evenly, if so said)",
        [LPO_GPU_FAULT_SLOTS] = "attn_cached: a sequence lies outside the cache",
        [LPO_GPU_FAULT_TARGET] = "logprob: a target is not in the vocabulary",
        [LPO_GPU_FAULT_ROWS] = "rowmix: an index is past the last row",
        [LPO_GPU_FAULT_PREFIX] = "attn: a prefix does not lie within an earlier sequence"};
    lpo_gpu_device *d = (lpo_gpu_device *)dev;
    int32_t fault = 0;
    lpo_status s = alive(d, err);
    if (!s) s = d->backend->finish(d, err);
    if (s) return s;
    d->finished = d->launched;
    if (d->checked) s = d->backend->read(&fault, d, &d->status, 0, sizeof fault, err);
    d->checked = false;
    if (s || !fault) return s;
    const int32_t zero = 0;
    s = d->backend->write(d, &d->status, 0, &zero, sizeof zero, err);
    if (s) return s;
    if (fault < 0 || fault >= (int32_t)(sizeof what / sizeof *what) || !what[fault])
        return lpo_fail(err, LPO_EDEVICE, "%s: the device reports fault %d, which no kernel gives",
                        name_of(d), fault);
    return lpo_fail(err, LPO_EINVAL, "%s: %s", name_of(d), what[fault]);
}

bool lpo_gpu_is(lpo_device *d) {
    return lpo_device_driver(d)->submit == lpo_gpu_submit;
}

lpo_status lpo_gpu_enqueue(lpo_device *dev, const lpo_gpu_launch *launch, lpo_error *err) {
    lpo_gpu_device *d = (lpo_gpu_device *)dev;
    lpo_gpu_launch l = *launch;
    lpo_status s = alive(d, err);
    for (int i = 0; i < lpo_gpu_kernel_forms[l.kernel].n_tensors && !s; i++)
        if (l.tensor[i].buffer) s = check_range(l.tensor[i].buffer, l.tensor[i].offset_bytes, 0, err);
    if (!s && l.local_bytes + LPO_GPU_STATIC_LOCAL > d->local_bytes)
        s = lpo_fail(err, LPO_EUNSUPPORTED, "%s: %s needs %u bytes of a group's memory, the device has less",
                     name_of(d), lpo_gpu_kernel_forms[l.kernel].name, l.local_bytes);
    for (int i = 0; i < 3; i++)
        if (!l.groups[i]) l.groups[i] = 1;
    if (!s) s = (lpo_status)emit(&(emission){d, err}, &l);
    if (!s) d->backend->flush(d);
    return s;
}
