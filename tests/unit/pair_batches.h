/* SPDX-License-Identifier: Apache-2.0 */
/* pair_batches.h -- random batches with every column that a pair objective may read, and every setting whose
 * arithmetic differs: for whatever has to give host/align's bits. Include it after criterion. */
#ifndef LPO_TESTS_PAIR_BATCHES_H
#define LPO_TESTS_PAIR_BATCHES_H
#include "align/pairs.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PAIRS = 6, MAX_LEN = 600, SIDE = MAX_PAIRS * MAX_LEN };

static uint32_t state = 1;
static uint32_t draw(uint32_t n) {
    state = state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)state * n) >> 32);
}
static double uniform(double lo, double hi) {
    return lo + (hi - lo) * draw(1u << 30) / (double)(1u << 30);
}

typedef struct pair_batch {
    lpo_batch_columns in;
    double v[LPO_N_COLUMNS][SIDE], grad[LPO_N_COLUMNS][SIDE];
    int64_t start[2][MAX_PAIRS + 1];
} pair_batch;

static pair_batch made; /* one a test process: too large for a stack */

/* A token column of one side: floats, as a backbone makes them, from `least` up to a billionth of it, so that
 * their sum in double depends on the order. */
static void tokens(int column, int side, double least) {
    const int64_t *start = made.start[side], n = start[made.in.n_rows];
    for (int64_t k = 0; k < n; k++) made.v[column][k] = (double)(float)(least * pow(10, uniform(-9, 0)));
    made.in.col[column] = (lpo_column){made.v[column], n, start};
}

static void rows(int column, double lo, double hi) {
    for (int64_t i = 0; i < made.in.n_rows; i++) made.v[column][i] = uniform(lo, hi);
    made.in.col[column] = (lpo_column){made.v[column], made.in.n_rows, NULL};
}

static void make_batch(void) {
    /* From tokens that are all but certain to hopeless ones, which saturate every sigmoid. */
    static const double least[] = {-1e-6, -.1, -3, -12, -90};
    const double lo = least[draw(5)], off = least[draw(5)];
    made.in.n_rows = 1 + draw(MAX_PAIRS);
    for (int side = 0; side < 2; side++)
        for (int64_t i = 0; i < made.in.n_rows; i++)
            made.start[side][i + 1] = made.start[side][i] + 1 + draw(draw(4) ? 40 : MAX_LEN);
    for (int side = 0; side < 2; side++) {
        tokens(LPO_COL_t_w + side, side, lo);
        tokens(LPO_COL_rt_w + side, side, off);
        tokens(LPO_COL_sump2_w + side, side, 1);
        tokens(LPO_COL_d_w + side, side, 1);
        for (int64_t k = 0; k < made.start[side][made.in.n_rows]; k++)
            made.v[LPO_COL_d_w + side][k] = draw(2);
    }
    rows(LPO_COL_S_u, -50, 0);
    rows(LPO_COL_R_u, -50, 0);
    rows(LPO_COL_S_w_aug, -50, 0);
    rows(LPO_COL_p_w, 0, 1);
    rows(LPO_COL_p_l, 0, 1);
    rows(LPO_COL_bald, 0, .69);
}

/* "NAME KEY=VALUE ..." */
static lpo_objective *open_objective(const char *spec) {
    char text[200], *save, *s;
    lpo_error err;
    lpo_objective *o;
    snprintf(text, sizeof text, "%s", spec);
    s = strtok_r(text, " ", &save);
    cr_assert_eq(lpo_objective_create(&o, s, &err), LPO_OK, "%s", err.msg);
    while ((s = strtok_r(NULL, " ", &save))) {
        char *eq = strchr(s, '=');
        *eq = 0;
        cr_assert_eq(lpo_objective_set(o, s, eq + 1, &err), LPO_OK, "%s", err.msg);
    }
    return o;
}

static const char *const SPECS[] = {
    "leanpo smoothing=fixed eps=.15 gamma_r=.1",
    "leanpo smoothing=schedule",
    "leanpo",
    "leanpo tau=3 eps_max=.25 beta=9",
    "leanpo smoothing=batch",
    "leanpo smoothing=grounding",
    "simpo eps=.05",
    "alpha_dpo",
    "dpo",
    "cdpo beta=.3",
    "dpo ld_alpha=.3",
    "dpo wpo=1",
    "dpo ld_alpha=.7 wpo=1 f_divergence=js",
    "dpo f_divergence=forward_kl",
    "dpo f_divergence=alpha f_alpha=.4",
    "sapo_dpo",
    "rdpo",
    "ipo",
    "ipo wpo=1 f_divergence=js",
    "ipo_sum",
    "sigmoid_norm beta=1.5",
    "hinge",
    "exo_pair",
    "exo_pair eps=.7",
    "discopop",
    "rpo",
    "rpo_average wpo=1",
    "llava_hound_dpo dpo_alpha=.4 wpo=1",
    "upo",
    "sppo",
    "sppo_hard",
    "nca_pair",
    "bco_pair",
    "apo_zero ld_alpha=.5",
    "apo_down f_divergence=js",
    "cpo",
    "cpo loss_type=hinge",
    "cpo loss_type=ipo",
    "cpo loss_type=simpo alpha=.25",
    "orpo",
    "sapo_orpo",
    "expo",
    "bmc",
    "bmc ref_weights=reference",
    "sft",
};
#endif
