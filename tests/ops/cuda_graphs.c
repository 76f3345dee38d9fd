/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_graphs.c -- launches that repeat are replayed as one graph and nobody sees a difference: the same bits
 * with and without, whatever comes between. Runs on a real GPU too; how often a graph was launched is known,
 * and faults come, only where the stand-in of tests/cuda_shim is on the search path. Each test is a process.
 */
#include "gpu_open.h"

static const lpo_driver *const v = &lpo_driver_cuda;
static const long *replays; /* NULL: not the stand-in */

static lpo_device *open_with(const char *name, const char *value) {
    char why[256];
    lpo_device *d;
    void *h = gpu_stand_in();
    if (name && !h && !strncmp(name, "CUDA_SHIM", 9))
        cr_skip_test("the stand-in for libcuda is not on the search path");
    if (name) setenv(name, value, 1);
    if (!lpo_cuda_describe(why, sizeof why)) cr_skip_test("no cuda: %s", why);
    replays = h ? dlsym(h, "cuda_shim_replays") : NULL;
    MUST(v->open(&d, 0, &err));
    return d;
}

static void expect_replays(long n) {
    if (replays) cr_expect_eq(*replays, n, "%ld replays, not %ld", *replays, n);
}

/* y (64 numbers at 1024) = value, then n times y = y + x (at 0). */
static void add(lpo_device *d, lpo_buffer *b, int n, float value) {
    const lpo_dtensor x = {b, 0, LPO_F32, 1, {64}}, y = {b, 1024, LPO_F32, 1, {64}};
    const lpo_step fill = {.op = LPO_OP_FILL, .attrs.value = value, .arg = {y}};
    const lpo_step sum = {.op = LPO_OP_ADD, .arg = {y, y, x}};
    MUST(v->submit(d, &fill, &err));
    for (int i = 0; i < n; i++) MUST(v->submit(d, &sum, &err));
}

/* y = y + k, for k below 20. */
static void add_own(lpo_device *d, lpo_buffer *b, int k) {
    const lpo_dtensor y = {b, 1024, LPO_F32, 1, {64}};
    const size_t at = 4096 + 256 * (size_t)k;
    const lpo_step sum = {.op = LPO_OP_ADD, .arg = {y, y, {b, at, LPO_F32, 1, {64}}}};
    MUST(v->submit(d, &sum, &err));
}

static lpo_buffer *with_x(lpo_device *d, float x) {
    float all[64];
    lpo_buffer *b;
    MUST(v->alloc(&b, d, 16384, &err));
    for (int i = 0; i < 64; i++) all[i] = x;
    MUST(v->upload(b, 0, all, sizeof all, &err));
    for (int k = 0; k < 20; k++) {
        for (int i = 0; i < 64; i++) all[i] = (float)k;
        MUST(v->upload(b, 4096 + 256 * (size_t)k, all, sizeof all, &err));
    }
    return b;
}

static void expect_y(lpo_buffer *b, float want) {
    float y[64];
    MUST(v->download(y, b, 1024, sizeof y, &err));
    for (int i = 0; i < 64; i++) cr_assert_eq(y[i], want, "%d: %g, not %g", i, (double)y[i], (double)want);
}

/* One whole step. */
static void step(lpo_device *d, lpo_buffer *b, int n, float value, float x) {
    add(d, b, n, value);
    MUST(v->wait(d, &err));
    expect_y(b, value + (float)n * x);
}

/* Five steps on changing data: sums and a product of the result, f32 by bf16 where split. */
static void many(float out[5][64], lpo_device *d, int dtype_w) {
    lpo_buffer *b = with_x(d, 0);
    float x[64];
    uint16_t w[64 * 64];
    for (int i = 0; i < 64 * 64; i++)
        w[i] = (uint16_t)(0x3c00 + i % 119); /* small in bf16, anything in f32 */
    lpo_buffer *weight;
    MUST(v->alloc(&weight, d, 64 * 64 * 4, &err));
    MUST(v->upload(weight, 0, w, sizeof w, &err));
    MUST(v->upload(weight, sizeof w, w, sizeof w, &err));
    for (int k = 0; k < 5; k++) {
        for (int i = 0; i < 64; i++) x[i] = 1.0f / (float)(1 + i + 7 * k);
        MUST(v->upload(b, 0, x, sizeof x, &err));
        add(d, b, 40, 0.1f);
        const lpo_step product = {.op = LPO_OP_LINEAR,
                                  .arg = {{b, 2048, LPO_F32, 2, {16, 4}},
                                          {b, 1024, LPO_F32, 2, {16, 4}},
                                          {weight, 0, dtype_w, 2, {4, 4}}}};
        MUST(v->submit(d, &product, &err));
        MUST(v->wait(d, &err));
        MUST(v->download(out[k], b, 2048, 256, &err));
    }
    v->release(weight);
    v->release(b);
}

