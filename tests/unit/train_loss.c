/* SPDX-License-Identifier: Apache-2.0 */
/* The loss of a batch: where its columns come from, and that cutting a batch into micro-batches changes
 * nothing. */
#include "base/file.h"
#include "train/loss.h"
#include "train/reduce.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MUST(call)                                                                                           \
    do {                                                                                                     \
        lpo_status must_ = (call);                                                                           \
        cr_assert_eq(must_, LPO_OK, "%s: %s", #call, err.msg);                                               \
    } while (0)

enum { N = 3 };
/* Three pairs of 2/1, 1/3 and 4/2 tokens. */
static double t_w[] = {-1, -2, -0.5, -1, -1, -2, -3}, t_l[] = {-2, -1, -1, -1.5, -0.25, -3};
static int64_t start_w[] = {0, 2, 3, 7}, start_l[] = {0, 1, 4, 6};
static char path[] = "/tmp/lpo_lossXXXXXX";
static lpo_dataset *data;
static lpo_sample samples[N];

static void open_data(const char *keys) {
    char text[2048] = "", line[600];
    lpo_error err;
    for (int i = 0; i < N; i++) {
        snprintf(line, sizeof line,
                 "{\"video\":\"v\",\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"%s}\n", keys);
        strcat(text, line);
    }
    close(mkstemp(path));
    MUST(lpo_file_write(path, text, strlen(text), &err));
    lpo_dataset_options o = lpo_dataset_options_default();
    MUST(lpo_dataset_open(&data, path, &o, &err));
    unlink(path);
    for (int i = 0; i < N; i++) samples[i].record = lpo_dataset_at(data, i);
}

static lpo_rows cut(int first, int n, int64_t sw[N + 1], int64_t sl[N + 1]) {
    for (int i = 0; i <= n; i++) {
        sw[i] = start_w[first + i] - start_w[first];
        sl[i] = start_l[first + i] - start_l[first];
    }
    return (lpo_rows){.n = n,
                      .samples = samples + first,
                      .t_w = t_w + start_w[first],
                      .t_l = t_l + start_l[first],
                      .start_w = sw,
                      .start_l = sl};
}

static lpo_loss *make(const char *objective, const char *set) {
    lpo_train_options *o = lpo_train_options_create();
    lpo_error err;
    lpo_loss *l;
    MUST(lpo_train_options_set(o, "objective", objective, &err));
    MUST(lpo_train_options_set(o, "set", set, &err));
    MUST(lpo_loss_create(&l, o, &err));
    lpo_train_options_destroy(o);
    return l;
}

/* Loss and gradients over micro-batches of `micro` rows. */
static lpo_loss_sum sum_of(lpo_loss *l, int micro, double *g_w, double *g_l) {
    lpo_loss_sum sum = {0};
    lpo_error err;
    int64_t sw[N + 1], sl[N + 1];
    for (int i = 0; i < N; i += micro) {
        lpo_rows r = cut(i, i + micro > N ? N - i : micro, sw, sl);
        MUST(
            lpo_loss_eval(&sum, g_w + start_w[i], g_l + start_l[i], l, &r, NULL, N, start_w[N], 0, 10, &err));
    }
    cr_assert_eq(sum.rows, N);
    return sum;
}

static double run(lpo_loss *l, int micro, double *g_w, double *g_l) {
    const lpo_loss_sum sum = sum_of(l, micro, g_w, g_l);
    return lpo_loss_value(&sum);
}

/* The mean over rows and the token mean of sft, cut 1+1+1, 2+1 or 3: one loss, one gradient. 1e-14: a few
 * roundings. */
Test(train_loss, cut_does_not_matter) {
    double gw[3][7], gl[3][6], loss[3];
    open_data("");
    lpo_loss *l = make("leanpo+0.5*sft", "");
    lpo_error err;
    MUST(lpo_loss_bind(l, data, &err));
    for (int m = 1; m <= 3; m++) loss[m - 1] = run(l, m, gw[m - 1], gl[m - 1]);
    for (int m = 0; m < 2; m++) {
        cr_assert(fabs(loss[m] - loss[2]) < 1e-14);
        for (int i = 0; i < 7; i++) cr_assert(fabs(gw[m][i] - gw[2][i]) < 1e-14);
        for (int i = 0; i < 6; i++) cr_assert(fabs(gl[m][i] - gl[2][i]) < 1e-14);
    }
    lpo_loss_destroy(l);
    lpo_dataset_close(data);
}

/* sft alone: minus the mean log-probability of the seven chosen tokens, gradient -1/7 each. */
Test(train_loss, sft_is_the_token_mean) {
    double gw[7], gl[6];
    open_data("");
    lpo_loss *l = make("sft", "");
    lpo_error err;
    MUST(lpo_loss_bind(l, data, &err));
    cr_assert_not(lpo_loss_needs_pairs(l));
    cr_assert(fabs(run(l, 2, gw, gl) - 10.5 / 7) < 1e-15);
    for (int i = 0; i < 7; i++) cr_assert(fabs(gw[i] + 1.0 / 7) < 1e-15);
    lpo_loss_destroy(l);
    lpo_dataset_close(data);
}

/* The reference's sums may stand in the records under TRL's names: then none is computed, and dpo is
 * -log sigmoid(beta (S_w - R_w - S_l + R_l)) of them. */
Test(train_loss, reference_from_records) {
    double gw[7], gl[6], want = 0;
    open_data(",\"ref_chosen_logps\":-2.5,\"ref_rejected_logps\":-3");
    lpo_loss *l = make("dpo", "beta=0.5");
    lpo_error err;
    MUST(lpo_loss_bind(l, data, &err));
    cr_assert_not(lpo_loss_needs_reference(l));
    const double sw[] = {-3, -0.5, -7}, sl[] = {-2, -3.5, -3.25};
    for (int i = 0; i < N; i++) want += log1p(exp(-0.5 * (sw[i] + 2.5 - sl[i] - 3))) / N;
    cr_assert(fabs(run(l, 1, gw, gl) - want) < 1e-14);
    lpo_loss_destroy(l);
    lpo_dataset_close(data);

    open_data("");
    l = make("dpo", "");
    MUST(lpo_loss_bind(l, data, &err));
    cr_assert(lpo_loss_needs_reference(l));
    lpo_loss_destroy(l);
    lpo_dataset_close(data);
}

/* smoothing=grounding reads the key that `leanpo pairs` writes: eps = eps_max exp(-max(0, D)/tau). */
Test(train_loss, grounding_from_records) {
    double gw[7], gl[6];
    lpo_loss_sum sum = {0};
    lpo_error err;
    open_data(",\"grounding\":0.05");
    lpo_loss *l = make("leanpo", "smoothing=grounding,eps_max=0.4,tau=0.1");
    MUST(lpo_loss_bind(l, data, &err));
    int64_t sw[N + 1], sl[N + 1];
    lpo_rows r = cut(0, N, sw, sl);
    MUST(lpo_loss_eval(&sum, gw, gl, l, &r, NULL, N, 7, 0, 10, &err));
    cr_assert(fabs(sum.eps / N - 0.4 * exp(-0.5)) < 1e-12, "%g", sum.eps / N);
    lpo_loss_destroy(l);
    lpo_dataset_close(data);
}

/* The smoothing a run reports is that of all pairs of a step, however they were cut: eps = .4 sigmoid(-m/2)
 * of each, its mean, least, most and spread. */
Test(train_loss, smoothing_statistics) {
    lpo_error err;
    const double mean_w[] = {-1.5, -.5, -1.75}, mean_l[] = {-2, -3.5 / 3, -1.625};
    double eps[N], mean = 0, squares = 0;
    for (int i = 0; i < N; i++) {
        eps[i] = .4 / (1 + exp(2 * (mean_w[i] - mean_l[i]) / 2));
        mean += eps[i] / N;
    }
    for (int i = 0; i < N; i++) squares += (eps[i] - mean) * (eps[i] - mean) / N;
    open_data("");
    lpo_loss *l = make("leanpo", "");
    MUST(lpo_loss_bind(l, data, &err));
    for (int micro = 1; micro <= N; micro++) {
        double gw[7], gl[6];
        lpo_loss_sum sum = sum_of(l, micro, gw, gl);
        cr_assert(fabs(sum.eps / N - mean) < 1e-14);
        cr_assert(fabs(lpo_loss_eps_std(&sum) - sqrt(squares)) < 1e-14);
        cr_assert(fabs(sum.eps_min - eps[1]) < 1e-14 && fabs(sum.eps_max - eps[2]) < 1e-14, "%g %g",
                  sum.eps_min, sum.eps_max);
    }
    lpo_loss_destroy(l);
    lpo_dataset_close(data);
}

/* A column nobody gives is refused before training, by name; a bad hyper-parameter too. */
Test(train_loss, refusals) {
    lpo_error err;
    open_data("");
    lpo_loss *l = make("sppo", "");
    cr_assert_eq(lpo_loss_bind(l, data, &err), LPO_EINVAL);
    cr_assert(strstr(err.msg, "p_w") && strstr(err.msg, "p_l"), "%s", err.msg);
    lpo_loss_destroy(l);
    l = make("leanpo", "smoothing=grounding");
    cr_assert_eq(lpo_loss_bind(l, data, &err), LPO_EINVAL);
    cr_assert(strstr(err.msg, "grounding"), "%s", err.msg);
    lpo_loss_destroy(l);
    lpo_train_options *o = lpo_train_options_create();
    lpo_train_options_set(o, "set", "bta=1", NULL);
    cr_assert_eq(lpo_loss_create(&l, o, &err), LPO_EINVAL);
    cr_assert(strstr(err.msg, "bta"), "%s", err.msg);
    lpo_train_options_destroy(o);
    lpo_dataset_close(data);
}

/* Truth: a sum's weights are numbers as C writes them; they scale loss and gradients. */
Test(train_loss, weights_of_terms) {
    lpo_loss *plain = make("leanpo+100*sft", ""), *power = make("leanpo+1e+2*sft", ""),
             *one = make("leanpo", "");
    double g[3][7], h[3][6];
    lpo_loss *const all[3] = {plain, power, one};
    double loss[3];
    open_data("");
    for (int i = 0; i < 3; i++) loss[i] = run(all[i], N, g[i], h[i]);
    cr_expect_eq(loss[0], loss[1]);
    cr_expect_arr_eq(g[0], g[1], sizeof g[0]);
    cr_expect_float_eq(loss[0] - loss[2], 100 * 10.5 / 7, 1e-10);
    for (int k = 0; k < 7; k++) cr_expect_float_eq(g[0][k] - g[2][k], -100. / 7, 1e-12);
    for (int i = 0; i < 3; i++) lpo_loss_destroy(all[i]);
    lpo_dataset_close(data);
}

static char warned[300];
static int n_warned;
static void listen(void *user, lpo_log_level level, const char *text) {
    (void)user;
    if (level != LPO_LOG_WARN) return;
    n_warned++;
    snprintf(warned, sizeof warned, "%s", text);
}

/* Truth: on the kernel (in this process) a batch has the loss, gradients and running state of the host, to
 * the bit, however it is cut. One warning names an objective the kernel lacks, or tokens that are no floats;
 * neither changes anything. */
Test(train_loss, place_does_not_matter) {
    static const struct {
        const char *objective, *warning;
        double token;
    } all[] = {{"leanpo+0.5*sft", NULL, -2},
               {"leanpo_C_batchnorm", NULL, -2},
               {"sft+0.3*dpo+orpo", NULL, -2},
               {"alpha_dpo", NULL, -2},
               {"sft+aot", "aot is reduced on cpu, not on csim", -2},
               {"leanpo", "the model computes in f64", -2.1}};
    lpo_fpga *card;
    lpo_error err;
    lpo_reducer *reducer;
    MUST(lpo_fpga_open(&card, "csim", NULL, &err));
    MUST(lpo_reducer_on_card(&reducer, card, &err));
    lpo_log_set(listen, NULL);
    open_data(",\"ref_chosen_logps\":-2.5,\"ref_rejected_logps\":-3");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int micro = 1; micro <= N; micro++) {
            lpo_loss *l[2] = {make(all[i].objective, ""), make(all[i].objective, "")};
            double g[2][7], h[2][6], loss[2], state[2][12] = {{0}};
            t_w[1] = all[i].token;
            n_warned = 0;
            lpo_loss_place(l[1], reducer, false);
            for (int k = 0; k < 2; k++) {
                MUST(lpo_loss_bind(l[k], data, &err));
                loss[k] = run(l[k], micro, g[k], h[k]);
                lpo_loss_state(l[k], state[k], 12);
                lpo_loss_destroy(l[k]);
            }
            cr_expect_arr_eq(&loss[1], &loss[0], sizeof loss[0], "%s", all[i].objective);
            cr_expect_arr_eq(g[1], g[0], sizeof g[0], "%s", all[i].objective);
            cr_expect_arr_eq(h[1], h[0], sizeof h[0], "%s", all[i].objective);
            cr_expect_arr_eq(state[1], state[0], sizeof state[0], "%s", all[i].objective);
            cr_expect_eq(n_warned, all[i].warning != NULL, "%s: %d warnings", all[i].objective, n_warned);
            if (all[i].warning) cr_expect(strstr(warned, all[i].warning), "%s", warned);
        }
    lpo_fpga_stats stats;
    lpo_fpga_get_stats(&stats, card, LPO_HLS_reward_reduce);
    /* 6 micro-batches of each of the 8 terms that have an op, and the 3 of leanpo without the odd token. */
    cr_expect_eq(stats.jobs, 6 * 8 + 3, "%llu jobs", (unsigned long long)stats.jobs);
    lpo_dataset_close(data);
    lpo_reducer_close(reducer);
    lpo_fpga_close(card);
}

