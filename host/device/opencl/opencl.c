/* SPDX-License-Identifier: Apache-2.0 */
/* opencl.c -- the backend: one in-order queue, cl_mem behind every buffer. Programs and kernels are made when
 * first needed. */
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

#include "device/gpu/gpu.h"
#include "device/opencl/api.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct opencl_device {
    lpo_gpu_device gpu;
    const opencl_api *cl;
    const opencl_found *found;
    cl_context context;
    cl_command_queue queue;
    cl_program program[LPO_GPU_N_FILES];
    cl_kernel kernel[LPO_GPU_N_KERNELS];
} opencl_device;

static lpo_status failed(opencl_device *d, cl_int rc, const char *doing, lpo_error *err) {
    bool memory = rc == CL_MEM_OBJECT_ALLOCATION_FAILURE || rc == CL_OUT_OF_HOST_MEMORY;
    if (rc == CL_INVALID_COMMAND_QUEUE || rc == CL_DEVICE_NOT_AVAILABLE)
        lpo_gpu_lost(&d->gpu, "%s: %s (%d)", doing, opencl_error(rc), rc);
    return lpo_fail(err, memory ? LPO_ENOMEM : LPO_EDEVICE, "opencl %.80s: %s: %s (%d)%s", d->found->name,
                    doing, opencl_error(rc), rc,
                    memory ? "; use a smaller batch, fewer frames or gradient checkpointing" : "");
}

static void end(lpo_gpu_device *g) {
    opencl_device *d = (opencl_device *)g;
    const opencl_api *cl = d->cl;
    if (d->queue) cl->clFinish(d->queue);
    lpo_gpu_closing(g);
    for (int i = 0; i < LPO_GPU_N_KERNELS; i++)
        if (d->kernel[i]) cl->clReleaseKernel(d->kernel[i]);
    for (int i = 0; i < LPO_GPU_N_FILES; i++)
        if (d->program[i]) cl->clReleaseProgram(d->program[i]);
    if (d->queue) cl->clReleaseCommandQueue(d->queue);
    if (d->context) cl->clReleaseContext(d->context);
    free(d);
}

static bool allocate(uintptr_t *memory, lpo_gpu_device *g, size_t size_bytes) {
    opencl_device *d = (opencl_device *)g;
    cl_int rc;
    *memory = (uintptr_t)d->cl->clCreateBuffer(d->context, CL_MEM_READ_WRITE, size_bytes, NULL, &rc);
    return rc == CL_SUCCESS;
}

/* OpenCL keeps memory until queued work is done with it. */
static void release(lpo_gpu_device *g, uintptr_t memory) {
    ((opencl_device *)g)->cl->clReleaseMemObject((cl_mem)memory);
}

static lpo_status write_bytes(lpo_gpu_device *g, lpo_gpu_buffer *b, size_t offset_bytes, const void *src,
                              size_t size_bytes, lpo_error *err) {
    opencl_device *d = (opencl_device *)g;
    cl_int rc = d->cl->clEnqueueWriteBuffer(d->queue, (cl_mem)b->memory, CL_TRUE, offset_bytes, size_bytes,
                                            src, 0, NULL, NULL);
    return rc ? failed(d, rc, "upload", err) : LPO_OK;
}

static lpo_status read_bytes(void *dst, lpo_gpu_device *g, lpo_gpu_buffer *b, size_t offset_bytes,
                             size_t size_bytes, lpo_error *err) {
    opencl_device *d = (opencl_device *)g;
    cl_int rc = d->cl->clEnqueueReadBuffer(d->queue, (cl_mem)b->memory, CL_TRUE, offset_bytes, size_bytes,
                                           dst, 0, NULL, NULL);
    return rc ? failed(d, rc, "download", err) : LPO_OK;
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
        const lpo_gpu_buffer *b = t->buffer ? t->buffer : &d->gpu.status; /* absent: any memory */
        cl_mem mem = (cl_mem)b->memory;
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

static lpo_status launch(lpo_gpu_device *g, const lpo_gpu_launch *l, lpo_error *err) {
    opencl_device *d = (opencl_device *)g;
    const lpo_gpu_kernel_form *f = &lpo_gpu_kernel_forms[l->kernel];
    lpo_status s = make_kernel(d, l->kernel, err);
    if (s) return s;
    const size_t local[3] = {(size_t)f->threads, 1, 1},
                 global[3] = {(size_t)f->threads * l->groups[0], l->groups[1], l->groups[2]};
    cl_int rc = set_args(d, d->kernel[l->kernel], l);
    if (!rc)
        rc = d->cl->clEnqueueNDRangeKernel(d->queue, d->kernel[l->kernel], 3, NULL, global, local, 0, NULL,
                                           NULL);
    return rc ? failed(d, rc, f->name, err) : LPO_OK;
}

static void flush(lpo_gpu_device *g) {
    ((opencl_device *)g)->cl->clFlush(((opencl_device *)g)->queue);
}

static lpo_status finish(lpo_gpu_device *g, lpo_error *err) {
    opencl_device *d = (opencl_device *)g;
    cl_int rc = d->cl->clFinish(d->queue);
    return rc ? failed(d, rc, "waiting", err) : LPO_OK;
}

static const lpo_gpu_backend backend = {
    .close = end,
    .allocate = allocate,
    .free = release,
    .write = write_bytes,
    .read = read_bytes,
    .launch = launch,
    .flush = flush,
    .finish = finish,
};

static int opencl_count(void) {
    return opencl_devices()->n;
}

static lpo_status opencl_open(lpo_device **out, int index, lpo_error *err) {
    const opencl_set *set = opencl_devices();
    *out = NULL;
    if (index < 0 || index >= set->n) return lpo_fail(err, LPO_ENOTFOUND, "opencl: %s", set->why);
    opencl_device *d = calloc(1, sizeof *d);
    if (!d) return lpo_fail(err, LPO_ENOMEM, "opencl: out of memory");
    const opencl_found *f = d->found = &set->device[index];
    d->cl = &set->cl;
    d->gpu = (lpo_gpu_device){.head.driver = &lpo_driver_opencl,
                              .backend = &backend,
                              .info.memory_bytes = f->memory_bytes,
                              .alloc_bytes = f->alloc_bytes,
                              .local_bytes = f->local_bytes};
    snprintf(d->gpu.info.name, sizeof d->gpu.info.name, "%.60s (%.30s)", f->name, f->platform);
    d->gpu.info.is_cpu = f->cpu;
    cl_int rc;
    d->context = d->cl->clCreateContext(NULL, 1, &f->id, NULL, NULL, &rc);
    if (!rc) d->queue = d->cl->clCreateCommandQueue(d->context, f->id, 0, &rc);
    lpo_status s = LPO_OK;
    if (rc) {
        s = failed(d, rc, "opening", err);
        end(&d->gpu);
    } else
        s = lpo_gpu_opened(&d->gpu, err);
    if (!s) *out = (lpo_device *)d;
    return s;
}

static const char *const nodes[] = {"/dev/dri/renderD*", "/dev/nvidiactl", "/dev/kfd",
                                    "/dev/dxg",          "/dev/mali*",     NULL};

const lpo_driver lpo_driver_opencl = {
    .name = "opencl",
    .nodes = nodes,
    .count = opencl_count,
    .open = opencl_open,
    LPO_GPU_DRIVER_ROWS,
};
#endif
