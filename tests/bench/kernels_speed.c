/* SPDX-License-Identifier: Apache-2.0 */
/* kernels_speed.c -- how fast the CPU kernels are: single products, a decoder layer forward and backward, the
 * chunked log-probability; single products beside OpenBLAS. Prints a table and writes JSON; kernels_speed.py
 * runs the same work in torch and prints the ratios. bench_kernels_speed [THREADS [OUT.json [CASE]]] GFLOP/s
 * counts the multiply-adds of matrix products (attention as computed by the mathematics: causal halves), best
 * of several runs after one to warm up. */
#include <cblas.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#undef I /* of complex.h, which cblas.h brings along */

#include "kernels/cpu/cpu.h"
#include "kernels/number.h"
#include "kernels/op.h"

typedef struct shape {
    const char *name;
    int T, H, I, n_q, n_kv, d, dtype, repeats;
} shape;

static const shape layers[] = {
    {"layer 2B T=512 f32", 512, 1536, 8960, 12, 2, 128, LPO_F32, 3},
    {"layer 2B T=512 bf16", 512, 1536, 8960, 12, 2, 128, LPO_BF16, 3},
    {"layer tiny T=300 f32", 300, 128, 384, 4, 2, 32, LPO_F32, 50},
    {"layer tiny T=2000 f32", 2000, 128, 384, 4, 2, 32, LPO_F32, 10},
    {"vit 1280 T=1024 f32", 1024, 1280, 1710, 16, 16, 80, LPO_F32, 2},
};

static int cpu_time;
static double now(void) {
    struct timespec t;
    clock_gettime(cpu_time ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t state = 1;
static float uniform(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(state >> 32) * 0x1p-31f;
}

static lpo_karg tensor(int dtype, int64_t rows, int64_t cols) {
    lpo_karg a = {.dtype = dtype, .ndim = 2, .shape = {rows, cols}};
    a.data = aligned_alloc(64, (size_t)(rows * cols) * lpo_dtype_bytes(dtype) / 64 * 64 + 64);
    for (int64_t i = 0; i < rows * cols; i++) {
        const float v = 0.05f * uniform();
        if (dtype == LPO_F32) ((float *)a.data)[i] = v;
        if (dtype == LPO_BF16) ((uint16_t *)a.data)[i] = lpo_f32_to_bf16(v);
        if (dtype == LPO_I32) ((int32_t *)a.data)[i] = 0;
    }
    return a;
}

static void *scratch;
static size_t scratch_size;

static void run(lpo_op op, lpo_kcall c) {
    const lpo_kernel *k = &lpo_kernels_cpu[op];
    const size_t need = k->scratch ? k->scratch(&c) : 0;
    if (need > scratch_size) {
        free(scratch);
        scratch_size = need / 64 * 64 + 64;
        scratch = aligned_alloc(64, scratch_size);
    }
    c.scratch = scratch;
    if (k->run(&c)) {
        fprintf(stderr, "op %d refused\n", (int)op);
        exit(1);
    }
}
#define RUN(op, ...) run(LPO_OP_##op, (lpo_kcall){.arg = {__VA_ARGS__}, .attrs = at})

static FILE *json;
static void report(const char *name, double seconds, double gflop) {
    printf("%-36s %10.3f ms %8.1f GFLOP/s\n", name, seconds * 1e3, gflop / seconds);
    fflush(stdout);
    if (json)
        fprintf(json, "%s\n  \"%s\": {\"ms\": %.4f, \"gflop\": %.4f}", ftell(json) > 2 ? "," : "", name,
                seconds * 1e3, gflop);
}

/* The three products of a linear layer, each beside the same product by OpenBLAS, turn by turn: on a shared
 * machine only neighbours in time compare. bf16 operands have no peer in most builds of OpenBLAS. */
static void linears(const char *name, int T, int K, int N, int repeats, int dtype) {
    const lpo_attrs at = {0};
    lpo_karg x = tensor(dtype, T, K), w = tensor(dtype, N, K), y = tensor(dtype, T, N),
             dw = tensor(LPO_F32, N, K), none = {0};
    double best[6] = {1e9, 1e9, 1e9, 1e9, 1e9, 1e9};
    const float *fx = x.data, *fw = w.data;
    float *fy = y.data, *fdw = dw.data;
    for (int i = 0; i <= repeats; i++) {
        double t[7] = {now()};
        RUN(LINEAR, y, x, w, none);
        t[1] = now();
        if (dtype == LPO_F32)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, T, N, K, 1, fx, K, fw, K, 0, fy, N);
        t[2] = now();
        RUN(LINEAR_DX, x, y, w);
        t[3] = now();
        if (dtype == LPO_F32)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, T, K, N, 1, fy, N, fw, K, 0, x.data, K);
        t[4] = now();
        RUN(LINEAR_DW, dw, none, y, x);
        t[5] = now();
        if (dtype == LPO_F32)
            cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, N, K, T, 1, fy, N, fx, K, 1, fdw, K);
        t[6] = now();
        for (int j = 0; j < 6; j++)
            if (i && t[j + 1] - t[j] < best[j]) best[j] = t[j + 1] - t[j];
    }
    for (int j = 0; j < 3; j++) {
        char full[64];
        snprintf(full, sizeof full, "%s %s", name, (const char *[]){"y", "dx", "dw"}[j]);
        report(full, best[2 * j], 2e-9 * T * K * N);
        if (dtype != LPO_F32) continue;
        snprintf(full, sizeof full, "%s %s OpenBLAS", name, (const char *[]){"y", "dx", "dw"}[j]);
        report(full, best[2 * j + 1], 2e-9 * T * K * N);
        printf("    OpenBLAS / ours %.2f\n", best[2 * j + 1] / best[2 * j]);
    }
    free(x.data), free(w.data), free(y.data), free(dw.data);
}

