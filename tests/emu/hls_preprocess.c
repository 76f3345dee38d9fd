/* SPDX-License-Identifier: Apache-2.0 */
/* hls_preprocess.c -- the hardware's bytes are kernels/ref's bytes: no difference is small enough. */
#include "hls/exact.h"
#include "hls/preprocess/launch.h"
#include "hls/timing.h"
#include "kernels/number.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/prep_frames.h"

static uint32_t draw(uint32_t n) { /* 0..n-1 */
    return (uint32_t)prep_draw((int32_t)n);
}

static prep_case random_job(int32_t max_size) {
    return prep_case_random((prep_limits){max_size, max_size, max_size, 13, true});
}

/* The kernel called as a link calls it: through the table, by struct. */
static uint8_t *run_card(const prep_case *j, const lpo_patchify_args *p, int32_t type, int32_t frame,
                         void *patches) {
    lpo_hls_preprocess_args args;
    memset(&args, 0, sizeof args);
    size_t n = (size_t)j->a.out_w * (size_t)j->a.out_h * 3;
    uint8_t *rgb = prep_memory(n);
    int32_t *schedule = prep_memory((size_t)lpo_hls_preprocess_max_steps(&j->a) * 32);
    uint32_t *levels = prep_memory(768 * 4);
    memset(rgb, 0x5a, n);
    const char *why = lpo_hls_preprocess_refuses(&j->a, p ? p->patch : 0);
    cr_assert_null(why, "refused: %s", why);
    lpo_hls_preprocess_fill(&args, &j->a, p, type, frame);
    args.n_steps = lpo_hls_preprocess_schedule(schedule, &j->a);
    cr_assert_leq(args.n_steps, lpo_hls_preprocess_max_steps(&j->a));
    args.schedule = schedule;
    if (p) lpo_hls_preprocess_levels(levels, p, type);
    args.levels = levels;
    args.rgb = rgb;
    args.want_rgb = 1;
    if (type == HLS_PATCH_F32) args.patches_f32 = patches;
    if (type == HLS_PATCH_BF16) args.patches_bf16 = patches;
    lpo_hls_kernels[0].run(&args);
    free(schedule);
    free(levels);
    return rgb;
}

/* Truth: 0 bytes differ from the reference over random formats, matrices, ranges, crops, odd sizes, scales
 * from 1/13 up, both modes and every augmentation. */
Test(hls_preprocess, same_bytes_as_the_reference) {
    for (int i = 0; i < 300; i++) {
        prep_case j = random_job(i % 10 ? 70 : 300);
        uint8_t *rgb = run_card(&j, NULL, HLS_PATCH_NONE, 0, NULL);
        memcpy(j.got, rgb, prep_case_bytes(&j));
        free(rgb);
        prep_case_check(&j, i);
        prep_case_free(&j);
    }
}

static int fma_case(float x, float w, float z) { /* 1: rounding twice gives something else */
    float want = fmaf(x, w, z), got = hls_fma(x, w, z);
    cr_assert_eq(hls_bits(got), hls_bits(want), "%a * %a + %a: %a, expected %a", x, w, z, got, want);
    return (float)((double)x * (double)w + (double)z) != want;
}

/* Truth: a fused step made of double adds is fmaf to the bit: on random values, and on those built so that
 * the double sum lands on a tie of floats that the exact sum does not (where rounding twice differs). */
Test(hls_preprocess, fused_step_is_fmaf) {
    int hard = 0;
    for (int i = 0; i < 200000; i++) {
        float x = (float)draw(256), w = ((float)draw(1u << 24) - 8388608.f) / 16777216.f;
        float z = hls_float(draw(1u << 23) | (90 + draw(60)) << 23 | draw(2) << 31);
        fma_case(x, w, z);
        uint32_t k = 1 + 2 * draw(1u << 11); /* (1 + k 2^-23)(1 - k 2^-23) = 1 - k^2 2^-46 */
        float just_below_one = 1.f - (float)k / 8388608.f, above = 1.f + (float)k / 8388608.f;
        float odd = hls_float(0x3f800001u + 2 * draw(1u << 20)), sign = draw(2) ? -1.f : 1.f;
        hard += fma_case(above / 16777216.f * sign, just_below_one, odd * sign);
    }
    cr_expect_gt(hard, 1000, "the hard cases were not: %d", hard);
}

