/* SPDX-License-Identifier: Apache-2.0 */
/* device_fpga.c -- the driver over its in-process link, which every build has: jobs overlap and carry the
 * kernel's bits, resident inputs stay, what cannot be right is refused. Cards: tests/emu/fpga_place.sh. */
#include "base/rng.h"
#include "device/fpga/fpga.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { PIXELS = 64 * 48 };

/* A frame_score job: small, two inputs, two outputs. */
typedef struct score_case {
    uint8_t rgb[3 * PIXELS], previous[3 * PIXELS];
    uint32_t histogram[768];
    double score[4];
    lpo_fpga_job *job;
} score_case;

static score_case *make(uint64_t seed) {
    score_case *c = calloc(1, sizeof *c);
    lpo_rng r = lpo_rng_init(seed, 1);
    for (int i = 0; i < 3 * PIXELS; i++) c->rgb[i] = (uint8_t)lpo_rng_below(&r, 1 + (uint32_t)(seed % 256));
    for (int i = 0; i < 3 * PIXELS; i++) c->previous[i] = (uint8_t)lpo_rng_below(&r, 256);
    return c;
}

static lpo_hls_frame_score_args args_of(score_case *c) {
    return (lpo_hls_frame_score_args){.rgb = c->rgb,
                                      .previous = c->previous,
                                      .histogram = c->histogram,
                                      .score = c->score,
                                      .n_pixels = PIXELS,
                                      .has_previous = 1};
}

static const size_t SIZES[HLS_ARG_frame_score_count] = {[HLS_ARG_frame_score_rgb] = 3 * PIXELS,
                                                        [HLS_ARG_frame_score_previous] = 3 * PIXELS,
                                                        [HLS_ARG_frame_score_histogram] = 768 * 4,
                                                        [HLS_ARG_frame_score_score] = 4 * 8};

static void submit(score_case *c, lpo_fpga *f, uint64_t resident, bool borrow) {
    lpo_error err;
    lpo_hls_frame_score_args a = args_of(c);
    cr_assert_eq(lpo_fpga_submit(&c->job, f, LPO_HLS_frame_score, &a, SIZES, resident, borrow, &err), LPO_OK,
                 "%s", err.msg);
}

/* Waits and compares with a plain call of the kernel. */
static void check(score_case *c, const uint8_t *rgb) {
    lpo_error err;
    uint32_t histogram[768];
    double score[4];
    cr_assert_eq(lpo_fpga_wait(c->job, &err), LPO_OK, "%s", err.msg);
    lpo_hls_frame_score(rgb, c->previous, histogram, score, PIXELS, 1);
    cr_expect(!memcmp(histogram, c->histogram, sizeof histogram));
    cr_expect(!memcmp(score, c->score, sizeof score));
}

static lpo_fpga *open_csim(void) {
    lpo_error err;
    lpo_fpga *f = NULL;
    cr_assert_eq(lpo_fpga_open(&f, "csim", NULL, &err), LPO_OK, "%s", err.msg);
    return f;
}

/* Truth: many more jobs than sets of buffers may be under way from one thread, waited for in any order, and
 * each has its own kernel call's bits; copied inputs may be overwritten once submit returns. */
Test(device_fpga, jobs_overlap_and_keep_their_bits) {
    enum { N = 100 };
    lpo_fpga *f = open_csim();
    score_case *c[N];
    uint8_t *kept[N];
    for (int i = 0; i < N; i++) {
        c[i] = make((uint64_t)i + 1);
        kept[i] = malloc(sizeof c[i]->rgb);
        memcpy(kept[i], c[i]->rgb, sizeof c[i]->rgb);
        bool borrow = i % 2;
        submit(c[i], f, 0, borrow);
        if (!borrow) memset(c[i]->rgb, 0xee, sizeof c[i]->rgb);
    }
    for (int i = 0; i < N; i++) {
        int k = i * 37 % N;
        check(c[k], kept[k]);
        free(c[k]);
        free(kept[k]);
    }
    lpo_fpga_stats s;
    lpo_fpga_get_stats(&s, f, LPO_HLS_frame_score);
    cr_expect_eq(s.jobs, N);
    cr_expect_eq(s.retries + s.aborts + s.timeouts + s.fallbacks, 0);
    cr_expect_gt(s.modelled_s, 0);
    lpo_fpga_close(f);
}