/* Running averages saved and restored: the next batch gives the same loss, bit for bit; without them it does
 * not. */
Test(train_loss, state) {
    double gw[7], gl[6], state[LPO_N_COLUMNS];
    lpo_error err;
    open_data(",\"ref_chosen_logps\":-2.5,\"ref_rejected_logps\":-3");
    lpo_loss *a = make("0.5*sft+alpha_dpo", ""), *b = make("0.5*sft+alpha_dpo", "");
    MUST(lpo_loss_bind(a, data, &err));
    MUST(lpo_loss_bind(b, data, &err));
    run(a, 1, gw, gl);
    int n = lpo_loss_state(a, state, LPO_N_COLUMNS);
    double next = run(a, 2, gw, gl);
    MUST(lpo_loss_restore(b, state, n, &err));
    cr_assert_eq(run(b, 2, gw, gl), next);
    lpo_loss_destroy(b);
    b = make("0.5*sft+alpha_dpo", "");
    MUST(lpo_loss_bind(b, data, &err));
    cr_assert_neq(run(b, 2, gw, gl), next);
    cr_assert_eq(lpo_loss_restore(b, state, n - 1, &err), LPO_EFORMAT);
    lpo_loss_destroy(a);
    lpo_loss_destroy(b);
    lpo_dataset_close(data);
}

/* "a b c d" against "b x d d": b and d are common, once each. */
Test(train_loss, token_diff) {
    const int32_t w[] = {1, 2, 3, 4}, l[] = {2, 9, 4, 4};
    double d_w[4], d_l[4];
    lpo_arena *scratch = lpo_arena_create(0);
    cr_assert_eq(lpo_token_diff(d_w, d_l, w, 4, l, 4, scratch, NULL), LPO_OK);
    const double want_w[] = {1, 0, 1, 0}, want_l[] = {0, 1, 0, 1};
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(d_w[i], want_w[i]);
        cr_assert_eq(d_l[i], want_l[i]);
    }
    lpo_arena_destroy(scratch);
}
