/* SPDX-License-Identifier: Apache-2.0 */
/* op_gradients.c -- every op the tape records, three truths:
 * 1. ref, f64: the recorded gradient is the derivative of the recorded function (central differences);
 * 2. cpu, f32 and bf16: the function and its gradients are ref's, within rounding;
 * 3. cpu: the same bits with one thread and with two;
 * 4. opencl, where there is a device: as 2, and the same bits twice. */
#include "device/opencl/opencl.h"
#include "leanpo/device.h"
#include "world.h"

#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>

enum { T = 7 };

typedef lpo_val build_fn(world *w);

static lpo_val linear_bias(world *w) {
    return lpo_tape_linear(w->tape, variable(w, T, 10), weight(w, 6, 10), gain(w, 6));
}
static lpo_val linear_plain(world *w) {
    return lpo_tape_linear(w->tape, variable(w, T, 16), weight(w, 5, 16), LPO_NONE);
}
static lpo_val linear_frozen_w(world *w) { /* only the bias learns */
    return lpo_tape_linear(w->tape, variable(w, T, 10), parameter(w, 6, 10, 0, 0.5, false), gain(w, 6));
}
static lpo_val norm_ln(world *w) {
    return lpo_tape_norm(w->tape, variable(w, T, 12), gain(w, 12), gain(w, 12), false, 1e-5);
}
static lpo_val norm_rms(world *w) {
    return lpo_tape_norm(w->tape, variable(w, T, 12), gain(w, 12), LPO_NONE, true, 1e-6);
}

static lpo_val rotated(world *w, lpo_val x, int n_rot, int d_head) {
    int64_t rows, shape[2] = {0, d_head / 2};
    lpo_val_dim(w->tape, x, 0, &rows);
    shape[0] = rows;
    int32_t dtype = w->dtype == LPO_F64 ? LPO_F64 : LPO_F32;
    int64_t n = rows * shape[1];
    double *c = malloc((size_t)n * sizeof *c), *s = malloc((size_t)n * sizeof *s);
    for (int64_t i = 0; i < n; i++) {
        double angle = (double)(i / shape[1]) * pow(10, -(double)(i % shape[1]));
        c[i] = (double)(float)cos(angle), s[i] = (double)(float)sin(angle);
    }
    void *pc = pack(dtype, c, n), *ps = pack(dtype, s, n);
    lpo_val vc = lpo_tape_input(w->tape, dtype, 2, shape, pc),
            vs = lpo_tape_input(w->tape, dtype, 2, shape, ps);
    free(pc), free(ps), free(c), free(s);
    return lpo_tape_rope(w->tape, x, vc, vs, n_rot, d_head);
}
static lpo_val rope_all(world *w) {
    return rotated(w, variable(w, T, 16), 2, 8);
}
static lpo_val rope_part(world *w) {
    return rotated(w, variable(w, T, 4 * 64), 3, 64);
}

static lpo_val attention(world *w, int n_q, int n_kv, int d, bool causal) {
    static const int32_t cu[] = {0, 3, T}; /* two sequences of 3 and 4 rows */
    lpo_val qkv = variable(w, T, (int64_t)(n_q + 2 * n_kv) * d);
    return lpo_tape_attn(w->tape, qkv, ints(w, 3, 0, cu), LPO_NONE, n_q, n_kv, d, 0.25f, causal);
}
static lpo_val attn_causal(world *w) {
    return attention(w, 4, 2, 8, true);
}
static lpo_val attn_full(world *w) {
    return attention(w, 2, 2, 8, false);
}
static lpo_val attn_d72(world *w) {
    return attention(w, 2, 1, 72, true);
}

/* Runs of 2, 2, 1 and 2 rows; the second and fourth go on from the first, the third from one row of the
 * second. */
static lpo_val attention_prefix(world *w, bool causal) {
    static const int32_t cu[] = {0, 2, 4, 5, T}, prefix[] = {0, 0, 0, 2, 3, 1, 0, 2};
    lpo_val qkv = variable(w, T, 8 * 8);
    return lpo_tape_attn(w->tape, qkv, ints(w, 5, 0, cu), ints(w, 4, 2, prefix), 4, 2, 8, 0.25f, causal);
}
static lpo_val attn_prefix(world *w) {
    return attention_prefix(w, true);
}
static lpo_val attn_prefix_full(world *w) {
    return attention_prefix(w, false);
}

