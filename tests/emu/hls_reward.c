/* SPDX-License-Identifier: Apache-2.0 */
/* hls_reward.c -- reward_reduce against the double objectives of host/align, and its own exp and log against
 * the C library's. */
#include "hls/abi.h"
#include "hls/real.h"
#include "hls/reward_reduce/ops.h"
#include "leanpo/objective.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PAIRS = 40, MAX_TOKENS = 8192, MAX_SHARDS = 9 };

static uint32_t state = 1;
static uint32_t draw(uint32_t n) {
    state = state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)state * n) >> 32);
}
static double uniform(double lo, double hi) {
    return lo + (hi - lo) * draw(1u << 30) / (double)(1u << 30);
}

/* Truth: exp, log, log1p, sigmoid and -log sigmoid keep 1e-15 of the C library's over the ranges used. */
Test(hls_reward, own_functions) {
    for (int i = 0; i < 300000; i++) {
        double x = uniform(-700, 0), near = uniform(-1, 0), y = exp(uniform(-50, 50)), p = uniform(0, 1), z;
        cr_assert_leq(fabs(hls_exp(x) / exp(x) - 1), 1e-15, "exp(%a)", x);
        cr_assert_leq(fabs(hls_exp(near) / exp(near) - 1), 1e-15, "exp(%a)", near);
        cr_assert_leq(fabs(hls_log(y) - log(y)), 1e-15 * fmax(fabs(log(y)), 0.5), "log(%a)", y);
        cr_assert_leq(fabs(hls_log1p(p) - log1p(p)), 1e-15 * log1p(p), "log1p(%a)", p);
        z = uniform(-60, 60);
        cr_assert_leq(fabs(hls_sigmoid(z) * (1 + exp(-z)) - 1), 2e-15, "sigmoid(%a)", z);
        cr_assert_leq(fabs(hls_nls(-fabs(z)) / (fabs(z) + log1p(exp(-fabs(z)))) - 1), 2e-15, "nls(%a)", z);
    }
    cr_expect_eq(hls_exp(0), 1);
    cr_expect_eq(hls_log(1), 0);
    cr_expect_eq(hls_exp(-1e300), 0);
}

/* How an opcode is configured on both sides. `extra` names the key that the card's extra stands for. */
static const struct config {
    uint32_t op;
    const char *objective, *sets;
    double beta, gamma, eps, extra;
} configs[] = {
    {HLS_OP_LEANPO, "leanpo", "smoothing=fixed beta=2 gamma_r=0.1 eps=0.15", 2, .1, .15, 0},
    {HLS_OP_LEANPO_MARGIN, "leanpo", "smoothing=margin beta=2 eps_max=0.4 tau=3", 2, 0, .4, 3},
    {HLS_OP_SIMPO, "simpo", "beta=2.5 gamma_r=0.25 eps=0.05", 2.5, .25, .05, 0},
    {HLS_OP_DPO, "dpo", "beta=0.1", .1, 0, 0, 0},
    {HLS_OP_DPO, "cdpo", "beta=0.2 eps=0.1", .2, 0, .1, 0},
    {HLS_OP_RDPO, "rdpo", "beta=0.1 eps=0.2", .1, 0, .2, 0},
    {HLS_OP_IPO, "ipo", "beta=0.3", .3, 0, 0, 0},
    {HLS_OP_IPO_SUM, "ipo_sum", "beta=0.3", .3, 0, 0, 0},
    {HLS_OP_SIGMOID_NORM, "sigmoid_norm", "beta=1.5", 1.5, 0, 0, 0},
    {HLS_OP_HINGE, "hinge", "beta=0.1", .1, 0, 0, 0},
    {HLS_OP_RPO, "rpo", "beta=0.01 eta=0.005 eps=0.1", .01, 0, .1, .005},
    {HLS_OP_RPO_AVERAGE, "rpo_average", "beta=0.5 nll=0.2", .5, 0, 0, .2},
    {HLS_OP_UPO, "upo", "beta=0.1 lambda=0.3", .1, 0, 0, .3},
    {HLS_OP_SPPO, "sppo", "beta=0.001", .001, 0, 0, 0},
    {HLS_OP_SPPO_HARD, "sppo_hard", "beta=0.1", .1, 0, 0, 0},
    {HLS_OP_NCA_PAIR, "nca_pair", "beta=0.1", .1, 0, 0, 0},
    {HLS_OP_BCO_PAIR, "bco_pair", "beta=0.1", .1, 0, 0, 0},
    {HLS_OP_APO_ZERO, "apo_zero", "beta=0.1", .1, 0, 0, 0},
    {HLS_OP_APO_DOWN, "apo_down", "beta=0.1", .1, 0, 0, 0},
    {HLS_OP_SFT, "sft", "", 0, 0, 0, 0},
};

