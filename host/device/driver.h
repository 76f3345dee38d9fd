/* SPDX-License-Identifier: Apache-2.0 */
/* driver.h -- what a device must offer: a const struct of mandatory functions, one in-order queue per device.
 * Memory is a lpo_buffer plus a byte offset, never a raw pointer above this line (OpenCL has none). submit
 * may return before the work is done; wait returns when all of it is. Every function but submit/wait may be
 * called while work is queued; upload and download return when the bytes have moved, and the tape waits
 * before it moves bytes that queued work touches. One thread drives a device at a time. */
#ifndef LPO_DEVICE_DRIVER_H
#define LPO_DEVICE_DRIVER_H
#include "kernels/op.h"
#include "leanpo/status.h"

#include <stdbool.h>

typedef struct lpo_driver lpo_driver;
typedef struct lpo_device lpo_device; /* opaque to all but its driver; its first member is lpo_device_head */
typedef struct lpo_buffer lpo_buffer; /* likewise: first member lpo_buffer_head */

typedef struct lpo_device_head {
    const lpo_driver *driver;
} lpo_device_head;
typedef struct lpo_buffer_head {
    lpo_device *device;
    size_t size_bytes;
    void *host; /* the bytes themselves when the device shares host memory (ref, cpu), else NULL */
} lpo_buffer_head;

typedef struct lpo_device_info {
    char name[96];         /* "AMD EPYC ... (2 threads, AVX-512)" */
    uint64_t memory_bytes; /* 0 = unknown */
    bool host_memory;      /* buffers are host memory: upload and download are memcpy */
    bool is_cpu;           /* computes on this machine's own processor, as OpenCL may */
} lpo_device_info;

/* A tensor where a device sees it. */
typedef struct lpo_dtensor {
    lpo_buffer *buffer; /* NULL: absent optional argument */
    size_t offset_bytes;
    int32_t dtype, ndim;
    int64_t shape[LPO_MAX_DIMS];
} lpo_dtensor;

typedef struct lpo_step {
    lpo_op op;
    lpo_attrs attrs;
    lpo_dtensor arg[LPO_MAX_ARGS]; /* order and count of kernels/op.h */
} lpo_step;

struct lpo_driver {
    const char *name; /* "cpu", "ref": what --place says */
    int (*count)(void);
    lpo_status (*open)(lpo_device **out, int index, lpo_error *err);
    void (*close)(lpo_device *d);
    void (*info)(lpo_device_info *out, lpo_device *d);
    /* Contents undefined, 64-byte aligned. */
    lpo_status (*alloc)(lpo_buffer **out, lpo_device *d, size_t size_bytes, lpo_error *err);
    void (*release)(lpo_buffer *b); /* NULL accepted */
    lpo_status (*upload)(lpo_buffer *dst, size_t offset_bytes, const void *src, size_t size_bytes,
                         lpo_error *err);
    lpo_status (*download)(void *dst, lpo_buffer *src, size_t offset_bytes, size_t size_bytes,
                           lpo_error *err);
    /* By op, dtypes, attrs, shapes. No memory exists yet: a buffer only says that the argument is present. */
    bool (*supports)(lpo_device *d, const lpo_step *s);
    lpo_status (*submit)(lpo_device *d, const lpo_step *s, lpo_error *err);
    lpo_status (*wait)(lpo_device *d, lpo_error *err);
    /* Device nodes (glob patterns, NULL-terminated), one of which stands where it has a device: `auto` asks
     * only then, so that a machine without a GPU loads no library of a GPU's. NULL: `auto` leaves it alone.
     */
    const char *const *nodes;
};

/* The registry, in order of preference: NULL-terminated. A program of the tests may bring its own table. */
extern const lpo_driver *const lpo_drivers[];

/* Open "cpu", "ref", "cuda:1" ..., or "auto", the first driver that has a device: unknown names list the
 * known ones. */
lpo_status lpo_device_open(lpo_device **out, const char *name, lpo_error *err);
void lpo_device_close(lpo_device *d); /* NULL accepted */
static inline const lpo_driver *lpo_device_driver(lpo_device *d) {
    return ((lpo_device_head *)d)->driver;
}
static inline lpo_device *lpo_buffer_device(lpo_buffer *b) {
    return ((lpo_buffer_head *)b)->device;
}
static inline size_t lpo_buffer_bytes(const lpo_buffer *b) {
    return ((const lpo_buffer_head *)b)->size_bytes;
}
#endif