static lpo_val act_quick(world *w) {
    return lpo_tape_act(w->tape, variable(w, T, 9), LPO_ACT_QUICK_GELU);
}
static lpo_val act_tanh(world *w) {
    return lpo_tape_act(w->tape, variable(w, T, 9), LPO_ACT_GELU_TANH);
}
static lpo_val act_erf(world *w) {
    return lpo_tape_act(w->tape, variable(w, T, 9), LPO_ACT_GELU);
}
static lpo_val act_silu_mul(world *w) {
    return lpo_tape_act(w->tape, variable(w, T, 18), LPO_ACT_SILU_MUL);
}
static lpo_val dropped(world *w) {
    return lpo_tape_dropout(w->tape, variable(w, T, 9), 0.4, 77);
}
static lpo_val add(world *w) {
    return lpo_tape_add(w->tape, variable(w, T, 9), variable(w, T, 9));
}
static lpo_val add_twice(world *w) { /* one value used three times: its gradient is a sum */
    lpo_val x = variable(w, T, 9);
    return lpo_tape_add(w->tape, lpo_tape_add(w->tape, x, x), x);
}
static lpo_val add_param(world *w) { /* learned positions: a parameter read as data */
    return lpo_tape_add(w->tape, variable(w, T, 9), weight(w, T, 9));
}
static lpo_val embed(world *w) {
    static const int32_t ids[T] = {4, 0, 2, 4, 4, 1, 0}; /* repeated ids accumulate; row 3 stays zero */
    return lpo_tape_embed(w->tape, weight(w, 5, 8), ints(w, T, 0, ids));
}
static lpo_val
rowmix_splice(world *w) { /* rows of a and b interleaved, one row of nothing, one taken twice */
    static const int32_t idx[] = {0, 7, 8, 1, -1, 6, 7, 2};
    return lpo_tape_rowmix(w->tape, variable(w, T, 6), variable(w, 3, 6), ints(w, 8, 1, idx), LPO_NONE);
}
static lpo_val rowmix_weighted(world *w) { /* 3 taps, as in pooling */
    static const int32_t idx[] = {0, 1, 2, 2, 3, -1, 4, 4, 6};
    static const float tap[] = {0.25f, 0.5f, 0.25f, 1.5f, -0.5f, 9.f, 0.75f, 0.125f, 1.f};
    int64_t shape[] = {3, 3};
    lpo_val wt = lpo_tape_input(w->tape, LPO_F32, 2, shape, tap);
    return lpo_tape_rowmix(w->tape, variable(w, T, 6), LPO_NONE, ints(w, 3, 3, idx), wt);
}
static lpo_val
rowmix_only_b(world *w) { /* a is frozen; the kernel still needs to know where b's rows begin */
    static const int32_t idx[] = {0, 7, 8, 1, 9};
    lpo_val a = parameter(w, T, 6, 0, 1, false);
    return lpo_tape_rowmix(w->tape, a, variable(w, 3, 6), ints(w, 5, 1, idx), LPO_NONE);
}
static lpo_val
reshaped(world *w) { /* rows of 4 joined to rows of 8: the gradient comes back in the first shape */
    int64_t shape[] = {T, 8};
    lpo_val x = variable(w, T * 2, 4);
    return lpo_tape_linear(w->tape, lpo_tape_reshape(w->tape, x, 2, shape), weight(w, 3, 8), LPO_NONE);
}
static lpo_val logprob(world *w) {
    static const int32_t target[T] = {0, 3, 10, 12, 3, 5, 7};
    return lpo_tape_logprob(w->tape, variable(w, T, 8), weight(w, 16, 8), ints(w, T, 0, target), 13, NULL,
                            NULL);
}
static lpo_val logprob_all(world *w) {
    static const int32_t target[T] = {0, 3, 10, 12, 3, 15, 7};
    lpo_val ent, hit;
    return lpo_tape_logprob(w->tape, variable(w, T, 8), weight(w, 16, 8), ints(w, T, 0, target), 0, &ent,
                            &hit);
}

