/* SPDX-License-Identifier: Apache-2.0 */
/* hls_reward.c -- reward_reduce against host/align, to the bit; vocabulary shards against their definition;
 * and the arithmetic both share against the C library's. */
#include "hls/abi.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/pair_batches.h"

enum { BATCHES = 250, MAX_SHARDS = 9 };

/* Truth: exp, expm1, log, log1p, sigmoid and -log sigmoid keep 1e-15 (2e-15) of the C library's wherever the
 * result is a normal number. */
Test(hls_reward, own_functions) {
    for (int i = 0; i < 300000; i++) {
        double x = uniform(-707, 709), near = uniform(-1, 1), y = exp(uniform(-700, 700)),
               p = uniform(-.99, 3), z;
        cr_assert_leq(fabs(lpo_real_exp(x) / exp(x) - 1), 1e-15, "exp(%a)", x);
        cr_assert_leq(fabs(lpo_real_exp(near) / exp(near) - 1), 1e-15, "exp(%a)", near);
        cr_assert_leq(fabs(lpo_real_expm1(near) / expm1(near) - 1), 2e-15, "expm1(%a)", near);
        cr_assert_leq(fabs(lpo_real_expm1(near * 1e-9) / expm1(near * 1e-9) - 1), 1e-15, "expm1(%a)", near);
        cr_assert_leq(fabs(lpo_real_log(y) - log(y)), 1e-15 * fmax(fabs(log(y)), 0.5), "log(%a)", y);
        cr_assert_leq(fabs(lpo_real_log1p(p) - log1p(p)), 2e-15 * fmax(fabs(log1p(p)), fmin(fabs(p), .1)),
                      "log1p(%a)", p);
        z = uniform(-60, 60);
        cr_assert_leq(fabs(lpo_sigmoid(z) * (1 + exp(-z)) - 1), 2e-15, "sigmoid(%a)", z);
        cr_assert_leq(fabs(lpo_nls(-fabs(z)) / (fabs(z) + log1p(exp(-fabs(z)))) - 1), 2e-15, "nls(%a)", z);
    }
}

/* Truth: the ends of the ranges: exact values, overflow, what is lost below the normal numbers, NaN. */
Test(hls_reward, own_functions_at_their_ends) {
    cr_expect_eq(lpo_real_exp(0), 1);
    cr_expect_eq(lpo_real_exp(-0.0), 1);
    cr_expect_eq(lpo_real_exp(-708.5), 0);
    cr_expect_eq(lpo_real_exp(-INFINITY), 0);
    cr_expect_eq(lpo_real_exp(709.5), INFINITY);
    cr_expect(isfinite(lpo_real_exp(709)) && isnormal(lpo_real_exp(-708)));
    cr_expect_eq(lpo_real_log(1), 0);
    cr_expect_eq(lpo_real_log(0), -INFINITY);
    cr_expect_eq(lpo_real_log(INFINITY), INFINITY);
    cr_expect_float_eq(lpo_real_log(5e-324), log(5e-324), 1e-12);
    cr_expect_eq(lpo_real_log1p(-1), -INFINITY);
    cr_expect_eq(lpo_sigmoid(INFINITY), 1);
    cr_expect_eq(lpo_sigmoid(-1e300), 0);
    cr_expect_eq(lpo_nls(-1e300), 1e300);
    cr_expect_eq(lpo_nls(1e300), 0);
    cr_expect(isnan(lpo_real_log(-1)) && isnan(lpo_real_exp(NAN)) && isnan(lpo_real_log(NAN)));
    cr_expect(isnan(lpo_sigmoid(NAN)) && isnan(lpo_nls(NAN)) && isnan(lpo_real_expm1(NAN)));
}

/* ---- host and kernel ---- */

static struct kernel_side {
    float logp[2 * SIDE], coef[2 * SIDE], want_coef[2 * SIDE];
    double weight[2 * SIDE];
    uint32_t seg[2 * MAX_PAIRS + 1];
    double out[MAX_PAIRS][LPO_PAIR_COLUMNS], batch[LPO_BATCH_COLUMNS];
} kernel;

/* What a host does to hand pairs to the kernel: tokens as w0 l0 w1 l1 .., an empty l where none is read. */
static void pack(const lpo_pairs *p) {
    uint32_t at = 0;
    for (int64_t i = 0; i < p->n; i++)
        for (int side = 0; side < 2; side++) {
            const double *w = side ? p->token_l : p->token_w;
            kernel.seg[2 * i + side] = at;
            for (int64_t k = made.start[side][i]; k < made.start[side][i + 1] && (!side || p->s_l);
                 k++, at++) {
                kernel.logp[at] = (float)made.v[LPO_COL_t_w + side][k];
                kernel.weight[at] = w ? w[k] : 1;
                kernel.want_coef[at] = (float)made.grad[LPO_COL_t_w + side][k];
            }
        }
    kernel.seg[2 * p->n] = at;
}