static void same_bits(int dtype_w) {
    float with[5][64], without[5][64];
    lpo_device *d = open_with(NULL, NULL);
    many(with, d, dtype_w);
    expect_replays(4);
    v->close(d);
    d = open_with("LEANPO_CUDA_GRAPHS", "0");
    many(without, d, dtype_w);
    expect_replays(4);
    v->close(d);
    cr_expect_arr_eq(with, without, sizeof with);
    cr_expect(memcmp(with[0], with[4], sizeof with[0]), "the data did not change");
}

/* A graph works on what its memory holds now, products of cuBLASLt and of three parts among it. */
Test(cuda_graphs, same_bits) {
    same_bits(LPO_F32);
}
Test(cuda_graphs, same_bits_of_split_products) {
    same_bits(LPO_BF16);
}

/* The three parts of an f32 operand move when a larger one comes: graphs that used the old ones go. */
Test(cuda_graphs, parts_move) {
    lpo_device *d = open_with(NULL, NULL);
    lpo_buffer *b = with_x(d, 1), *big;
    const uint16_t one = 0x3f80;
    MUST(v->alloc(&big, d, 1 << 20, &err)); /* the weight is one 1 and otherwise unread */
    MUST(v->upload(big, 0, &one, sizeof one, &err));
    for (int k = 0; k < 5; k++) {
        const int rows = k == 3 ? 20000 : 64;
        const lpo_step s = {.op = LPO_OP_LINEAR,
                            .arg = {{big, 1 << 19, LPO_F32, 2, {rows, 1}},
                                    {k == 3 ? big : b, k == 3 ? 1 << 16 : 1024, LPO_F32, 2, {rows, 1}},
                                    {big, 0, LPO_BF16, 2, {1, 1}}}};
        float y[64];
        add(d, b, 20, 3);
        MUST(v->submit(d, &s, &err));
        MUST(v->wait(d, &err));
        MUST(v->download(y, big, 1 << 19, sizeof y, &err));
        for (int i = 0; i < 64 && k != 3; i++) cr_assert_eq(y[i], 23);
    }
    v->release(big);
    v->release(b);
    v->close(d);
}

/* A step that has something of its own in its middle. */
static void own_step(lpo_device *d, lpo_buffer *b, int k) {
    add(d, b, 20, 1);
    add_own(d, b, k);
    add_own(d, b, 10);
    MUST(v->wait(d, &err));
    expect_y(b, 1 + 20 * 3 + (float)k + 10);
}

/* Steps that begin alike and go on differently: what was held back comes out in order; when both were seen
 * both are replayed. */
Test(cuda_graphs, alike_at_first) {
    lpo_device *d = open_with(NULL, NULL);
    lpo_buffer *b = with_x(d, 3);
    for (int k = 0; k < 4; k++) {
        own_step(d, b, 5);
        own_step(d, b, 6);
    }
    expect_replays(6);
    v->release(b);
    v->close(d);
}

/* Steps of which none comes back: right, never replayed; one that then does is. */
Test(cuda_graphs, never_again) {
    lpo_device *d = open_with(NULL, NULL);
    lpo_buffer *b = with_x(d, 3);
    for (int k = 0; k < 20; k++) own_step(d, b, k);
    expect_replays(0);
    for (int k = 0; k < 60; k++) step(d, b, 30, 99, 3);
    if (replays) cr_expect_gt(*replays, 20);
    v->release(b);
    v->close(d);
}

/* A step that ends early, and one that goes on where a known one ended. */
Test(cuda_graphs, shorter_and_longer) {
    lpo_device *d = open_with(NULL, NULL);
    lpo_buffer *b = with_x(d, 2);
    for (int k = 0; k < 3; k++) step(d, b, 60, 1, 2); /* noted, captured, found */
    expect_replays(2);
    for (int k = 0; k < 2; k++) step(d, b, 30, 1, 2);
    expect_replays(3);
    for (int k = 0; k < 2; k++) step(d, b, 60, 1, 2); /* the short one, and then what follows it */
    expect_replays(6);
    v->release(b);
    v->close(d);
}