static const struct {
    const char *name;
    build_fn *build;
} cases[] = {
    {"linear with bias", linear_bias},
    {"linear", linear_plain},
    {"linear, frozen weight", linear_frozen_w},
    {"layer norm", norm_ln},
    {"rms norm", norm_rms},
    {"rope", rope_all},
    {"rope, 3 of 4 heads", rope_part},
    {"attention, causal, grouped", attn_causal},
    {"attention, full", attn_full},
    {"attention, d 72", attn_d72},
    {"attention, shared prefix", attn_prefix},
    {"attention, shared prefix, full", attn_prefix_full},
    {"quick gelu", act_quick},
    {"gelu tanh", act_tanh},
    {"gelu", act_erf},
    {"silu mul", act_silu_mul},
    {"dropout", dropped},
    {"add", add},
    {"add one value three times", add_twice},
    {"add a parameter", add_param},
    {"embed", embed},
    {"rowmix splice", rowmix_splice},
    {"rowmix weighted", rowmix_weighted},
    {"rowmix, b learns", rowmix_only_b},
    {"reshape", reshaped},
    {"logprob, masked vocabulary", logprob},
    {"logprob with entropy", logprob_all},
};
enum { N_CASES = sizeof cases / sizeof *cases };

/* Record case i with its backward, plan, run everything. */
static int record_and_run(world *w, int i, lpo_val *y, lpo_val *dy) {
    lpo_error e = {0};
    *y = cases[i].build(w);
    int n_forward = lpo_tape_n_steps(w->tape);
    *dy = seed_of(w, *y);
    lpo_tape_backward(w->tape, *y, *dy);
    must(lpo_tape_plan(w->tape, &e), &e);
    must(lpo_tape_run(w->tape, 0, -1, &e), &e);
    return n_forward;
}

static double weighted_sum(world *w, lpo_val y, const double *dy, int n_forward) {
    lpo_error e = {0};
    must(lpo_tape_run(w->tape, 0, n_forward, &e), &e);
    double *v = fetch(w, y), sum = 0;
    for (int64_t k = 0; k < count(w, y); k++) sum += v[k] * dy[k];
    free(v);
    return sum;
}

static int *case_numbers(void) {
    static int n[N_CASES];
    for (int i = 0; i < N_CASES; i++) n[i] = i;
    return n;
}
static struct criterion_test_params all_cases(void) {
    int *n = cr_malloc(sizeof(int) * N_CASES);
    memcpy(n, case_numbers(), sizeof(int) * N_CASES);
    return cr_make_param_array(int, n, N_CASES, NULL);
}

ParameterizedTestParameters(op_gradients, central_differences) {
    return all_cases();
}

ParameterizedTest(const int *i, op_gradients, central_differences) {
    lpo_device *ref = open_device("ref");
    world w;
    world_open(&w, LPO_F64, 5, 1, &ref);
    lpo_val y, dy_val;
    int n_forward = record_and_run(&w, *i, &y, &dy_val);
    double *dy = fetch(&w, dy_val);
    for (int v = 0; v < w.n_vars; v++) {
        lpo_val g_val = lpo_tape_grad(w.tape, w.var[v]);
        cr_assert(g_val >= 0, "%s: variable %d has no gradient", cases[*i].name, v);
        double *x = fetch(&w, w.var[v]), *g = fetch(&w, g_val);
        for (int64_t k = 0; k < count(&w, w.var[v]); k++) {
            /* h^2 * f''' / 6 and 1e-16 * |L| / h are both near 1e-10 here; 1e-7 leaves room for steep cases
             * and is far below what any wrong term would give. */
            const double h = 1e-5, old = x[k];
            x[k] = old + h, store(&w, w.var[v], x);
            double up = weighted_sum(&w, y, dy, n_forward);
            x[k] = old - h, store(&w, w.var[v], x);
            double down = weighted_sum(&w, y, dy, n_forward);
            x[k] = old, store(&w, w.var[v], x);
            double want = (up - down) / (2 * h);
            cr_assert(fabs(g[k] - want) <= 1e-7 * (1 + fabs(want)),
                      "%s: variable %d element %lld: gradient %.12g, differences %.12g", cases[*i].name, v,
                      (long long)k, g[k], want);
        }
        free(x), free(g);
    }
    free(dy);
    world_close(&w);
    lpo_device_close(ref);
}

