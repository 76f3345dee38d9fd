/* SPDX-License-Identifier: Apache-2.0 */
/* align_objective.c -- the objective as a thing to hold: names, refusals, running state, statistics. */
#include "base/json.h"
#include "leanpo/objective.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BIT(c) (UINT64_C(1) << LPO_COL_##c)

/* Four pairs, the numbers of the reference vectors. */
static const double S_w[] = {-5.7109, -8.0717, -4.3845, -8.7382}, S_l[] = {-7.8673, -3.8057, -7.4712, -9.19};
static const double R_w[] = {-7.185, -7.2508, -6.1844, -8.6698}, R_l[] = {-7.1444, -4.0642, -5.9383, -8.9681};
static const double n_w[] = {5, 7, 4, 6}, n_l[] = {6, 5, 4, 8};

static lpo_batch_columns pairs(int64_t n) {
    lpo_batch_columns b = {.n_rows = n};
    b.col[LPO_COL_S_w] = (lpo_column){S_w, n, NULL};
    b.col[LPO_COL_S_l] = (lpo_column){S_l, n, NULL};
    b.col[LPO_COL_R_w] = (lpo_column){R_w, n, NULL};
    b.col[LPO_COL_R_l] = (lpo_column){R_l, n, NULL};
    b.col[LPO_COL_n_w] = (lpo_column){n_w, n, NULL};
    b.col[LPO_COL_n_l] = (lpo_column){n_l, n, NULL};
    return b;
}

static lpo_objective *make(const char *spec) {
    lpo_objective *o;
    lpo_error err;
    cr_assert_eq(lpo_objective_create(&o, spec, &err), LPO_OK, "%s", err.msg);
    return o;
}

static void set(lpo_objective *o, const char *key, const char *value) {
    lpo_error err;
    cr_assert_eq(lpo_objective_set(o, key, value, &err), LPO_OK, "%s", err.msg);
}

static double loss_of(lpo_objective *o, const lpo_batch_columns *b) {
    double loss;
    lpo_error err;
    cr_assert_eq(lpo_objective_eval(&loss, NULL, o, b, 0, 0, &err), LPO_OK, "%s", err.msg);
    return loss;
}

static void refuses(lpo_objective *o, const lpo_batch_columns *b, lpo_status code, const char *words) {
    double loss;
    lpo_error err = {0};
    cr_expect_eq(lpo_objective_eval(&loss, NULL, o, b, 0, 0, &err), code, "%s", words);
    cr_expect(strstr(err.msg, words), "\"%s\" does not say \"%s\"", err.msg, words);
}

/* No two rows answer to one name: an alias that hides another objective would train the wrong thing silently.
 */