static void *many(void *user) {
    lpo_fpga *f = user;
    for (int i = 0; i < 50; i++) {
        score_case *c = make(7000 + (uint64_t)i);
        submit(c, f, 0, i % 3 == 0);
        check(c, c->rgb);
        free(c);
    }
    return NULL;
}

/* Truth: any threads may share a card. */
Test(device_fpga, threads_share_a_card) {
    lpo_fpga *f = open_csim();
    pthread_t t[4];
    for (int i = 0; i < 4; i++) cr_assert_eq(pthread_create(&t[i], NULL, many, f), 0);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    lpo_fpga_stats s;
    lpo_fpga_get_stats(&s, f, LPO_HLS_frame_score);
    cr_expect_eq(s.jobs, 200);
    lpo_fpga_close(f);
}

/* Truth: an input called resident is not read again until it is forgotten. (The test breaks the promise that
 * the bytes are the same, to see who looks.) */
Test(device_fpga, resident_inputs_stay) {
    lpo_fpga *f = open_csim();
    score_case *c = make(5);
    uint8_t *first = malloc(sizeof c->rgb);
    const uint64_t resident = UINT64_C(1) << HLS_ARG_frame_score_rgb;
    memcpy(first, c->rgb, sizeof c->rgb);
    submit(c, f, resident, false); /* alone, so every job has the same set of buffers */
    check(c, first);
    memset(c->rgb, 1, sizeof c->rgb);
    submit(c, f, resident, false);
    check(c, first);
    lpo_fpga_forget(f, c->rgb);
    submit(c, f, resident, false);
    check(c, c->rgb);
    memset(c->rgb, 2, sizeof c->rgb);
    submit(c, f, 0, false);
    check(c, c->rgb);
    free(first);
    free(c);
    lpo_fpga_close(f);
}

/* Truth: closing waits for what is under way. */
Test(device_fpga, close_waits) {
    lpo_fpga *f = open_csim();
    score_case *c[8];
    for (int i = 0; i < 8; i++) submit(c[i] = make((uint64_t)i), f, 0, false);
    for (int i = 0; i < 8; i++) check(c[i], c[i]->rgb), free(c[i]);
    lpo_fpga_close(f);
    lpo_fpga_close(NULL);
}

/* Truth: what is wrong is said before anything runs. */
Test(device_fpga, refusals) {
    lpo_error err;
    lpo_fpga *f = NULL;
    static const char *const bad[] = {"", "csim:1", "fpga:", "fpga:x", "fpga:-1", "cpu", "fpgas"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(lpo_fpga_open(&f, bad[i], NULL, &err), LPO_EINVAL, "\"%s\" was not refused", bad[i]);
        cr_expect_null(f);
    }
    cr_expect_neq(lpo_fpga_open(&f, "fpga", "/no/such/file.xclbin", &err), LPO_OK);
    cr_expect(strstr(err.msg, "/no/such/file.xclbin"), "%s", err.msg);
    f = open_csim();
    score_case *c = make(3);
    lpo_hls_frame_score_args a = args_of(c);
    size_t sizes[HLS_ARG_frame_score_count];
    memcpy(sizes, SIZES, sizeof sizes);
    sizes[HLS_ARG_frame_score_rgb] = 0;
    cr_expect_eq(lpo_fpga_submit(&c->job, f, LPO_HLS_frame_score, &a, sizes, 0, false, &err), LPO_EINVAL);
    cr_expect(strstr(err.msg, "rgb"), "%s", err.msg);
    memcpy(sizes, SIZES, sizeof sizes);
    a.previous = NULL;
    cr_expect_eq(lpo_fpga_submit(&c->job, f, LPO_HLS_frame_score, &a, sizes, 0, false, &err), LPO_EINVAL);
    sizes[HLS_ARG_frame_score_previous] =
        0; /* an argument left out is fine where the kernel does not read it */
    a.has_previous = 0;
    cr_expect_eq(lpo_fpga_submit(&c->job, f, LPO_HLS_frame_score, &a, sizes, 0, false, &err), LPO_OK);
    cr_expect_eq(lpo_fpga_wait(c->job, &err), LPO_OK);
    cr_expect(strstr(lpo_fpga_name(f), "csim"));
    free(c);
    lpo_fpga_close(f);
}
