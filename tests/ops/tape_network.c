/* SPDX-License-Identifier: Apache-2.0 */
/* tape_network.c -- a small Video-LLM on the tape: patches through a projector, spliced into embedded text,
 * two decoder layers with residuals, a head tied to the embedding. One network, and everything that must not
 * change its numbers: checkpointed segments, memory reuse, placement over several devices, threads. */
#include "far.h"
#include "graph/record.h"
#include "leanpo/device.h"
#include "world.h"

#include <math.h>
#include <stdio.h>

enum { TEXT = 6, VIDEO = 4, ROWS = TEXT + VIDEO, H = 16, D = 8, FFN = 12, VOCAB = 20, LAYERS = 3, PATCH = 6 };

typedef struct net_options {
    bool segments, keep_attention, frozen_video, keep_all;
    lpo_device *params_on; /* NULL = device 0 */
} net_options;

typedef struct net {
    lpo_val logp, dlogp;
    int n_forward;
} net;

static lpo_val table(world *w, int32_t dtype, bool sine) {
    double v[ROWS * D / 2];
    for (int t = 0; t < ROWS; t++)
        for (int k = 0; k < D / 2; k++) {
            double a = t * pow(10, -k);
            v[t * D / 2 + k] = (double)(float)(sine ? sin(a) : cos(a));
        }
    void *p = pack(dtype, v, ROWS * D / 2);
    lpo_val x = lpo_tape_input(w->tape, dtype, 2, (int64_t[]){ROWS, D / 2}, p);
    free(p);
    return x;
}

static lpo_val layer(world *w, lpo_val x, lpo_val cos_t, lpo_val sin_t, lpo_val cu, const net_options *opt) {
    lpo_tape *t = w->tape;
    lpo_val w1 = gain(w, H), wqkv = weight(w, 4 * D, H), bqkv = gain(w, 4 * D), wo = weight(w, H, 2 * D);
    lpo_val w2 = gain(w, H), wgu = weight(w, 2 * FFN, H), wdown = weight(w, H, FFN);
    if (opt->segments) lpo_tape_segment_begin(t);
    lpo_val qkv = lpo_tape_linear(t, lpo_tape_norm(t, x, w1, LPO_NONE, true, 1e-6), wqkv, bqkv);
    lpo_val o =
        lpo_tape_attn(t, lpo_tape_rope(t, qkv, cos_t, sin_t, 3, D), cu, LPO_NONE, 2, 1, D, 0.35f, true);
    x = lpo_tape_add(t, x, lpo_tape_linear(t, o, wo, LPO_NONE));
    lpo_val gu = lpo_tape_linear(t, lpo_tape_norm(t, x, w2, LPO_NONE, true, 1e-6), wgu, LPO_NONE);
    x = lpo_tape_add(t, x, lpo_tape_linear(t, lpo_tape_act(t, gu, LPO_ACT_SILU_MUL), wdown, LPO_NONE));
    if (opt->segments) lpo_tape_segment_end(t, (lpo_val[]){x, o}, opt->keep_attention ? 2 : 1);
    return x;
}

static net record(world *w, const net_options *o) {
    static const int32_t ids[TEXT] = {1, 7, 7, 3, 19, 0}, target[ROWS] = {7, 0, 1, 2, 3, 7, 3, 19, 0, 5};
    static const int32_t splice[ROWS] = {0, 6, 7, 8, 9, 1, 2, 3, 4, 5}, cu_v[] = {0, ROWS};
    lpo_tape *t = w->tape;
    lpo_val patches = lpo_tape_input(t, w->dtype, 2, (int64_t[]){VIDEO * 2, PATCH / 2}, NULL);
    double *v = noise(w, VIDEO * PATCH, 0, 1);
    store(w, patches, v); /* before the plan: staged */
    free(v);
    lpo_val wproj = parameter(w, H, PATCH, 0, 0.5, !o->frozen_video),
            bproj = parameter(w, H, 0, 0, 0.5, !o->frozen_video);
    lpo_val joined = lpo_tape_reshape(t, patches, 2, (int64_t[]){VIDEO, PATCH});
    lpo_val video = lpo_tape_act(t, lpo_tape_linear(t, joined, wproj, bproj), LPO_ACT_GELU);
    lpo_val emb = weight(w, VOCAB, H);
    lpo_val text = lpo_tape_embed(t, emb, ints(w, TEXT, 0, ids));
    lpo_val x = lpo_tape_rowmix(t, text, video, ints(w, ROWS, 1, splice), LPO_NONE);
    int32_t dtype = w->dtype == LPO_F64 ? LPO_F64 : LPO_F32;
    lpo_val c = table(w, dtype, false), s = table(w, dtype, true), cu = ints(w, 2, 0, cu_v);
    for (int l = 0; l < LAYERS; l++) x = layer(w, x, c, s, cu, o);
    x = lpo_tape_norm(t, x, gain(w, H), LPO_NONE, true, 1e-6);
    net n = {0};
    n.logp = lpo_tape_logprob(t, x, emb, ints(w, ROWS, 0, target), 0, NULL, NULL);
    n.n_forward = lpo_tape_n_steps(t);
    n.dlogp = seed_of(w, n.logp);
    lpo_tape_backward(t, n.logp, n.dlogp);
    int64_t one;
    for (lpo_val k = 0; o->keep_all && !lpo_val_dim(t, k, 0, &one); k++) lpo_tape_keep(t, k);
    return n;
}

