/* SPDX-License-Identifier: Apache-2.0 */
/* train_fpga.c -- the preprocess stage where it may be placed: the CPU's own version, the FPGA kernel in
 * process and through XRT on the software card, 1920x1080 NV12 to 448x448; what the card's interface costs (a
 * run that does nothing, a transfer, loading a container); and what the kernel would do on hardware.
 *
 * The first rows are measured and say nothing of hardware. Rows called "modelled" come from the kernel's own
 * account of its loops at 300 MHz (hls/timing.h) and were never measured. The residual compares that model
 * with what AMD publishes for Vitis Vision's kernels of 8 pixels a clock at 300 MHz: 95% of the ideal 1,157
 * frames/s. usage: bench_train_fpga [--frames N] [--json F]. Times are the best of three, runs and transfers
 * medians. */
#include "base/clock.h"
#include "base/json.h"
#include "device/fpga/link.h"
#include "kernels/preprocess.h"
#include "train/prep_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { W = 1920, H = 1080, SIDE = 448, REPEATS = 3, RUNS = 2000 };
static const double PUBLISHED_FPS = 0.95 * 300e6 / (W * H / 8.0), MIB_64 = 64 << 20;

static json_t *rows;

static void record(const char *what, const char *how, double value, const char *unit) {
    printf("%-44s %-22s %12.2f %s\n", what, how, value, unit);
    json_array_append_new(rows,
                          json_pack("{ss ss sf ss}", "what", what, "how", how, "value", value, "unit", unit));
}

static void *memory(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p) exit(1);
    return p;
}

static lpo_prep_frame_args make_frame(int mode) {
    lpo_prep_frame_args a = {.src = {LPO_PREP_NV12, LPO_PREP_BT709, 0, W, H, {NULL}, {W, W}}, .mode = mode};
    uint8_t *luma = memory(W * H), *chroma = memory(W * H / 2);
    for (int i = 0; i < W * H; i++) luma[i] = (uint8_t)((uint32_t)i * 2654435761u >> 13);
    for (int i = 0; i < W * H / 2; i++) chroma[i] = (uint8_t)((uint32_t)i * 2246822519u >> 11);
    a.src.plane[0] = luma, a.src.plane[1] = chroma;
    a.crop_w = W, a.crop_h = H, a.out_w = a.out_h = SIDE;
    (mode == LPO_PREP_PILLOW ? lpo_prep_taps_pillow : lpo_prep_taps_torchvision)(
        &a.horz, memory(lpo_prep_taps_bytes(W, SIDE)), W, SIDE);
    (mode == LPO_PREP_PILLOW ? lpo_prep_taps_pillow : lpo_prep_taps_torchvision)(
        &a.vert, memory(lpo_prep_taps_bytes(H, SIDE)), H, SIDE);
    return a;
}

static void on_cpu(const lpo_prep_frame_args *a, int n, const char *what) {
    uint8_t *out = memory(SIDE * SIDE * 3);
    void *work = memory(lpo_cpu_preprocess_bytes(a));
    double best = 1e9;
    for (int r = 0; r < REPEATS; r++) {
        double t = lpo_now_s();
        for (int i = 0; i < n; i++) lpo_cpu_preprocess_frame(out, a, work);
        t = lpo_now_s() - t;
        if (t < best) best = t;
    }
    record(what, "cpu, 1 thread", n / best, "frames/s");
    free(out);
    free(work);
}

