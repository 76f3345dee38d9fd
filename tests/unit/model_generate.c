/* SPDX-License-Identifier: Apache-2.0 */
/* Truths: generating with a cache computes the same model as scoring without one; an answer does not depend
 * on its neighbours; the sampler draws from the distribution its options describe; generation ends where it
 * should. */
#include "model/generate.h"
#include "model/sample.h"
#include "model_tiny.h"

/* Prompts of the small batch, `copies` times over. */
typedef struct prompts {
    small_batch b;
    lpo_seq_input seqs[4 * N_SEQS];
    lpo_model_batch batch;
} prompts;

static void fill_prompts(prompts *p, int copies) {
    fill_batch(&p->b);
    for (int i = 0; i < copies * N_SEQS; i++) {
        p->seqs[i] = p->b.seqs[i % N_SEQS];
        p->seqs[i].n_ids = p->seqs[i].n_prompt;
    }
    p->batch = (lpo_model_batch){p->b.clips, p->seqs, N_CLIPS, copies * N_SEQS};
}

static lpo_model *small_model(char **dir, const char *place, const char *dtype) {
    *dir = temp_dir();
    make_small(*dir, TIED);
    return open_small(*dir, place, dtype);
}

static void drop(lpo_model *m, const char *dir) {
    lpo_error err = {0};
    lpo_model_destroy(m);
    MUST(lpo_dir_remove(dir, &err));
}

/* Log-probabilities of a prompt's forced answer, from lpo_model_record. */
static void teacher_forced(float *logp, lpo_model *m, const lpo_clip_input *clips, lpo_seq_input q,
                           const int32_t *answer, int n) {
    lpo_error err = {0};
    int32_t ids[64];
    memcpy(ids, q.ids, (size_t)q.n_prompt * sizeof *ids);
    memcpy(ids + q.n_prompt, answer, (size_t)n * sizeof *ids);
    q.ids = ids;
    q.n_ids = q.n_prompt + n;
    const lpo_model_batch b = {clips, &q, N_CLIPS, 1};
    lpo_tape *t;
    lpo_forward_out out;
    MUST(lpo_tape_create(&t, lpo_model_placement(m), &err));
    MUST(lpo_model_record(&out, t, m, &b, NULL, &err));
    MUST(lpo_tape_plan(t, &err));
    MUST(lpo_tape_run(t, 0, -1, &err));
    MUST(lpo_tape_read(logp, t, out.logp, &err));
    lpo_tape_destroy(t);
}

/* f32 sums in another order: 1e-5 on values down to -20. */
static void check_forced(const char *place) {
    lpo_error err = {0};
    char *dir;
    lpo_model *m = small_model(&dir, place, "f32");
    static prompts p;
    fill_prompts(&p, 1);
    static const int32_t forced[7] = {3, 1, 4, 1, 5, 9, 19}; /* 19 ends the answer */
    for (int s = 0; s < N_SEQS; s++) {
        const lpo_model_batch one = {p.b.clips, &p.seqs[s], N_CLIPS, 1};
        lpo_gen_seq g;
        lpo_gen_options o = lpo_gen_options_default();
        o.forced = forced;
        o.n_forced = 7;
        MUST(lpo_generate(&g, m, &one, NULL, &o, NULL, NULL, &err));
        cr_assert(g.finished);
        cr_assert_eq(g.n_ids, 6);
        float want[7];
        teacher_forced(want, m, p.b.clips, p.seqs[s], forced, 7);
        for (int i = 0; i < 7; i++)
            cr_expect_lt(fabsf(g.logps[i] - want[i]), 1e-5f, "sequence %d token %d: %.7g, scored %.7g", s, i,
                         (double)g.logps[i], (double)want[i]);
        lpo_gen_seq_clear(&g);
    }
    drop(m, dir);
}

Test(generate, forced_logps_are_the_scored_ones_cpu) {
    check_forced("cpu");
}
Test(generate, forced_logps_are_the_scored_ones_ref) {
    check_forced("ref");
}

/* Alone, or with fifteen others that end at other times (so that the step shrinks around it): the same
 * answer, to the bit. */
