/* SPDX-License-Identifier: Apache-2.0 */
/* What is read out of a trace, on traces small enough to do in the head. */
#include "profile/advice.h"
#include "profile/summary.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* Two steps of 10 s, the first of them warm-up. In the second: 2 s of waiting, 5 s forward, 2 s backward, so
 * 1 s is left for "step" itself. A worker decodes from 11 to 17 with 4 s of preprocessing inside, so 2 s of
 * decoding, and another one preprocesses from 16 to 18: the two together are busy 13..18, of which 5 beside
 * forward and backward. */
static lpo_trace_span spans[] = {
    {{"step", "cpu", NULL, 0, 10, 0, 0, false}, 0},
    {{"forward", "cpu", NULL, 0, 9, 0, 900, false}, 0},
    {{"step", "cpu", NULL, 10, 10, 0, 0, false}, 0},
    {{"wait:data", "cpu", NULL, 10, 2, 0, 0, false}, 0},
    {{"decode", "cpu", "a.mp4", 11, 6, 60, 0, false}, 1},
    {{"forward", "cpu", NULL, 12, 5, 50, 500, false}, 0},
    {{"op", "cpu", "linear", 12, 3, 10, 400, false}, 0},
    {{"preprocess", "cpu", NULL, 13, 4, 0, 0, false}, 1},
    {{"op", "cpu", "linear", 15, 1, 10, 100, false}, 0},
    {{"preprocess", "cpu", NULL, 16, 2, 0, 0, false}, 2},
    {{"backward", "cpu", NULL, 17, 2, 0, 0, false}, 0},
    {{"preprocess", "csim", "preprocess_1", 19, 2, 0, 0, false}, 3},
    {{"preprocess", "csim", "preprocess_1", 19, .5, 0, 0, true}, 3},
};
static lpo_trace_value values[] = {
    {"queue:batches", 1, 3}, {"queue:batches", 12, 1}, {"n:frames", 12, 8},     {"n:frame_pixels", 12, 800},
    {"n:tokens", 13, 30},    {"is:vocab", 14, 1000},   {"queue:batches", 16, 0}};

static lpo_summary *summary(void) {
    lpo_trace_log log = {spans, sizeof spans / sizeof *spans, values, sizeof values / sizeof *values, NULL, 4,
                         0};
    lpo_summary *s = malloc(sizeof *s);
    lpo_error err;
    cr_assert_eq(lpo_summary_make(s, &log, 1, 0, &err), LPO_OK, "%s", err.msg);
    return s;
}

static const lpo_stage_time *row(const lpo_summary *s, const char *stage, const char *device) {
    const lpo_stage_time *t = lpo_summary_find(s, stage, device);
    cr_assert_not_null(t, "%s on %s", stage, device);
    return t;
}

/* Time is counted where it was spent: inside of a span, in what has the innermost name. */
Test(profile_summary, own_time) {
    lpo_summary *s = summary();
    cr_assert_eq(s->n_steps, 1);
    cr_assert_eq(s->n_skipped, 1);
    cr_assert_float_eq(s->step_s, 10, 1e-9);
    cr_assert_float_eq(row(s, "wait:data", "cpu")->busy_s, 2, 1e-9);
    cr_assert_float_eq(row(s, "forward", "cpu")->busy_s, 5, 1e-9);
    cr_assert_float_eq(row(s, "backward", "cpu")->busy_s, 2, 1e-9);
    cr_assert_float_eq(row(s, "step", "cpu")->busy_s, 1, 1e-9);
    cr_assert_float_eq(row(s, "decode", "cpu")->busy_s, 2, 1e-9);
    free(s);
}

/* Two threads at one stage: 6 thread seconds, but the stage was busy for 5 only. */
Test(profile_summary, threads_unite) {
    lpo_summary *s = summary();
    cr_assert_float_eq(row(s, "preprocess", "cpu")->thread_s, 6, 1e-9);
    cr_assert_float_eq(row(s, "preprocess", "cpu")->busy_s, 5, 1e-9);
    free(s);
}