static void check_patches(int32_t type, int32_t n_frames, int32_t patch, int32_t merge, int32_t temporal) {
    lpo_patchify_args p = {n_frames,
                           2 * patch * merge,
                           3 * patch * merge,
                           patch,
                           temporal,
                           merge,
                           {.48145466f, .4578275f, .40821073f},
                           {.26862954f, .26130258f, .27577711f}};
    size_t frame_bytes = (size_t)p.width * (size_t)p.height * 3;
    size_t values = frame_bytes * (size_t)((n_frames + temporal - 1) / temporal * temporal);
    uint8_t *clip = prep_memory(frame_bytes * (size_t)n_frames), *work = prep_memory(1 << 20);
    float *want = prep_memory(values * 4);
    void *got = prep_memory(values * 4);
    memset(got, 0x5a, values * 4);
    for (int32_t f = 0; f < n_frames; f++) {
        prep_case j;
        memset(&j, 0, sizeof j);
        j.a.src.pixfmt = LPO_PREP_NV12;
        j.a.src.width = j.a.crop_w = 91;
        j.a.src.height = j.a.crop_h = 77;
        j.a.out_w = p.width;
        j.a.out_h = p.height;
        prep_case_planes(&j, true);
        prep_case_tables(&j, 0);
        cr_assert_leq(lpo_prep_workspace_bytes(&j.a), (size_t)1 << 20);
        lpo_ref_preprocess_frame(clip + (size_t)f * frame_bytes, &j.a, work);
        free(run_card(&j, &p, type, f, got));
        prep_case_free(&j);
    }
    lpo_ref_patchify(want, clip, &p);
    size_t differ = 0;
    for (size_t i = 0; i < values; i++)
        differ += type == HLS_PATCH_F32 ? hls_bits(want[i]) != ((uint32_t *)got)[i]
                                        : lpo_f32_to_bf16(want[i]) != ((uint16_t *)got)[i];
    cr_expect_eq(differ, 0, "type %d, %d frames, patch %d, merge %d, temporal %d: %zu of %zu values differ",
                 type, n_frames, patch, merge, temporal, differ, values);
    free(clip);
    free(work);
    free(want);
    free(got);
}

/* Truth: frames patchified one by one fill the clip's patches exactly, the last frame repeated where the clip
 * is odd. */
Test(hls_preprocess, patches_of_a_clip) {
    for (int32_t type = HLS_PATCH_F32; type <= HLS_PATCH_BF16; type++) {
        check_patches(type, 4, 14, 2, 2);
        check_patches(type, 3, 14, 2, 2);
        check_patches(type, 1, 16, 1, 3);
        check_patches(type, 2, 5, 3, 1);
    }
}

/* Truth: what the hardware has no room for is refused in words, not computed wrongly. */
Test(hls_preprocess, refuses_what_does_not_fit) {
    prep_state = 7;
    prep_case j = random_job(60);
    cr_expect_null(lpo_hls_preprocess_refuses(&j.a, 14));
    cr_expect_not_null(lpo_hls_preprocess_refuses(&j.a, 33));
    prep_case k = j;
    k.a.horz.stride = 60;
    cr_expect_not_null(lpo_hls_preprocess_refuses(&k.a, 0));
    k = j;
    k.a.src.pitch_bytes[0] += 4;
    cr_expect_not_null(lpo_hls_preprocess_refuses(&k.a, 0));
    k = j;
    k.a.out_w = 2049;
    cr_expect_not_null(lpo_hls_preprocess_refuses(&k.a, 0));
    prep_case_free(&j);
}

/* Truth: the model's clocks for 1080p NV12 stay within the design: 8 pixels a clock, and what bands, bursts
 * and fills cost on top. Modelled, not measured. */
Test(hls_preprocess, modelled_clocks_of_a_1080p_frame) {
    prep_case j;
    memset(&j, 0, sizeof j);
    j.a.src.pixfmt = LPO_PREP_NV12;
    j.a.src.width = j.a.crop_w = 1920;
    j.a.src.height = j.a.crop_h = 1080;
    j.a.out_w = 672;
    j.a.out_h = 392;
    prep_case_planes(&j, true);
    prep_case_tables(&j, 0);
    lpo_hls_timing t;
    lpo_hls_timing_begin();
    free(run_card(&j, NULL, HLS_PATCH_NONE, 0, NULL));
    lpo_hls_timing_get(&t);
    uint64_t clocks = lpo_hls_timing_region(&t), ideal = 1920 * 1080 / 8;
    cr_log_info("modelled: %llu clocks, %.2f times the ideal %llu", (unsigned long long)clocks,
                (double)clocks / (double)ideal, (unsigned long long)ideal);
    for (int s = 0; s < 11; s++) cr_log_info("stage %d: %llu", s, (unsigned long long)t.cycles[s]);
    cr_expect_geq(clocks, ideal);
    cr_expect_leq(clocks, 2 * ideal);
    prep_case_free(&j);
}
