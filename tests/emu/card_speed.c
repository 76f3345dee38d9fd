/* SPDX-License-Identifier: Apache-2.0 */
/* card_speed.c -- what the software card costs a host: loading a container, an empty run, moving 64 MiB each
 * way, through XRT's native C API. `card_speed a.xclbin b.xclbin [json]`, two containers so that each load is
 * one. Started by tests/bench/card_speed.sh. Medians; nothing is asserted. */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xrt/xrt_bo.h>
#include <xrt/xrt_device.h>
#include <xrt/xrt_kernel.h>

enum { LOADS = 40, RUNS = 4000, MOVES = 15, BYTES = 64 << 20 };

static double clock_s(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double now_s(void) {
    return clock_s(CLOCK_MONOTONIC);
}

static void require(int true_, const char *what) {
    if (true_) return;
    fprintf(stderr, "card_speed: %s failed\n", what);
    exit(1);
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, by_value);
    return v[n / 2];
}

/* GB/s by the clock on the wall, and by the processor time the transfer took: the same on an idle machine. */
typedef struct rate {
    double wall, processor;
} rate;

static rate move(xrtBufferHandle b, enum xclBOSyncDirection direction) {
    double t[MOVES], p[MOVES];
    for (int i = 0; i < MOVES; i++) {
        double start = now_s(), used = clock_s(CLOCK_THREAD_CPUTIME_ID);
        require(!xrtBOSync(b, direction, BYTES, 0), "a transfer");
        t[i] = now_s() - start;
        p[i] = clock_s(CLOCK_THREAD_CPUTIME_ID) - used;
    }
    return (rate){BYTES / median(t, MOVES) / 1e9, BYTES / median(p, MOVES) / 1e9};
}

int main(int argc, char **argv) {
    static double t[RUNS];
    xuid_t uuid;
    if (argc < 3) return 2;
    xrtDeviceHandle d = xrtDeviceOpen(0);
    require(d != NULL, "opening the card");
    for (int i = 0; i < LOADS; i++) {
        double start = now_s();
        require(!xrtDeviceLoadXclbinFile(d, argv[1 + i % 2]), "loading");
        t[i] = now_s() - start;
    }
    double load_ms = median(t, LOADS) * 1e3;
    xrtDeviceGetXclbinUUID(d, uuid);
    xrtKernelHandle k = xrtPLKernelOpen(d, uuid, "mood");
    xrtRunHandle r = xrtRunOpen(k);
    require(k && r && !xrtRunSetArg(r, 0, 0), "opening the kernel");
    for (int i = 0; i < RUNS; i++) {
        double start = now_s();
        require(!xrtRunStart(r) && xrtRunWait(r) == ERT_CMD_STATE_COMPLETED, "a run");
        t[i] = now_s() - start;
    }
    double run_us = median(t, RUNS) * 1e6;
    xrtBufferHandle b = xrtBOAlloc(d, BYTES, 0, 0);
    require(b != NULL, "allocating 64 MiB");
    memset(xrtBOMap(b), 1, BYTES);
    rate up = move(b, XCL_BO_SYNC_BO_TO_DEVICE), down = move(b, XCL_BO_SYNC_BO_FROM_DEVICE);
    printf("%-28s %10s %10s\n", "software card", "measured", "goal");
    printf("%-28s %7.2f ms %7.1f ms\n", "load a container", load_ms, 3.0);
    printf("%-28s %7.1f us %7.1f us\n", "empty run", run_us, 60.0);
    printf("%-28s %5.1f GB/s %5.1f GB/s (%.1f by processor time)\n", "64 MiB to the card", up.wall, 8.0,
           up.processor);
    printf("%-28s %5.1f GB/s %5.1f GB/s (%.1f by processor time)\n", "64 MiB from the card", down.wall, 8.0,
           down.processor);
    FILE *json = argc > 3 ? fopen(argv[3], "w") : NULL;
    if (json)
        fprintf(json,
                "{\"load_ms\": %.3f, \"empty_run_us\": %.2f, \"h2d_gbs\": %.2f, \"d2h_gbs\": %.2f, "
                "\"h2d_processor_gbs\": %.2f, \"d2h_processor_gbs\": %.2f}\n",
                load_ms, run_us, up.wall, down.wall, up.processor, down.processor);
    if (json) fclose(json);
    xrtRunClose(r);
    xrtKernelClose(k);
    xrtBOFree(b);
    xrtDeviceClose(d);
    return 0;
}
