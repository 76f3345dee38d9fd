/* SPDX-License-Identifier: Apache-2.0 */
/* tape_recording.c -- the rules of use: the first mistake is kept with op and shapes, inputs may be rewritten
 * and a tape run again, what was not kept is not read, and attention with a cache says what attention without
 * says. */
#include "world.h"

#include <math.h>

static lpo_device *dev;
static world w;

static void open_cpu(void) {
    dev = open_device("cpu");
    world_open(&w, LPO_F32, 3, 1, &dev);
}
static void close_cpu(void) {
    world_close(&w);
    lpo_device_close(dev);
}
TestSuite(tape_recording, .init = open_cpu, .fini = close_cpu);

static lpo_val zeros(int32_t dtype, int64_t rows, int64_t cols) {
    return lpo_tape_input(w.tape, dtype, cols ? 2 : 1, (int64_t[]){rows, cols}, NULL);
}

/* What plan says, after a mistake; the tape works again after reset. */
static void fails_with(lpo_status want, const char *text) {
    lpo_error e = {0};
    cr_expect_eq(lpo_tape_plan(w.tape, &e), want, "%s: %s", text, e.msg);
    cr_expect(strstr(e.msg, text), "\"%s\" is not in \"%s\"", text, e.msg);
    lpo_tape_reset(w.tape);
    cr_expect_eq(lpo_tape_plan(w.tape, &e), LPO_OK);
}

/* The first mistake wins, whatever is recorded on top of it, and names its step, op and shapes. */
Test(tape_recording, first_mistake_is_kept) {
    lpo_tape_add(w.tape, zeros(LPO_F32, 2, 3), zeros(LPO_F32, 2, 3));
    lpo_val bad = lpo_tape_linear(w.tape, zeros(LPO_F32, 4, 8), zeros(LPO_F32, 5, 7), LPO_NONE);
    cr_expect_eq(bad, LPO_NONE);
    cr_expect_eq(lpo_tape_act(w.tape, bad, LPO_ACT_GELU), LPO_NONE);
    cr_expect_eq(zeros(LPO_F32, 0, 3), LPO_NONE);
    lpo_tape_backward(w.tape, bad, bad);
    fails_with(LPO_EINVAL, "step 1, linear(f32[4,8], f32[5,7], -): the weight's columns");
}

/* One mistake of each kind. */
Test(tape_recording, mistakes) {
    lpo_tape *t = w.tape;
    lpo_val x = zeros(LPO_F32, 4, 8);
    lpo_tape_linear(t, x, zeros(LPO_BF16, 5, 8), LPO_NONE);
    fails_with(LPO_EINVAL, "x's dtype");
    lpo_tape_linear(t, zeros(LPO_F32, 4, 8), LPO_NONE, LPO_NONE);
    fails_with(LPO_EINVAL, "missing");
    lpo_tape_add(t, zeros(LPO_F32, 4, 8), zeros(LPO_F32, 8, 4));
    fails_with(LPO_EINVAL, "add(f32[4,8], f32[8,4])");
    lpo_tape_norm(t, zeros(LPO_F32, 4, 8), zeros(LPO_F32, 7, 0), LPO_NONE, true, 1e-6);
    fails_with(LPO_EINVAL, "weight must be a vector");
    lpo_tape_act(t, zeros(LPO_F32, 4, 7), LPO_ACT_SILU_MUL);
    fails_with(LPO_EINVAL, "even number of columns");
    lpo_tape_attn(t, zeros(LPO_F32, 4, 8), zeros(LPO_I32, 2, 0), LPO_NONE, 3, 2, 2, 1, true);
    fails_with(LPO_EINVAL, "multiple of n_kv");
    lpo_tape_embed(t, zeros(LPO_F32, 4, 8), zeros(LPO_F32, 2, 0));
    fails_with(LPO_EINVAL, "i32");
    lpo_tape_reshape(t, zeros(LPO_F32, 4, 8), 2, (int64_t[]){5, 7});
    fails_with(LPO_EINVAL, "f32[4,8] cannot become");
    lpo_tape_reshape(t, zeros(LPO_F32, 4, 8), 5, (int64_t[]){1, 1, 1, 1, 32});
    fails_with(LPO_EINVAL, "5 dimensions");
    zeros(LPO_F32, INT64_MAX, INT64_MAX);
    fails_with(LPO_EINVAL, "cannot be recorded");
    zeros(77, 1, 1);
    fails_with(LPO_EINVAL, "dtype 77");
    lpo_tape_cast(t, zeros(LPO_I32, 1, 1), LPO_F32);
    fails_with(LPO_EINVAL, "cast(i32[1,1])");
    lpo_tape_segment_begin(t);
    lpo_tape_segment_begin(t);
    fails_with(LPO_EINVAL, "do not nest");
    lpo_tape_segment_end(t, NULL, 0);
    fails_with(LPO_EINVAL, "without a begin");
    lpo_tape_segment_begin(t);
    fails_with(LPO_EINVAL, "open segment");
    x = zeros(LPO_F32, 4, 8);
    lpo_tape_backward(t, x, zeros(LPO_F32, 4, 7));
    fails_with(LPO_EINVAL, "dy of y's shape");
    x = lpo_tape_add(t, zeros(LPO_F64, 4, 8), zeros(LPO_F64, 4, 8));
    fails_with(LPO_EUNSUPPORTED, "add(f64[4,8], f64[4,8]): no device");
    x = zeros(LPO_F32, 3, 4); /* a weight that is no parameter cannot learn */
    lpo_tape_want_grad(t, x);
    lpo_val y = lpo_tape_linear(t, zeros(LPO_F32, 2, 4), x, LPO_NONE);
    lpo_tape_backward(t, y, zeros(LPO_F32, 2, 3));
    fails_with(LPO_EUNSUPPORTED, "not a parameter");
}

