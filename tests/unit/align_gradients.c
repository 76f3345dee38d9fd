/* SPDX-License-Identifier: Apache-2.0 */
/* align_gradients.c -- every row of the table, every alias and every modifier: the gradient is the derivative
 * of the loss. Central differences of the loss itself are the truth. What an objective holds constant
 * (smoothing, weights, targets) is recorded in the first evaluation and replayed in the others: see lpo_sg.
 */
#include "align/term.h"
#include "base/rng.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 6, CANDIDATES = 5, MAX_TOKENS = 9, TAPE = 4096 };

/* A random batch that holds every column; row i of a token column has its own length. */
typedef struct batch {
    lpo_batch_columns in;
    double data[LPO_N_COLUMNS][ROWS * MAX_TOKENS];
    int64_t start[LPO_N_COLUMNS][ROWS + 1];
} batch;

static int is_ragged(int c) {
    return (c >= LPO_COL_t_w && c <= LPO_COL_ref) || c == LPO_COL_q;
}

/* Columns of one response share its row lengths. */
static int64_t length(int c, int64_t row) {
    switch (c) {
    case LPO_COL_t_w:
    case LPO_COL_rt_w:
    case LPO_COL_d_w:
    case LPO_COL_sump2_w:
    case LPO_COL_n_w: return 2 + (row * 5 + 1) % 7;
    case LPO_COL_t_l:
    case LPO_COL_rt_l:
    case LPO_COL_d_l:
    case LPO_COL_sump2_l:
    case LPO_COL_n_l: return 2 + (row * 3 + 4) % 7;
    default: return 3 + (row * 2) % 6;
    }
}

static double value(int c, int64_t k, lpo_rng *r) {
    switch (c) {
    case LPO_COL_n_w:
    case LPO_COL_n_l:
    case LPO_COL_n: return (double)length(c, k);
    case LPO_COL_d_w:
    case LPO_COL_d_l: return lpo_rng_below(r, 2);
    case LPO_COL_w: return (double)(k % CANDIDATES);
    case LPO_COL_l: return (double)((k + 2) % CANDIDATES);
    case LPO_COL_adv:
    case LPO_COL_q:
    case LPO_COL_theta: return lpo_rng_normal(r);
    case LPO_COL_bald:
    case LPO_COL_p_w:
    case LPO_COL_p_l:
    case LPO_COL_sump2_w:
    case LPO_COL_sump2_l: return 0.05 + 0.6 * lpo_rng_uniform(r);
    case LPO_COL_r: return lpo_rng_uniform(r);
    }
    return (is_ragged(c) ? -2 : -9) * (0.05 + lpo_rng_uniform(r));
}

static batch *make_batch(uint64_t seed, int tokens_only) {
    batch *b = calloc(1, sizeof *b);
    lpo_rng r = lpo_rng_init(seed, 0);
    b->in.n_rows = ROWS;
    for (int c = 0; c < LPO_N_COLUMNS; c++) {
        int64_t n = ROWS;
        if (c == LPO_COL_theta || c == LPO_COL_ref_logps) n = CANDIDATES;
        if (is_ragged(c)) {
            n = 0;
            for (int64_t i = 0; i < ROWS; i++) b->start[c][i + 1] = n += length(c, i);
        }
        for (int64_t k = 0; k < n; k++) b->data[c][k] = value(c, k, &r);
        b->in.col[c] = (lpo_column){b->data[c], n, is_ragged(c) ? b->start[c] : NULL};
        /* Sums that have tokens are then derived from them. */
        if (tokens_only && c <= LPO_COL_n_l) b->in.col[c].data = NULL;
    }
    return b;
}

static double eval(lpo_objective *o, const batch *b, double *const *grads, const char *spec) {
    double state[32], loss;
    lpo_error err;
    int n = lpo_objective_state(o, state, 32);
    cr_assert_eq(lpo_objective_eval(&loss, grads, o, &b->in, 3, 10, &err), LPO_OK, "%s: %s", spec, err.msg);
    cr_assert_eq(lpo_objective_restore(o, state, n, &err), LPO_OK);
    return loss;
}

