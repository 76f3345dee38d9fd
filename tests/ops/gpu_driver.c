/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_driver.c -- what every GPU driver does when things go wrong: too much memory, tensors outside their
 * buffers, index tables that lie; and what it promises when they go right. After each the device works. */
#include "gpu_open.h"

#include "device/cpu/cpu.h"
#include "device/gpu/gpu.h"

/* A petabyte is refused with the numbers and the remedy. */
Test(gpu_driver, out_of_memory) {
    lpo_device *d = gpu_open();
    const lpo_driver *v = gpu_driver();
    lpo_buffer *b;
    cr_assert_eq(v->alloc(&b, d, (size_t)1 << 50, &err), LPO_ENOMEM);
    cr_assert_null(b);
    cr_expect(strstr(err.msg, "MiB more wanted") && strstr(err.msg, "smaller batch"), "%s", err.msg);
    gpu_check_alive(d);
    v->close(d);
}

/* A step that repeats allocates nothing: a released buffer of a fitting size comes back. */
Test(gpu_driver, released_memory_is_reused) {
    lpo_device *d = gpu_open();
    const lpo_driver *v = gpu_driver();
    lpo_buffer *a, *b;
    MUST(v->alloc(&a, d, 1000, &err));
    v->release(a);
    MUST(v->alloc(&b, d, 900, &err));
    cr_expect_eq((void *)a, (void *)b);
    cr_expect_eq(lpo_buffer_bytes(b), 900);
    v->release(b);
    v->close(d);
}

/* An id outside the table is reported when waited for, reads and writes nothing outside, and leaves the
 * device usable. */
Test(gpu_driver, bad_ids) {
    lpo_device *d = gpu_open();
    const lpo_driver *v = gpu_driver();
    for (int op = 0; op < 2; op++) {
        const int32_t ids[2] = {0, 7};
        lpo_buffer *b;
        MUST(v->alloc(&b, d, 4096, &err));
        MUST(v->upload(b, 2048, ids, sizeof ids, &err));
        lpo_step s = {.op = op ? LPO_OP_EMBED_BWD : LPO_OP_EMBED,
                      .arg = {{b, 0, LPO_F32, 2, {op ? 7 : 2, 4}},
                              {b, 512, LPO_F32, 2, {op ? 2 : 7, 4}},
                              {b, 2048, LPO_I32, 1, {2}}}};
        MUST(v->submit(d, &s, &err));
        cr_assert_eq(v->wait(d, &err), LPO_EINVAL);
        cr_expect(strstr(err.msg, "not in the table"), "%s", err.msg);
        MUST(v->wait(d, &err));
        v->release(b);
    }
    gpu_check_alive(d);
    v->close(d);
}

/* A tensor past the end of its buffer is refused before anything runs. */
Test(gpu_driver, out_of_bounds) {
    lpo_device *d = gpu_open();
    const lpo_driver *v = gpu_driver();
    lpo_buffer *b;
    MUST(v->alloc(&b, d, 64, &err));
    lpo_step s = {.op = LPO_OP_FILL, .arg = {{b, 32, LPO_F32, 1, {9}}}};
    cr_assert_eq(v->submit(d, &s, &err), LPO_EINVAL);
    v->release(b);
    v->close(d);
}

/* Doubles are not this device's: it says so, and another of the placement gets the step. */
Test(gpu_driver, supports_says_no) {
    lpo_device *d = gpu_open();
    const lpo_driver *v = gpu_driver();
    lpo_buffer_head probe = {.device = d};
    lpo_buffer *b = (lpo_buffer *)&probe;
    lpo_step s = {.op = LPO_OP_ADD,
                  .arg = {{b, 0, LPO_F64, 1, {4}}, {b, 0, LPO_F64, 1, {4}}, {b, 0, LPO_F64, 1, {4}}}};
    cr_expect_not(v->supports(d, &s));
    for (int i = 0; i < 3; i++) s.arg[i].dtype = LPO_BF16;
    cr_expect(v->supports(d, &s));
    v->close(d);
}

/* Many pieces of staging, the last one short, at an odd place: every byte comes back, none beside them
 * changes. */