/* Work of the window only; a span that reaches out of it counts by its part within. */
Test(profile_summary, work_and_window) {
    lpo_summary *s = summary();
    cr_assert_float_eq(row(s, "forward", "cpu")->flops, 500, 1e-9);
    cr_assert_float_eq(row(s, "forward", "cpu")->bytes, 50, 1e-9);
    cr_assert_float_eq(row(s, "preprocess", "csim")->busy_s, 1, 1e-9); /* 19 to 20 of 19 to 21 */
    cr_assert(row(s, "preprocess", "csim")->emulated);
    free(s);
}

/* Data work (11..18, 7 s) beside the step's own (12..19 and the rest, not its wait): 6 s. */
Test(profile_summary, overlap) {
    lpo_summary *s = summary();
    cr_assert_float_eq(s->data_s, 7, 1e-9);
    cr_assert_float_eq(s->overlap_s, 6, 1e-9);
    free(s);
}

/* A level counts by how long it stood: 3 for two seconds, 1 for four, 0 for four. */
Test(profile_summary, levels_and_amounts) {
    lpo_summary *s = summary();
    cr_assert_eq(s->n_levels, 1);
    cr_assert_float_eq(s->level[0].mean, 1.0, 1e-9);
    cr_assert_eq(s->level[0].min, 0);
    cr_assert_eq(s->level[0].max, 3);
    cr_assert_eq(s->frames, 8);
    cr_assert_eq(s->frame_pixels, 100);
    cr_assert_eq(s->tokens, 30);
    cr_assert_eq(s->vocab, 1000);
    free(s);
}

/* Ops are the inside of forward: listed, but not taken from it. */
Test(profile_summary, ops_apart) {
    lpo_summary *s = summary();
    cr_assert_eq(s->n_ops, 1);
    cr_assert_str_eq(s->op[0].stage, "linear");
    cr_assert_float_eq(s->op[0].busy_s, 4, 1e-9);
    cr_assert_float_eq(s->op[0].flops, 500, 1e-9);
    free(s);
}

/* Modelled time is a row of its own, the last one: never added to what was measured. */
Test(profile_summary, modelled_apart) {
    lpo_summary *s = summary();
    int modelled = 0;
    for (int i = 0; i < s->n_stages; i++) modelled += s->stage[i].modelled;
    cr_assert_eq(modelled, 1);
    cr_assert(s->stage[s->n_stages - 1].modelled);
    cr_assert_float_eq(s->stage[s->n_stages - 1].busy_s, .5, 1e-9);
    free(s);
}

/* The last step left out, the one before it is the window. */
Test(profile_summary, tail) {
    lpo_trace_log log = {spans, sizeof spans / sizeof *spans, values, sizeof values / sizeof *values, NULL, 4,
                         0};
    lpo_summary *s = malloc(sizeof *s);
    lpo_error err;
    cr_assert_eq(lpo_summary_make(s, &log, 1, 1, &err), LPO_OK);
    cr_assert_eq(s->n_steps, 1);
    cr_assert_eq(s->n_skipped, 0);
    cr_assert_float_eq(row(s, "forward", "cpu")->flops, 900, 1e-9);
    free(s);
}

/* A trace without steps is taken whole; an empty one is an error. */
Test(profile_summary, without_steps) {
    lpo_trace_log log = {spans + 4, 1, NULL, 0, NULL, 2, 0};
    lpo_summary *s = malloc(sizeof *s);
    lpo_error err;
    cr_assert_eq(lpo_summary_make(s, &log, 0, 0, &err), LPO_OK);
    cr_assert_eq(s->n_steps, 0);
    cr_assert_float_eq(s->window_s, 6, 1e-9);
    log.n_spans = 0;
    cr_assert_eq(lpo_summary_make(s, &log, 0, 0, &err), LPO_EINVAL);
    free(s);
}
