/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.c -- one driver over host memory, instantiated for two kernel tables: `cpu` (fast, float) and `ref`
 * (double, the truth). submit runs the kernel before it returns, so wait has nothing to wait for. Scratch
 * belongs to the device and only grows: after the first step of a shape no call allocates. */
#include "device/cpu/cpu.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALIGN = 64 };

typedef struct host_device {
    lpo_device_head head;
    const lpo_kernel *kernels;
    void *scratch;
    size_t scratch_bytes;
} host_device;

typedef struct host_buffer {
    lpo_buffer_head head;
} host_buffer;

static const char *const op_name[LPO_N_OPS] = {
#define LPO_X(id, name, n_args, out, inout) [LPO_OP_##id] = name,
    LPO_OP_LIST(LPO_X)
#undef LPO_X
};
static const int op_n_args[LPO_N_OPS] = {
#define LPO_X(id, name, n_args, out, inout) [LPO_OP_##id] = n_args,
    LPO_OP_LIST(LPO_X)
#undef LPO_X
};

static void *aligned(size_t size_bytes) {
    if (size_bytes > SIZE_MAX - ALIGN) return NULL;
    return aligned_alloc(ALIGN, size_bytes ? (size_bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1) : ALIGN);
}

static int host_count(void) {
    return 1;
}

static lpo_status host_open(lpo_device **out, const lpo_driver *driver, const lpo_kernel *kernels,
                            lpo_error *err) {
    *out = NULL;
    host_device *d = calloc(1, sizeof *d);
    if (!d) return lpo_fail(err, LPO_ENOMEM, "device %s: out of memory", driver->name);
    d->head.driver = driver;
    d->kernels = kernels;
    *out = (lpo_device *)d;
    return LPO_OK;
}

static lpo_status cpu_open(lpo_device **out, int index, lpo_error *err) {
    (void)index;
    return host_open(out, &lpo_driver_cpu, lpo_kernels_cpu, err);
}

static lpo_status ref_open(lpo_device **out, int index, lpo_error *err) {
    (void)index;
    return host_open(out, &lpo_driver_ref, lpo_kernels_ref, err);
}

static void host_close(lpo_device *dev) {
    host_device *d = (host_device *)dev;
    free(d->scratch);
    free(d);
}

static const char *isa_name(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) return "AVX-512";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "AVX2";
    return "x86-64";
#elif defined(__aarch64__)
    return "AArch64";
#else
    return "portable C";
#endif
}

/* The marketing name the kernel reports, or "CPU" where it reports none. */
static void cpu_model(char *out, size_t size_bytes) {
    snprintf(out, size_bytes, "CPU");
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (!f) return;
    char line[256];
    while (fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon) continue;
        colon += 1 + strspn(colon + 1, " \t");
        colon[strcspn(colon, "\n")] = 0;
        snprintf(out, size_bytes, "%s", colon);
        break;
    }
    fclose(f);
}

static void host_info(lpo_device_info *out, lpo_device *dev) {
    *out = (lpo_device_info){.host_memory = true, .is_cpu = true};
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0) out->memory_bytes = (uint64_t)pages * (uint64_t)page;
    char model[56];
    cpu_model(model, sizeof model);
    int n = omp_get_max_threads();
    if (lpo_device_driver(dev) == &lpo_driver_ref)
        snprintf(out->name, sizeof out->name, "%s (reference kernels in double)", model);
    else
        snprintf(out->name, sizeof out->name, "%s (%d thread%s, %s)", model, n, n == 1 ? "" : "s",
                 isa_name());
}

static lpo_status host_alloc(lpo_buffer **out, lpo_device *dev, size_t size_bytes, lpo_error *err) {
    *out = NULL;
    host_buffer *b = calloc(1, sizeof *b);
    void *p = b ? aligned(size_bytes) : NULL;
    if (!p) {
        free(b);
        return lpo_fail(err, LPO_ENOMEM,
                        "device %s: out of memory for %zu bytes; use a smaller batch or fewer frames",
                        lpo_device_driver(dev)->name, size_bytes);
    }
    b->head = (lpo_buffer_head){.device = dev, .size_bytes = size_bytes, .host = p};
    *out = (lpo_buffer *)b;
    return LPO_OK;
}

static void host_release(lpo_buffer *buf) {
    host_buffer *b = (host_buffer *)buf;
    if (!b) return;
    free(b->head.host);
    free(b);
}

static lpo_status check_range(lpo_buffer *b, size_t offset_bytes, size_t size_bytes, lpo_error *err) {
    size_t have = lpo_buffer_bytes(b);
    if (offset_bytes > have || size_bytes > have - offset_bytes)
        return lpo_fail(err, LPO_EINVAL, "device %s: %zu bytes at %zu lie outside a buffer of %zu",
                        lpo_device_driver(lpo_buffer_device(b))->name, size_bytes, offset_bytes, have);
    return LPO_OK;
}

