/* SPDX-License-Identifier: Apache-2.0 */
/* media_sample.c -- the frames chosen are those qwen-vl-utils and transformers choose: counts from their
 * rules worked by hand, indices from exact rational arithmetic, and a few rows where only float32 decides. */
#include "leanpo/media.h"

#include <criterion/criterion.h>
#include <string.h>

static int choose(int64_t *idx, int64_t total, double fps_src, lpo_sample_options o) {
    lpo_error err = {0};
    int n = -1;
    cr_assert_eq(lpo_sample_qwen(idx, &n, total, fps_src, &o, &err), LPO_OK, "%s", err.msg);
    return n;
}

typedef struct row {
    int64_t total;
    double fps_src, fps;
    int n_frames, hf, want_n;
    int64_t want[12]; /* the first indices, then -1 */
} row;

/* Worked by hand from the rules in preprocessing.md. */
static const row rows[] = {
    {100, 30, 2, 0, 0, 6, {0, 20, 40, 59, 79, 99}}, /* 6.67 -> 6; 19.8, 39.6, 59.4, 79.2 */
    {100, 30, 2, 0, 1, 6, {0, 16, 33, 50, 66, 83}}, /* 16.67 truncated */
    {8, 8, 2, 0, 0, 4, {0, 2, 5, 7}},               /* 2 -> at least 4; 2.33, 4.67 */
    {8, 8, 2, 8, 0, 8, {0, 1, 2, 3, 4, 5, 6, 7}},   /* the world's videos: all of them */
    {8, 8, 2, 8, 1, 8, {0, 1, 2, 3, 4, 5, 6, 7}},
    {3, 30, 2, 0, 0, 2, {0, 2}}, /* min(4, 3) is 3, floored to even */
    {2, 30, 2, 0, 0, 2, {0, 1}},
    {10, 10, 2, 5, 0, 4, {0, 3, 6, 9}},             /* 5 rounds half to even: 2 pairs */
    {10, 10, 2, 7, 0, 8, {0, 1, 3, 4, 5, 6, 8, 9}}, /* 3.5 pairs -> 4; 1.29 2.57 3.86 5.14 6.43 7.71 */
    {10, 10, 2, 4, 1, 4, {0, 2, 5, 7}},
    {40000, 25, 2, 0, 0, 768, {0, 52, 104, 156}}, /* 3200 -> the cap of 768; 52.15 */
    {9, 3, 1, 0, 0, 4, {0, 3, 5, 8}},             /* 3 -> min 4; 2.67 5.33 */
};

/* Truth: counts and indices are those of the two Python samplers. */
Test(sample, worked_rows) {
    static int64_t idx[768];
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        const row *r = &rows[k];
        lpo_sample_options o = lpo_sample_options_default();
        o.fps = r->fps, o.n_frames = r->n_frames, o.hf_sampler = r->hf;
        int n = choose(idx, r->total, r->fps_src, o);
        cr_expect_eq(n, r->want_n, "row %zu: %d frames", k, n);
        for (int i = 0; i < n && i < 12 && (i == 0 || r->want[i] > 0); i++)
            cr_expect_eq(idx[i], r->want[i], "row %zu index %d: %d", k, i, (int)idx[i]);
    }
}

/* Truth: with an even count i*(total-1)/(n-1) is never half-way between frames, so in videos of up to 4000
 * frames, where float32 is off by less than the nearest miss, the choice is the exact one; first and last
 * frame are always in it. */
Test(sample, linspace_is_exact_rounding) {
    static int64_t idx[4096];
    for (int64_t total = 2; total <= 4000; total = total * 3 / 2 + 1)
        for (int n = 2; n <= total && n <= 768; n = n * 3 / 2 / 2 * 2 + 2) {
            lpo_sample_options o = lpo_sample_options_default();
            o.n_frames = n;
            int got = choose(idx, total, 25, o);
            cr_assert_eq(got, n);
            for (int i = 0; i < n; i++) {
                int64_t want = (2 * i * (total - 1) + (n - 1)) / (2 * (n - 1));
                cr_expect_eq(idx[i], want, "total %d n %d i %d: %d for %d", (int)total, n, i, (int)idx[i],
                             (int)want);
            }
        }
}

/* Truth: every option gives an even count of ascending indices inside the video, for lengths where float32
 * cannot hold the frame number as well. */
Test(sample, always_ascending_and_inside) {
    static int64_t idx[768];
    for (int hf = 0; hf < 2; hf++)
        for (int64_t total = 2; total < 200000000; total = total * 7 / 3 + 1) {
            lpo_sample_options o = lpo_sample_options_default();
            o.hf_sampler = hf;
            int n = choose(idx, total, 29.97, o);
            cr_expect(n >= 2 && n % 2 == 0 && n <= 768);
            for (int i = 0; i < n; i++) {
                cr_expect(idx[i] >= 0 && idx[i] < total, "total %d: %d", (int)total, (int)idx[i]);
                cr_expect(i == 0 || idx[i] >= idx[i - 1]);
            }
        }
}

/* Truth: torch counts the second half down from the end. In float32 that decides index 546 of 588 in 12779
 * frames, which is 11885.4991 exactly: 11885 from the end, 11886 from the start. */
Test(sample, linspace_counts_down_from_the_end) {
    static int64_t idx[588];
    lpo_sample_options o = lpo_sample_options_default();
    o.n_frames = 588;
    cr_assert_eq(choose(idx, 12779, 25, o), 588);
    cr_expect_eq(idx[546], 11885, "%d", (int)idx[546]);
}

/* Truth: arange's values are float32, filled in vectors of 8 whose base is float32 already. Whole numbers
 * come out whole in ordinary videos; in very long ones the vectors decide: 353 * 63823/522 is 43159.998,
 * which float32 alone rounds up to 43160 and the vector leaves at 43159.996. */
Test(sample, arange_keeps_float32_vectors) {
    static int64_t idx[522];
    lpo_sample_options o = lpo_sample_options_default();
    o.hf_sampler = 1, o.n_frames = 18;
    cr_assert_eq(choose(idx, 90, 25, o), 18);
    for (int i = 0; i < 18; i++) cr_expect_eq(idx[i], 5 * i);
    o.n_frames = 48;
    cr_assert_eq(choose(idx, 720, 25, o), 48);
    for (int i = 0; i < 48; i++) cr_expect_eq(idx[i], 15 * i);
    o.n_frames = 522;
    cr_assert_eq(choose(idx, 63823, 25, o), 522);
    cr_expect_eq(idx[353], 43159, "%d", (int)idx[353]);
}

/* Truth: what cannot be sampled is said so. */
Test(sample, refusals) {
    int64_t idx[768];
    int n;
    lpo_error err;
    lpo_sample_options o = lpo_sample_options_default();
    cr_expect_eq(lpo_sample_qwen(idx, &n, 1, 25, &o, &err), LPO_EINVAL);
    cr_expect(strstr(err.msg, "two are needed"));
    cr_expect_eq(lpo_sample_qwen(idx, &n, 100, 0, &o, &err), LPO_EINVAL);
    o.n_frames = 12;
    cr_expect_eq(lpo_sample_qwen(idx, &n, 10, 25, &o, &err), LPO_EINVAL);
    cr_expect(strstr(err.msg, "12 frames"), "%s", err.msg);
    o = lpo_sample_options_default(), o.min_frames = 9, o.max_frames = 8;
    cr_expect_eq(lpo_sample_qwen(idx, &n, 10, 25, &o, &err), LPO_EINVAL);
}
