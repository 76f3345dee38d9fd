/* SPDX-License-Identifier: Apache-2.0 */
/* opencl.c -- the driver: one in-order queue, buffers with an offset, the launches of kernels/gpu/launch.h.
 * Programs and kernels are made when first needed. Released buffers go to a small pool, so a step that
 * repeats allocates nothing; when memory runs out the pool is emptied before the allocation is given up.
 * Index tables are checked on the device: a fault leaves its code in a word that wait reads. */
#include "device/opencl/opencl.h"

#ifndef LEANPO_OPENCL_HEADERS

static int no_devices(void) {
    return 0;
}
static lpo_status no_open(lpo_device **out, int index, lpo_error *err) {
    char why[256];
    (void)index;
    *out = NULL;
    lpo_opencl_describe(why, sizeof why);
    return lpo_fail(err, LPO_ENOTFOUND, "opencl: %s", why);
}
const lpo_driver lpo_driver_opencl = {.name = "opencl", .count = no_devices, .open = no_open};

#else

#include "device/opencl/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POOL = 16, STATIC_LOCAL = 12 << 10 /* the local arrays of any kernel stay below this */ };

typedef struct opencl_buffer {
    lpo_buffer_head head;
    cl_mem mem;
    size_t bytes; /* of mem: at least what was asked for */
} opencl_buffer;

typedef struct opencl_device {
    lpo_device_head head;
    const opencl_api *cl;
    const opencl_found *found;
    cl_context context;
    cl_command_queue queue;
    cl_program program[LPO_GPU_N_FILES];
    cl_kernel kernel[LPO_GPU_N_KERNELS];
    opencl_buffer scratch, status;
    opencl_buffer *pool[POOL];
    int n_pool;
    size_t in_use_bytes;
    bool checked;   /* a table was checked since the status was last read */
    lpo_error *err; /* of the submit in progress */
} opencl_device;

static const struct {
    const char *name;
    int n_args;
} op_of[LPO_N_OPS] = {
#define LPO_X(id, name, n_args, out, inout) [LPO_OP_##id] = {name, n_args},
    LPO_OP_LIST(LPO_X)
#undef LPO_X
};

static lpo_status failed(const opencl_device *d, cl_int rc, const char *doing, lpo_error *err) {
    bool memory = rc == CL_MEM_OBJECT_ALLOCATION_FAILURE || rc == CL_OUT_OF_HOST_MEMORY;
    return lpo_fail(err, memory ? LPO_ENOMEM : LPO_EDEVICE, "opencl %.80s: %s: %s (%d)%s", d->found->name,
                    doing, opencl_error(rc), rc,
                    memory ? "; use a smaller batch, fewer frames or gradient checkpointing" : "");
}

static int opencl_count(void) {
    return opencl_devices()->n;
}

static void opencl_close(lpo_device *dev) {
    opencl_device *d = (opencl_device *)dev;
    const opencl_api *cl = d->cl;
    if (d->queue) cl->clFinish(d->queue);
    for (int i = 0; i < d->n_pool; i++) {
        cl->clReleaseMemObject(d->pool[i]->mem);
        free(d->pool[i]);
    }
    if (d->scratch.mem) cl->clReleaseMemObject(d->scratch.mem);
    if (d->status.mem) cl->clReleaseMemObject(d->status.mem);
    for (int i = 0; i < LPO_GPU_N_KERNELS; i++)
        if (d->kernel[i]) cl->clReleaseKernel(d->kernel[i]);
    for (int i = 0; i < LPO_GPU_N_FILES; i++)
        if (d->program[i]) cl->clReleaseProgram(d->program[i]);
    if (d->queue) cl->clReleaseCommandQueue(d->queue);
    if (d->context) cl->clReleaseContext(d->context);
    free(d);
}

