/* SPDX-License-Identifier: Apache-2.0 */
/* Truths: the recorded backward pass is the derivative of the recorded forward pass, for every parameter
 * tensor; devices agree; checkpointing changes memory, never bits; frozen groups get no gradient. */
#include "device/opencl/opencl.h"
#include "model_tiny.h"

/* sum_i dlogp[i] * logp[i], with fixed pseudo-random dlogp: what all gradients below are of. */
static double weight_of(int64_t i) {
    return sin(1.7 * (double)i + 0.3);
}

/* The clips' patches as bytes, and as the floats that these stand for. */
enum { NORMAL, BYTES, FLOATS_OF_BYTES };
static int patches_are = NORMAL;
static void set_patches(small_batch *b) {
    enum { COLS = 24 };
    static uint8_t bytes[2][3 * 16 * COLS];
    static float levels[3][256];
    lpo_rng r = lpo_rng_init(4, 0);
    for (int k = 0; k < 3 * 256; k++) levels[k / 256][k % 256] = (float)lpo_rng_normal(&r);
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 3 * 16 * COLS; k++) {
            bytes[i][k] = (uint8_t)lpo_rng_below(&r, 256);
            b->patches[i][k] = levels[k % COLS / (COLS / 3)][bytes[i][k]];
        }
        if (patches_are == BYTES) b->clips[i].patches = bytes[i], b->clips[i].levels = levels[0];
    }
}

typedef struct run {
    double loss;
    double logp[16];
    int64_t n;
    size_t arena_bytes;
} run;

static run run_model(lpo_model *m, bool backward, bool checkpoint) {
    lpo_error err = {0};
    static small_batch b;
    fill_batch(&b);
    if (patches_are != NORMAL) set_patches(&b);
    run r = {0};
    lpo_tape *t;
    lpo_forward_out out;
    MUST(lpo_tape_create(&t, lpo_model_placement(m), &err));
    MUST(lpo_model_record(&out, t, m, &b.batch, &(lpo_forward_options){.checkpoint = checkpoint}, &err));
    r.n = out.n_tokens;
    cr_assert_eq(r.n, 4 + 3 + 5 + 1);
    const int32_t type = lpo_val_dtype(t, out.logp);
    if (backward) {
        double w64[16];
        float w32[16];
        for (int64_t i = 0; i < r.n; i++) w32[i] = (float)(w64[i] = weight_of(i));
        const int64_t shape[1] = {r.n};
        MUST(lpo_model_zero_grads(m, &err));
        lpo_tape_backward(t, out.logp,
                          lpo_tape_input(t, type, 1, shape, type == LPO_F64 ? (void *)w64 : w32));
    }
    MUST(lpo_tape_plan(t, &err));
    MUST(lpo_tape_run(t, 0, -1, &err));
    float narrow[16];
    MUST(lpo_tape_read(type == LPO_F64 ? (void *)r.logp : narrow, t, out.logp, &err));
    for (int64_t i = 0; i < r.n; i++) {
        if (type != LPO_F64) r.logp[i] = (double)narrow[i];
        r.loss += weight_of(i) * r.logp[i];
    }
    r.arena_bytes = lpo_tape_arena_bytes(t);
    lpo_tape_destroy(t);
    return r;
}

static double grad_at(const lpo_param *p, size_t i, bool f64) {
    void *g = host_of(p->grad, p->grad_offset_bytes);
    return f64 ? ((double *)g)[i] : (double)((float *)g)[i];
}

/* Along a random direction of each tensor (every element takes part), the gradient predicts the central
 * difference. h = 1e-5 in f64: truncation about h^2 = 1e-10, rounding about 1e-16/h = 1e-11, both relative to
 * values near 1. */
static void check_gradients(const char *config) {
    lpo_error err = {0};
    char *dir = temp_dir();
    make_small(dir, config);
    lpo_model *m = open_small(dir, "ref", "f64");
    MUST(lpo_model_set_trainable(m, "all", &err));
    MUST(lpo_model_alloc_grads(m, &err));
    int n;
    lpo_param *const *p = lpo_model_params(m, &n);
    lpo_rng r = lpo_rng_init(11, 0);
    for (int i = 0; i < n; i++) { /* biases away from 0, norms away from 1 */
        double *x = host_of(p[i]->data, 0);
        if (p[i]->ndim == 1)
            for (size_t k = 0; k < param_count(p[i]); k++) x[k] += 0.2 * lpo_rng_normal(&r);
    }
    run_model(m, true, false);
    for (int i = 0; i < n; i++) {
        double *x = host_of(p[i]->data, 0), predicted = 0, size = 0;
        const size_t count = param_count(p[i]);
        double *v = malloc(count * sizeof *v), *saved = malloc(count * sizeof *saved);
        memcpy(saved, x, count * sizeof *saved);
        for (size_t k = 0; k < count; k++) {
            v[k] = lpo_rng_normal(&r);
            predicted += v[k] * grad_at(p[i], k, true);
            size += fabs(grad_at(p[i], k, true));
        }
        const double h = 1e-5;
        for (size_t k = 0; k < count; k++) x[k] = saved[k] + h * v[k];
        const double up = run_model(m, false, false).loss;
        for (size_t k = 0; k < count; k++) x[k] = saved[k] - h * v[k];
        const double down = run_model(m, false, false).loss;
        memcpy(x, saved, count * sizeof *saved);
        const double measured = (up - down) / (2 * h);
        cr_expect_lt(fabs(measured - predicted), 1e-6 * (1 + fabs(predicted)),
                     "%s: measured %.12g, gradient %.12g", p[i]->name, measured, predicted);
        cr_expect_gt(size, 1e-6, "%s: the gradient is zero", p[i]->name);
        free(v);
        free(saved);
    }
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}