/* One batch, as the card reads it and as columns in double. */
typedef struct batch {
    uint32_t n_pairs, n_shards, seg_start[2 * MAX_PAIRS + 1];
    float logp[MAX_TOKENS], shards[MAX_TOKENS * MAX_SHARDS * 2];
    double exact[MAX_TOKENS]; /* log-probability of each token */
    double pair_in[MAX_PAIRS][4];
    double sw[MAX_PAIRS], sl[MAX_PAIRS], rw[MAX_PAIRS], rl[MAX_PAIRS], nw[MAX_PAIRS], nl[MAX_PAIRS];
    double x[MAX_PAIRS], y[MAX_PAIRS];
    float coef[MAX_TOKENS];
    double pair_out[MAX_PAIRS][HLS_PAIR_COLUMNS], batch_out[HLS_BATCH_COLUMNS];
} batch;

static batch b; /* one a test process: too large for a stack */

static void make_token(uint32_t t) {
    double top = -INFINITY, sum = 0;
    b.logp[t] = (float)uniform(-4, b.n_shards ? 9 : -.01);
    b.exact[t] = b.logp[t];
    if (b.n_shards == 0) return;
    float *s = b.shards + (size_t)t * b.n_shards * 2;
    for (uint32_t k = 0; k < b.n_shards; k++) {
        s[2 * k] = (float)uniform(-30, 30);
        s[2 * k + 1] = (float)uniform(1, 2000);
        if (s[2 * k] > top) top = s[2 * k];
    }
    for (uint32_t k = 0; k < b.n_shards; k++) sum += s[2 * k + 1] * exp(s[2 * k] - top);
    b.exact[t] = b.logp[t] - top - log(sum);
}

static void make_batch(const struct config *c, uint32_t n_pairs, uint32_t n_shards) {
    uint32_t at = 0;
    b.n_pairs = n_pairs;
    b.n_shards = n_shards;
    for (uint32_t i = 0; i < n_pairs; i++) {
        for (int side = 0; side < 2; side++) {
            uint32_t n = 1 + draw(draw(8) ? 40 : 200);
            double sum = 0;
            b.seg_start[2 * i + (uint32_t)side] = at;
            for (uint32_t k = 0; k < n; k++, at++) {
                make_token(at);
                sum += b.exact[at];
            }
            *(side ? &b.sl[i] : &b.sw[i]) = sum;
            *(side ? &b.nl[i] : &b.nw[i]) = n;
            *(side ? &b.rl[i] : &b.rw[i]) = sum + uniform(-20, 20);
        }
        b.x[i] = uniform(0, .69);
        b.y[i] = uniform(0, 1);
        const double row[4] = {b.rw[i], b.rl[i],
                               c->op == HLS_OP_LEANPO ? c->eps
                               : c->op == HLS_OP_UPO  ? b.x[i] / (2 * log(2))
                                                      : b.x[i],
                               b.y[i]};
        memcpy(b.pair_in[i], row, sizeof row);
    }
    b.seg_start[2 * n_pairs] = at;
    cr_assert_leq(at, MAX_TOKENS);
}

static void run(const struct config *c) {
    lpo_hls_reward_reduce_args a = {b.logp,        b.shards,    b.seg_start, b.pair_in[0], b.coef,
                                    b.pair_out[0], b.batch_out, c->op,       b.n_pairs,    b.n_shards,
                                    c->beta,       c->gamma,    c->eps,      c->extra};
    for (const lpo_hls_kernel *k = lpo_hls_kernels; k->name; k++)
        if (!strcmp(k->name, "reward_reduce")) k->run(&a);
}

static lpo_objective *open_objective(const struct config *c) {
    lpo_objective *o;
    lpo_error err;
    char sets[128], *save, *s = sets;
    cr_assert_eq(lpo_objective_create(&o, c->objective, &err), LPO_OK, "%s", err.msg);
    snprintf(sets, sizeof sets, "%s", c->sets);
    for (s = strtok_r(sets, " ", &save); s; s = strtok_r(NULL, " ", &save)) {
        char *eq = strchr(s, '=');
        *eq = 0;
        cr_assert_eq(lpo_objective_set(o, s, eq + 1, &err), LPO_OK, "%s", err.msg);
    }
    return o;
}

static void near(double got, double want, double scale, const char *objective, const char *what) {
    cr_expect_leq(fabs(got - want), 1e-6 * scale, "%s: %s is %.12g, expected %.12g", objective, what, got,
                  want);
}

static double largest(const double *v, uint32_t n) {
    double m = 0;
    for (uint32_t i = 0; i < n; i++) m = fmax(m, fabs(v[i]));
    return m;
}