static double layer_gflop(const shape *s) {
    const double W = (s->n_q + 2.0 * s->n_kv) * s->d,
                 linear = 2.0 * s->T * s->H * (W + s->n_q * s->d + 3.0 * s->I);
    const double attn = 2.0 * s->T * s->T * s->n_q * s->d; /* q k^T and p v, half of each */
    return 1e-9 * (3 * linear + 3.5 * attn);
}

static void layer(const shape *s) {
    const int64_t T = s->T, H = s->H, I = s->I, Q = s->n_q * s->d, W = (s->n_q + 2 * s->n_kv) * s->d;
    const int D = s->dtype;
    const lpo_attrs at = {.rms = 1,
                          .eps = 1e-6,
                          .n_rot = s->n_q + s->n_kv,
                          .n_q = s->n_q,
                          .n_kv = s->n_kv,
                          .d_head = s->d,
                          .causal = 1,
                          .scale = 0.088f,
                          .act = LPO_ACT_SILU_MUL};
    lpo_attrs back = at;
    back.inverse = 1;
    lpo_karg none = {0}, cu = tensor(LPO_I32, 1, 2), x = tensor(D, T, H), n1 = tensor(D, 1, H),
             n2 = tensor(D, 1, H), wqkv = tensor(D, W, H), bqkv = tensor(D, 1, W), wo = tensor(D, H, Q),
             wgu = tensor(D, 2 * I, H), wd = tensor(D, H, I), cs = tensor(LPO_F32, T, s->d / 2),
             sn = tensor(LPO_F32, T, s->d / 2);
    cu.ndim = 1;
    cu.shape[0] = 2;
    ((int32_t *)cu.data)[1] = s->T;
    lpo_karg m1 = tensor(LPO_F32, 1, T), r1 = tensor(LPO_F32, 1, T), m2 = tensor(LPO_F32, 1, T),
             r2 = tensor(LPO_F32, 1, T), a = tensor(D, T, H), qkv = tensor(D, T, W), o = tensor(D, T, Q),
             lse = tensor(LPO_F32, s->n_q, T), p = tensor(D, T, H), x1 = tensor(D, T, H), b = tensor(D, T, H),
             gu = tensor(D, T, 2 * I), h = tensor(D, T, I), y = tensor(D, T, H);
    lpo_karg dy = tensor(D, T, H), dh = tensor(D, T, I), dgu = tensor(D, T, 2 * I), db = tensor(D, T, H),
             dx1 = tensor(D, T, H), dout = tensor(D, T, Q), dqkv = tensor(D, T, W),
             dn1 = tensor(LPO_F32, 1, H), dn2 = tensor(LPO_F32, 1, H), dwqkv = tensor(LPO_F32, W, H),
             dbqkv = tensor(LPO_F32, 1, W), dwo = tensor(LPO_F32, H, Q), dwgu = tensor(LPO_F32, 2 * I, H),
             dwd = tensor(LPO_F32, H, I);
    double best = 1e9, step[12], least[12];
    for (int j = 0; j < 12; j++) least[j] = 1e9;
    for (int i = 0; i <= s->repeats; i++) {
        const double start = now();
        double mark = start;
        int j = 0;
#define MARK() (step[j++] = now() - mark, mark = now())
        RUN(NORM, a, m1, r1, x, n1, none);
        RUN(LINEAR, qkv, a, wqkv, bqkv);
        RUN(ROPE, qkv, qkv, cs, sn);
        MARK();
        RUN(ATTN, o, lse, qkv, cu);
        MARK();
        RUN(LINEAR, p, o, wo, none);
        RUN(ADD, x1, x, p);
        RUN(NORM, b, m2, r2, x1, n2, none);
        MARK();
        RUN(LINEAR, gu, b, wgu, none);
        MARK();
        RUN(ACT, h, gu);
        MARK();
        RUN(LINEAR, y, h, wd, none);
        RUN(ADD, y, x1, y);
        MARK();
        RUN(LINEAR_DW, dwd, none, dy, h);
        RUN(LINEAR_DX, dh, dy, wd);
        MARK();
        RUN(ACT_BWD, dgu, dh, gu);
        MARK();
        RUN(LINEAR_DW, dwgu, none, dgu, b);
        RUN(LINEAR_DX, db, dgu, wgu);
        MARK();
        RUN(NORM_BWD, dx1, dn2, none, db, x1, n2, m2, r2);
        RUN(ADD, dx1, dx1, dy);
        RUN(LINEAR_DW, dwo, none, dx1, o);
        RUN(LINEAR_DX, dout, dx1, wo);
        MARK();
        RUN(ATTN_BWD, dqkv, dout, qkv, o, lse, cu);
        MARK();
        run(LPO_OP_ROPE, (lpo_kcall){.arg = {dqkv, dqkv, cs, sn}, .attrs = back});
        RUN(LINEAR_DW, dwqkv, dbqkv, dqkv, a);
        RUN(LINEAR_DX, db, dqkv, wqkv);
        RUN(NORM_BWD, a, dn1, none, db, x, n1, m1, r1);
        RUN(ADD, a, a, dx1);
        MARK();
        if (i && now() - start < best) best = now() - start;
        for (int k = 0; k < 12; k++)
            if (i && step[k] < least[k]) least[k] = step[k];
    }
    report(s->name, best, layer_gflop(s));
    static const char *part[12] = {"norm qkv rope", "attn",       "o add norm", "gate up",
                                   "act",           "down",       "down bwd",   "act bwd",
                                   "gate up bwd",   "norm o bwd", "attn bwd",   "rope qkv norm bwd"};
    for (int k = 0; k < 12; k++) printf("    %-18s %8.3f ms\n", part[k], least[k] * 1e3);
    lpo_karg *all[] = {&cu, &x,   &n1, &n2,  &wqkv, &bqkv, &wo,  &wgu, &wd,    &cs,    &sn,  &m1,   &r1,
                       &m2, &r2,  &a,  &qkv, &o,    &lse,  &p,   &x1,  &b,     &gu,    &h,   &y,    &dy,
                       &dh, &dgu, &db, &dx1, &dout, &dqkv, &dn1, &dn2, &dwqkv, &dbqkv, &dwo, &dwgu, &dwd};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]->data);
}

