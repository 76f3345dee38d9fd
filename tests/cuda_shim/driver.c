/* SPDX-License-Identifier: Apache-2.0 */
/* driver.c -- libcuda: memory, streams as lists of work not yet done, events, and launches. */
#include "shim.h"

#include "device/opencl/api.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
    OK,
    INVALID_VALUE = 1,
    NOT_INITIALIZED = 3,
    INVALID_CONTEXT = 201,
    NOT_FOUND = 500,
    NOT_SUPPORTED = 801
};
enum { FATBIN_MAGIC = 0xba55ed50, MOST_LOCAL = 227 << 10, PLAIN_LOCAL = 48 << 10, POISON_AT_MOST = 16 << 20 };

typedef struct memory {
    struct memory *next;
    cuda_ptr at;
    size_t size_bytes;
    cl_mem mem;
} memory;

typedef struct pinned {
    struct pinned *next;
    char *at;
    size_t size_bytes;
} pinned;

struct cuda_event_of {
    cuda_stream stream; /* of the last record */
    uint64_t recorded, reached;
};

struct cuda_module_of {
    int loaded;
};
struct cuda_function_of { /* one for each kernel, never freed: a module's functions are its own */
    lpo_gpu_kernel which;
    int local_bytes;
};

typedef enum work_kind { TO_DEVICE, TO_HOST, LAUNCH, PRODUCT, RECORD, WAIT } work_kind;
typedef struct work {
    struct work *next;
    work_kind kind;
    cuda_ptr device;
    char *host;
    size_t size_bytes;
    uint64_t hash; /* of the bytes when they were queued */
    cuda_event event;
    uint64_t when; /* of the event */
    lpo_gpu_kernel which;
    unsigned groups[3], local_bytes;
    cuda_ptr base[LPO_GPU_MAX_TENSORS];
    int64_t offset[LPO_GPU_MAX_TENSORS];
    int32_t dtype[LPO_GPU_MAX_TENSORS];
    int64_t n[LPO_GPU_MAX_INTS];
    double real[LPO_GPU_MAX_REALS];
    shim_product product;
} work;

struct cuda_stream_of {
    struct cuda_stream_of *next;
    work *first, **last;
    struct captured *capture; /* work goes here instead */
};

/* Work as it was captured; never freed before the context, so that late use is seen. */
typedef struct captured {
    struct captured *next;
    int alive;
    work *first, **last;
} captured;

static struct {
    const opencl_set *set;
    cl_context context;
    cl_command_queue queue;
    cl_program program[LPO_GPU_N_FILES];
    cl_kernel kernel[LPO_GPU_N_KERNELS];
    struct cuda_function_of function[LPO_GPU_N_KERNELS];
    memory *memory;
    pinned *pinned;
    cuda_stream stream, capturing; /* one at a time */
    pthread_t capturer;
    captured *captured;
    cuda_ptr top;
    size_t used_bytes;
    long launches, instantiated;
    int initialized, retained, lost, events, modules;
} shim = {.top = 0x700000000000u};
static _Thread_local cuda_context current;

/* How often a graph was launched: tests read it. */
SHIM_EXPORT long cuda_shim_replays;