Test(grad, every_tensor_tied) {
    check_gradients(TIED);
}
Test(grad, every_tensor_untied) {
    check_gradients(UNTIED);
}

/* All gradients of one run, concatenated. */
static double *gradients(lpo_model *m, bool f64, size_t *total) {
    int n;
    lpo_param *const *p = lpo_model_params(m, &n);
    *total = 0;
    for (int i = 0; i < n; i++) *total += param_count(p[i]);
    double *g = malloc(*total * sizeof *g);
    size_t at = 0;
    for (int i = 0; i < n; i++) { /* read back by the driver: the device's memory need not be the host's */
        const size_t count = param_count(p[i]), size = f64 ? sizeof(double) : sizeof(float);
        void *bytes = malloc(count * size);
        const lpo_driver *d = lpo_device_driver(lpo_buffer_device(p[i]->grad));
        lpo_error err = {0};
        MUST(d->download(bytes, p[i]->grad, p[i]->grad_offset_bytes, count * size, &err));
        for (size_t k = 0; k < count; k++) g[at++] = f64 ? ((double *)bytes)[k] : (double)((float *)bytes)[k];
        free(bytes);
    }
    return g;
}

static void check_checkpoint(const char *place, const char *dtype) {
    lpo_error err = {0};
    char *dir = temp_dir();
    make_small(dir, TIED);
    lpo_model *m = open_small(dir, place, dtype);
    MUST(lpo_model_set_trainable(m, "all", &err));
    MUST(lpo_model_alloc_grads(m, &err));
    const bool f64 = !strcmp(dtype, "f64");
    size_t n;
    run a = run_model(m, true, false);
    double *ga = gradients(m, f64, &n);
    run b = run_model(m, true, true);
    double *gb = gradients(m, f64, &n);
    cr_assert_arr_eq(a.logp, b.logp, sizeof a.logp);
    cr_assert_arr_eq(ga, gb, n * sizeof *ga);
    cr_assert_lt(b.arena_bytes, a.arena_bytes, "checkpointing saves no memory: %zu, without %zu",
                 b.arena_bytes, a.arena_bytes);
    free(ga);
    free(gb);
    MUST(lpo_model_set_trainable(m, "llm", &err)); /* the decoder's own share of the saving */
    MUST(lpo_model_alloc_grads(m, &err));
    cr_assert_lt(run_model(m, true, true).arena_bytes, run_model(m, true, false).arena_bytes);
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}

static void check_bytes(const char *place, const char *dtype) {
    lpo_error err = {0};
    char *dir = temp_dir();
    make_small(dir, TIED);
    lpo_model *m = open_small(dir, place, dtype);
    MUST(lpo_model_set_trainable(m, "all", &err));
    MUST(lpo_model_alloc_grads(m, &err));
    const bool f64 = !strcmp(dtype, "f64");
    size_t n;
    run r[3];
    double *g[3];
    for (patches_are = NORMAL; patches_are <= FLOATS_OF_BYTES; patches_are++) {
        r[patches_are] = run_model(m, true, false);
        g[patches_are] = gradients(m, f64, &n);
    }
    patches_are = NORMAL;
    cr_assert_arr_eq(r[BYTES].logp, r[FLOATS_OF_BYTES].logp, sizeof r[0].logp);
    cr_assert_arr_eq(g[BYTES], g[FLOATS_OF_BYTES], n * sizeof *g[0]);
    cr_assert_neq(r[BYTES].logp[0], r[NORMAL].logp[0]);
    for (int i = 0; i < 3; i++) free(g[i]);
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}

/* Patches as bytes give every bit that the floats give which they stand for. */
Test(grad, bytes_are_their_floats_ref) {
    check_bytes("ref", "f64");
}
Test(grad, bytes_are_their_floats_cpu) {
    check_bytes("cpu", "f32");
}
Test(grad, bytes_are_their_floats_bf16) {
    check_bytes("cpu", "bf16");
}
Test(grad, bytes_are_their_floats_opencl) {
    char why[256];
    if (!lpo_opencl_describe(why, sizeof why)) cr_skip_test("no OpenCL: %s", why);
    check_bytes("opencl", "bf16");
}