/* y and every gradient of case i on one device, each divided by the largest number in the same tensor of ref
 * (`scale`, one a tensor, computed when fill): rounding is relative to that, because sums cancel. malloc'd.
 */
static double *results(int i, const char *device, int32_t dtype, double *scale, bool fill, int64_t *n) {
    lpo_device *dev = open_device(device);
    world w;
    world_open(&w, dtype, 5, 1, &dev);
    lpo_val y, dy;
    record_and_run(&w, i, &y, &dy);
    double *all = NULL;
    *n = 0;
    for (int v = -1; v < w.n_vars; v++) {
        lpo_val x = v < 0 ? y : lpo_tape_grad(w.tape, w.var[v]);
        int64_t size = count(&w, x);
        double *p = fetch(&w, x);
        for (int64_t k = 0; fill && k < size; k++) scale[v + 1] = fmax(scale[v + 1], fabs(p[k]));
        all = realloc(all, (size_t)(*n + size) * sizeof *all);
        for (int64_t k = 0; k < size; k++) all[*n + k] = p[k] / scale[v + 1];
        *n += size;
        free(p);
    }
    world_close(&w);
    lpo_device_close(dev);
    return all;
}

static void compare(int i, const char *device, int32_t dtype, double tolerance) {
    int64_t n, m;
    double scale[MAX_VARS + 1] = {0};
    double *want = results(i, "ref", dtype, scale, true, &n),
           *got = results(i, device, dtype, scale, false, &m);
    cr_assert_eq(n, m);
    for (int64_t k = 0; k < n; k++)
        cr_assert(fabs(got[k] - want[k]) <= tolerance, "%s: element %lld: %s %.9g, ref %.9g of the largest",
                  cases[i].name, (long long)k, device, got[k], want[k]);
    free(want), free(got);
}

ParameterizedTestParameters(op_gradients, cpu_is_ref_f32) {
    return all_cases();
}
/* The longest sum here has 192 terms: 192 * 2^-24 is the worst a float sum can lose, 1e-5; exp in float adds
 * a few ulp. */
ParameterizedTest(const int *i, op_gradients, cpu_is_ref_f32) {
    compare(*i, "cpu", LPO_F32, 2e-5);
}

ParameterizedTestParameters(op_gradients, cpu_is_ref_bf16) {
    return all_cases();
}
/* Both round to bf16 (2^-9 relative), each time a result is stored: a chain of two stores may part by two
 * roundings. */
ParameterizedTest(const int *i, op_gradients, cpu_is_ref_bf16) {
    compare(*i, "cpu", LPO_BF16, 0x1p-7);
}

/* The same two, on the first OpenCL device, by the same bounds; and two runs give the same bits. One process
 * for all cases, because opening a platform is slow. */
Test(op_gradients, opencl_is_ref) {
    char why[256];
    if (!lpo_opencl_describe(why, sizeof why)) cr_skip_test("no OpenCL: %s", why);
    for (int i = 0; i < N_CASES; i++) {
        compare(i, "opencl", LPO_F32, 2e-5);
        compare(i, "opencl", LPO_BF16, 0x1p-7);
        int64_t n, m;
        double scale[MAX_VARS + 1] = {0};
        double *one = results(i, "opencl", LPO_F32, scale, true, &n),
               *two = results(i, "opencl", LPO_F32, scale, false, &m);
        cr_assert(!memcmp(one, two, (size_t)n * sizeof *one), "%s: two runs, other bits", cases[i].name);
        free(one), free(two);
    }
}

ParameterizedTestParameters(op_gradients, same_bits_at_any_threads) {
    return all_cases();
}
ParameterizedTest(const int *i, op_gradients, same_bits_at_any_threads) {
    int64_t n, m;
    double scale[MAX_VARS + 1] = {0};
    lpo_device_threads(1);
    double *one = results(*i, "cpu", LPO_F32, scale, true, &n);
    lpo_device_threads(2);
    double *two = results(*i, "cpu", LPO_F32, scale, false, &m);
    cr_assert_eq(n, m);
    cr_assert(!memcmp(one, two, (size_t)n * sizeof *one), "%s", cases[*i].name);
    free(one), free(two);
}