static lpo_status on_engine(const lpo_prep_frame_args *a, int n, const char *device, const char *what,
                            lpo_error *err) {
    lpo_fpga *f = NULL;
    lpo_prep_engine *e = NULL;
    char how[80];
    double best = 1e9;
    uint8_t *out = memory((size_t)n * SIDE * SIDE * 3);
    lpo_status st = lpo_fpga_open(&f, device, NULL, err);
    if (!st) st = lpo_prep_device_create(&e, f, err);
    for (int r = 0; r < REPEATS && !st; r++) {
        void *batch = NULL;
        double t = lpo_now_s();
        for (int i = 0; i < n && !st; i++)
            st = e->submit(e->self, &batch, out + (size_t)i * SIDE * SIDE * 3, a, err);
        if (!st) st = e->finish(e->self, batch, err);
        t = lpo_now_s() - t;
        if (t < best) best = t;
    }
    if (!st) {
        lpo_fpga_stats s;
        lpo_fpga_get_stats(&s, f, LPO_HLS_preprocess);
        snprintf(how, sizeof how, "%.*s", (int)strcspn(lpo_fpga_name(f), " "), lpo_fpga_name(f));
        record(what, how, n / best, "frames/s");
        if (s.bytes_up)
            record("  to the card, a frame", how, (double)s.bytes_up / (double)s.jobs / 1e6, "MB");
        if (s.modelled_s > 0) {
            double fps = (double)s.jobs / s.modelled_s;
            record(what, "modelled, 1 CU", fps, "frames/s");
            if (a->mode == LPO_PREP_PILLOW)
                record("  residual against the published figure", "modelled", 100 * (fps / PUBLISHED_FPS - 1),
                       "%");
        }
    }
    lpo_prep_engine_close(e);
    lpo_fpga_close(f);
    free(out);
    return st;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double median(double *t, int n) {
    qsort(t, (size_t)n, sizeof *t, by_value);
    return t[n / 2];
}

/* A run with nothing to do: group_advantage of no group. */
static lpo_status empty_runs(void *card, lpo_error *err) {
    static double t[RUNS];
    fpga_buffer b[HLS_ARG_group_advantage_count] = {{0}};
    lpo_hls_group_advantage_args args = {0};
    void *run = NULL;
    double modelled;
    const fpga_link *x = &fpga_link_xrt;
    lpo_status st = x->run_open(&run, card, LPO_HLS_group_advantage, 0, err);
    for (int a = 0; a < HLS_ARG_group_advantage_count && !st; a++)
        if (lpo_hls_kernels[LPO_HLS_group_advantage].args[a].kind == HLS_GLOBAL)
            st = x->alloc(&b[a], card, LPO_HLS_group_advantage, 0, a, 4096, err);
    for (int i = 0; i < RUNS && !st; i++) {
        double from = lpo_now_s();
        st = x->start(run, &args, b, err);
        if (!st && x->wait(run, 10000, &modelled) != FPGA_DONE)
            st = lpo_fail(err, LPO_EDEVICE, "an empty run did not end");
        t[i] = lpo_now_s() - from;
    }
    if (!st) record("a run that does nothing, median", "xrt", 1e6 * median(t, RUNS), "us");
    for (int a = 0; a < HLS_ARG_group_advantage_count; a++) x->release(&b[a]);
    x->run_close(run);
    return st;
}

static lpo_status transfers(void *card, lpo_error *err) {
    enum { N = 9 };
    double t[2][N];
    fpga_buffer b = {0};
    lpo_status st = fpga_link_xrt.alloc(&b, card, LPO_HLS_vocab_logprob, 0, 0, 64 << 20, err);
    if (!st) memset(b.host, 1, 64 << 20);
    for (int i = 0; i < 2 * N && !st; i++) {
        double from = lpo_now_s();
        st = fpga_link_xrt.sync(&b, 64 << 20, i % 2 == 0, err);
        t[i % 2][i / 2] = lpo_now_s() - from;
    }
    if (!st) record("64 MiB to the card, median", "xrt", MIB_64 / median(t[0], N) / 1e9, "GB/s");
    if (!st) record("64 MiB from the card, median", "xrt", MIB_64 / median(t[1], N) / 1e9, "GB/s");
    fpga_link_xrt.release(&b);
    return st;
}

static lpo_status interface(lpo_error *err) {
    enum { N = 9 };
    lpo_xclbin *x = NULL;
    char *path = NULL, name[128];
    void *card = NULL;
    double t[N];
    int n_cards;
    lpo_status st = fpga_container_open(&x, &path, NULL, err);
    if (!st) st = fpga_xrt_prepare(&n_cards, x, path, err);
    for (int i = 0; i < N && !st; i++) {
        double from = lpo_now_s();
        st = fpga_link_xrt.open(&card, name, 0, x, path, err);
        t[i] = lpo_now_s() - from;
        if (!st && i < N - 1) fpga_link_xrt.close(card);
    }
    if (!st) {
        record("open, load a container, open 6 units, median", "xrt", 1e3 * median(t, N), "ms");
        st = empty_runs(card, err);
        if (!st) st = transfers(card, err);
        fpga_link_xrt.close(card);
    }
    lpo_xclbin_close(x);
    free(path);
    return st;
}

int main(int argc, char **argv) {
    int n = 30;
    const char *json = NULL;
    lpo_error err;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--frames")) n = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--json")) json = argv[i + 1];
    }
    rows = json_array();
    for (int mode = LPO_PREP_PILLOW; mode <= LPO_PREP_TORCHVISION; mode++) {
        const char *what =
            mode == LPO_PREP_PILLOW ? "1080p NV12 -> 448x448, pillow" : "1080p NV12 -> 448x448, torchvision";
        lpo_prep_frame_args a = make_frame(mode);
        on_cpu(&a, n, what);
        if (on_engine(&a, n, "csim", what, &err) || on_engine(&a, n, "fpga", what, &err))
            fprintf(stderr, "bench_train_fpga: %s\n", err.msg);
    }
    if (interface(&err)) fprintf(stderr, "bench_train_fpga: %s\n", err.msg);
    if (json && json_dump_file(rows, json, JSON_INDENT(1))) return 1;
    json_decref(rows);
    return 0;
}