static lpo_status host_upload(lpo_buffer *dst, size_t offset_bytes, const void *src, size_t size_bytes,
                              lpo_error *err) {
    lpo_status s = check_range(dst, offset_bytes, size_bytes, err);
    if (!s && size_bytes) memcpy((char *)((host_buffer *)dst)->head.host + offset_bytes, src, size_bytes);
    return s;
}

static lpo_status host_download(void *dst, lpo_buffer *src, size_t offset_bytes, size_t size_bytes,
                                lpo_error *err) {
    lpo_status s = check_range(src, offset_bytes, size_bytes, err);
    if (!s && size_bytes) memcpy(dst, (char *)((host_buffer *)src)->head.host + offset_bytes, size_bytes);
    return s;
}

static bool ref_supports(lpo_device *dev, const lpo_step *s) {
    (void)dev;
    return lpo_kernels_ref[s->op].run != NULL;
}

/* kernels/cpu computes in float: a double may only stand where op.h says f64 whatever the model's type
 * (norms' squares). */
static bool cpu_supports(lpo_device *dev, const lpo_step *s) {
    (void)dev;
    if (!lpo_kernels_cpu[s->op].run) return false;
    for (int i = 0; i < op_n_args[s->op]; i++) {
        bool always_f64 = (s->op == LPO_OP_SQNORM && i == 0) || (s->op == LPO_OP_ADAMW && i == 5);
        if (s->arg[i].buffer && s->arg[i].dtype == LPO_F64 && !always_f64) return false;
    }
    return true;
}

static lpo_status grow_scratch(host_device *d, size_t need_bytes, lpo_error *err) {
    if (need_bytes <= d->scratch_bytes) return LPO_OK;
    free(d->scratch);
    d->scratch_bytes = 0;
    d->scratch = aligned(need_bytes);
    if (!d->scratch)
        return lpo_fail(err, LPO_ENOMEM, "device %s: out of memory for %zu bytes of scratch",
                        d->head.driver->name, need_bytes);
    d->scratch_bytes = need_bytes;
    return LPO_OK;
}

static lpo_status host_submit(lpo_device *dev, const lpo_step *s, lpo_error *err) {
    host_device *d = (host_device *)dev;
    const lpo_kernel *k = &d->kernels[s->op];
    if (!k->run)
        return lpo_fail(err, LPO_EUNSUPPORTED, "device %s: no kernel for %s", d->head.driver->name,
                        op_name[s->op]);
    lpo_kcall c = {.attrs = s->attrs};
    for (int i = 0; i < op_n_args[s->op]; i++) {
        const lpo_dtensor *a = &s->arg[i];
        if (!a->buffer) continue;
        lpo_karg *o = &c.arg[i];
        o->data = (char *)((host_buffer *)a->buffer)->head.host + a->offset_bytes;
        o->dtype = a->dtype;
        o->ndim = a->ndim;
        memcpy(o->shape, a->shape, sizeof o->shape);
        lpo_status st = check_range(a->buffer, a->offset_bytes,
                                    (size_t)lpo_karg_count(o) * lpo_dtype_bytes(a->dtype), err);
        if (st) return lpo_fail_in(err, st, "%s argument %d", op_name[s->op], i);
    }
    if (k->scratch) {
        lpo_status st = grow_scratch(d, k->scratch(&c), err);
        if (st) return st;
        c.scratch = d->scratch;
    }
    int rc = k->run(&c);
    if (rc < 0)
        return lpo_fail(err, LPO_EUNSUPPORTED,
                        "device %s: the kernel of %s refused its arguments' dtypes or shapes (%d)",
                        d->head.driver->name, op_name[s->op], rc);
    return LPO_OK;
}

static lpo_status host_wait(lpo_device *dev, lpo_error *err) {
    (void)dev, (void)err;
    return LPO_OK;
}

const lpo_driver lpo_driver_cpu = {
    .name = "cpu",
    .count = host_count,
    .open = cpu_open,
    .close = host_close,
    .info = host_info,
    .alloc = host_alloc,
    .release = host_release,
    .upload = host_upload,
    .download = host_download,
    .supports = cpu_supports,
    .submit = host_submit,
    .wait = host_wait,
};

const lpo_driver lpo_driver_ref = {
    .name = "ref",
    .count = host_count,
    .open = ref_open,
    .close = host_close,
    .info = host_info,
    .alloc = host_alloc,
    .release = host_release,
    .upload = host_upload,
    .download = host_download,
    .supports = ref_supports,
    .submit = host_submit,
    .wait = host_wait,
};