/* A trainable parameter without gradient memory, and one without any, are named. */
Test(tape_recording, parameters_without_memory) {
    lpo_param p = {.name = "model.norm.weight", .dtype = LPO_F32, .ndim = 1, .shape = {4}, .trainable = true};
    lpo_tape_param(w.tape, &p);
    fails_with(LPO_EINVAL, "model.norm.weight");
    lpo_error e = {0};
    must(lpo_device_driver(dev)->alloc(&p.data, dev, 16, &e), &e);
    lpo_val g = lpo_tape_param(w.tape, &p);
    cr_expect_eq(lpo_tape_param(w.tape, &p), g, "the same handle for the same parameter");
    lpo_val y = lpo_tape_norm(w.tape, zeros(LPO_F32, 2, 4), g, LPO_NONE, true, 1e-6);
    lpo_tape_backward(w.tape, y, zeros(LPO_F32, 2, 4));
    fails_with(LPO_EINVAL, "model.norm.weight is trainable but has no gradient memory");
    lpo_device_driver(dev)->release(p.data);
}

/* Runs in pieces, with inputs written between; a second run with other inputs gives the other result. */
Test(tape_recording, written_and_run_again) {
    lpo_error e = {0};
    lpo_val a = zeros(LPO_F32, 1, 2), b = zeros(LPO_F32, 1, 2);
    lpo_val sum = lpo_tape_add(w.tape, a, a);
    int half = lpo_tape_n_steps(w.tape);
    lpo_val all = lpo_tape_add(w.tape, sum, b);
    cr_expect_eq(lpo_tape_run(w.tape, 0, -1, &e), LPO_EINVAL, "before plan");
    must(lpo_tape_plan(w.tape, &e), &e);
    cr_expect_eq(lpo_tape_run(w.tape, 1, 3, &e), LPO_EINVAL, "past the end");
    for (int i = 1; i < 4; i++) {
        float va[] = {(float)i, -1}, vb[] = {10, (float)i}, got[2];
        must(lpo_tape_write(w.tape, a, va, &e), &e);
        must(lpo_tape_run(w.tape, 0, half, &e), &e);
        must(lpo_tape_write(w.tape, b, vb, &e), &e);
        must(lpo_tape_run(w.tape, half, -1, &e), &e);
        must(lpo_tape_read(got, w.tape, all, &e), &e);
        cr_expect_eq(got[0], (float)(2 * i + 10));
        cr_expect_eq(got[1], (float)(i - 2));
        must(lpo_tape_read(got, w.tape, a, &e), &e);
        cr_expect_eq(got[0], (float)i, "an input stays readable");
    }
    float other[2];
    cr_expect_eq(lpo_tape_read(other, w.tape, sum, &e), LPO_EINVAL);
    cr_expect(strstr(e.msg, "lpo_tape_keep"), "%s", e.msg);
    cr_expect_eq(lpo_tape_write(w.tape, sum, other, &e), LPO_EINVAL, "steps write it, not the host");
    lpo_tape_keep(w.tape, sum);
    cr_expect_eq(lpo_tape_run(w.tape, 0, -1, &e), LPO_EINVAL, "keep needs a new plan");
    must(lpo_tape_plan(w.tape, &e), &e);
    must(lpo_tape_write(w.tape, a, (float[]){4, 5}, &e), &e);
    must(lpo_tape_run(w.tape, 0, -1, &e), &e);
    must(lpo_tape_read(other, w.tape, sum, &e), &e);
    cr_expect_eq(other[1], 10.f);
}

