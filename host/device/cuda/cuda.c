/* SPDX-License-Identifier: Apache-2.0 */
/* cuda.c -- the backend: the device's primary context, one stream that computes and one that copies. Bytes go
 * through two pinned pieces of host memory, so the copy of one overlaps the filling of the other, and both
 * overlap what was queued before. Modules are loaded when first needed. Products go to cuBLASLt where it
 * takes them. Launches that repeat from step to step are replayed as one (graph.h). */
#include "device/cuda/api.h"
#include "device/cuda/graph.h"
#include "device/cuda/images.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 4 << 20, N_PIECES = 2, PLAIN_LOCAL = 48 << 10 /* more must be asked for, kernel by kernel */ };

typedef struct staging {
    void *host; /* pinned */
    cuda_event done;
} staging;

typedef struct cuda_device {
    lpo_gpu_device gpu;
    const cuda_set *set;
    const cuda_api *cu;
    const cuda_found *found;
    cuda_context context;
    cuda_stream compute, copy;
    cuda_event reached; /* on compute: what copy must wait for */
    staging piece[N_PIECES];
    cuda_module module[LPO_GPU_N_FILES];
    cuda_function function[LPO_GPU_N_KERNELS];
    uint32_t local_bytes[LPO_GPU_N_KERNELS]; /* allowed so far */
    cuda_gemm *gemm;                         /* NULL: the dialect's own product */
    uintptr_t workspace;
    lpo_gpu_buffer split; /* an f32 operand as three of bf16 */
    cuda_graphs *graphs;  /* NULL: every launch by itself */
} cuda_device;

static lpo_status failed(cuda_device *d, int rc, const char *doing, lpo_error *err) {
    char words[200];
    cuda_error(words, sizeof words, d->cu, rc);
    const bool memory = rc == CUDA_E_OUT_OF_MEMORY;
    if (cuda_is_lost(rc)) lpo_gpu_lost(&d->gpu, "%s: %s", doing, words);
    return lpo_fail(err, memory ? LPO_ENOMEM : LPO_EDEVICE, "cuda %.80s: %s: %s%s", d->found->name, doing,
                    words,
                    memory           ? "; use a smaller batch, fewer frames or gradient checkpointing"
                    : d->gpu.lost[0] ? "; the device is lost to this process: run again, with --resume"
                                     : "");
}

/* A thread has no context until it takes one. */
static int enter(cuda_device *d) {
    return d->cu->CtxSetCurrent(d->context);
}

static bool allocate(uintptr_t *memory, lpo_gpu_device *g, size_t size_bytes) {
    cuda_device *d = (cuda_device *)g;
    cuda_ptr p = 0;
    size_t left = 0, whole;
    int rc = enter(d);
    if (!rc) rc = d->cu->MemAlloc(&p, size_bytes);
    *memory = rc ? 0 : (uintptr_t)p;
    if (!rc) return true;
    if (rc != CUDA_E_OUT_OF_MEMORY) failed(d, rc, "allocating", NULL);
    if (!d->cu->MemGetInfo(&left, &whole)) g->free_bytes = left;
    return false;
}

/* Queued work may use it; memory that is given back is not looked at again. */
static void release(lpo_gpu_device *g, uintptr_t memory) {
    cuda_device *d = (cuda_device *)g;
    enter(d);
    cuda_graphs_settle(d->graphs, NULL);
    if (d->compute) d->cu->StreamSynchronize(d->compute);
    cuda_graphs_forget(d->graphs, (cuda_ptr)memory);
    d->cu->MemFree((cuda_ptr)memory);
}