/* Long steps are not held back, short ones not worth it. */
Test(cuda_graphs, not_worth_it) {
    lpo_device *d = open_with(NULL, NULL);
    lpo_buffer *b = with_x(d, 1);
    for (int k = 0; k < 3; k++) step(d, b, 1100, 0, 1);
    for (int k = 0; k < 3; k++) step(d, b, 10, 7, 1);
    expect_replays(0);
    v->release(b);
    v->close(d);
}

/* What is held back reads a buffer that is released and written by its next owner: it reads the old bytes. */
Test(cuda_graphs, a_new_owner_waits) {
    lpo_device *d = open_with(NULL, NULL);
    lpo_buffer *b = with_x(d, 0), *x = with_x(d, 1), *next;
    const float nines[64] = {9, 9, 9, 9, 9, 9, 9, 9};
    const lpo_step s = {
        .op = LPO_OP_ADD,
        .arg = {{b, 1024, LPO_F32, 1, {64}}, {b, 1024, LPO_F32, 1, {64}}, {x, 0, LPO_F32, 1, {64}}}};
    for (int k = 0; k < 3; k++) {
        add(d, b, 20, 0);
        for (int i = 0; i < 20; i++) {
            MUST(v->submit(d, &s, &err));
            if (k < 2 || i < 9) continue;
            v->release(x);
            MUST(v->alloc(&next, d, 4096, &err));
            MUST(v->upload(next, 0, nines, sizeof nines, &err));
            break;
        }
        MUST(v->wait(d, &err));
        expect_y(b, k < 2 ? 20 : 10);
    }
    v->release(next);
    v->release(b);
    v->close(d);
}

/* Memory that goes takes its graphs along; others stay. */
Test(cuda_graphs, freed_memory) {
    enum { N = 17 }; /* one more than the pool keeps */
    lpo_device *d = open_with(NULL, NULL);
    lpo_buffer *b[N], *stays = with_x(d, 4);
    for (int i = 0; i < N; i++) b[i] = with_x(d, 2);
    for (int k = 0; k < 2; k++) step(d, stays, 20, 1, 4), step(d, b[N - 1], 20, 1, 2);
    expect_replays(2);
    for (int i = 0; i < N; i++) v->release(b[i]);
    step(d, stays, 20, 1, 4);
    expect_replays(3);
    b[0] = with_x(d, 5);
    for (int k = 0; k < 2; k++) step(d, b[0], 20, 1, 5);
    v->release(b[0]);
    v->release(stays);
    v->close(d);
}

/* The device is lost within a replay: the wait says so, closing ends. */
Test(cuda_graphs, lost) {
    lpo_device *d = open_with("CUDA_SHIM_FAIL_LAUNCH", "50");
    lpo_buffer *b = with_x(d, 1);
    for (int k = 0; k < 2; k++) step(d, b, 20, 1, 1);
    add(d, b, 20, 1);
    expect_replays(2);
    cr_assert_eq(v->wait(d, &err), LPO_EDEVICE);
    cr_expect(strstr(err.msg, "CUDA_ERROR_ILLEGAL_ADDRESS") && strstr(err.msg, "--resume"), "%s", err.msg);
    cr_expect_eq(v->wait(d, &err), LPO_EDEVICE);
    v->release(b);
    v->close(d);
}

/* A driver that does not capture, or has no memory for a graph: launches one by one, the same results. */
static void expect_plain(const char *name, const char *value) {
    lpo_device *d = open_with(name, value);
    lpo_buffer *b = with_x(d, 1);
    for (int k = 0; k < 4; k++) step(d, b, 20, 1, 1);
    expect_replays(0);
    v->release(b);
    v->close(d);
}
Test(cuda_graphs, no_capture) {
    expect_plain("CUDA_SHIM_GRAPHS", "0");
}
Test(cuda_graphs, no_memory_for_a_graph) {
    expect_plain("CUDA_SHIM_FAIL_GRAPH", "1");
}

/* A device with work held back may be closed. */
Test(cuda_graphs, closed_early) {
    lpo_device *d = open_with(NULL, NULL);
    lpo_buffer *b = with_x(d, 1);
    for (int k = 0; k < 2; k++) step(d, b, 20, 1, 1);
    add(d, b, 10, 1);
    v->release(b);
    v->close(d);
}