/* An in-place sum may take over the bytes of a term only if nobody needs them: here the term is kept. */
Test(tape_recording, kept_term_survives_the_sum) {
    lpo_error e = {0};
    float one[] = {1, 2}, got[2];
    lpo_val x = lpo_tape_input(w.tape, LPO_F32, 2, (int64_t[]){1, 2}, one);
    lpo_val a = lpo_tape_add(w.tape, x, x), b = lpo_tape_add(w.tape, a, x), c = lpo_tape_add(w.tape, b, b);
    lpo_tape_keep(w.tape, a);
    must(lpo_tape_plan(w.tape, &e), &e);
    must(lpo_tape_run(w.tape, 0, -1, &e), &e);
    must(lpo_tape_read(got, w.tape, a, &e), &e);
    cr_expect_eq(got[1], 4.f);
    must(lpo_tape_read(got, w.tape, c, &e), &e);
    cr_expect_eq(got[1], 12.f);
    cr_expect_eq(lpo_tape_read(got, w.tape, b, &e), LPO_EINVAL);
}

/* A sum and a rotation work in place: x (kept, it is an input), then one tensor for all three. */
Test(tape_recording, sums_and_rotations_in_place) {
    enum { ROW = 64, BYTES = 4 * ROW * 4 };
    lpo_error e = {0};
    lpo_val x = zeros(LPO_F32, 4, ROW), c = zeros(LPO_F32, 4, ROW / 2), s = zeros(LPO_F32, 4, ROW / 2);
    lpo_val y = lpo_tape_rope(w.tape, lpo_tape_add(w.tape, x, lpo_tape_add(w.tape, x, x)), c, s, 1, ROW);
    lpo_tape_keep(w.tape, y);
    must(lpo_tape_plan(w.tape, &e), &e);
    cr_expect_eq(lpo_tape_arena_bytes(w.tape), BYTES + 2 * BYTES / 2 + BYTES);
}

/* The gradient of a view has the view's shape; constants have none. */
Test(tape_recording, gradients_of_views_and_constants) {
    lpo_error e = {0};
    lpo_val x = variable(&w, 2, 6), k = zeros(LPO_F32, 3, 4);
    lpo_val v = lpo_tape_reshape(w.tape, x, 2, (int64_t[]){3, 4});
    lpo_val y = lpo_tape_add(w.tape, v, k), dy = seed_of(&w, y);
    lpo_tape_backward(w.tape, y, dy);
    must(lpo_tape_plan(w.tape, &e), &e);
    must(lpo_tape_run(w.tape, 0, -1, &e), &e);
    cr_expect_eq(lpo_tape_grad(w.tape, k), LPO_NONE);
    int64_t rows;
    cr_assert_eq(lpo_val_dim(w.tape, lpo_tape_grad(w.tape, v), 0, &rows), 0);
    cr_expect_eq(rows, 3);
    cr_assert_eq(lpo_val_dim(w.tape, lpo_tape_grad(w.tape, x), 0, &rows), 0);
    cr_expect_eq(rows, 2);
    double *g = fetch(&w, lpo_tape_grad(w.tape, x)), *want = fetch(&w, dy);
    cr_expect_arr_eq(g, want, 12 * sizeof *g);
    free(g), free(want);
}

static void last_flops(void *user, lpo_op op, int device, double start_s, double seconds, double flops,
                       double bytes) {
    (void)op, (void)device, (void)start_s, (void)seconds, (void)bytes;
    *(double *)user = flops;
}

/* What a profile divides by the time: attention of sequences of 1 and 5 rows works on 1 + 25 pairs, not on 6
 * * 6 / 2. */
Test(tape_recording, attention_flops_count_true_pairs) {
    static const int32_t cu[] = {0, 1, 6};
    lpo_error e = {0};
    double flops = 0;
    lpo_tape_attn(w.tape, zeros(LPO_F32, 6, 4 * 8), ints(&w, 3, 0, cu), LPO_NONE, 2, 1, 8, 1, false);
    lpo_tape_trace(w.tape, last_flops, &flops);
    must(lpo_tape_plan(w.tape, &e), &e);
    must(lpo_tape_run(w.tape, 0, -1, &e), &e);
    cr_expect_float_eq(flops, 4 * 26 * 2 * 8, 1e-6); /* q k^T and p v, 2 each, per pair, head and column */
}