static void end(lpo_gpu_device *g) {
    cuda_device *d = (cuda_device *)g;
    const cuda_api *cu = d->cu;
    if (d->context) {
        enter(d);
        if (d->compute) cu->StreamSynchronize(d->compute);
        if (d->copy) cu->StreamSynchronize(d->copy);
        cuda_graphs_destroy(d->graphs);
        d->graphs = NULL;
        lpo_gpu_closing(g);
        cuda_gemm_destroy(d->gemm);
        if (d->workspace) cu->MemFree((cuda_ptr)d->workspace);
        if (d->split.memory) cu->MemFree((cuda_ptr)d->split.memory);
        for (int i = 0; i < LPO_GPU_N_FILES; i++)
            if (d->module[i]) cu->ModuleUnload(d->module[i]);
        for (int i = 0; i < N_PIECES; i++) {
            if (d->piece[i].done) cu->EventDestroy(d->piece[i].done);
            if (d->piece[i].host) cu->MemFreeHost(d->piece[i].host);
        }
        if (d->reached) cu->EventDestroy(d->reached);
        if (d->copy) cu->StreamDestroy(d->copy);
        if (d->compute) cu->StreamDestroy(d->compute);
        cu->CtxSetCurrent(NULL);
        cu->DevicePrimaryCtxRelease(d->found->ordinal);
    }
    free(d);
}

/* Bytes that a former owner's queued work still uses are moved after it. */
static int after_former_owner(cuda_device *d, const lpo_gpu_buffer *b) {
    if (b->borrowed <= d->gpu.finished) return 0;
    int rc = d->cu->EventRecord(d->reached, d->compute);
    return rc ? rc : d->cu->StreamWaitEvent(d->copy, d->reached, 0);
}

static size_t piece_bytes(size_t at, size_t size_bytes) {
    return size_bytes - at < PIECE ? size_bytes - at : PIECE;
}

static lpo_status write_bytes(lpo_gpu_device *g, lpo_gpu_buffer *b, size_t offset_bytes, const void *src,
                              size_t size_bytes, lpo_error *err) {
    cuda_device *d = (cuda_device *)g;
    int rc = enter(d);
    lpo_status settled = cuda_graphs_settle(d->graphs, err);
    if (settled) return settled;
    if (!rc) rc = after_former_owner(d, b);
    for (size_t at = 0, i = 0; at < size_bytes && !rc; at += PIECE, i++) {
        const staging *s = &d->piece[i % N_PIECES];
        const size_t n = piece_bytes(at, size_bytes);
        if (i >= N_PIECES) rc = d->cu->EventSynchronize(s->done); /* its last bytes have left */
        if (rc) break;
        memcpy(s->host, (const char *)src + at, n);
        rc = d->cu->MemcpyHtoDAsync((cuda_ptr)b->memory + offset_bytes + at, s->host, n, d->copy);
        if (!rc) rc = d->cu->EventRecord(s->done, d->copy);
    }
    if (!rc) rc = d->cu->StreamSynchronize(d->copy);
    return rc ? failed(d, rc, "upload", err) : LPO_OK;
}

/* Queue piece i. */
static int fetch(cuda_device *d, lpo_gpu_buffer *b, size_t offset_bytes, size_t i, size_t size_bytes) {
    const staging *s = &d->piece[i % N_PIECES];
    int rc = d->cu->MemcpyDtoHAsync(s->host, (cuda_ptr)b->memory + offset_bytes + i * PIECE,
                                    piece_bytes(i * PIECE, size_bytes), d->copy);
    return rc ? rc : d->cu->EventRecord(s->done, d->copy);
}

static lpo_status read_bytes(void *dst, lpo_gpu_device *g, lpo_gpu_buffer *b, size_t offset_bytes,
                             size_t size_bytes, lpo_error *err) {
    cuda_device *d = (cuda_device *)g;
    const size_t n = (size_bytes + PIECE - 1) / PIECE;
    int rc = enter(d);
    lpo_status settled = cuda_graphs_settle(d->graphs, err);
    if (settled) return settled;
    for (size_t i = 0; i < n && !rc; i++) {
        const staging *s = &d->piece[i % N_PIECES];
        if (i == 0) rc = fetch(d, b, offset_bytes, 0, size_bytes);
        if (!rc && i + 1 < n) rc = fetch(d, b, offset_bytes, i + 1, size_bytes);
        if (!rc) rc = d->cu->EventSynchronize(s->done);
        if (!rc) memcpy((char *)dst + i * PIECE, s->host, piece_bytes(i * PIECE, size_bytes));
    }
    return rc ? failed(d, rc, "download", err) : LPO_OK;
}