static void run(const lpo_pairs *p) {
    lpo_hls_reward_reduce(kernel.logp, NULL, p->token_w ? kernel.weight : NULL,
                          p->token_w ? kernel.weight : NULL, kernel.seg, p->in[0], kernel.coef, kernel.out[0],
                          kernel.batch, p->rule.op, p->rule.score, p->rule.flags, (uint32_t)p->n, 0,
                          p->token_w != NULL, 1, p->rule.beta, p->rule.tau, p->rule.alpha);
}

static void same(const void *got, const void *want, size_t n, const char *spec, const char *what) {
    cr_assert(!memcmp(got, want, n), "%s: the kernel's %s has other bits", spec, what);
}

/* One batch on both sides; the op it was, or -1 where the numbers overflow and the host refuses them. */
static int compare(lpo_objective *o, const char *spec, int64_t step) {
    double *grads[LPO_N_COLUMNS] = {0}, loss;
    const char *name;
    lpo_error err;
    make_batch();
    grads[LPO_COL_t_w] = made.grad[LPO_COL_t_w];
    grads[LPO_COL_t_l] = made.grad[LPO_COL_t_l];
    cr_assert_eq(lpo_objective_begin(o, &made.in, step, 100, &err), LPO_OK, "%s: %s", spec, err.msg);
    lpo_pairs *p = lpo_objective_pairs(o, 0, &name);
    cr_assert(p && !p->whole, "%s: not for the kernel", spec);
    lpo_status s = lpo_objective_end(&loss, grads, o, &err);
    cr_assert(s == LPO_OK || s == LPO_ENUMERIC, "%s: %s", spec, err.msg);
    pack(p);
    run(p);
    if (s) return -1;
    same(kernel.out, p->out, (size_t)p->n * sizeof kernel.out[0], spec, "pair_out");
    if (p->n_w && p->n_l) same(kernel.batch, p->batch, sizeof kernel.batch, spec, "batch_out");
    same(kernel.batch, p->batch, LPO_BATCH_TOKENS_W * sizeof(double), spec, "batch_out");
    for (uint32_t t = 0; t < kernel.seg[2 * p->n]; t++)
        cr_assert_eq(kernel.coef[t], kernel.want_coef[t], "%s: coefficient of token %u is %a, not %a", spec,
                     t, kernel.coef[t], kernel.want_coef[t]);
    return (int)p->rule.op;
}

/* Truth: for every op, score and modifier, over batches of any length and from certain to hopeless tokens,
 * every double and every coefficient the kernel writes is host/align's to the bit; where numbers overflow,
 * which few do, the host refuses the batch. */
Test(hls_reward, kernel_and_host_have_the_same_bits) {
    int seen[LPO_PAIR_N_OPS] = {0};
    for (size_t i = 0; i < sizeof SPECS / sizeof *SPECS; i++) {
        lpo_objective *o = open_objective(SPECS[i]);
        int refused = 0;
        for (int k = 0; k < BATCHES; k++) {
            int op = compare(o, SPECS[i], k);
            refused += op < 0;
            if (op >= 0) seen[op]++;
        }
        lpo_objective_destroy(o);
        cr_expect_leq(refused, strstr(SPECS[i], "f_div") || strstr(SPECS[i], "alpha=.25") ? BATCHES / 2 : 0,
                      "%s: %d batches refused", SPECS[i], refused);
    }
    for (int op = 0; op < LPO_PAIR_N_OPS; op++)
        cr_expect_geq(seen[op], BATCHES / 2, "op %d: %d", op, seen[op]);
}

/* Truth: the table of ops and the table of objectives name each other: every pair objective but the three
 * that compare pairs with each other has an op, and is listed beside it. */