static lpo_status opencl_open(lpo_device **out, int index, lpo_error *err) {
    const opencl_set *set = opencl_devices();
    *out = NULL;
    if (index < 0 || index >= set->n) return lpo_fail(err, LPO_ENOTFOUND, "opencl: %s", set->why);
    opencl_device *d = calloc(1, sizeof *d);
    if (!d) return lpo_fail(err, LPO_ENOMEM, "opencl: out of memory");
    d->head.driver = &lpo_driver_opencl;
    d->cl = &set->cl;
    d->found = &set->device[index];
    cl_int rc;
    d->context = d->cl->clCreateContext(NULL, 1, &d->found->id, NULL, NULL, &rc);
    if (!rc) d->queue = d->cl->clCreateCommandQueue(d->context, d->found->id, 0, &rc);
    if (!rc) {
        const int zero = 0;
        d->status.mem = d->cl->clCreateBuffer(d->context, CL_MEM_READ_WRITE, 256, NULL, &rc);
        if (!rc)
            rc = d->cl->clEnqueueWriteBuffer(d->queue, d->status.mem, CL_TRUE, 0, sizeof zero, &zero, 0, NULL,
                                             NULL);
    }
    if (rc) {
        lpo_status s = failed(d, rc, "opening", err);
        opencl_close((lpo_device *)d);
        return s;
    }
    *out = (lpo_device *)d;
    return LPO_OK;
}

static void opencl_info(lpo_device_info *out, lpo_device *dev) {
    const opencl_found *f = ((opencl_device *)dev)->found;
    *out = (lpo_device_info){.memory_bytes = f->memory_bytes};
    snprintf(out->name, sizeof out->name, "%.60s (%.30s)", f->name, f->platform);
}

static void pool_empty(opencl_device *d) {
    for (int i = 0; i < d->n_pool; i++) {
        d->cl->clReleaseMemObject(d->pool[i]->mem);
        free(d->pool[i]);
    }
    d->n_pool = 0;
}

/* Device memory, the arithmetic in the error. */
static lpo_status reserve(cl_mem *out, opencl_device *d, size_t size_bytes, lpo_error *err) {
    cl_int rc = CL_MEM_OBJECT_ALLOCATION_FAILURE;
    *out = NULL;
    if (size_bytes <= d->found->alloc_bytes)
        for (int attempt = 0; attempt < 2 && rc; attempt++) {
            if (attempt) pool_empty(d);
            *out = d->cl->clCreateBuffer(d->context, CL_MEM_READ_WRITE, size_bytes, NULL, &rc);
        }
    if (!rc) return LPO_OK;
    *out = NULL;
    const double mib = 1.0 / (1 << 20);
    return lpo_fail(
        err, LPO_ENOMEM,
        "opencl %.80s: out of memory: %.1f MiB more wanted, %.1f MiB in use, the device has %.1f MiB "
        "and gives at most %.1f MiB at once; use a smaller batch, fewer frames or gradient checkpointing",
        d->found->name, (double)size_bytes * mib, (double)d->in_use_bytes * mib,
        (double)d->found->memory_bytes * mib, (double)d->found->alloc_bytes * mib);
}