Test(gpu_driver, long_copies) {
    enum { SIZE = (13 << 20) + 77, AT = 321 };
    lpo_device *d = gpu_open();
    const lpo_driver *v = gpu_driver();
    char *out = malloc(SIZE), *back = malloc(SIZE + 2);
    uint32_t x = 1;
    for (size_t i = 0; i < SIZE; i++) out[i] = (char)((x = x * 1664525u + 1013904223u) >> 24);
    lpo_buffer *b;
    MUST(v->alloc(&b, d, SIZE + 1000, &err));
    MUST(v->upload(b, AT - 1, "<", 1, &err));
    MUST(v->upload(b, AT + SIZE, ">", 1, &err));
    MUST(v->upload(b, AT, out, SIZE, &err));
    MUST(v->download(back, b, AT - 1, SIZE + 2, &err));
    cr_expect(back[0] == '<' && back[SIZE + 1] == '>' && !memcmp(back + 1, out, SIZE));
    v->release(b);
    v->close(d);
    free(out);
    free(back);
}

/* A buffer may be released while queued work reads it, and its memory given to another: what the new owner
 * uploads does not reach the work of the old one. */
Test(gpu_driver, a_new_owner_waits_for_the_old_ones_work) {
    enum { N = 4096 };
    lpo_device *d = gpu_open();
    const lpo_driver *v = gpu_driver();
    static float ones[N], nines[N], y[N];
    for (int i = 0; i < N; i++) ones[i] = 1, nines[i] = 9;
    lpo_buffer *a, *b, *sum;
    MUST(v->alloc(&sum, d, sizeof y, &err));
    MUST(v->alloc(&a, d, sizeof ones, &err));
    MUST(v->upload(a, 0, ones, sizeof ones, &err));
    lpo_step s = {.op = LPO_OP_ADD,
                  .arg = {{sum, 0, LPO_F32, 1, {N}}, {a, 0, LPO_F32, 1, {N}}, {a, 0, LPO_F32, 1, {N}}}};
    MUST(v->submit(d, &s, &err));
    v->release(a);
    MUST(v->alloc(&b, d, sizeof nines, &err));
    MUST(v->upload(b, 0, nines, sizeof nines, &err));
    MUST(v->wait(d, &err));
    MUST(v->download(y, sum, 0, sizeof y, &err));
    for (int i = 0; i < N; i++) cr_assert_eq(y[i], 2, "element %d: %g", i, (double)y[i]);
    v->release(b);
    v->release(sum);
    v->close(d);
}

/* A launch that no op stands for runs like one; a tensor past its buffer is refused. */
Test(gpu_driver, enqueue) {
    lpo_device *d = gpu_open();
    const lpo_driver *v = gpu_driver();
    float y[3] = {0};
    lpo_buffer *b;
    MUST(v->alloc(&b, d, 64, &err));
    lpo_gpu_launch l = {.kernel = LPO_GPU_FILL, .tensor = {{b, 16, LPO_F32}}, .n = {3}, .real = {2.5}};
    cr_assert(lpo_gpu_is(d));
    MUST(lpo_gpu_enqueue(d, &l, &err));
    MUST(v->wait(d, &err));
    MUST(v->download(y, b, 16, sizeof y, &err));
    cr_expect(y[0] == 2.5f && y[2] == 2.5f);
    l.tensor[0].offset_bytes = 65;
    cr_expect_eq(lpo_gpu_enqueue(d, &l, &err), LPO_EINVAL);
    v->release(b);
    v->close(d);
    MUST(lpo_driver_cpu.open(&d, 0, &err));
    cr_expect_not(lpo_gpu_is(d));
    lpo_device_close(d);
}

/* Scratch grows while queued work still uses the smaller one. */
Test(gpu_driver, scratch_grows_under_queued_work) {
    enum { FEW = 100, MANY = 200000 };
    lpo_device *d = gpu_open();
    const lpo_driver *v = gpu_driver();
    float *x = malloc(MANY * sizeof *x);
    double sum[2] = {0};
    lpo_buffer *b;
    for (int i = 0; i < MANY; i++) x[i] = 1;
    MUST(v->alloc(&b, d, 256 + MANY * sizeof *x, &err));
    MUST(v->upload(b, 0, sum, sizeof sum, &err));
    MUST(v->upload(b, 256, x, MANY * sizeof *x, &err));
    for (int64_t i = 0; i < 2; i++) {
        const lpo_step s = {
            .op = LPO_OP_SQNORM,
            .arg = {{b, (size_t)i * 8, LPO_F64, 1, {1}}, {b, 256, LPO_F32, 1, {i ? MANY : FEW}}}};
        MUST(v->submit(d, &s, &err));
    }
    MUST(v->wait(d, &err));
    MUST(v->download(sum, b, 0, sizeof sum, &err));
    cr_expect(sum[0] == FEW && sum[1] == MANY, "%g and %g", sum[0], sum[1]);
    v->release(b);
    v->close(d);
    free(x);
}