/* Why a module does not load, for those who can mend it. */
static lpo_status module_failed(cuda_device *d, int rc, const char *file, lpo_error *err) {
    char words[160];
    cuda_error(words, sizeof words, d->cu, rc);
    if (cuda_is_lost(rc) || rc == CUDA_E_OUT_OF_MEMORY) return failed(d, rc, file, err);
    const bool jit = rc == CUDA_E_INVALID_PTX || rc == CUDA_E_PTX_VERSION || rc == CUDA_E_NO_JIT;
    const bool code = rc == CUDA_E_NO_BINARY || rc == CUDA_E_INVALID_IMAGE;
    return lpo_fail(err, LPO_EDEVICE, "cuda %.80s: the kernels of %s.cl do not load on sm_%d%d: %s; %s",
                    d->found->name, file, d->found->major, d->found->minor, words,
                    jit    ? "update the NVIDIA driver (it must compile PTX for this GPU)"
                    : code ? "build LeanPO with an nvcc that knows this GPU"
                           : "--place backbone=cpu goes on");
}

static lpo_status make_function(cuda_device *d, lpo_gpu_kernel which, lpo_error *err) {
    if (d->function[which]) return LPO_OK;
    const lpo_gpu_kernel_form *f = &lpo_gpu_kernel_forms[which];
    int rc;
    if (!d->module[f->file]) {
        rc = d->cu->ModuleLoadData(&d->module[f->file], lpo_cuda_images->file[f->file].data);
        if (rc) {
            d->module[f->file] = NULL;
            return module_failed(d, rc, lpo_gpu_sources[f->file].name, err);
        }
    }
    rc = d->cu->ModuleGetFunction(&d->function[which], d->module[f->file], f->name);
    if (!rc) return LPO_OK;
    d->function[which] = NULL;
    return failed(d, rc, f->name, err);
}

/* A group may use more than 48 KiB only when its kernel was allowed to. */
static int allow_local(cuda_device *d, const lpo_gpu_launch *l) {
    if (l->local_bytes <= d->local_bytes[l->kernel] || l->local_bytes + LPO_GPU_STATIC_LOCAL <= PLAIN_LOCAL)
        return 0;
    int rc = d->cu->FuncSetAttribute(d->function[l->kernel], CUDA_FUNCTION_LOCAL, (int)l->local_bytes);
    if (!rc) d->local_bytes[l->kernel] = l->local_bytes;
    return rc;
}

static int launch_kernel(cuda_device *d, const lpo_gpu_launch *l) {
    const lpo_gpu_kernel_form *f = &lpo_gpu_kernel_forms[l->kernel];
    cuda_ptr base[LPO_GPU_MAX_TENSORS];
    int64_t offset[LPO_GPU_MAX_TENSORS];
    int32_t dtype[LPO_GPU_MAX_TENSORS];
    void *arg[3 * LPO_GPU_MAX_TENSORS + LPO_GPU_MAX_INTS + LPO_GPU_MAX_REALS];
    int n = 0;
    for (int i = 0; i < f->n_tensors; i++) {
        const lpo_gpu_tensor *t = &l->tensor[i];
        base[i] =
            (cuda_ptr)(t->buffer ? (uintptr_t)t->buffer : d->gpu.status.memory); /* absent: any memory */
        offset[i] = t->buffer ? (int64_t)t->offset_bytes : -1;
        dtype[i] = t->dtype;
        arg[n++] = &base[i];
        arg[n++] = &offset[i];
        arg[n++] = &dtype[i];
    }
    for (int i = 0; i < f->n_ints; i++) arg[n++] = (void *)&l->n[i];
    for (int i = 0; i < f->n_reals; i++) arg[n++] = (void *)&l->real[i];
    int rc = allow_local(d, l);
    return rc ? rc
              : d->cu->LaunchKernel(d->function[l->kernel], l->groups[0], l->groups[1], l->groups[2],
                                    (unsigned)f->threads, 1, 1, l->local_bytes, d->compute, arg, NULL);
}

static lpo_status launch_one(void *ctx, const lpo_gpu_launch *l, lpo_error *err);

static bool grow_split(cuda_device *d, size_t need_bytes) {
    if (need_bytes <= d->split.bytes) return true;
    cuda_graphs_forget(d->graphs, 0); /* which of them names it is not written anywhere */
    if (d->split.memory) release(&d->gpu, d->split.memory);
    d->gpu.in_use_bytes -= d->split.bytes;
    d->split = (lpo_gpu_buffer){0};
    if (!allocate(&d->split.memory, &d->gpu, need_bytes)) return false;
    d->split.bytes = need_bytes;
    d->gpu.in_use_bytes += need_bytes;
    return true;
}

