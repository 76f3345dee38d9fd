/* SPDX-License-Identifier: Apache-2.0 */
/* link_inproc.c -- the kernels as C functions of this process.
 * A kernel runs inside wait, so on the driver's thread of that unit, which has the stack it needs. Its clocks
 * come from the kernels' own account (hls/timing.h): modelled, never measured. */
#include "device/fpga/link.h"
#include "hls/timing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct inproc_run {
    const lpo_hls_kernel *kernel;
    uint64_t args[]; /* lpo_hls_K_args */
} inproc_run;

static int units(void *card, int kernel) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    (void)card;
    (void)kernel;
    return n < 1 ? 1 : n > FPGA_MAX_UNITS ? FPGA_MAX_UNITS : (int)n;
}

static lpo_status open_here(void **card, char name[128], int index, const lpo_xclbin *x, const char *path,
                            lpo_error *err) {
    (void)index;
    (void)x;
    (void)path;
    (void)err;
    *card = NULL;
    snprintf(name, 128, "csim (the FPGA kernels as C in this process, %d at a time)", units(NULL, 0));
    return LPO_OK;
}

static void close_here(void *card) {
    (void)card;
}

static lpo_status alloc(fpga_buffer *out, void *card, int kernel, int unit, int arg, size_t size_bytes,
                        lpo_error *err) {
    (void)card;
    (void)unit;
    size_t whole = (size_bytes + 63) & ~(size_t)63;
    *out = (fpga_buffer){aligned_alloc(64, whole ? whole : 64), whole, NULL};
    if (out->host) return LPO_OK;
    *out = (fpga_buffer){0};
    return lpo_fail(err, LPO_ENOMEM, "out of memory for argument %s of %s (%zu bytes)",
                    lpo_hls_kernels[kernel].args[arg].name, lpo_hls_kernels[kernel].name, size_bytes);
}

static void release(fpga_buffer *b) {
    free(b->host);
    *b = (fpga_buffer){0};
}

static lpo_status sync_nothing(const fpga_buffer *b, size_t size_bytes, bool to_card, lpo_error *err) {
    (void)b;
    (void)size_bytes;
    (void)to_card;
    (void)err;
    return LPO_OK;
}

static lpo_status run_open(void **run, void *card, int kernel, int unit, lpo_error *err) {
    const lpo_hls_kernel *k = &lpo_hls_kernels[kernel];
    (void)card;
    (void)unit;
    inproc_run *r = malloc(sizeof *r + (k->args_bytes + 7) / 8 * 8);
    if (!r) return lpo_fail(err, LPO_ENOMEM, "out of memory for a run of %s", k->name);
    r->kernel = k;
    *run = r;
    return LPO_OK;
}

static lpo_status start(void *run, const void *args, const fpga_buffer *buffers, lpo_error *err) {
    inproc_run *r = run;
    (void)err;
    memcpy(r->args, args, r->kernel->args_bytes);
    for (int a = 0; a < r->kernel->n_args; a++) {
        const lpo_hls_arg *g = &r->kernel->args[a];
        if (g->kind == HLS_GLOBAL)
            memcpy((char *)r->args + g->struct_offset, &buffers[a].host, sizeof buffers[a].host);
    }
    return LPO_OK;
}

static fpga_end wait_here(void *run, int timeout_ms, double *modelled_s) {
    inproc_run *r = run;
    lpo_hls_timing t;
    (void)timeout_ms;
    lpo_hls_timing_begin();
    r->kernel->run(r->args);
    lpo_hls_timing_get(&t);
    *modelled_s = (double)lpo_hls_timing_region(&t) / HLS_CLOCK_HZ;
    return FPGA_DONE;
}

const fpga_link fpga_link_inproc = {.host_memory = true,
                                    .open = open_here,
                                    .close = close_here,
                                    .units = units,
                                    .alloc = alloc,
                                    .release = release,
                                    .sync = sync_nothing,
                                    .run_open = run_open,
                                    .run_close = free,
                                    .start = start,
                                    .wait = wait_here};
