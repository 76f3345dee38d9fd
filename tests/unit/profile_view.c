/* SPDX-License-Identifier: Apache-2.0 */
/* The advice is arithmetic, so it is checked as arithmetic; the text is checked as text. */
#include "profile/view.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* 16 frames of 1080p to 448 x 448 a step of .4 s, of which .1 s is spent waiting; 1,000 tokens of Qwen2's
 * vocabulary. */
static lpo_summary *run(void) {
    lpo_summary *s = calloc(1, sizeof *s);
    s->n_steps = 10;
    s->n_skipped = 10;
    s->window_s = 4;
    s->step_s = .4, s->step_min_s = .38, s->step_max_s = .45;
    const lpo_stage_time rows[] = {
        {.stage = "decode", .device = "cpu", .n = 10, .busy_s = 1, .thread_s = 1, .bytes = 5e8},
        {.stage = "preprocess", .device = "cpu", .n = 160, .busy_s = 3.2, .thread_s = 3.2, .bytes = 6e8},
        {.stage = "wait:data", .device = "cpu", .n = 10, .busy_s = 1, .thread_s = 1},
        {.stage = "forward",
         .device = "cpu",
         .n = 10,
         .busy_s = 1,
         .thread_s = 1,
         .flops = 5e10,
         .bytes = 1e9},
        {.stage = "reduce", .device = "cpu", .n = 10, .busy_s = .002, .thread_s = .002, .bytes = 1.6e5},
        {.stage = "preprocess", .device = "csim", .modelled = true, .n = 1, .busy_s = .1, .thread_s = .1},
    };
    memcpy(s->stage, rows, sizeof rows);
    s->n_stages = (int)(sizeof rows / sizeof *rows);
    s->level[0] = (lpo_level){"queue:batches", .125, 0, 1};
    s->n_levels = 1;
    s->data_s = 4, s->overlap_s = 3;
    s->frames = s->all_frames = 160;
    s->frame_pixels = 1920 * 1080, s->prep_pixels = 448 * 448;
    s->preprocess_s = 3.2;
    s->tokens = 10000, s->vocab = 151936, s->threads = 2;
    return s;
}

/* Up: 16 x (13 us + 3,110,400 B / 7.5 GB/s); kernel: 16 x 2,073,600 / (8 x 300 MHz x .95); down: 16 x (13 us
 * + 602,112 B / 12.1 GB/s). The three overlap, so the kernel's 14.6 ms is the card's time. It frees .32 s of
 * two cores, that is .16 s, and all .1 s of waiting: .26 s at most. */
Test(profile_view, preprocessing_pays) {
    lpo_summary *s = run();
    lpo_advice a;
    lpo_advice_make(&a, s);
    cr_assert_float_eq(a.up_s, 6.8435e-3, 1e-6);
    cr_assert_float_eq(a.kernel_s, 14.5516e-3, 1e-6);
    cr_assert_float_eq(a.down_s, 1.0042e-3, 1e-6);
    cr_assert_eq(a.card_s, a.kernel_s);
    cr_assert_float_eq(a.gain_s, .26, 1e-9);
    cr_assert(a.preprocess_pays);
    free(s);
}

/* The same step on a GPU that never waits wins nothing: the CPU's time was free. */
Test(profile_view, hidden_preprocessing_does_not_pay) {
    lpo_summary *s = run();
    lpo_advice a;
    s->stage[2].busy_s = 0;
    s->stage[3].device = "cuda:0";
    lpo_advice_make(&a, s);
    cr_assert_eq(a.gain_s, 0);
    cr_assert(!a.preprocess_pays);
    free(s);
}

/* 4 kB each way: two transfers of 13 us and little else; the CPU takes 200 us, which is nothing beside .4 s.
 * Logits are 607 MB a step: 81 ms of link for what 13.5 us of log-probabilities do. */
Test(profile_view, reduction_and_logits) {
    lpo_summary *s = run();
    lpo_advice a;
    lpo_advice_make(&a, s);
    cr_assert_float_eq(a.reduce_s, 2e-4, 1e-12);
    cr_assert_float_eq(a.reduce_up_s, 13e-6 + 4000 / 7.5e9, 1e-12);
    cr_assert_float_eq(a.reduce_down_s, 13e-6 + 4000 / 12.1e9, 1e-12);
    cr_assert_float_eq(a.reduce_kernel_s, 1000 / 300e6, 1e-12);
    cr_assert(!a.reduce_pays);
    cr_assert_float_eq(a.logits_bytes, 607.744e6, 1);
    cr_assert_float_eq(a.logits_s, 81.0455e-3, 1e-6);
    s->step_s = 1e-3; /* a step so short that .17 ms matter */
    lpo_advice_make(&a, s);
    cr_assert(a.reduce_pays);
    free(s);
}

static const lpo_roofline ROOF = {.flops_s = 1e11, .bf16_flops_s = 2e11, .bytes_s = 2e10};