_Noreturn void shim_abort(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fputs("cuda shim: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    abort();
}

const char *shim_env(const char *name) {
    char full[64];
    snprintf(full, sizeof full, "CUDA_SHIM_%s", name);
    return getenv(full);
}

long shim_number(const char *name, long otherwise) {
    const char *v = shim_env(name);
    return v ? strtol(v, NULL, 0) : otherwise;
}

/* What every call but the first few begins with. */
static int ready(void) {
    if (!shim.initialized) return NOT_INITIALIZED;
    if (shim.lost) return shim.lost;
    return current ? OK : INVALID_CONTEXT;
}
/* One thread at a time: several may each drive a device of their own. */
static pthread_mutex_t door = PTHREAD_MUTEX_INITIALIZER;
static int shut(void) {
    return pthread_mutex_lock(&door);
}
static void open_again(int *unused) {
    (void)unused;
    pthread_mutex_unlock(&door);
}
#define ALONE __attribute__((cleanup(open_again), unused)) int alone = shut()
#define READY                                                                                                \
    ALONE;                                                                                                   \
    const int ready_rc = ready();                                                                            \
    if (ready_rc) return ready_rc

/* The thread that captures does nothing but queue work on the stream that it captures. */
static void not_capturing(const char *what) {
    if (shim.capturing && pthread_equal(shim.capturer, pthread_self()))
        shim_abort("%s while capturing", what);
}
#define READY_OUTSIDE                                                                                        \
    READY;                                                                                                   \
    not_capturing(__func__)

static memory *memory_of(cuda_ptr at, size_t size_bytes) {
    for (memory *m = shim.memory; m; m = m->next)
        if (at >= m->at && at < m->at + m->size_bytes) {
            if (size_bytes > m->at + m->size_bytes - at)
                shim_abort("%zu bytes at %zu of an allocation of %zu", size_bytes, (size_t)(at - m->at),
                           m->size_bytes);
            return m;
        }
    shim_abort("no memory of the device at %#llx", (unsigned long long)at);
}

static void must(cl_int rc, const char *what) {
    if (rc) shim_abort("OpenCL: %s: %s (%d)", what, opencl_error(rc), rc);
}

void shim_read(void *dst, cuda_ptr at, size_t size_bytes) {
    memory *m = memory_of(at, size_bytes);
    must(shim.set->cl.clEnqueueReadBuffer(shim.queue, m->mem, CL_TRUE, at - m->at, size_bytes, dst, 0, NULL,
                                          NULL),
         "read");
}

void shim_write(cuda_ptr at, const void *src, size_t size_bytes) {
    memory *m = memory_of(at, size_bytes);
    must(shim.set->cl.clEnqueueWriteBuffer(shim.queue, m->mem, CL_TRUE, at - m->at, size_bytes, src, 0, NULL,
                                           NULL),
         "write");
}

static cl_kernel kernel_of(lpo_gpu_kernel which) {
    const lpo_gpu_kernel_form *f = &lpo_gpu_kernel_forms[which];
    lpo_error err;
    cl_int rc;
    if (shim.kernel[which]) return shim.kernel[which];
    if (!shim.program[f->file] && opencl_program(&shim.program[f->file], &shim.set->cl, shim.context,
                                                 &shim.set->device[0], &lpo_gpu_sources[f->file], &err))
        shim_abort("%s", err.msg);
    shim.kernel[which] = shim.set->cl.clCreateKernel(shim.program[f->file], f->name, &rc);
    must(rc, f->name);
    return shim.kernel[which];
}

static void run_launch(const work *w) {
    const lpo_gpu_kernel_form *f = &lpo_gpu_kernel_forms[w->which];
    const opencl_api *cl = &shim.set->cl;
    cl_kernel k = kernel_of(w->which);
    cl_uint at = 0;
    if (++shim.launches == shim_number("FAIL_LAUNCH", 0)) {
        shim.lost = (int)shim_number("FAIL_CODE", CUDA_E_ILLEGAL_ADDRESS);
        cl->clFinish(shim.queue); /* what came before runs no longer when the process ends */
        return;
    }
    for (int i = 0; i < f->n_tensors; i++) {
        const memory *m = memory_of(w->base[i], 0);
        cl_long offset = w->offset[i] < 0 ? -1 : w->offset[i] + (cl_long)(w->base[i] - m->at);
        must(cl->clSetKernelArg(k, at++, sizeof m->mem, &m->mem), f->name);
        must(cl->clSetKernelArg(k, at++, sizeof offset, &offset), f->name);
        must(cl->clSetKernelArg(k, at++, sizeof w->dtype[i], &w->dtype[i]), f->name);
    }
    for (int i = 0; i < f->n_ints; i++) must(cl->clSetKernelArg(k, at++, sizeof w->n[i], &w->n[i]), f->name);
    for (int i = 0; i < f->n_reals; i++)
        must(cl->clSetKernelArg(k, at++, sizeof w->real[i], &w->real[i]), f->name);
    if (w->local_bytes) must(cl->clSetKernelArg(k, at++, w->local_bytes, NULL), f->name);
    const size_t local[3] = {(size_t)f->threads, 1, 1},
                 global[3] = {(size_t)f->threads * w->groups[0], w->groups[1], w->groups[2]};
    must(cl->clEnqueueNDRangeKernel(shim.queue, k, 3, NULL, global, local, 0, NULL, NULL), f->name);
}

static void run_first(cuda_stream s);

static void run_to(cuda_event e, uint64_t when) {
    while (e->reached < when && !shim.lost) run_first(e->stream);
}

static void run_first(cuda_stream s) {
    work *w = s->first;
    if (!w) shim_abort("waiting for an event that nothing will reach");
    switch (w->kind) {
    case TO_DEVICE:
        if (XXH64(w->host, w->size_bytes, 0) != w->hash)
            shim_abort("staging was filled again before its bytes had left");
        shim_write(w->device, w->host, w->size_bytes);
        break;
    case TO_HOST: shim_read(w->host, w->device, w->size_bytes); break;
    case LAUNCH: run_launch(w); break;
    case PRODUCT: shim_run_product(&w->product); break;
    case RECORD: w->event->reached = w->when; break;
    case WAIT: run_to(w->event, w->when); break;
    }
    s->first = w->next;
    if (!s->first) s->last = &s->first;
    free(w);
}

static int run_all(cuda_stream s) {
    while (s->first && !shim.lost) run_first(s);
    return shim.lost;
}

static work *queue(cuda_stream s, work_kind kind) {
    cuda_stream known = shim.stream;
    while (known && known != s) known = known->next;
    if (!known) shim_abort("work for a stream that is not there");
    work *w = calloc(1, sizeof *w);
    if (!w) shim_abort("out of memory");
    w->kind = kind;
    if (s != shim.capturing) {
        not_capturing("work for another stream");
        *s->last = w;
        s->last = &w->next;
        return w;
    }
    if (!pthread_equal(shim.capturer, pthread_self())) shim_abort("another thread's work is captured");
    if (kind != LAUNCH && kind != PRODUCT) not_capturing("work that is not a launch");
    *s->capture->last = w;
    s->capture->last = &w->next;
    return w;
}

int shim_queue_product(cuda_stream s, const shim_product *p) {
    READY;
    queue(s, PRODUCT)->product = *p;
    return OK;
}

/* Is work still to touch device or host memory? */
static int is_used_by(const work *w, const memory *m, const pinned *p) {
    for (; w; w = w->next) {
        const int n = w->kind == LAUNCH ? lpo_gpu_kernel_forms[w->which].n_tensors : 0;
        if (p && w->host >= p->at && w->host < p->at + p->size_bytes) return 1;
        if (!m) continue;
        if (w->device >= m->at && w->device < m->at + m->size_bytes) return 1;
        for (int i = 0; i < n; i++)
            if (w->base[i] >= m->at && w->base[i] < m->at + m->size_bytes && w->offset[i] >= 0) return 1;
        if (w->kind == PRODUCT)
            for (int i = 0; i < 3; i++) {
                const cuda_ptr at = i == 0 ? w->product.a : i == 1 ? w->product.b : w->product.c;
                if (at >= m->at && at < m->at + m->size_bytes) return 1;
            }
    }
    return 0;
}

static int is_used(const memory *m, const pinned *p) {
    for (cuda_stream s = shim.stream; s; s = s->next)
        if (is_used_by(s->first, m, p)) return 1;
    return 0;
}

/* ---- libcuda ---- */

SHIM_EXPORT int cuInit(unsigned flags);
int cuInit(unsigned flags) {
    ALONE;
    (void)flags;
    const int rc = (int)shim_number("INIT", 0);
    if (rc) return rc;
    shim.set = opencl_devices();
    if (!shim.set->n) return CUDA_E_NO_DEVICE;
    for (int i = 0; i < LPO_GPU_N_KERNELS; i++) shim.function[i].which = (lpo_gpu_kernel)i;
    shim.initialized = 1;
    return OK;
}

SHIM_EXPORT int cuDriverGetVersion(int *version);
int cuDriverGetVersion(int *version) {
    *version = (int)shim_number("DRIVER", 13000);
    return OK;
}

static const struct {
    int rc;
    const char *name, *words;
} errors[] = {
    {OK, "CUDA_SUCCESS", "no error"},
    {CUDA_E_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {CUDA_E_NO_BINARY, "CUDA_ERROR_NO_BINARY_FOR_GPU",
     "no kernel image is available for execution on the device"},
    {CUDA_E_INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {CUDA_E_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {CUDA_E_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"}};

SHIM_EXPORT int cuGetErrorName(int rc, const char **text);
int cuGetErrorName(int rc, const char **text) {
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].rc == rc) return *text = errors[i].name, OK;
    return INVALID_VALUE;
}

SHIM_EXPORT int cuGetErrorString(int rc, const char **text);
int cuGetErrorString(int rc, const char **text) {
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].rc == rc) return *text = errors[i].words, OK;
    return INVALID_VALUE;
}

SHIM_EXPORT int cuDeviceGetCount(int *n);
int cuDeviceGetCount(int *n) {
    *n = shim.initialized;
    return shim.initialized ? OK : NOT_INITIALIZED;
}

SHIM_EXPORT int cuDeviceGet(int *device, int ordinal);
int cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return shim.initialized && ordinal == 0 ? OK : 101;
}

SHIM_EXPORT int cuDeviceGetName(char *name, int size_bytes, int device);
int cuDeviceGetName(char *name, int size_bytes, int device) {
    (void)device;
    snprintf(name, (size_t)size_bytes, "stand-in for an NVIDIA GPU, on %.60s", shim.set->device[0].name);
    return OK;
}

SHIM_EXPORT int cuDeviceGetAttribute(int *v, int what, int device);
int cuDeviceGetAttribute(int *v, int what, int device) {
    const int capability = (int)shim_number("CAPABILITY", 90);
    (void)device;
    *v = what == CUDA_COMPUTE_MAJOR   ? capability / 10
         : what == CUDA_COMPUTE_MINOR ? capability % 10
                                      : MOST_LOCAL;
    return what == CUDA_COMPUTE_MAJOR || what == CUDA_COMPUTE_MINOR || what == CUDA_LOCAL_MOST
               ? OK
               : INVALID_VALUE;
}

static size_t whole_memory(void) {
    return (size_t)shim_number("MEMORY", 4L << 30);
}

SHIM_EXPORT int cuDeviceTotalMem_v2(size_t *size_bytes, int device);
int cuDeviceTotalMem_v2(size_t *size_bytes, int device) {
    (void)device;
    *size_bytes = whole_memory();
    return OK;
}

SHIM_EXPORT int cuDevicePrimaryCtxRetain(cuda_context *context, int device);
int cuDevicePrimaryCtxRetain(cuda_context *context, int device) {
    ALONE;
    const opencl_found *f = &shim.set->device[0];
    cl_int rc;
    if (!shim.initialized || device) return NOT_INITIALIZED;
    if (shim.lost) return shim.lost;
    if (!shim.retained++) {
        shim.context = shim.set->cl.clCreateContext(NULL, 1, &f->id, NULL, NULL, &rc);
        must(rc, "context");
        shim.queue = shim.set->cl.clCreateCommandQueue(shim.context, f->id, 0, &rc);
        must(rc, "queue");
    }
    *context = (cuda_context)&shim;
    return OK;
}

/* The last owner leaves nothing behind; a device that was lost owes nothing. */
SHIM_EXPORT int cuDevicePrimaryCtxRelease_v2(int device);
int cuDevicePrimaryCtxRelease_v2(int device) {
    ALONE;
    const opencl_api *cl = &shim.set->cl;
    if (!shim.retained || device) return INVALID_CONTEXT;
    if (--shim.retained) return OK;
    if (shim.memory || shim.pinned || shim.stream || shim.events || shim.modules)
        shim_abort("left behind: memory%s, pinned memory%s, streams%s, %d events, %d modules",
                   shim.memory ? ": yes" : ": no", shim.pinned ? ": yes" : ": no",
                   shim.stream ? ": yes" : ": no", shim.events, shim.modules);
    for (captured *c = shim.captured; c; c = shim.captured) {
        if (c->alive) shim_abort("left behind: a graph");
        shim.captured = c->next;
        free(c);
    }
    if (shim_env("REPORT")) fprintf(stderr, "cuda shim: %ld replays\n", cuda_shim_replays);
    cl->clFinish(shim.queue);
    for (int i = 0; i < LPO_GPU_N_KERNELS; i++) {
        if (shim.kernel[i]) cl->clReleaseKernel(shim.kernel[i]);
        shim.kernel[i] = NULL;
        shim.function[i].local_bytes = 0;
    }
    for (int i = 0; i < LPO_GPU_N_FILES; i++) {
        if (shim.program[i]) cl->clReleaseProgram(shim.program[i]);
        shim.program[i] = NULL;
    }
    cl->clReleaseCommandQueue(shim.queue);
    cl->clReleaseContext(shim.context);
    return OK;
}

SHIM_EXPORT int cuCtxSetCurrent(cuda_context context);
int cuCtxSetCurrent(cuda_context context) {
    current = context;
    return shim.lost;
}

SHIM_EXPORT int cuMemGetInfo_v2(size_t *left, size_t *whole);
int cuMemGetInfo_v2(size_t *left, size_t *whole) {
    READY;
    *whole = whole_memory();
    *left = *whole - shim.used_bytes;
    return OK;
}

SHIM_EXPORT int cuMemAlloc_v2(cuda_ptr *at, size_t size_bytes);
int cuMemAlloc_v2(cuda_ptr *at, size_t size_bytes) {
    enum { GUARD = 1 << 20 };
    READY_OUTSIDE;
    if (!size_bytes) return INVALID_VALUE;
    if (size_bytes > whole_memory() - shim.used_bytes) return CUDA_E_OUT_OF_MEMORY;
    memory *m = calloc(1, sizeof *m);
    cl_int rc;
    m->mem = shim.set->cl.clCreateBuffer(shim.context, CL_MEM_READ_WRITE, size_bytes, NULL, &rc);
    if (rc) {
        free(m);
        return CUDA_E_OUT_OF_MEMORY;
    }
    *m = (memory){shim.memory, shim.top, size_bytes, m->mem};
    shim.memory = m;
    shim.top += (size_bytes + 2 * GUARD - 1) / GUARD * GUARD;
    shim.used_bytes += size_bytes;
    *at = m->at;
    if (size_bytes <= POISON_AT_MOST) { /* undefined contents are not numbers */
        char *poison = malloc(size_bytes);
        memset(poison, 0xff, size_bytes);
        shim_write(m->at, poison, size_bytes);
        free(poison);
    }
    return OK;
}

SHIM_EXPORT int cuMemFree_v2(cuda_ptr at);
int cuMemFree_v2(cuda_ptr at) {
    ALONE;
    not_capturing(__func__);
    for (memory **p = &shim.memory; *p; p = &(*p)->next) {
        memory *m = *p;
        if (m->at != at) continue;
        if (!shim.lost && is_used(m, NULL)) shim_abort("memory is freed that queued work is to use");
        for (const captured *c = shim.captured; c; c = c->next)
            if (is_used_by(c->first, m, NULL)) shim_abort("memory is freed that a graph names");
        *p = m->next;
        shim.used_bytes -= m->size_bytes;
        shim.set->cl.clReleaseMemObject(m->mem);
        free(m);
        return shim.lost;
    }
    shim_abort("memory is freed that is not there");
}

SHIM_EXPORT int cuMemHostAlloc(void **at, size_t size_bytes, unsigned flags);
int cuMemHostAlloc(void **at, size_t size_bytes, unsigned flags) {
    READY_OUTSIDE;
    pinned *p = calloc(1, sizeof *p);
    *p = (pinned){shim.pinned, malloc(size_bytes + flags), size_bytes};
    shim.pinned = p;
    *at = p->at;
    return OK;
}

SHIM_EXPORT int cuMemFreeHost(void *at);
int cuMemFreeHost(void *at) {
    ALONE;
    for (pinned **p = &shim.pinned; *p; p = &(*p)->next) {
        pinned *m = *p;
        if (m->at != at) continue;
        if (!shim.lost && is_used(NULL, m)) shim_abort("pinned memory is freed that queued work is to use");
        *p = m->next;
        free(m->at);
        free(m);
        return shim.lost;
    }
    shim_abort("pinned memory is freed that is not there");
}

static void must_be_pinned(const char *at, size_t size_bytes) {
    for (const pinned *p = shim.pinned; p; p = p->next)
        if (at >= p->at && at + size_bytes <= p->at + p->size_bytes) return;
    shim_abort("a copy from or to memory that is not pinned");
}

SHIM_EXPORT int cuMemcpyHtoDAsync_v2(cuda_ptr dst, const void *src, size_t size_bytes, cuda_stream s);
int cuMemcpyHtoDAsync_v2(cuda_ptr dst, const void *src, size_t size_bytes, cuda_stream s) {
    READY;
    must_be_pinned(src, size_bytes);
    memory_of(dst, size_bytes);
    work *w = queue(s, TO_DEVICE);
    w->device = dst;
    w->host = (char *)(uintptr_t)src;
    w->size_bytes = size_bytes;
    w->hash = XXH64(src, size_bytes, 0);
    return OK;
}

SHIM_EXPORT int cuMemcpyDtoHAsync_v2(void *dst, cuda_ptr src, size_t size_bytes, cuda_stream s);
int cuMemcpyDtoHAsync_v2(void *dst, cuda_ptr src, size_t size_bytes, cuda_stream s) {
    READY;
    must_be_pinned(dst, size_bytes);
    memory_of(src, size_bytes);
    work *w = queue(s, TO_HOST);
    w->device = src;
    w->host = dst;
    w->size_bytes = size_bytes;
    memset(dst, 0xff, size_bytes); /* who looks too early sees no numbers */
    return OK;
}

SHIM_EXPORT int cuStreamCreate(cuda_stream *out, unsigned flags);
int cuStreamCreate(cuda_stream *out, unsigned flags) {
    READY;
    if (flags != CUDA_NON_BLOCKING) shim_abort("a stream that waits for the null stream");
    cuda_stream s = calloc(1, sizeof *s);
    s->last = &s->first;
    s->next = shim.stream;
    *out = shim.stream = s;
    return OK;
}

SHIM_EXPORT int cuStreamDestroy_v2(cuda_stream s);
int cuStreamDestroy_v2(cuda_stream s) {
    ALONE;
    for (cuda_stream *p = &shim.stream; *p; p = &(*p)->next) {
        if (*p != s) continue;
        if (s->first && !shim.lost) shim_abort("a stream is destroyed that has work to do");
        *p = s->next;
        while (s->first) {
            work *w = s->first;
            s->first = w->next;
            free(w);
        }
        free(s);
        return shim.lost;
    }
    shim_abort("a stream is destroyed that is not there");
}

SHIM_EXPORT int cuStreamSynchronize(cuda_stream s);
int cuStreamSynchronize(cuda_stream s) {
    READY_OUTSIDE;
    return run_all(s);
}

SHIM_EXPORT int cuStreamWaitEvent(cuda_stream s, cuda_event e, unsigned flags);
int cuStreamWaitEvent(cuda_stream s, cuda_event e, unsigned flags) {
    READY;
    if (flags) return INVALID_VALUE;
    work *w = queue(s, WAIT);
    w->event = e;
    w->when = e->recorded;
    return OK;
}

SHIM_EXPORT int cuEventCreate(cuda_event *e, unsigned flags);
int cuEventCreate(cuda_event *e, unsigned flags) {
    READY;
    if (flags != CUDA_NO_TIMING) return INVALID_VALUE;
    *e = calloc(1, sizeof **e);
    shim.events++;
    return OK;
}

SHIM_EXPORT int cuEventDestroy_v2(cuda_event e);
int cuEventDestroy_v2(cuda_event e) {
    ALONE;
    if (e->reached < e->recorded && !shim.lost) shim_abort("an event is destroyed before it is reached");
    free(e);
    shim.events--;
    return shim.lost;
}

SHIM_EXPORT int cuEventRecord(cuda_event e, cuda_stream s);
int cuEventRecord(cuda_event e, cuda_stream s) {
    READY;
    work *w = queue(s, RECORD);
    e->stream = s;
    w->event = e;
    w->when = ++e->recorded;
    return OK;
}

SHIM_EXPORT int cuEventSynchronize(cuda_event e);
int cuEventSynchronize(cuda_event e) {
    READY_OUTSIDE;
    run_to(e, e->recorded);
    return shim.lost;
}

SHIM_EXPORT int cuModuleLoadData(cuda_module *out, const void *image);
int cuModuleLoadData(cuda_module *out, const void *image) {
    READY_OUTSIDE;
    uint32_t magic;
    const int rc = (int)shim_number("MODULE", 0);
    if (rc) return rc;
    memcpy(&magic, image, sizeof magic);
    if (magic != FATBIN_MAGIC) return CUDA_E_INVALID_IMAGE;
    *out = calloc(1, sizeof **out);
    (*out)->loaded = 1;
    shim.modules++;
    return OK;
}

SHIM_EXPORT int cuModuleUnload(cuda_module m);
int cuModuleUnload(cuda_module m) {
    ALONE;
    free(m);
    shim.modules--;
    return shim.lost;
}

SHIM_EXPORT int cuModuleGetFunction(cuda_function *out, cuda_module m, const char *name);
int cuModuleGetFunction(cuda_function *out, cuda_module m, const char *name) {
    READY;
    for (int i = 0; i < LPO_GPU_N_KERNELS && m->loaded; i++)
        if (!strcmp(lpo_gpu_kernel_forms[i].name, name)) return *out = &shim.function[i], OK;
    return NOT_FOUND;
}

SHIM_EXPORT int cuFuncSetAttribute(cuda_function f, int what, int v);
int cuFuncSetAttribute(cuda_function f, int what, int v) {
    READY;
    if (what != CUDA_FUNCTION_LOCAL || v > MOST_LOCAL) return INVALID_VALUE;
    f->local_bytes = v;
    return OK;
}

SHIM_EXPORT int cuLaunchKernel(cuda_function fn, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                               unsigned by, unsigned bz, unsigned local_bytes, cuda_stream s, void **arg,
                               void **extra);
int cuLaunchKernel(cuda_function fn, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned local_bytes, cuda_stream s, void **arg, void **extra) {
    READY;
    const lpo_gpu_kernel_form *f = &lpo_gpu_kernel_forms[fn->which];
    if (!gx || !gy || !gz || gx > INT32_MAX || gy > 65535 || gz > 65535 || bx != (unsigned)f->threads ||
        by != 1 || bz != 1 || extra)
        return INVALID_VALUE;
    if (local_bytes > PLAIN_LOCAL && local_bytes > (unsigned)fn->local_bytes) return INVALID_VALUE;
    work *w = queue(s, LAUNCH);
    w->which = fn->which;
    w->groups[0] = gx, w->groups[1] = gy, w->groups[2] = gz;
    w->local_bytes = local_bytes;
    for (int i = 0; i < f->n_tensors; i++) {
        memcpy(&w->base[i], *arg++, sizeof w->base[i]);
        memcpy(&w->offset[i], *arg++, sizeof w->offset[i]);
        memcpy(&w->dtype[i], *arg++, sizeof w->dtype[i]);
        memory_of(w->base[i] + (cuda_ptr)(w->offset[i] < 0 ? 0 : w->offset[i]), 0);
    }
    for (int i = 0; i < f->n_ints; i++) memcpy(&w->n[i], *arg++, sizeof w->n[i]);
    for (int i = 0; i < f->n_reals; i++) memcpy(&w->real[i], *arg++, sizeof w->real[i]);
    return OK;
}

/* ---- graphs ---- */

static captured *captured_new(void) {
    captured *c = calloc(1, sizeof *c);
    c->alive = 1;
    c->last = &c->first;
    c->next = shim.captured;
    return shim.captured = c;
}

/* A handle stays known after its end. */
static captured *captured_of(const void *handle) {
    captured *c = shim.captured;
    while (c && (const void *)c != handle) c = c->next;
    if (!c || !c->alive) shim_abort("a graph is used that is not there");
    return c;
}

static int captured_end(const void *handle) {
    captured *c = captured_of(handle);
    while (c->first) {
        work *w = c->first;
        c->first = w->next;
        free(w);
    }
    c->alive = 0;
    return shim.lost;
}

SHIM_EXPORT int cuStreamBeginCapture_v2(cuda_stream s, int mode);
int cuStreamBeginCapture_v2(cuda_stream s, int mode) {
    READY;
    if (shim_number("GRAPHS", 1) == 0) return NOT_SUPPORTED;
    if (mode != CUDA_THREAD_LOCAL) shim_abort("a capture that other threads may disturb");
    if (shim.capturing) shim_abort("two captures at once");
    s->capture = captured_new();
    shim.capturing = s;
    shim.capturer = pthread_self();
    return OK;
}

SHIM_EXPORT int cuStreamEndCapture(cuda_stream s, cuda_graph *out);
int cuStreamEndCapture(cuda_stream s, cuda_graph *out) {
    READY;
    if (shim.capturing != s) shim_abort("a capture is ended that was not begun");
    *out = (cuda_graph)s->capture;
    s->capture = NULL;
    shim.capturing = NULL;
    return OK;
}

SHIM_EXPORT int cuGraphInstantiateWithFlags(cuda_exec *out, cuda_graph graph, unsigned long long flags);
int cuGraphInstantiateWithFlags(cuda_exec *out, cuda_graph graph, unsigned long long flags) {
    READY_OUTSIDE;
    captured *from = captured_of(graph), *e;
    if (flags || !from->first) return INVALID_VALUE;
    if (++shim.instantiated == shim_number("FAIL_GRAPH", 0)) return CUDA_E_OUT_OF_MEMORY;
    e = captured_new();
    e->first = from->first; /* nobody makes two of one */
    from->first = NULL;
    *out = (cuda_exec)e;
    return OK;
}

SHIM_EXPORT int cuGraphDestroy(cuda_graph graph);
int cuGraphDestroy(cuda_graph graph) {
    ALONE;
    return captured_end(graph);
}

SHIM_EXPORT int cuGraphExecDestroy(cuda_exec e);
int cuGraphExecDestroy(cuda_exec e) {
    ALONE;
    return captured_end(e);
}

SHIM_EXPORT int cuGraphLaunch(cuda_exec e, cuda_stream s);
int cuGraphLaunch(cuda_exec e, cuda_stream s) {
    READY_OUTSIDE;
    for (const work *from = captured_of(e)->first; from; from = from->next) {
        work *w = queue(s, from->kind), *next = w->next;
        *w = *from;
        w->next = next;
    }
    cuda_shim_replays++;
    return OK;
}