static void check_neighbours(double temperature) {
    lpo_error err = {0};
    char *dir;
    lpo_model *m = small_model(&dir, "cpu", "f32");
    static prompts p;
    fill_prompts(&p, 4);
    lpo_gen_seq all[4 * N_SEQS], one;
    uint64_t streams[4 * N_SEQS];
    lpo_gen_options o = lpo_gen_options_default();
    o.temperature = temperature;
    o.max_tokens = 30;
    o.seed = 8;
    for (int i = 0; i < 4 * N_SEQS; i++) streams[i] = 100 + (uint64_t)i;
    MUST(lpo_generate(all, m, &p.batch, streams, &o, NULL, NULL, &err));
    int differ = 0, finished = 0;
    for (int i = 0; i < 4 * N_SEQS; i++) {
        const lpo_model_batch b = {p.b.clips, &p.seqs[i], N_CLIPS, 1};
        MUST(lpo_generate(&one, m, &b, &streams[i], &o, NULL, NULL, &err));
        cr_assert_eq(one.n_ids, all[i].n_ids);
        cr_assert_eq(one.finished, all[i].finished);
        cr_assert_arr_eq(one.ids, all[i].ids, (size_t)one.n_ids * sizeof *one.ids);
        cr_assert_arr_eq(one.logps, all[i].logps, (size_t)(one.n_ids + one.finished) * sizeof *one.logps);
        finished += one.finished;
        differ += all[i].n_ids != all[i % N_SEQS].n_ids ||
                  memcmp(all[i].ids, all[i % N_SEQS].ids, (size_t)all[i].n_ids * sizeof *all[i].ids);
        lpo_gen_seq_clear(&one);
    }
    /* Copies of a prompt differ by their stream alone: never when greedy, mostly when sampling. */
    if (temperature > 0) {
        cr_assert_gt(differ, N_SEQS);
        cr_assert_gt(finished, 2);
    } else {
        cr_assert_eq(differ, 0);
    }
    for (int i = 0; i < 4 * N_SEQS; i++) lpo_gen_seq_clear(&all[i]);
    drop(m, dir);
}

Test(generate, greedy_is_independent_of_the_batch) {
    check_neighbours(0);
}
Test(generate, sampling_is_independent_of_the_batch) {
    check_neighbours(1.0);
}

static int count_token(void *user, int seq, int32_t id) {
    (void)id;
    int *n = user;
    return ++n[seq] == 3 && seq == 2;
}

/* max_tokens, a full context (64) and a callback each end it; ids >= n_valid never come. */
Test(generate, ends) {
    lpo_error err = {0};
    char *dir;
    lpo_model *m = small_model(&dir, "cpu", "f32");
    static prompts p;
    fill_prompts(&p, 1);
    lpo_gen_seq g[N_SEQS];
    lpo_gen_options o = lpo_gen_options_default();
    o.max_tokens = 1000;
    o.n_valid = 18; /* without 19 nothing ends early */
    o.temperature = 1;
    MUST(lpo_generate(g, m, &p.batch, NULL, &o, NULL, NULL, &err));
    for (int s = 0; s < N_SEQS; s++) {
        cr_assert_eq(g[s].n_ids + p.seqs[s].n_ids, 64);
        cr_assert_not(g[s].finished);
        for (int i = 0; i < g[s].n_ids; i++) cr_assert_lt(g[s].ids[i], 18);
        lpo_gen_seq_clear(&g[s]);
    }
    o.max_tokens = 5;
    MUST(lpo_generate(g, m, &p.batch, NULL, &o, NULL, NULL, &err));
    for (int s = 0; s < N_SEQS; s++) {
        cr_assert_eq(g[s].n_ids, 5);
        lpo_gen_seq_clear(&g[s]);
    }
    int n[N_SEQS] = {0};
    cr_assert_eq(lpo_generate(g, m, &p.batch, NULL, &o, count_token, n, &err), LPO_ECANCELED);
    cr_assert_eq(n[2], 3);
    for (int s = 0; s < N_SEQS; s++) lpo_gen_seq_clear(&g[s]);
    o.max_tokens = 0;
    cr_assert_eq(lpo_generate(g, m, &p.batch, NULL, &o, NULL, NULL, &err), LPO_EINVAL);
    fill_batch(&p.b);
    o.max_tokens = 5;
    cr_assert_eq(lpo_generate(g, m, &p.b.batch, NULL, &o, NULL, NULL, &err), LPO_EINVAL,
                 "answers are not prompts");
    drop(m, dir);
}