Test(align_objective, names_are_unique) {
    char seen[200][64];
    int n = 0;
    const lpo_objective_info *info;
    for (int i = 0; (info = lpo_objective_at(i)); i++) {
        char all[1200];
        snprintf(all, sizeof all, "%s %s", info->name, info->aliases);
        for (char *save, *w = strtok_r(all, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
            w[strcspn(w, "(")] = 0;
            for (int k = 0; k < n; k++) cr_expect_str_neq(seen[k], w, "%s", w);
            cr_assert_lt(n, 200);
            snprintf(seen[n++], sizeof seen[0], "%s", w);
        }
        cr_expect(*info->summary && *info->source && *info->family, "%s", info->name);
    }
    cr_expect_null(lpo_objective_at(-1));
}

/* The names TRL users know. `sapo` is another method there and must not be guessed at. */
Test(align_objective, trl_names) {
    static const char *const NAMES[] = {"sigmoid",  "hinge",    "ipo",       "exo_pair", "nca_pair",
                                        "robust",   "bco_pair", "sppo_hard", "aot",      "aot_unpaired",
                                        "apo_zero", "apo_down", "discopop",  "sft",      "sigmoid_norm",
                                        "cpo",      "simpo",    "alphapo",   "orpo",     "grpo"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) lpo_objective_destroy(make(NAMES[i]));
    lpo_objective *o;
    lpo_error err;
    cr_expect_eq(lpo_objective_create(&o, "sapo", &err), LPO_ENOTFOUND);
    cr_expect(strstr(err.msg, "sapo_dpo") && strstr(err.msg, "sapo_soft_gate"), "%s", err.msg);
}

Test(align_objective, malformed_specs) {
    static const char *const BAD[] = {"",
                                      "+",
                                      "dpo+",
                                      "2dpo",
                                      "inf*dpo",
                                      "1e999*dpo",
                                      "-1*dpo",
                                      "dpo dpo",
                                      "dpo++sft",
                                      "*dpo",
                                      "nothing_such",
                                      "dpo(beta=1)",
                                      "sft+sft+sft+sft+sft+sft+sft+sft+sft"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        lpo_objective *o = NULL;
        lpo_error err = {0};
        cr_expect_neq(lpo_objective_create(&o, BAD[i], &err), LPO_OK, "%s", BAD[i]);
        cr_expect_null(o);
        cr_expect_gt(strlen(err.msg), 10, "%s", BAD[i]);
    }
}

Test(align_objective, hyper_parameters_are_checked) {
    static const char *const BAD[][3] = {
        {"dpo", "beta", "0"},          {"dpo", "beta", "-1"},        {"dpo", "beta", "nan"},
        {"dpo", "beta", ""},           {"dpo", "beta", "1x"},        {"dpo", "tau", "2"},
        {"leanpo", "smoothing", "no"}, {"leanpo", "eps_max", "1.5"}, {"dpo", "ld_alpha", "2"},
        {"dpo", "wpo", "0.5"},         {"grpo", "loss_type", "kto"}, {"cpo", "loss_type", "grpo"},
        {"dpo", "sft.beta", "1"},      {"dpo", "dpo.weight", "-1"},  {"sft", "beta", "1"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        lpo_objective *o = make(BAD[i][0]);
        lpo_error err = {0};
        cr_expect_eq(lpo_objective_set(o, BAD[i][1], BAD[i][2], &err), LPO_EINVAL, "%s %s=%s", BAD[i][0],
                     BAD[i][1], BAD[i][2]);
        cr_expect_gt(strlen(err.msg), 10);
        lpo_objective_destroy(o);
    }
    /* An unknown key teaches the known ones. */
    lpo_objective *o = make("leanpo");
    lpo_error err;
    cr_expect_eq(lpo_objective_set(o, "temperature", "1", &err), LPO_EINVAL);
    cr_expect(strstr(err.msg, "temperature") && strstr(err.msg, "eps_max") && strstr(err.msg, "kappa"), "%s",
              err.msg);
    lpo_objective_destroy(o);
}

/* Combinations that train nothing, or the opposite, are refused at evaluation whatever the order they were
 * set in. */
Test(align_objective, senseless_combinations) {
    static const char *const BAD[][4] = {
        {"leanpo", "tau", "1", "tau"},
        {"leanpo", "tau", "0.5", "tau above 1"},
        {"rdpo", "eps", "0.5", "below 0.5"},
        {"exo_pair", "eps", "0", "0 < eps"},
        {"alpha_dpo", "mu_prev", "0.1", "both or neither"},
        {"leanpo_A_schedule", "eps", "0.1", "smoothing=fixed"},
        {"leanpo", "smoothing", "schedule", "total"},
        {"luspo", "level", "token", "level=sequence"},
    };
    lpo_batch_columns b = pairs(4);
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        lpo_objective *o = make(BAD[i][0]);
        set(o, BAD[i][1], BAD[i][2]);
        refuses(o, &b, LPO_EINVAL, BAD[i][3]);
        lpo_objective_destroy(o);
    }
    lpo_objective *o = make("leanpo"); /* tau below 1 is what grounding wants */
    lpo_error err;
    set(o, "tau", "0.1");
    cr_expect_eq(lpo_objective_check(o, &err), LPO_EINVAL);
    set(o, "smoothing", "grounding");
    cr_expect_eq(lpo_objective_check(o, &err), LPO_OK);
    lpo_objective_destroy(o);
}

/* eps given and no rule chosen means a constant. */
Test(align_objective, eps_alone_is_fixed_smoothing) {
    lpo_batch_columns b = pairs(4);
    lpo_objective *a = make("leanpo"), *f = make("leanpo_fixed_eps");
    set(a, "eps", "0.25");
    set(f, "eps", "0.25");
    cr_expect_eq(loss_of(a, &b), loss_of(f, &b));
    set(a, "eps", "none");
    cr_expect_neq(loss_of(a, &b), loss_of(f, &b));
    lpo_objective_destroy(a);
    lpo_objective_destroy(f);
}

Test(align_objective, bad_batches_name_the_place) {
    lpo_objective *dpo = make("dpo"), *simpo = make("simpo"), *upo = make("upo"), *orpo = make("orpo"),
                  *bmc = make("bmc");
    lpo_batch_columns b = pairs(4);
    double bad[] = {-1, -2, NAN, -4}, zero[] = {1, 0, 2, 3}, high[] = {0.1, 0.2, 0.9, 0.3},
           sure[] = {-1, 0.5, -1, -1};
    b.col[LPO_COL_S_l].data = bad;
    refuses(dpo, &b, LPO_ENUMERIC, "S_l: row 2");
    bad[2] = -INFINITY;
    refuses(dpo, &b, LPO_ENUMERIC, "S_l: row 2");
    b = pairs(4);
    b.col[LPO_COL_R_l].data = NULL;
    refuses(dpo, &b, LPO_ENOTFOUND, "R_l is missing: dpo reads S_w S_l R_w R_l");
    b = pairs(4);
    b.col[LPO_COL_S_l].n = 3;
    refuses(dpo, &b, LPO_EINVAL, "S_l: 3 values for 4 rows");
    b = pairs(4);
    b.col[LPO_COL_n_w].data = zero;
    refuses(simpo, &b, LPO_EINVAL, "n_w: row 1");
    b = pairs(4);
    b.n_rows = 0;
    refuses(dpo, &b, LPO_EINVAL, "0 rows");
    b = pairs(4);
    b.col[LPO_COL_bald] = (lpo_column){high, 4, NULL};
    refuses(upo, &b, LPO_EINVAL, "bald: row 2");
    b = pairs(4);
    b.col[LPO_COL_S_w].data = sure;
    refuses(orpo, &b, LPO_EINVAL, "S_w: row 1");
    b = pairs(4);
    b.col[LPO_COL_t_w] = (lpo_column){S_w, 4, NULL};
    refuses(bmc, &b, LPO_EINVAL, "t_w: expected a list of tokens");
    lpo_objective_destroy(dpo);
    lpo_objective_destroy(simpo);
    lpo_objective_destroy(upo);
    lpo_objective_destroy(orpo);
    lpo_objective_destroy(bmc);
}

Test(align_objective, ragged_rows_must_agree) {
    static const double t[] = {-1, -2, -3, -4, -5};
    static const int64_t two_three[] = {0, 2, 5}, three_two[] = {0, 3, 5}, broken[] = {0, 6, 5},
                         shorter[] = {0, 2, 4};
    lpo_batch_columns b = {.n_rows = 2};
    lpo_objective *o = make("dpo");
    set(o, "ld_alpha", "0.5");
    int columns[] = {LPO_COL_t_w, LPO_COL_t_l, LPO_COL_rt_w, LPO_COL_rt_l};
    for (int i = 0; i < 4; i++) b.col[columns[i]] = (lpo_column){t, 5, two_three};
    cr_expect_float_eq(loss_of(o, &b), log(2), 1e-15);
    b.col[LPO_COL_rt_w].row_start = three_two;
    refuses(o, &b, LPO_EINVAL, "rt_w: row 0 has 3 tokens, t_w has 2");
    b.col[LPO_COL_rt_w].row_start = broken;
    refuses(o, &b, LPO_EINVAL, "negative length");
    b.col[LPO_COL_rt_w].row_start = shorter;
    refuses(o, &b, LPO_EINVAL, "do not cover");
    lpo_objective_destroy(o);
}

/* A margin of a million loses nothing but what a double cannot hold. */
Test(align_objective, extreme_margins_are_finite) {
    static const char *const SPECS[] = {"dpo",      "cdpo",     "rdpo",     "nca_pair",
                                        "bco_pair", "apo_zero", "apo_down", "exo_pair"};
    double far[] = {-1e7, -1, -1e7, -1}, near[] = {-1, -1e7, -1, -1e7}, g[4];
    double *grads[LPO_N_COLUMNS] = {0};
    lpo_batch_columns b = pairs(4);
    b.col[LPO_COL_S_w].data = far;
    b.col[LPO_COL_S_l].data = near;
    grads[LPO_COL_S_w] = g;
    for (size_t i = 0; i < sizeof SPECS / sizeof *SPECS; i++) {
        lpo_objective *o = make(SPECS[i]);
        double loss;
        lpo_error err = {0};
        cr_expect_eq(lpo_objective_eval(&loss, grads, o, &b, 0, 0, &err), LPO_OK, "%s: %s", SPECS[i],
                     err.msg);
        lpo_objective_destroy(o);
    }
    lpo_objective *o =
        make("trl_fdiv_forward_kl"); /* exp of a million cannot be held: an error, not infinity */
    refuses(o, &b, LPO_ENUMERIC, "overflows");
    lpo_objective_destroy(o);
}

/* What a pair trainer can offer is a mask; rollout objectives fall outside it. */
Test(align_objective, needs_follow_the_hyper_parameters) {
    lpo_objective *o = make("dpo");
    cr_expect_eq(lpo_objective_needs(o), BIT(S_w) | BIT(S_l) | BIT(R_w) | BIT(R_l));
    set(o, "ld_alpha", "0.5");
    cr_expect_eq(lpo_objective_needs(o), BIT(t_w) | BIT(t_l) | BIT(rt_w) | BIT(rt_l));
    lpo_objective_destroy(o);
    o = make("leanpo+1.0*sft");
    cr_expect_eq(lpo_objective_needs(o), BIT(S_w) | BIT(S_l) | BIT(n_w) | BIT(n_l));
    set(o, "smoothing", "grounding");
    cr_expect(lpo_objective_needs(o) & BIT(S_w_aug));
    lpo_objective_destroy(o);
    o = make("grpo");
    cr_expect_eq(lpo_objective_needs(o), BIT(t) | BIT(old) | BIT(adv) | BIT(n));
    set(o, "beta", "0.04");
    cr_expect(lpo_objective_needs(o) & BIT(ref));
    lpo_objective_destroy(o);
}

/* Resuming from saved state continues to the last bit; so does refusing a bad batch in between. */
Test(align_objective, state_round_trip) {
    static const char *const SPECS[] = {"alpha_dpo", "leanpo_C_batchnorm", "alpha_dpo+leanpo_C_batchnorm"};
    double bad[] = {NAN, NAN, NAN, NAN};
    for (size_t k = 0; k < sizeof SPECS / sizeof *SPECS; k++) {
        lpo_objective *a = make(SPECS[k]), *b = make(SPECS[k]);
        lpo_batch_columns in[] = {pairs(4), pairs(1), pairs(3), pairs(2)}, spoiled = pairs(4);
        double state[16], loss;
        lpo_error err;
        spoiled.col[LPO_COL_S_l].data = bad;
        loss_of(a, &in[0]);
        loss_of(a, &in[1]);
        cr_expect_neq(lpo_objective_eval(&loss, NULL, a, &spoiled, 0, 0, &err), LPO_OK);
        int n = lpo_objective_state(a, state, 16);
        cr_expect_eq(lpo_objective_restore(b, state, n, &err), LPO_OK);
        for (int i = 2; i < 4; i++) cr_expect_eq(loss_of(a, &in[i]), loss_of(b, &in[i]), "%s", SPECS[k]);
        cr_expect_eq(lpo_objective_restore(b, state, n - 1, &err), LPO_EFORMAT);
        lpo_objective_destroy(a);
        lpo_objective_destroy(b);
    }
}

/* The documented defaults of the smoothing rules. */
Test(align_objective, smoothing_defaults) {
    static const char *const SAME[][3] = {
        {"margin", "0.4", "2"}, {"grounding", "0.3", "0.1"}, {"batch", "0.2", "7"}};
    lpo_batch_columns in = pairs(4);
    in.col[LPO_COL_S_w_aug] = (lpo_column){R_w, 4, NULL};
    for (size_t i = 0; i < sizeof SAME / sizeof *SAME; i++) {
        lpo_objective *plain = make("leanpo"), *told = make("leanpo");
        set(plain, "smoothing", SAME[i][0]);
        set(told, "smoothing", SAME[i][0]);
        set(told, "eps_max", SAME[i][1]);
        set(told, "tau", SAME[i][2]);
        cr_expect_eq(loss_of(plain, &in), loss_of(told, &in), "%s", SAME[i][0]);
        lpo_objective_destroy(plain);
        lpo_objective_destroy(told);
    }
}

/* A term that fails after another advanced its averages takes the advance back. */
Test(align_objective, refused_batch_leaves_no_trace) {
    lpo_objective *o = make("alpha_dpo+upo");
    lpo_batch_columns in = pairs(4);
    double state[6];
    refuses(o, &in, LPO_ENOTFOUND, "bald");
    lpo_objective_state(o, state, 6);
    for (int i = 0; i < 6; i++) cr_expect_eq(state[i], 0);
    lpo_objective_destroy(o);
}

/* One pair a step: the spread is its distance from the running mean, so alpha matters. */
Test(align_objective, alpha_dpo_batch_of_one) {
    lpo_objective *o = make("alpha_dpo");
    lpo_batch_columns first = pairs(1), second = pairs(1);
    second.col[LPO_COL_S_w].data = S_w + 2;
    double state[3];
    loss_of(o, &first);
    loss_of(o, &second);
    lpo_objective_state(o, state, 3);
    double u = (S_w[0] - R_w[0]) / 5 - (S_l[0] - R_l[0]) / 6,
           v = (S_w[2] - R_w[0]) / 5 - (S_l[0] - R_l[0]) / 6;
    cr_expect_float_eq(state[1], 0.1 * fabs(v - u), 1e-15);
    lpo_objective_destroy(o);
}

/* Bias correction: with no history the first batch is judged by its own statistics, whatever the decay. */
Test(align_objective, first_step_is_unbiased) {
    static const char *const SPECS[] = {"alpha_dpo", "leanpo_C_batchnorm"};
    lpo_batch_columns in = pairs(4), one = pairs(1);
    for (size_t k = 0; k < 2; k++) {
        lpo_objective *slow = make(SPECS[k]), *none = make(SPECS[k]);
        set(slow, "decay", "0.99");
        set(none, "decay", "0");
        cr_expect_float_eq(loss_of(slow, &in), loss_of(none, &in), 1e-12, "%s", SPECS[k]);
        loss_of(slow, &one); /* a batch of one has no deviation; it must not divide by it */
        lpo_objective_destroy(slow);
        lpo_objective_destroy(none);
    }
}

/* TRL's definitions, and its numbers: the entry value:trl_dpo_metrics of the vectors. */
Test(align_objective, reward_statistics) {
    lpo_objective *o = make("sft+dpo");
    lpo_batch_columns in = pairs(4);
    lpo_objective_stats s;
    loss_of(o, &in);
    lpo_objective_get_stats(&s, o);
    cr_expect(s.has_rewards);
    cr_expect_float_eq(s.reward_chosen, 0.0596175, 1e-12);
    cr_expect_float_eq(s.reward_rejected, -0.05548, 1e-12);
    cr_expect_float_eq(s.margin, 0.1150975, 1e-12);
    cr_expect_eq(s.accuracy, 0.75);
    lpo_objective_destroy(o);
    o = make("leanpo");
    set(o, "eps", "0.1");
    loss_of(o, &in);
    lpo_objective_get_stats(&s, o);
    cr_expect_float_eq(s.eps_mean, 0.1, 1e-15);
    cr_expect(s.eps_min == 0.1 && s.eps_max == 0.1 && s.eps_std == 0); /* one eps for all has no spread */
    cr_expect_float_eq(s.reward_chosen, 2 * (S_w[0] / 5 + S_w[1] / 7 + S_w[2] / 4 + S_w[3] / 6) / 4, 1e-12);
    lpo_objective_destroy(o);
}

/* A weighted sum is the sum; gradient arrays are overwritten, and zero where nothing is read. */
Test(align_objective, sums_and_overwritten_gradients) {
    lpo_objective *sum = make("0.5*leanpo+2*sft"), *a = make("leanpo"), *b = make("sft");
    lpo_batch_columns in = pairs(4);
    double loss, g[4] = {1e9, 1e9, 1e9, 1e9}, ga[4], gb[4], dead[4] = {7, 7, 7, 7};
    double *grads[LPO_N_COLUMNS] = {0};
    lpo_error err;
    cr_expect_float_eq(loss_of(sum, &in), 0.5 * loss_of(a, &in) + 2 * loss_of(b, &in), 1e-14);
    grads[LPO_COL_S_w] = ga;
    lpo_objective_eval(&loss, grads, a, &in, 0, 0, &err);
    grads[LPO_COL_S_w] = gb;
    lpo_objective_eval(&loss, grads, b, &in, 0, 0, &err);
    grads[LPO_COL_S_w] = g;
    grads[LPO_COL_R_w] = dead;
    lpo_objective_eval(&loss, grads, sum, &in, 0, 0, &err);
    for (int i = 0; i < 4; i++) cr_expect_float_eq(g[i], 0.5 * ga[i] + 2 * gb[i], 1e-15);
    for (int i = 0; i < 4; i++) cr_expect_eq(dead[i], 0);
    lpo_objective_destroy(sum);
    lpo_objective_destroy(a);
    lpo_objective_destroy(b);
}

static void json_refuses(const char *name, const char *text, const char *set_one, const char *words) {
    char *out = (char *)1;
    lpo_error err = {0};
    const char *const sets[] = {set_one};
    cr_expect_neq(lpo_objective_json(&out, name, text, strlen(text), sets, set_one != NULL, &err), LPO_OK,
                  "%s", text);
    cr_expect_null(out);
    cr_expect(strstr(err.msg, words), "\"%s\" does not say \"%s\"", err.msg, words);
}

Test(align_objective, json_refusals) {
    json_refuses("dpo", "{", NULL, "line 1");
    json_refuses("dpo", "[1]", NULL, "object");
    json_refuses("dpo", "{}", NULL, "inputs");
    json_refuses(NULL, "{\"inputs\":{}}", NULL, "name the objective");
    json_refuses("dpo", "{\"inputs\":{\"S_w\":[1,2],\"S_l\":[1]}}", NULL, "S_l has 1 rows");
    json_refuses("dpo", "{\"inputs\":{\"S_w\":[]}}", NULL, "empty");
    json_refuses("dpo", "{\"inputs\":{\"S_w\":[\"x\"]}}", NULL, "not a number");
    json_refuses("dpo", "{\"inputs\":{\"S_w\":[[1],2]}}", NULL, "row 1 is not a list");
    json_refuses("dpo", "{\"inputs\":{\"S_x\":[1]}}", NULL, "S_x");
    json_refuses("dpo", "{\"inputs\":{\"S_w\":[1]},\"hyper_parameters\":{\"bta\":1}}", NULL, "bta");
    json_refuses("dpo", "{\"inputs\":{\"S_w\":[1]},\"hyper_parameters\":[1]}", NULL, "hyper_parameters");
    json_refuses("dpo", "{\"inputs\":{\"S_w\":[1]}}", "beta", "key=value");
    json_refuses("dpo", "{\"inputs\":{\"S_w\":[1]}}", "=1", "key=value");
    json_refuses("gvm_td", "{\"inputs\":{\"q\":[[1,2]],\"r\":[1],\"n\":[3]}}", NULL, "n says 3");
    json_refuses("expo_toy", "{\"inputs\":{\"theta\":[1,2],\"ref_logps\":[1,2],\"w\":[0],\"l\":[2]}}", NULL,
                 "l: row 0 is 2");
    json_refuses("expo_toy", "{\"inputs\":{\"theta\":[1,2],\"ref_logps\":[1,2]}}", NULL, "comparisons");
}