/* A product of f32 by bf16, as the gradients of logits are: cuBLASLt has none, but an f32 is the sum of three
 * bf16, and so c (+)= high b (+ bias), c += middle b, c += low b, each summed in f32. False: not such a
 * product, nothing was queued. */
static bool launch_split(lpo_status *s, cuda_device *d, const lpo_gpu_launch *l, lpo_error *err) {
    const lpo_gpu_tensor *c = &l->tensor[0], *a = &l->tensor[1], *b = &l->tensor[2];
    const int at = a->dtype == LPO_F32 ? 1 : 2;
    const int64_t rows = at == 1 ? l->n[0] : l->n[1], cols = l->n[2];
    const int64_t row = at == 1 ? l->n[3] : l->n[6], col = at == 1 ? l->n[4] : l->n[5], n = rows * cols;
    const size_t part_bytes = ((size_t)n * 2 + 255) / 256 * 256;
    if (a->dtype == b->dtype || c->dtype != LPO_F32 || n == 0 || l->groups[2] > 1) return false;
    if (!(row == 1 && col == rows) && !(col == 1 && row == cols)) return false; /* gaps */
    if (!grow_split(d, 3 * part_bytes)) return false;
    lpo_gpu_tensor part[3];
    for (size_t i = 0; i < 3; i++)
        part[i] = (lpo_gpu_tensor){(void *)d->split.memory, i * part_bytes, LPO_BF16};
    *s = launch_one(d,
                    &(lpo_gpu_launch){.kernel = LPO_GPU_SPLIT,
                                      .groups = {(uint32_t)((n + 255) / 256), 1, 1},
                                      .tensor = {part[0], part[1], part[2], l->tensor[at]},
                                      .n = {n}},
                    err);
    lpo_gpu_launch one = *l;
    for (int i = 0; i < 3 && !*s; i++) {
        one.tensor[at] = part[i];
        *s = launch_one(d, &one, err);
        one.tensor[3] = (lpo_gpu_tensor){0}; /* the bias was added */
        one.n[8] = 1;
    }
    return true;
}

static lpo_status launch_one(void *ctx, const lpo_gpu_launch *l, lpo_error *err) {
    enum { MOST_ROWS = 65535 }; /* of groups in dimensions 1 and 2 */
    cuda_device *d = ctx;
    const lpo_gpu_kernel_form *f = &lpo_gpu_kernel_forms[l->kernel];
    int rc;
    if (l->kernel == LPO_GPU_GEMM && d->gemm) {
        rc = cuda_gemm_go(d->gemm, l, (cuda_ptr)d->workspace, d->compute);
        if (rc < 0)
            return lpo_fail(err, LPO_EDEVICE, "cuda %.80s: a product of cuBLASLt failed with its status %d",
                            d->found->name, -rc);
        lpo_status s = LPO_OK;
        if (rc == 0 || launch_split(&s, d, l, err)) return s;
    }
    if (l->groups[0] > INT32_MAX || l->groups[1] > MOST_ROWS || l->groups[2] > MOST_ROWS)
        return lpo_fail(err, LPO_ELIMIT,
                        "cuda: %s with %u x %u x %u groups is more than CUDA launches at once", f->name,
                        l->groups[0], l->groups[1], l->groups[2]);
    lpo_status s = make_function(d, l->kernel, err);
    if (s) return s;
    rc = launch_kernel(d, l);
    return rc ? failed(d, rc, f->name, err) : LPO_OK;
}

static lpo_status launch(lpo_gpu_device *g, const lpo_gpu_launch *l, lpo_error *err) {
    cuda_device *d = (cuda_device *)g;
    lpo_gpu_launch addressed = *l;
    const int rc = enter(d);
    if (rc) return failed(d, rc, lpo_gpu_kernel_forms[l->kernel].name, err);
    for (int i = 0; i < LPO_GPU_MAX_TENSORS; i++) {
        const lpo_gpu_buffer *b = l->tensor[i].buffer;
        addressed.tensor[i].buffer = b ? (void *)b->memory : NULL;
    }
    return d->graphs ? cuda_graphs_add(d->graphs, &addressed, err) : launch_one(d, &addressed, err);
}