/* Frequencies of 20,000 draws against the distribution computed here: 5 standard deviations. */
static void check_sampler(lpo_gen_options o, const double *want, int n) {
    static const float logits[6] = {1.0f, 2.0f, -1.0f, 2.0f, 0.5f, 3.0f};
    lpo_candidate work[6];
    int hits[6] = {0};
    const int draws = 20000;
    lpo_rng r = lpo_rng_init(1, 2);
    for (int i = 0; i < draws; i++) hits[lpo_sample_row(logits, n, &o, &r, work)]++;
    for (int i = 0; i < 6; i++) {
        const double sd = sqrt(want[i] * (1 - want[i]) * draws);
        cr_expect(fabs(hits[i] - want[i] * draws) <= 5 * sd, "id %d: %d draws, expected %.1f", i, hits[i],
                  want[i] * draws);
    }
    cr_expect_eq(r.counter, draws, "one draw a token");
}

static void softmax(double *p, const double *z, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += exp(z[i]);
    for (int i = 0; i < n; i++) p[i] = exp(z[i]) / sum;
}

Test(sample, distributions) {
    const double z[6] = {1, 2, -1, 2, 0.5, 3}, none = -1e9;
    double p[6];
    lpo_gen_options o = lpo_gen_options_default();
    o.temperature = 1;
    softmax(p, z, 6);
    check_sampler(o, p, 6);
    o.temperature = 0.5;
    softmax(p, (double[]){2, 4, -2, 4, 1, 6}, 6);
    check_sampler(o, p, 6);
    o.temperature = 1;
    o.top_k = 2; /* of the equal ids 1 and 3 the lower stays */
    softmax(p, (double[]){none, 2, none, none, none, 3}, 6);
    check_sampler(o, p, 6);
    o.top_k = 0;
    o.top_p = 0.7; /* p is .52 .19 .19 .07 ...: the third sum is the first over .7 */
    softmax(p, (double[]){none, 2, none, 2, none, 3}, 6);
    check_sampler(o, p, 6);
    o.top_p = 0.5;
    check_sampler(o, (double[]){0, 0, 0, 0, 0, 1}, 6);
    o.top_p = 1;
    softmax(p, (double[]){1, 2, -1, none, none, none}, 6); /* n_valid 3 */
    check_sampler(o, p, 3);
    o.temperature = 0;
    check_sampler(o, (double[]){0, 0, 0, 0, 0, 1}, 6);
    check_sampler(o, (double[]){0, 1, 0, 0, 0, 0}, 5);
}

/* top-k through the heap and the nucleus filter give what sorting everything gives. */
Test(sample, selections_equal_a_full_sort) {
    enum { N = 500 };
    float logits[N];
    lpo_candidate work[N];
    lpo_rng r = lpo_rng_init(4, 0);
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < N; i++) logits[i] = (float)lpo_rng_below(&r, 40) / 8.0f; /* many ties */
        lpo_gen_options o = lpo_gen_options_default();
        o.temperature = 1;
        o.top_k = round % 2 ? 1 + (int)lpo_rng_below(&r, N - 1) : 0;
        o.top_p = round % 3 ? 0.05 + 0.9 * lpo_rng_uniform(&r) : 1;
        int order[N], n = N; /* sorted by insertion: larger first, lower id among equals */
        for (int i = 0; i < N; i++) {
            int k = i;
            for (; k > 0 && logits[order[k - 1]] < logits[i]; k--) order[k] = order[k - 1];
            order[k] = i;
        }
        if (o.top_k) n = o.top_k;
        double total = 0, sum = 0;
        for (int i = 0; i < n; i++) total += exp((double)logits[order[i]]);
        if (o.top_p < 1)
            for (int i = 0; i < n; i++) {
                sum += exp((double)logits[order[i]]);
                if (sum >= o.top_p * total * (1 - 1e-12)) n = i + 1;
            }
        bool allowed[N] = {false};
        for (int i = 0; i < n; i++) allowed[order[i]] = true;
        int worst = N;
        for (int i = 0; i < 2000; i++) {
            const int32_t id = lpo_sample_row(logits, N, &o, &r, work);
            cr_assert(allowed[id], "round %d: id %d is outside the %d allowed", round, id, n);
            if (id == order[n - 1]) worst = id;
        }
        cr_assert(worst < N || n > 100, "round %d: the last of %d allowed never came", round, n);
    }
}