static void check(lpo_objective *o, batch *b, const char *spec) {
    static double grad[LPO_N_COLUMNS][ROWS * MAX_TOKENS], constants[TAPE];
    double *grads[LPO_N_COLUMNS];
    lpo_sg_tape tape = {.value = constants, .cap = TAPE};
    int touched = 0;
    for (int c = 0; c < LPO_N_COLUMNS; c++) grads[c] = b->in.col[c].data ? grad[c] : NULL;
    lpo_objective_set_tape(o, &tape);
    double loss = eval(o, b, grads, spec);
    tape.replay = 1;
    for (int c = 0; c < LPO_N_COLUMNS; c++) {
#define LPO_X(name, ragged, diff, meaning)                                                                   \
    if (c == LPO_COL_##name && !diff) continue;
        LPO_COLUMN_LIST(LPO_X)
#undef LPO_X
        for (int64_t k = 0; b->in.col[c].data && k < b->in.col[c].n; k++) {
            const double h = 1e-5, at = b->data[c][k];
            tape.at = 0;
            b->data[c][k] = at + h;
            double up = eval(o, b, NULL, spec);
            tape.at = 0;
            b->data[c][k] = at - h;
            double down = eval(o, b, NULL, spec);
            b->data[c][k] = at;
            /* h^2 of curvature, and the loss's own rounding divided by h. */
            double tolerance = 1e-7 * fmax(1, fabs(grad[c][k])) + 1e-10 * fabs(loss);
            cr_expect_float_eq(grad[c][k], (up - down) / (2 * h), tolerance,
                               "%s: d/d%s[%d] is %.12g, differences say %.12g", spec, lpo_column_name(c),
                               (int)k, grad[c][k], (up - down) / (2 * h));
            touched += grad[c][k] != 0;
        }
    }
    cr_expect_gt(touched, 0, "%s has no gradient at all", spec);
    lpo_objective_set_tape(o, NULL);
}

/* spec with settings "k=v k=v". */
static void check_spec(const char *spec, const char *settings, int tokens_only) {
    lpo_objective *o;
    lpo_error err;
    char key[64], val[64];
    int used;
    cr_assert_eq(lpo_objective_create(&o, spec, &err), LPO_OK, "%s", err.msg);
    for (const char *s = settings; sscanf(s, " %63[^=]=%63s%n", key, val, &used) == 2; s += used)
        cr_assert_eq(lpo_objective_set(o, key, val, &err), LPO_OK, "%s", err.msg);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        batch *b = make_batch(seed, tokens_only);
        check(o, b, spec);
        free(b);
    }
    lpo_objective_destroy(o);
}

Test(align_gradients, every_row_and_alias) {
    const lpo_objective_info *info;
    int rows = 0;
    for (int i = 0; (info = lpo_objective_at(i)); i++, rows++) {
        check_spec(info->name, "", 0);
        check_spec(info->name, "", 1);
        for (const char *s = info->aliases; *s;) {
            char alias[80];
            size_t len = strcspn(s, " (");
            snprintf(alias, sizeof alias, "%.*s", (int)len, s);
            check_spec(alias, "", 0);
            s += strcspn(s, " ");
            s += *s == ' ';
        }
    }
    cr_expect_geq(rows, 44);
}

/* Every row that knows a modifier, under each of its settings. */
Test(align_gradients, modifiers) {
    static const char *const SETTINGS[][2] = {
        {"ld_alpha", "ld_alpha=0.3"},
        {"wpo", "wpo=1"},
        {"wpo", "wpo=1 ld_alpha=0.6"},
        {"f_divergence", "f_divergence=forward_kl"},
        {"f_divergence", "f_divergence=js_divergence wpo=1"},
        {"f_divergence", "f_divergence=alpha a=0.3 ld_alpha=0.5"},
        {"f_divergence", "f_divergence=alpha_divergence f_alpha=1"},
    };
    const lpo_objective_info *info;
    for (int i = 0; (info = lpo_objective_at(i)); i++)
        for (size_t k = 0; k < sizeof SETTINGS / sizeof *SETTINGS; k++)
            if (strstr(info->defaults, SETTINGS[k][0])) check_spec(info->name, SETTINGS[k][1], k % 2);
}

Test(align_gradients, smoothing_rules) {
    check_spec("leanpo", "smoothing=fixed eps=0.2", 0);
    check_spec("leanpo", "smoothing=schedule eps_min=0.05 eps_max=0.3", 0);
    check_spec("leanpo", "smoothing=margin eps_max=0.3 tau=5", 1);
    check_spec("leanpo", "smoothing=batch kappa=2 decay=0.5", 0);
    check_spec("leanpo", "smoothing=grounding tau=0.3", 0);
}

Test(align_gradients, choices_of_families) {
    check_spec("cpo", "loss_type=hinge alpha=0.1", 0);
    check_spec("cpo", "loss_type=ipo label_smoothing=0.1", 0);
    check_spec("cpo", "loss_type=simpo simpo_gamma=1 alpha=-0.4", 1);
    check_spec("bmc", "ref_weights=reference delta=1.5", 0);
    const char *losses[] = {"grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo", "luspo", "ppo"};
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        char text[120];
        snprintf(text, sizeof text, "loss_type=%s level=sequence beta=0.1 use_bias_correction_kl=1",
                 losses[i]);
        check_spec("grpo", text, 0);
        if (strcmp(losses[i], "luspo")) {
            snprintf(text, sizeof text, "loss_type=%s beta=0.3 delta=1.7 whiten=1", losses[i]);
            check_spec("dapo", text, 0);
        }
    }
}

/* A sum reaches shared and separate columns alike, and weights its terms. */
Test(align_gradients, weighted_sums) {
    check_spec("leanpo+1.0*sft", "", 0);
    check_spec("0.8*sigmoid+0.2*bco_pair+1.0*sft", "beta=0.3 sft.weight=0.5", 0);
    check_spec("leanpo + 0.5*bmc", "", 1);
    check_spec("leanpo_C_batchnorm+alpha_dpo", "decay=0.7", 0);
}