/* An input written after a plan is what the next plan uploads. */
Test(tape_recording, a_new_plan_keeps_what_was_written) {
    lpo_error e = {0};
    float got[2];
    lpo_val a = lpo_tape_input(w.tape, LPO_F32, 1, (int64_t[]){2}, (float[]){1, 2}),
            y = lpo_tape_add(w.tape, a, a);
    must(lpo_tape_plan(w.tape, &e), &e);
    must(lpo_tape_write(w.tape, a, (float[]){3, 4}, &e), &e);
    must(lpo_tape_plan(w.tape, &e), &e);
    must(lpo_tape_run(w.tape, 0, -1, &e), &e);
    must(lpo_tape_read(got, w.tape, y, &e), &e);
    cr_expect_eq(got[1], 8.f);
}

/* A bad id reaches the kernel only when the tape runs: the error names the step. */
Test(tape_recording, errors_of_a_run_name_the_step) {
    lpo_error e = {0};
    static const int32_t idx[] = {5, 0};
    lpo_tape_rowmix(w.tape, zeros(LPO_F32, 3, 4), LPO_NONE, ints(&w, 2, 1, idx), LPO_NONE);
    must(lpo_tape_plan(w.tape, &e), &e);
    cr_expect(lpo_tape_run(w.tape, 0, -1, &e));
    cr_expect(strstr(e.msg, "step 0, rowmix(f32[3,4], -, i32[2,1], -)"), "%s", e.msg);
}

/* Token by token through a cache, two sequences at once: the rows of plain causal attention. */
Test(tape_recording, cached_attention_is_attention) {
    enum { N = 5, WIDE = (2 + 2) * 8 };
    lpo_error e = {0};
    const lpo_driver *d = lpo_device_driver(dev);
    double *qkv = noise(&w, 2 * N * WIDE, 0, 1);
    float *bytes = pack(LPO_F32, qkv, 2 * N * WIDE);
    static const int32_t cu[] = {0, N, 2 * N};
    lpo_val x = lpo_tape_input(w.tape, LPO_F32, 2, (int64_t[]){2 * N, WIDE}, bytes);
    lpo_val o = lpo_tape_attn(w.tape, x, ints(&w, 3, 0, cu), LPO_NONE, 2, 1, 8, 0.35f, true);
    must(lpo_tape_plan(w.tape, &e), &e);
    must(lpo_tape_run(w.tape, 0, -1, &e), &e);
    double *want = fetch(&w, o);
    lpo_buffer *memory;
    must(d->alloc(&memory, dev, sizeof(float) * 3 * 8 * 2 * 8, &e), &e);
    lpo_tape_reset(w.tape);
    static const int32_t each[] = {0, 1, 2}, slot[] = {2, 0};
    lpo_val row = zeros(LPO_F32, 2, WIDE), past = zeros(LPO_I32, 2, 0);
    lpo_val cache = lpo_tape_extern(w.tape, memory, LPO_F32, 4, (int64_t[]){3, 8, 2, 8});
    lpo_val out = lpo_tape_attn_cached(w.tape, row, cache, ints(&w, 3, 0, each), ints(&w, 2, 0, slot), past,
                                       2, 1, 8, 0.35f);
    must(lpo_tape_plan(w.tape, &e), &e);
    for (int i = 0; i < N; i++) {
        float now[2 * WIDE];
        int32_t n_past[] = {i, i};
        for (int s = 0; s < 2; s++) memcpy(now + s * WIDE, bytes + (s * N + i) * WIDE, WIDE * sizeof(float));
        must(lpo_tape_write(w.tape, row, now, &e), &e);
        must(lpo_tape_write(w.tape, past, n_past, &e), &e);
        must(lpo_tape_run(w.tape, 0, -1, &e), &e);
        double *got = fetch(&w, out);
        for (int s = 0; s < 2; s++)
            for (int k = 0; k < 16; k++) /* sums of at most 8 floats in another order */
                cr_expect_float_eq(got[s * 16 + k], want[(s * N + i) * 16 + k], 2e-6);
        free(got);
    }
    d->release(memory);
    free(qkv), free(bytes), free(want);
}