static void logprob(const char *name, int T, int H, int V, int dtype) {
    const lpo_attrs at = {0};
    lpo_karg h = tensor(dtype, T, H), w = tensor(dtype, V, H), target = tensor(LPO_I32, T, 1),
             logp = tensor(LPO_F32, T, 1), lse = tensor(LPO_F32, T, 1), none = {0}, dh = tensor(dtype, T, H),
             dw = tensor(LPO_F32, V, H);
    double best[2] = {1e9, 1e9};
    const int repeats = V > 100000 ? 1 : 10;
    for (int i = 0; i <= repeats; i++) {
        const double a = now();
        RUN(LOGPROB, logp, lse, none, none, h, w, target);
        const double b = now();
        RUN(LOGPROB_BWD, dh, dw, logp, lse, h, w, target);
        const double c = now();
        if (i && b - a < best[0]) best[0] = b - a;
        if (i && c - b < best[1]) best[1] = c - b;
    }
    char full[64];
    snprintf(full, sizeof full, "%s forward", name);
    report(full, best[0], 2e-9 * T * H * V);
    snprintf(full, sizeof full, "%s backward", name);
    report(full, best[1], 6e-9 * T * H * V);
    free(h.data), free(w.data), free(target.data), free(logp.data), free(lse.data), free(dh.data),
        free(dw.data);
}

int main(int argc, char **argv) {
    lpo_kernels_cpu_threads(argc > 1 ? atoi(argv[1]) : 0);
    openblas_set_num_threads(lpo_cpu_threads());
    cpu_time = getenv("CPU_TIME") != NULL;
    json = argc > 2 && *argv[2] ? fopen(argv[2], "w") : NULL;
    const char *only = argc > 3 ? argv[3] : "";
    if (json) fprintf(json, "{");
    printf("%d threads, %s time\n", lpo_cpu_threads(), cpu_time ? "CPU" : "wall");
    if (strstr("linear", only)) {
        linears("linear 512x1536x8960 f32", 512, 1536, 8960, 3, LPO_F32);
        linears("linear 512x1536x8960 bf16", 512, 1536, 8960, 3, LPO_BF16);
        linears("linear 300x128x384 f32", 300, 128, 384, 100, LPO_F32);
        linears("linear 1x1536x8960 f32", 1, 1536, 8960, 10, LPO_F32);
    }
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        if (strstr(layers[i].name, only)) layer(&layers[i]);
    if (strstr("logprob", only)) {
        logprob("logprob 512x1536x151936 f32", 512, 1536, 151936, LPO_F32);
        logprob("logprob 512x128x4000 f32", 512, 128, 4000, LPO_F32);
    }
    if (json) {
        fprintf(json, "\n}\n");
        fclose(json);
    }
    return 0;
}
