/* SPDX-License-Identifier: Apache-2.0 */
/* gpu.h -- what the drivers of GPUs share: buffers with a pool, scratch, the word in which the device reports
 * a bad index table, range checks, the lowering of ops to launches, the arithmetic of an out-of-memory error,
 * and the memory of a lost device. What differs is a lpo_gpu_backend of few functions; everything that a
 * backend gets was checked before. */
#ifndef LPO_DEVICE_GPU_H
#define LPO_DEVICE_GPU_H
#include "device/driver.h"
#include "kernels/gpu/launch.h"

enum {
    LPO_GPU_POOL = 16,
    LPO_GPU_STATIC_LOCAL = 12 << 10 /* the local arrays of any kernel stay below this */
};

typedef struct lpo_gpu_device lpo_gpu_device;

typedef struct lpo_gpu_buffer {
    lpo_buffer_head head;
    uintptr_t memory;  /* the backend's own: a cl_mem, a CUdeviceptr; 0: none */
    size_t bytes;      /* of memory: at least what was asked for */
    uint64_t borrowed; /* launches that had been queued when its last owner released it */
} lpo_gpu_buffer;

/* All that take err fill it, and call lpo_gpu_lost first where no later call can succeed. */
typedef struct lpo_gpu_backend {
    void (*close)(lpo_gpu_device *d); /* waits, ends, frees d; also a device that was opened half */
    /* False: no such amount, or the device is lost. */
    bool (*allocate)(uintptr_t *memory, lpo_gpu_device *d, size_t size_bytes);
    void (*free)(lpo_gpu_device *d, uintptr_t memory); /* queued work may still use it */
    /* Return when the bytes have moved. b->borrowed > d->finished: queued work still uses them for another.
     */
    lpo_status (*write)(lpo_gpu_device *d, lpo_gpu_buffer *b, size_t offset_bytes, const void *src,
                        size_t size_bytes, lpo_error *err);
    lpo_status (*read)(void *dst, lpo_gpu_device *d, lpo_gpu_buffer *b, size_t offset_bytes,
                       size_t size_bytes, lpo_error *err);
    /* Queue; every tensor's buffer is a lpo_gpu_buffer or NULL, no dimension of groups is 0. */
    lpo_status (*launch)(lpo_gpu_device *d, const lpo_gpu_launch *l, lpo_error *err);
    void (*flush)(lpo_gpu_device *d); /* queued work starts now: the host goes on recording meanwhile */
    lpo_status (*finish)(lpo_gpu_device *d, lpo_error *err); /* all queued work is done */
} lpo_gpu_backend;

/* The first member of a backend's device; `open` fills what stands above the line. */
struct lpo_gpu_device {
    lpo_device_head head;
    const lpo_gpu_backend *backend;
    lpo_device_info info;
    uint64_t alloc_bytes, local_bytes; /* the most at once; of a group's memory */
    lpo_gpu_products products;
    /* ---- */
    uint64_t free_bytes; /* of the device, when `allocate` last refused; 0: unknown */
    lpo_gpu_buffer scratch, status;
    lpo_gpu_buffer *pool[LPO_GPU_POOL];
    int n_pool;
    size_t in_use_bytes;
    uint64_t launched, finished; /* launches queued, and known to be done */
    bool checked;                /* something was launched since the status word was last read */
    char lost[200];              /* why the device is gone; "": it is not */
};

/* After the backend's own part of open: the status word. On failure the device was closed. */
lpo_status lpo_gpu_opened(lpo_gpu_device *d, lpo_error *err);
/* Before the backend's own part of close: gives back all memory. Buffers of the device must be released. */
void lpo_gpu_closing(lpo_gpu_device *d);
/* From now on every call fails with these words. */
void lpo_gpu_lost(lpo_gpu_device *d, const char *fmt, ...) LPO_PRINTF(2, 3);

/* The rows of a driver's table; count and open are the backend's. */
void lpo_gpu_close(lpo_device *d);
void lpo_gpu_info(lpo_device_info *out, lpo_device *d);
lpo_status lpo_gpu_alloc(lpo_buffer **out, lpo_device *d, size_t size_bytes, lpo_error *err);
void lpo_gpu_release(lpo_buffer *b);
lpo_status lpo_gpu_upload(lpo_buffer *dst, size_t offset_bytes, const void *src, size_t size_bytes,
                          lpo_error *err);
lpo_status lpo_gpu_download(void *dst, lpo_buffer *src, size_t offset_bytes, size_t size_bytes,
                            lpo_error *err);
bool lpo_gpu_supports(lpo_device *d, const lpo_step *s);
lpo_status lpo_gpu_submit(lpo_device *d, const lpo_step *s, lpo_error *err);
lpo_status lpo_gpu_wait(lpo_device *d, lpo_error *err);
#define LPO_GPU_DRIVER_ROWS                                                                                  \
    .close = lpo_gpu_close, .info = lpo_gpu_info, .alloc = lpo_gpu_alloc, .release = lpo_gpu_release,        \
    .upload = lpo_gpu_upload, .download = lpo_gpu_download, .supports = lpo_gpu_supports,                    \
    .submit = lpo_gpu_submit, .wait = lpo_gpu_wait

/* Does the device run the dialect's kernels? */
bool lpo_gpu_is(lpo_device *d);
/* Queue a launch that no op stands for. Buffers are the device's lpo_buffers; groups of 0 count as 1. The
 * caller answers for the kernel staying inside them. */
lpo_status lpo_gpu_enqueue(lpo_device *d, const lpo_gpu_launch *l, lpo_error *err);
#endif