/* logp and all gradients of one whole step, concatenated; malloc'd. */
static double *step_results(world *w, const net_options *o, int64_t *n, size_t *arena_bytes) {
    lpo_error e = {0};
    net g = record(w, o);
    must(lpo_tape_plan(w->tape, &e), &e);
    must(lpo_tape_run(w->tape, 0, g.n_forward, &e), &e);
    must(lpo_tape_run(w->tape, g.n_forward, -1, &e), &e);
    if (arena_bytes) *arena_bytes = lpo_tape_arena_bytes(w->tape);
    double *all = NULL;
    *n = 0;
    for (int v = -1; v < w->n_vars; v++) {
        lpo_val x = v < 0 ? g.logp : lpo_tape_grad(w->tape, w->var[v]);
        cr_assert(x >= 0);
        int64_t size = count(w, x);
        double *p = fetch(w, x);
        all = realloc(all, (size_t)(*n + size) * sizeof *all);
        memcpy(all + *n, p, (size_t)size * sizeof *p);
        *n += size;
        free(p);
    }
    return all;
}

static double *on_devices(const net_options *o, int32_t dtype, int n_devices, lpo_device **dev, int64_t *n,
                          size_t *arena) {
    world w;
    world_open(&w, dtype, 9, n_devices, dev);
    w.params_on = o->params_on;
    double *r = step_results(&w, o, n, arena);
    world_close(&w);
    return r;
}

static double *on_cpu(const net_options *o, int64_t *n, size_t *arena) {
    lpo_device *cpu = open_device("cpu");
    double *r = on_devices(o, LPO_F32, 1, &cpu, n, arena);
    lpo_device_close(cpu);
    return r;
}

static void same_bits(const double *a, const double *b, int64_t n, int64_t m) {
    cr_assert_eq(n, m);
    for (int64_t i = 0; i < n; i++)
        cr_assert(!memcmp(&a[i], &b[i], sizeof *a), "%lld: %.17g and %.17g", (long long)i, a[i], b[i]);
}

/* The whole gradient, through residuals, splice, reshape and the tied head, is the derivative: f64, every 7th
 * element. */
Test(tape_network, gradient_is_the_derivative) {
    lpo_device *ref = open_device("ref");
    world w;
    world_open(&w, LPO_F64, 9, 1, &ref);
    lpo_error e = {0};
    net g = record(&w, &(net_options){.segments = true});
    must(lpo_tape_plan(w.tape, &e), &e);
    must(lpo_tape_run(w.tape, 0, -1, &e), &e);
    double *dy = fetch(&w, g.dlogp);
    for (int v = 0; v < w.n_vars; v++) {
        double *x = fetch(&w, w.var[v]), *d = fetch(&w, lpo_tape_grad(w.tape, w.var[v]));
        for (int64_t k = v % 7; k < count(&w, w.var[v]); k += 7) {
            const double h = 1e-5, old = x[k];
            double side[2];
            for (int i = 0; i < 2; i++) {
                x[k] = old + (i ? h : -h);
                store(&w, w.var[v], x);
                must(lpo_tape_run(w.tape, 0, g.n_forward, &e), &e);
                double *y = fetch(&w, g.logp);
                side[i] = 0;
                for (int r = 0; r < ROWS; r++) side[i] += y[r] * dy[r];
                free(y);
            }
            x[k] = old;
            store(&w, w.var[v], x);
            double want = (side[1] - side[0]) / (2 * h);
            /* h^2/6 times a third derivative that grows through three layers */
            cr_assert(fabs(d[k] - want) <= 2e-6 * (1 + fabs(want)),
                      "variable %d element %lld: %.12g, differences %.12g", v, (long long)k, d[k], want);
        }
        free(x), free(d);
    }
    free(dy);
    world_close(&w);
    lpo_device_close(ref);
}

/* Recomputing a segment runs the same kernels on the same inputs: not one bit changes, and less memory is
 * held. */