/* A stream starts by itself; what is held back waits for the rest of its sequence. */
static void flush(lpo_gpu_device *g) {
    (void)g;
}

static lpo_status finish(lpo_gpu_device *g, lpo_error *err) {
    cuda_device *d = (cuda_device *)g;
    int rc = enter(d);
    lpo_status settled = cuda_graphs_settle(d->graphs, err);
    if (settled) return settled;
    if (!rc) rc = d->cu->StreamSynchronize(d->compute);
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

static int cuda_count(void) {
    return cuda_devices()->n;
}

static int open_streams(cuda_device *d) {
    const cuda_api *cu = d->cu;
    int rc = enter(d);
    if (!rc) rc = cu->StreamCreate(&d->compute, CUDA_NON_BLOCKING);
    if (!rc) rc = cu->StreamCreate(&d->copy, CUDA_NON_BLOCKING);
    if (!rc) rc = cu->EventCreate(&d->reached, CUDA_NO_TIMING);
    for (int i = 0; i < N_PIECES && !rc; i++) {
        rc = cu->MemHostAlloc(&d->piece[i].host, PIECE, 0);
        if (!rc) rc = cu->EventCreate(&d->piece[i].done, CUDA_NO_TIMING);
    }
    return rc;
}

/* cuBLASLt with its workspace, or neither. */
static void open_gemm(cuda_device *d) {
    d->gemm = cuda_gemm_create(d->set);
    if (d->gemm && !allocate(&d->workspace, &d->gpu, CUDA_GEMM_WORKSPACE)) {
        cuda_gemm_destroy(d->gemm);
        d->gemm = NULL;
    }
    if (d->gemm)
        d->gpu.in_use_bytes += CUDA_GEMM_WORKSPACE;
    else
        lpo_log(LPO_LOG_WARN, "cuda: products run on the slower kernel of its own: %s",
                d->set->lt_name[0] ? "cuBLASLt does not start" : d->set->lt_why);
}

static lpo_status cuda_open(lpo_device **out, int index, lpo_error *err) {
    const cuda_set *set = cuda_devices();
    *out = NULL;
    if (index < 0 || index >= set->n) return lpo_fail(err, LPO_ENOTFOUND, "cuda: %s", set->why);
    cuda_device *d = calloc(1, sizeof *d);
    if (!d) return lpo_fail(err, LPO_ENOMEM, "cuda: out of memory");
    const cuda_found *f = d->found = &set->device[index];
    d->set = set;
    d->cu = &set->cu;
    d->gpu = (lpo_gpu_device){.head.driver = &lpo_driver_cuda,
                              .backend = &backend,
                              .info.memory_bytes = f->memory_bytes,
                              .alloc_bytes = f->memory_bytes,
                              .local_bytes = f->local_bytes};
    snprintf(d->gpu.info.name, sizeof d->gpu.info.name, "%.70s (sm_%d%d)", f->name, f->major, f->minor);
    int rc = d->cu->DevicePrimaryCtxRetain(&d->context, f->ordinal);
    if (rc) d->context = NULL;
    if (!rc) rc = open_streams(d);
    if (rc) {
        lpo_status s = failed(d, rc, "opening", err);
        end(&d->gpu);
        return s;
    }
    open_gemm(d);
    const char *graphs = getenv("LEANPO_CUDA_GRAPHS");
    if (!graphs || strcmp(graphs, "0")) d->graphs = cuda_graphs_create(d->cu, d->compute, launch_one, d);
    if (d->gemm) d->gpu.products = LPO_GPU_PRODUCTS_WHERE_LONG;
    lpo_status s = lpo_gpu_opened(&d->gpu, err);
    if (!s) *out = (lpo_device *)d;
    return s;
}

/* Of the driver on Linux, of Windows' one below it, of Tegra's. */
static const char *const nodes[] = {"/dev/nvidiactl", "/dev/dxg", "/dev/nvhost-gpu", NULL};

const lpo_driver lpo_driver_cuda = {
    .name = "cuda",
    .nodes = nodes,
    .count = cuda_count,
    .open = cuda_open,
    LPO_GPU_DRIVER_ROWS,
};