Test(profile_view, text) {
    /* clang-format off */
    static const char want[] =
        "[measured] step 400.00 ms (380.00 to 450.00): 10 steps, 10 before them left out\n"
        "           stage            device             ms busy  share  work while busy               bound, share of roofline\n"
        "[measured] decode           cpu                100.000  25.0%       160 frames/s\n"
        "[measured] preprocess       cpu                320.000  80.0%        50 frames/s\n"
        "[measured] wait:data        cpu                100.000  25.0%                                the step waits for a batch\n"
        "[measured] forward          cpu                100.000  25.0%      50.0 GFLOP/s     1.0 GB/s compute 50%\n"
        "[measured] reduce           cpu                  0.200   0.1%                       0.1 GB/s overhead\n"
        "[modelled] preprocess       csim                10.000   2.5%      1600 frames/s\n"
        "[measured] overlap: 400.000 ms of data work a step, 75% of it beside the step's own work\n"
        "[measured] queue:batches: mean 0.12, least 0, most 1: empty, the step starves\n"
        "[measured] this machine: product 100.0 GFLOP/s f32, 200.0 bf16; memory 20.0 GB/s\n"
        "[measured] bound by data: the step waits for it 25% of the time, most of it made by preprocess\n"
        "[measured] preprocess: 16 frames a step of 2073600 pixels to 200704 take 320.000 ms of cpu\n"
        "[modelled]   on a card: 14.552 ms = longest of up 6.844, kernel 14.552 at 300 MHz, down 1.004\n"
        "[modelled]   -> wins at most 260.000 ms of 400.00 a step (65.0%): try --place preprocess=fpga\n"
        "[measured] reduce: 1000 tokens a step in 1 call take 0.2000 ms on cpu\n"
        "[modelled]   on a card: 0.0302 ms = up 0.0135 + kernel 0.0033 + down 0.0133, 13 us of each transfer\n"
        "[modelled]   -> wins 0.1698 ms a step (0.04%): leave reduce=cpu\n"
        "[modelled] never send logits: 608 MB a step, 81.046 ms up; the log-probabilities are 4 kB, 0.0135 ms\n";
    /* clang-format on */
    lpo_summary *s = run();
    lpo_advice a;
    lpo_advice_make(&a, s);
    char *got = lpo_profile_text(s, &ROOF, &a);
    cr_assert_str_eq(got, want);
    free(got);
    free(s);
}

/* Not one figure without its origin. */
Test(profile_view, every_line_is_tagged) {
    lpo_summary *s = run();
    lpo_advice a;
    lpo_advice_make(&a, s);
    char *got = lpo_profile_text(s, &ROOF, &a);
    for (char *at = got, *end; (end = strchr(at, '\n')); at = end + 1) {
        *end = 0;
        if (strpbrk(at, "0123456789"))
            cr_assert(!strncmp(at, "[measured] ", 11) || !strncmp(at, "[modelled] ", 11), "%s", at);
    }
    free(got);
    free(s);
}

/* Every object with a figure in it has a tag. */
static void check_tags(const json_t *v) {
    const char *key;
    json_t *e;
    size_t i;
    bool figure = false;
    json_array_foreach(v, i, e) check_tags(e);
    json_object_foreach((json_t *)v, key, e) {
        figure |= json_is_number(e);
        check_tags(e);
    }
    if (figure) cr_assert_not_null(json_object_get(v, "tag"));
}

Test(profile_view, json) {
    lpo_summary *s = run();
    lpo_advice a;
    lpo_advice_make(&a, s);
    json_t *o = lpo_profile_json(s, &ROOF, &a);
    cr_assert_not_null(o);
    check_tags(o);
    cr_assert_eq(json_array_size(json_object_get(o, "stages")), 6);
    const json_t *card = json_object_get(json_object_get(o, "preprocess"), "card");
    cr_assert_str_eq(json_string_value(json_object_get(card, "tag")), "modelled");
    cr_assert(json_is_true(json_object_get(card, "pays")));
    json_decref(o);
    free(s);
}

/* 5e10 flops in 1 s of a 1e11 machine: half of it, by compute. The same with five times the bytes a second
 * that memory has, and a tenth of the flops: bandwidth, and never over the whole. */
Test(profile_view, bounds) {
    lpo_summary s = {0};
    double share;
    lpo_stage_time t = {.stage = "forward", .device = "cpu", .busy_s = 1, .flops = 5e10, .bytes = 1e9};
    cr_assert_eq(lpo_bound_of(&share, &t, &s, &ROOF), LPO_BOUND_COMPUTE);
    cr_assert_float_eq(share, .5, 1e-12);
    t.flops = 5e9, t.bytes = 1e11;
    cr_assert_eq(lpo_bound_of(&share, &t, &s, &ROOF), LPO_BOUND_BANDWIDTH);
    cr_assert_eq(share, 1);
    t.bytes = 1e8;
    cr_assert_eq(lpo_bound_of(&share, &t, &s, &ROOF), LPO_BOUND_OVERHEAD);
    t.stage = "wait:data";
    cr_assert_eq(lpo_bound_of(&share, &t, &s, &ROOF), LPO_BOUND_WAIT);
    s.bf16 = true;
    t.stage = "forward", t.flops = 5e10;
    lpo_bound_of(&share, &t, &s, &ROOF);
    cr_assert_float_eq(share, .25, 1e-12);
}