Test(tape_network, segments_change_no_bit) {
    int64_t n, m;
    size_t plain_bytes, segment_bytes;
    double *plain = on_cpu(&(net_options){0}, &n, &plain_bytes);
    double *segments = on_cpu(&(net_options){.segments = true}, &m, &segment_bytes);
    same_bits(plain, segments, n, m);
    cr_expect_lt(segment_bytes, plain_bytes);
    free(plain), free(segments);
}

/* Lifetimes are right: when nothing ever gives its bytes back, the numbers are the same; and reuse saves at
 * least half. */
Test(tape_network, memory_reuse_changes_no_bit) {
    int64_t n, m;
    size_t reuse_bytes, kept_bytes;
    double *reuse = on_cpu(&(net_options){.segments = true}, &n, &reuse_bytes);
    double *kept = on_cpu(&(net_options){.segments = true, .keep_all = true}, &m, &kept_bytes);
    same_bits(reuse, kept, n, m);
    cr_expect_lt(2 * reuse_bytes, kept_bytes, "%zu of %zu", reuse_bytes, kept_bytes);
    free(reuse), free(kept);
}

Test(tape_network, threads_change_no_bit) {
    int64_t n, m;
    lpo_device_threads(1);
    double *one = on_cpu(&(net_options){0}, &n, NULL);
    lpo_device_threads(2);
    double *two = on_cpu(&(net_options){0}, &m, NULL);
    same_bits(one, two, n, m);
    free(one), free(two);
}

/* Where a step runs is a property of the run: split over two memories, with parameters in either, the cpu's
 * bits come out. */
Test(tape_network, placement_changes_no_bit) {
    static const uint32_t masks[] = {
        1u << LPO_OP_ATTN | 1u << LPO_OP_ATTN_BWD | 1u << LPO_OP_NORM_BWD,
        1u << LPO_OP_LINEAR | 1u << LPO_OP_LINEAR_DW | 1u << LPO_OP_ADD | 1u << LPO_OP_ACT_BWD,
        1u << LPO_OP_EMBED | 1u << LPO_OP_EMBED_BWD | 1u << LPO_OP_ROWMIX_BWD | 1u << LPO_OP_NORM |
            1u << LPO_OP_LINEAR_DX,
        1u << LPO_OP_LOGPROB | 1u << LPO_OP_LOGPROB_BWD | 1u << LPO_OP_ROPE | 1u << LPO_OP_ADD,
        0xffffffffu,
    };
    int64_t n, m;
    double *want = on_cpu(&(net_options){.segments = true}, &n, NULL);
    for (size_t i = 0; i < 2 * (sizeof masks / sizeof *masks); i++) {
        lpo_device *far = far_create(open_device("cpu"), masks[i / 2]), *cpu = open_device("cpu");
        lpo_device *dev[] = {far, cpu};
        net_options o = {.segments = true, .params_on = i % 2 ? cpu : far};
        double *got = on_devices(&o, LPO_F32, 2, dev, &m, NULL);
        cr_expect_gt(((far_device *)far)->n_run, 5);
        same_bits(want, got, n, m);
        free(got);
        lpo_device_close(cpu);
        lpo_device_close(far);
    }
    free(want);
}

/* Between two far devices bytes travel through the host. */
Test(tape_network, two_far_devices) {
    int64_t n, m;
    double *want = on_cpu(&(net_options){0}, &n, NULL);
    lpo_device *a = far_create(open_device("cpu"), 0x55555555u),
               *b = far_create(open_device("cpu"), 0xffffffffu);
    lpo_device *dev[] = {a, b};
    double *got = on_devices(&(net_options){0}, LPO_F32, 2, dev, &m, NULL);
    same_bits(want, got, n, m);
    free(got), free(want);
    lpo_device_close(a);
    lpo_device_close(b);
}

static bool only_norms(lpo_device *d, const lpo_step *s) {
    (void)d;
    return s->op == LPO_OP_NORM || s->op == LPO_OP_NORM_BWD || s->op == LPO_OP_ACT;
}

/* Devices that share host memory read each other's values where they lie: no copy runs, and ref's norms fit
 * cpu's rest. */
typedef struct tally {
    int steps[LPO_N_OPS + 1];
    int on[2];
    double flops;
} tally;
static void tally_step(void *user, lpo_op op, int device, double start_s, double seconds, double flops,
                       double bytes) {
    tally *t = user;
    cr_assert(seconds >= 0 && start_s > 0 && bytes > 0);
    t->steps[op]++;
    if (device >= 0) t->on[device]++;
    t->flops += flops;
}