static lpo_status opencl_alloc(lpo_buffer **out, lpo_device *dev, size_t size_bytes, lpo_error *err) {
    opencl_device *d = (opencl_device *)dev;
    *out = NULL;
    int best = -1;
    for (int i = 0; i < d->n_pool; i++) {
        size_t have = d->pool[i]->bytes;
        if (have >= size_bytes && have - size_bytes <= have / 4 && (best < 0 || have < d->pool[best]->bytes))
            best = i;
    }
    opencl_buffer *b;
    if (best >= 0) {
        b = d->pool[best];
        d->pool[best] = d->pool[--d->n_pool];
    } else {
        b = calloc(1, sizeof *b);
        if (!b) return lpo_fail(err, LPO_ENOMEM, "opencl: out of memory");
        b->bytes = size_bytes ? size_bytes : 64;
        lpo_status s = reserve(&b->mem, d, b->bytes, err);
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

static void opencl_release(lpo_buffer *buf) {
    opencl_buffer *b = (opencl_buffer *)buf;
    if (!b) return;
    opencl_device *d = (opencl_device *)b->head.device;
    d->in_use_bytes -= b->bytes;
    if (d->n_pool < POOL) {
        d->pool[d->n_pool++] = b;
        return;
    }
    d->cl->clReleaseMemObject(b->mem);
    free(b);
}

static lpo_status check_range(lpo_buffer *b, size_t offset_bytes, size_t size_bytes, lpo_error *err) {
    size_t have = lpo_buffer_bytes(b);
    if (offset_bytes > have || size_bytes > have - offset_bytes)
        return lpo_fail(err, LPO_EINVAL, "opencl: %zu bytes at %zu lie outside a buffer of %zu", size_bytes,
                        offset_bytes, have);
    return LPO_OK;
}

static lpo_status opencl_upload(lpo_buffer *dst, size_t offset_bytes, const void *src, size_t size_bytes,
                                lpo_error *err) {
    lpo_status s = check_range(dst, offset_bytes, size_bytes, err);
    if (s || !size_bytes) return s;
    opencl_device *d = (opencl_device *)lpo_buffer_device(dst);
    cl_int rc = d->cl->clEnqueueWriteBuffer(d->queue, ((opencl_buffer *)dst)->mem, CL_TRUE, offset_bytes,
                                            size_bytes, src, 0, NULL, NULL);
    return rc ? failed(d, rc, "upload", err) : LPO_OK;
}

static lpo_status opencl_download(void *dst, lpo_buffer *src, size_t offset_bytes, size_t size_bytes,
                                  lpo_error *err) {
    lpo_status s = check_range(src, offset_bytes, size_bytes, err);
    if (s || !size_bytes) return s;
    opencl_device *d = (opencl_device *)lpo_buffer_device(src);
    cl_int rc = d->cl->clEnqueueReadBuffer(d->queue, ((opencl_buffer *)src)->mem, CL_TRUE, offset_bytes,
                                           size_bytes, dst, 0, NULL, NULL);
    return rc ? failed(d, rc, "download", err) : LPO_OK;
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

static bool opencl_supports(lpo_device *dev, const lpo_step *s) {
    lpo_gpu_call c;
    call_of(&c, s);
    return !lpo_gpu_lower(&c) && c.local_bytes + STATIC_LOCAL <= ((opencl_device *)dev)->found->local_bytes;
}

static lpo_status make_kernel(opencl_device *d, lpo_gpu_kernel which, lpo_error *err) {
    if (d->kernel[which]) return LPO_OK;
    const lpo_gpu_kernel_form *f = &lpo_gpu_kernel_forms[which];
    if (!d->program[f->file]) {
        lpo_status s =
            opencl_program(&d->program[f->file], d->cl, d->context, d->found, &lpo_gpu_sources[f->file], err);
        if (s) return s;
    }
    cl_int rc;
    d->kernel[which] = d->cl->clCreateKernel(d->program[f->file], f->name, &rc);
    return rc ? failed(d, rc, f->name, err) : LPO_OK;
}

/* The arguments in the order that launch.h states. */
static cl_int set_args(opencl_device *d, cl_kernel k, const lpo_gpu_launch *l) {
    const lpo_gpu_kernel_form *f = &lpo_gpu_kernel_forms[l->kernel];
    cl_uint at = 0;
    cl_int rc = 0;
    for (int i = 0; i < f->n_tensors && !rc; i++) {
        const lpo_gpu_tensor *t = &l->tensor[i];
        cl_mem mem = t->buffer ? ((opencl_buffer *)t->buffer)->mem : d->status.mem; /* absent: any memory */
        cl_long offset = t->buffer ? (cl_long)t->offset_bytes : -1;
        cl_int dtype = t->dtype;
        rc = d->cl->clSetKernelArg(k, at++, sizeof mem, &mem);
        if (!rc) rc = d->cl->clSetKernelArg(k, at++, sizeof offset, &offset);
        if (!rc) rc = d->cl->clSetKernelArg(k, at++, sizeof dtype, &dtype);
    }
    for (int i = 0; i < f->n_ints && !rc; i++) {
        cl_long v = l->n[i];
        rc = d->cl->clSetKernelArg(k, at++, sizeof v, &v);
    }
    for (int i = 0; i < f->n_reals && !rc; i++)
        rc = d->cl->clSetKernelArg(k, at++, sizeof(double), &l->real[i]);
    if (!rc && l->local_bytes) rc = d->cl->clSetKernelArg(k, at++, l->local_bytes, NULL);
    return rc;
}

static int emit(void *ctx, const lpo_gpu_launch *l) {
    opencl_device *d = ctx;
    const lpo_gpu_kernel_form *f = &lpo_gpu_kernel_forms[l->kernel];
    lpo_status s = make_kernel(d, l->kernel, d->err);
    if (s) return s;
    const size_t local[3] = {(size_t)f->threads, 1, 1},
                 global[3] = {(size_t)f->threads * l->groups[0], l->groups[1], l->groups[2]};
    cl_int rc = set_args(d, d->kernel[l->kernel], l);
    if (!rc)
        rc = d->cl->clEnqueueNDRangeKernel(d->queue, d->kernel[l->kernel], 3, NULL, global, local, 0, NULL,
                                           NULL);
    return rc ? failed(d, rc, f->name, d->err) : LPO_OK;
}

static lpo_status grow_scratch(opencl_device *d, size_t need_bytes, lpo_error *err) {
    if (need_bytes <= d->scratch.bytes) return LPO_OK;
    if (d->scratch.mem)
        d->cl->clReleaseMemObject(d->scratch.mem); /* lives until queued work is done with it */
    d->in_use_bytes -= d->scratch.bytes;
    d->scratch = (opencl_buffer){0};
    lpo_status s = reserve(&d->scratch.mem, d, need_bytes, err);
    if (s) return s;
    d->scratch.bytes = need_bytes;
    d->in_use_bytes += need_bytes;
    return LPO_OK;
}

static lpo_status opencl_submit(lpo_device *dev, const lpo_step *step, lpo_error *err) {
    opencl_device *d = (opencl_device *)dev;
    lpo_gpu_call c;
    call_of(&c, step);
    for (int i = 0; i < op_of[step->op].n_args; i++) {
        const lpo_karg *a = &c.k.arg[i];
        if (!a->data) continue;
        lpo_status s = check_range(a->data, c.offset_bytes[i],
                                   (size_t)lpo_karg_count(a) * lpo_dtype_bytes(a->dtype), err);
        if (s) return lpo_fail_in(err, s, "%s argument %d", op_of[step->op].name, i);
    }
    if (lpo_gpu_lower(&c))
        return lpo_fail(err, LPO_EUNSUPPORTED, "opencl: no kernel of %s for its arguments' dtypes or shapes",
                        op_of[step->op].name);
    lpo_status s = grow_scratch(d, c.scratch_bytes, err);
    if (s) return lpo_fail_in(err, s, "scratch of %s", op_of[step->op].name);
    d->err = err;
    c.scratch.buffer = &d->scratch;
    c.status = (lpo_gpu_tensor){&d->status, 0, LPO_I32};
    c.emit = emit;
    c.ctx = d;
    d->checked = true;
    s = (lpo_status)lpo_gpu_lower(&c);
    d->err = NULL;
    d->cl->clFlush(d->queue); /* start now: the host goes on recording meanwhile */
    return s;
}

static lpo_status opencl_wait(lpo_device *dev, lpo_error *err) {
    static const char *const what[] = {
        [LPO_GPU_FAULT_IDS] = "embed: an id is not in the table",
        [LPO_GPU_FAULT_CU] = "attn: the sequences' bounds do not rise from 0 to the number of rows",
        [LPO_GPU_FAULT_SLOTS] = "attn_cached: a sequence lies outside the cache",
        [LPO_GPU_FAULT_TARGET] = "logprob: a target is not in the vocabulary",
        [LPO_GPU_FAULT_ROWS] = "rowmix: an index is past the last row",
        [LPO_GPU_FAULT_PREFIX] = "attn: a prefix does not lie within an earlier sequence"};
    opencl_device *d = (opencl_device *)dev;
    cl_int rc = 0, fault = 0;
    if (d->checked)
        rc = d->cl->clEnqueueReadBuffer(d->queue, d->status.mem, CL_TRUE, 0, sizeof fault, &fault, 0, NULL,
                                        NULL);
    else
        rc = d->cl->clFinish(d->queue);
    d->checked = false;
    if (rc) return failed(d, rc, "waiting", err);
    if (!fault) return LPO_OK;
    const cl_int zero = 0;
    d->cl->clEnqueueWriteBuffer(d->queue, d->status.mem, CL_TRUE, 0, sizeof zero, &zero, 0, NULL, NULL);
    if (fault < 0 || fault > LPO_GPU_FAULT_PREFIX) fault = LPO_GPU_FAULT_IDS;
    return lpo_fail(err, LPO_EINVAL, "opencl: %s", what[fault]);
}

const lpo_driver lpo_driver_opencl = {
    .name = "opencl",
    .count = opencl_count,
    .open = opencl_open,
    .close = opencl_close,
    .info = opencl_info,
    .alloc = opencl_alloc,
    .release = opencl_release,
    .upload = opencl_upload,
    .download = opencl_download,
    .supports = opencl_supports,
    .submit = opencl_submit,
    .wait = opencl_wait,
};
#endif