/* Clips of one batch whose bytes stand for different values are refused. */
Test(grad, bytes_of_two_kinds) {
    lpo_error err = {0};
    char *dir = temp_dir();
    static const float levels[2][3 * 256] = {{0}, {1}};
    static const uint8_t bytes[3 * 16 * 24];
    static small_batch b;
    make_small(dir, TIED);
    lpo_model *m = open_small(dir, "cpu", "f32");
    fill_batch(&b);
    for (int second = 0; second < 3; second++) {
        lpo_tape *t;
        lpo_forward_out out;
        MUST(lpo_tape_create(&t, lpo_model_placement(m), &err));
        for (int i = 0; i < 2; i++) b.clips[i].patches = bytes, b.clips[i].levels = levels[0];
        if (second == 1) b.clips[1].levels = levels[1];
        if (second == 2) b.clips[1].patches = b.patches[1], b.clips[1].levels = NULL;
        cr_expect_eq(lpo_model_record(&out, t, m, &b.batch, &(lpo_forward_options){0}, &err),
                     second ? LPO_EINVAL : LPO_OK);
        lpo_tape_destroy(t);
    }
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}

Test(grad, checkpoint_is_bit_exact_ref) {
    check_checkpoint("ref", "f64");
}
Test(grad, checkpoint_is_bit_exact_cpu) {
    check_checkpoint("cpu", "f32");
}
Test(grad, checkpoint_is_bit_exact_bf16) {
    check_checkpoint("cpu", "bf16");
}

/* float against double: sums of at most a few hundred terms of size 1 in the forward pass, 1e-5 relative to
 * the largest gradient in the backward one. */
static void check_device(const char *place) {
    lpo_error err = {0};
    char *dir = temp_dir();
    make_small(dir, UNTIED);
    lpo_model *m[2] = {open_small(dir, "ref", "f64"), open_small(dir, place, "f32")};
    run r[2];
    double *g[2];
    size_t n;
    for (int i = 0; i < 2; i++) {
        MUST(lpo_model_set_trainable(m[i], "llm,projector,vision", &err));
        MUST(lpo_model_alloc_grads(m[i], &err));
        r[i] = run_model(m[i], true, false);
        g[i] = gradients(m[i], i == 0, &n);
    }
    double largest = 0, far = 0;
    for (int64_t i = 0; i < r[0].n; i++) cr_expect_lt(fabs(r[0].logp[i] - r[1].logp[i]), 2e-5);
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(g[0][i]));
        far = fmax(far, fabs(g[0][i] - g[1][i]));
    }
    cr_expect_lt(far, 2e-5 * largest, "%g of %g", far, largest);
    for (int i = 0; i < 2; i++) {
        free(g[i]);
        lpo_model_destroy(m[i]);
    }
    MUST(lpo_dir_remove(dir, &err));
}

Test(grad, cpu_agrees_with_ref) {
    check_device("cpu");
}
Test(grad, opencl_agrees_with_ref) {
    char why[256];
    if (!lpo_opencl_describe(why, sizeof why)) cr_skip_test("no OpenCL: %s", why);
    check_device("opencl");
}

/* Only the named groups have gradients, and theirs are what they are with everything trainable. */
Test(grad, frozen_groups) {
    lpo_error err = {0};
    char *dir = temp_dir();
    make_small(dir, TIED);
    lpo_model *m = open_small(dir, "cpu", "f32");
    int n;
    lpo_param *const *p = lpo_model_params(m, &n);
    cr_assert_neq(lpo_model_set_trainable(m, "llm,visoin", &err), LPO_OK);
    cr_assert(strstr(err.msg, "visoin"), "%s", err.msg);
    MUST(lpo_model_set_trainable(m, "all", &err));
    MUST(lpo_model_alloc_grads(m, &err));
    run_model(m, true, false);
    size_t total, at = 0;
    double *all = gradients(m, false, &total);
    MUST(lpo_model_alloc_grads(m, &err)); /* fresh gradients are zero */
    double *zero = gradients(m, false, &total), sum = 0;
    for (size_t i = 0; i < total; i++) sum += fabs(zero[i]);
    cr_assert_eq(sum, 0);
    free(zero);
    for (int checkpoint = 0; checkpoint < 2; checkpoint++) {
        MUST(lpo_model_set_trainable(m, "llm", &err));
        MUST(lpo_model_alloc_grads(m, &err));
        run_model(m, true, checkpoint);
        at = 0;
        for (int i = 0; i < n; i++) {
            const bool vision = !strncmp(p[i]->name, "visual.", 7);
            cr_assert_eq(p[i]->grad == NULL, vision, "%s", p[i]->name);
            for (size_t k = 0; k < param_count(p[i]); k++, at++)
                if (!vision) cr_assert_eq(grad_at(p[i], k, false), all[at], "%s", p[i]->name);
        }
    }
    free(all);
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}