Test(tape_network, ref_and_cpu_share_memory) {
    lpo_device *ref = open_device("ref"), *cpu = open_device("cpu");
    lpo_driver norms = *lpo_device_driver(ref);
    norms.supports = only_norms;
    ((lpo_device_head *)ref)->driver = &norms;
    lpo_device *dev[] = {ref, cpu};
    int64_t n, m;
    double *want = on_cpu(&(net_options){0}, &n, NULL);
    world w;
    world_open(&w, LPO_F32, 9, 2, dev);
    w.params_on = cpu;
    tally t = {0};
    lpo_tape_trace(w.tape, tally_step, &t);
    double *got = step_results(&w, &(net_options){0}, &m, NULL), scale = 0;
    cr_assert_eq(n, m);
    for (int64_t i = 0; i < n; i++) scale = fmax(scale, fabs(want[i]));
    /* a float's rounding through three layers and back */
    for (int64_t i = 0; i < n; i++)
        cr_assert(fabs(got[i] - want[i]) <= 1e-5 * scale, "%lld: %g, %g", (long long)i, got[i], want[i]);
    cr_expect_eq(t.steps[LPO_N_OPS], 0);
    cr_expect_eq(t.on[0], t.steps[LPO_OP_NORM] + t.steps[LPO_OP_NORM_BWD] + t.steps[LPO_OP_ACT]);
    cr_expect_gt(t.on[1], 0);
    cr_expect_gt(t.flops, 1000);
    free(want), free(got);
    world_close(&w);
    lpo_device_close(ref);
    lpo_device_close(cpu);
}

/* A segment recomputes what a gradient reads and nothing else: not the layer's last product and sum, and not
 * the attention when its output is kept (its log-sum-exp is kept with it). */
Test(tape_network, segments_recompute_no_more_than_is_read) {
    for (int keep = 0; keep < 2; keep++) {
        lpo_device *cpu = open_device("cpu");
        world w;
        world_open(&w, LPO_F32, 9, 1, &cpu);
        tally t = {0};
        lpo_tape_trace(w.tape, tally_step, &t);
        int64_t n;
        free(step_results(&w, &(net_options){.segments = true, .keep_attention = keep}, &n, NULL));
        cr_expect_eq(t.steps[LPO_OP_LINEAR], (4 + 3) * LAYERS + 1);
        cr_expect_eq(t.steps[LPO_OP_NORM], (2 + 2) * LAYERS + 1);
        cr_expect_eq(t.steps[LPO_OP_ACT], (1 + 1) * LAYERS + 1);
        cr_expect_eq(t.steps[LPO_OP_ATTN], (keep ? 1 : 2) * LAYERS);
        cr_expect_eq(t.steps[LPO_OP_LOGPROB], 1);
        world_close(&w);
        lpo_device_close(cpu);
    }
}

/* A frozen tower costs no backward step; an unfrozen one costs its own. */
Test(tape_network, frozen_costs_nothing) {
    for (int frozen = 0; frozen < 2; frozen++) {
        lpo_device *cpu = open_device("cpu");
        world w;
        world_open(&w, LPO_F32, 9, 1, &cpu);
        tally t = {0};
        lpo_tape_trace(w.tape, tally_step, &t);
        int64_t n;
        free(step_results(&w, &(net_options){.frozen_video = frozen}, &n, NULL));
        cr_expect_eq(t.steps[LPO_OP_LINEAR], 4 * LAYERS + 1);
        cr_expect_eq(t.steps[LPO_OP_LINEAR_DW], 4 * LAYERS + !frozen);
        cr_expect_eq(t.steps[LPO_OP_LINEAR_DX], 4 * LAYERS, "the projector's input needs no gradient");
        cr_expect_eq(t.steps[LPO_OP_ACT_BWD], LAYERS + !frozen);
        world_close(&w);
        lpo_device_close(cpu);
    }
}

/* The second batch of a shape allocates nothing: one arena on the device, and every array of the tape where
 * it was. */
Test(tape_network, steady_batches_allocate_nothing) {
    lpo_device *far = far_create(open_device("cpu"), 0xffffffffu);
    world w;
    world_open(&w, LPO_F32, 9, 1, &far);
    const void *array[4][7];
    for (int batch = 0; batch < 4; batch++) {
        int64_t n;
        free(step_results(&w, &(net_options){.segments = true}, &n, NULL));
        const lpo_tape *t = w.tape;
        const void *now[] = {t->values, t->nodes, t->params, t->storages, t->items, t->holes[0], t->arena[0]};
        memcpy(array[batch], now, sizeof now);
        cr_expect_eq(((far_device *)far)->n_allocs - 2 * w.n_params * (batch + 1), 1);
        for (int i = 0; i < w.n_params; i++) {
            far_release(w.param[i].data);
            far_release(w.param[i].grad);
        }
        w.n_params = w.n_vars = 0;
        w.rng = lpo_rng_init(9, 1);
        lpo_tape_reset(w.tape);
    }
    for (int batch = 1; batch < 4; batch++) cr_expect_arr_eq(array[batch], array[0], sizeof array[0]);
    world_close(&w);
    lpo_device_close(far);
}