static void check(const struct config *c) {
    double loss, g_w[MAX_PAIRS] = {0}, g_l[MAX_PAIRS] = {0}, *grads[LPO_N_COLUMNS] = {0};
    lpo_batch_columns in = {.n_rows = b.n_pairs};
    const struct {
        int id;
        const double *v;
    } columns[] = {{LPO_COL_S_w, b.sw}, {LPO_COL_S_l, b.sl}, {LPO_COL_R_w, b.rw},
                   {LPO_COL_R_l, b.rl}, {LPO_COL_n_w, b.nw}, {LPO_COL_n_l, b.nl},
                   {LPO_COL_p_w, b.x},  {LPO_COL_p_l, b.y},  {LPO_COL_bald, b.x}};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        in.col[columns[i].id] = (lpo_column){columns[i].v, b.n_pairs, NULL};
    grads[LPO_COL_S_w] = g_w;
    grads[LPO_COL_S_l] = g_l;
    lpo_error err;
    lpo_objective *o = open_objective(c);
    cr_assert_eq(lpo_objective_eval(&loss, grads, o, &in, 0, 0, &err), LPO_OK, "%s", err.msg);
    lpo_objective_stats stats;
    lpo_objective_get_stats(&stats, o);
    lpo_objective_destroy(o);

    double scale = fmax(largest(g_w, b.n_pairs), largest(g_l, b.n_pairs));
    near(b.batch_out[HLS_BATCH_LOSS], loss, fmax(1, fabs(loss)), c->objective, "loss");
    for (uint32_t i = 0; i < b.n_pairs; i++) {
        near(b.pair_out[i][HLS_PAIR_S_W], b.sw[i], 1, c->objective, "S_w");
        near(b.pair_out[i][HLS_PAIR_G_W], g_w[i], scale, c->objective, "dS_w");
        near(b.pair_out[i][HLS_PAIR_G_L], g_l[i], scale, c->objective, "dS_l");
        for (uint32_t t = b.seg_start[2 * i]; t < b.seg_start[2 * i + 2]; t++)
            near(b.coef[t], t < b.seg_start[2 * i + 1] ? g_w[i] : g_l[i], scale, c->objective, "coef");
    }
    if (!stats.has_rewards) return;
    near(b.batch_out[HLS_BATCH_REWARD_W], stats.reward_chosen, 1, c->objective, "reward_chosen");
    near(b.batch_out[HLS_BATCH_REWARD_L], stats.reward_rejected, 1, c->objective, "reward_rejected");
    near(b.batch_out[HLS_BATCH_ACCURACY], stats.accuracy, 1, c->objective, "accuracy");
    near(b.batch_out[HLS_BATCH_MARGIN], stats.margin, 1, c->objective, "margin");
    /* simpo keeps its smoothing to itself. */
    if (c->op <= HLS_OP_LEANPO_MARGIN || c->op == HLS_OP_DPO || c->op == HLS_OP_UPO)
        near(b.batch_out[HLS_BATCH_EPS], stats.eps_mean, 1, c->objective, "eps_mean");
}

/* Truth: every opcode's loss, gradients, token coefficients and metrics are the double objective's within
 * 1e-6, for batches of one and of many, responses of one token and of hundreds, from log-probabilities and
 * from vocabulary shards. */
Test(hls_reward, every_opcode_is_its_objective) {
    int seen[HLS_N_OPS] = {0};
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        const uint32_t pairs[] = {1, 7, MAX_PAIRS}, shards[] = {0, 1, MAX_SHARDS};
        for (int k = 0; k < 3; k++) {
            make_batch(&configs[i], pairs[k], shards[(k + (int)i) % 3]);
            run(&configs[i]);
            check(&configs[i]);
        }
        seen[configs[i].op] = 1;
    }
    for (int op = 0; op < HLS_N_OPS; op++) cr_expect(seen[op], "opcode %d is not tested", op);
}

/* Truth: the names in the opcode list are objectives of the table. */
Test(hls_reward, opcodes_name_objectives) {
    static const char *const names[] = {
#define HLS_X(op, name) name,
        HLS_OP_LIST(HLS_X)
#undef HLS_X
    };
    for (int op = 0; op < HLS_N_OPS; op++) {
        lpo_objective *o = NULL;
        lpo_error err;
        cr_expect_eq(lpo_objective_create(&o, names[op], &err), LPO_OK, "%s", err.msg);
        lpo_objective_destroy(o);
    }
}

static uint64_t fnv1a(uint64_t h, const void *p, size_t n) {
    for (size_t i = 0; i < n; i++) h = (h ^ ((const uint8_t *)p)[i]) * 1099511628211u;
    return h;
}

/* Truth: the same bits everywhere: this hash was made on x86-64 by GCC, and C and C++, any optimisation and
 * any processor must give it again. A change of it is a change of the kernel's arithmetic. */
Test(hls_reward, bits_are_fixed) {
    uint64_t h = 14695981039346656037u;
    state = 99;
    for (int i = 0; i < 20000; i++) {
        double z = (double)draw(1u << 30) / 8388608.0 - 64.0;
        const double v[3] = {hls_exp(-fabs(z)), hls_nls(z), hls_log(1.0 + fabs(z))};
        h = fnv1a(h, v, sizeof v);
    }
    cr_expect_eq(h, UINT64_C(0x368185c4d8b52488), "hash %016llx", (unsigned long long)h);
}