Test(hls_reward, ops_name_their_objectives) {
    static const char *const listed[] = {
#define LPO_X(op, objectives) " " objectives " ",
        LPO_PAIR_OP_LIST(LPO_X)
#undef LPO_X
    };
    const lpo_objective_info *info;
    for (int i = 0; (info = lpo_objective_at(i)); i++) {
        const char *name;
        char word[64];
        if (strcmp(info->family, "pair") && strcmp(info->name, "bmc")) continue;
        lpo_objective *o = open_objective(info->name);
        lpo_error err;
        make_batch();
        cr_assert_eq(lpo_objective_begin(o, &made.in, 0, 10, &err), LPO_OK, "%s", err.msg);
        const lpo_pairs *p = lpo_objective_pairs(o, 0, &name);
        snprintf(word, sizeof word, " %s ", info->name);
        cr_expect_eq(p->whole != NULL, strstr(" tpo aot aot_unpaired ", word) != NULL, "%s", info->name);
        if (!p->whole) cr_expect(strstr(listed[p->rule.op], word), "%s is not listed at its op", info->name);
        lpo_objective_destroy(o);
    }
}

/* Truth: with shards the kernel reads logits: (max, sum of exp) of each part of the vocabulary merge to the
 * log-probability, within 1e-6 of double arithmetic from one shard to nine. */
Test(hls_reward, shards_merge) {
    enum { N = 300 };
    static float logit[N], shards[N * MAX_SHARDS * 2], coef[N];
    const uint32_t seg[3] = {0, 190, N};
    const double in[LPO_PAIR_IN_COLUMNS] = {[LPO_PAIR_IN_WEIGHT] = 1};
    for (uint32_t n = 1; n <= MAX_SHARDS; n++) {
        double want[2] = {0}, out[LPO_PAIR_COLUMNS], batch_out[LPO_BATCH_COLUMNS];
        for (uint32_t t = 0; t < N; t++) {
            double top = -INFINITY, sum = 0;
            float *s = shards + (size_t)t * n * 2;
            logit[t] = (float)uniform(-4, 9);
            for (uint32_t k = 0; k < n; k++) {
                s[2 * k] = (float)uniform(-30, 30);
                s[2 * k + 1] = (float)uniform(1, 2000);
                top = fmax(top, s[2 * k]);
            }
            for (uint32_t k = 0; k < n; k++) sum += s[2 * k + 1] * exp(s[2 * k] - top);
            want[t >= seg[1]] += logit[t] - top - log(sum);
        }
        lpo_hls_reward_reduce(logit, shards, NULL, NULL, seg, in, coef, out, batch_out, LPO_PAIR_LOGISTIC, 0,
                              LPO_PAIR_BY_TOKEN | LPO_PAIR_REWARD_SCORE, 1, n, 0, 1, 2, 1, 0);
        const double z = 2 * (want[0] / seg[1] - want[1] / (N - seg[1]));
        cr_expect_float_eq(out[LPO_PAIR_S_W], want[0], 1e-9 * fabs(want[0]));
        cr_expect_float_eq(out[LPO_PAIR_LOSS], log1p(exp(-z)), 1e-6);
        cr_expect_float_eq(coef[0], -2 / (1 + exp(z)) / seg[1], 1e-6 / seg[1]);
    }
}

/* Truth: a kernel that is not asked for coefficients writes none. */
Test(hls_reward, coefficients_on_request) {
    float logp[2] = {-1, -2}, coef[2] = {7, 7};
    const uint32_t seg[3] = {0, 1, 2};
    const double in[LPO_PAIR_IN_COLUMNS] = {[LPO_PAIR_IN_WEIGHT] = 1};
    double out[LPO_PAIR_COLUMNS], batch_out[LPO_BATCH_COLUMNS];
    lpo_hls_reward_reduce(logp, NULL, NULL, NULL, seg, in, coef, out, batch_out, 0, 0, 0, 1, 0, 0, 0, 2, 1,
                          0);
    cr_expect(coef[0] == 7 && coef[1] == 7);
}

static uint64_t fnv1a(uint64_t h, const void *p, size_t n) {
    for (size_t i = 0; i < n; i++) h = (h ^ ((const uint8_t *)p)[i]) * 1099511628211u;
    return h;
}

/* Truth: the same bits everywhere: this hash was made on x86-64 by GCC, and C and C++, any optimisation and
 * any processor must give it again. A change of it is a change of the arithmetic of losses. */
Test(hls_reward, bits_are_fixed) {
    uint64_t h = 14695981039346656037u;
    state = 99;
    for (int i = 0; i < 20000; i++) {
        double z = (double)draw(1u << 30) / 8388608.0 - 64.0;
        const double v[4] = {lpo_real_exp(-fabs(z)), lpo_nls(z), lpo_real_log(1.0 + fabs(z)),
                             lpo_real_expm1(z / 64)};
        h = fnv1a(h, v, sizeof v);
    }
    cr_expect_eq(h, UINT64_C(0xce68e0cdd881fcc0), "hash %016llx", (unsigned long long)h);
}
