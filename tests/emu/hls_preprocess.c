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

static uint32_t state = 1;
static uint32_t draw(uint32_t n) { /* 0..n-1 */
    state = state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)state * n) >> 32);
}
static void *memory(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    cr_assert(p);
    return p;
}

typedef struct job {
    lpo_prep_frame_args a;
    void *owned[8];
    int n_owned;
} job;

static void *own(job *j, size_t bytes) {
    return j->owned[j->n_owned++] = memory(bytes);
}
static void release(job *j) {
    for (int i = 0; i < j->n_owned; i++) free(j->owned[i]);
}

static void make_tables(job *j, double blur_sigma) {
    lpo_prep_frame_args *a = &j->a;
    void *h = own(j, lpo_prep_taps_bytes(a->crop_w, a->out_w)),
         *v = own(j, lpo_prep_taps_bytes(a->crop_h, a->out_h));
    if (a->mode == LPO_PREP_PILLOW) {
        lpo_prep_taps_pillow(&a->horz, h, a->crop_w, a->out_w);
        lpo_prep_taps_pillow(&a->vert, v, a->crop_h, a->out_h);
    } else {
        lpo_prep_taps_torchvision(&a->horz, h, a->crop_w, a->out_w);
        lpo_prep_taps_torchvision(&a->vert, v, a->crop_h, a->out_h);
    }
    if (blur_sigma <= 0) return;
    lpo_prep_taps_blur(&a->blur_horz, own(j, lpo_prep_taps_blur_bytes(a->out_w, blur_sigma)), a->out_w,
                       blur_sigma);
    lpo_prep_taps_blur(&a->blur_vert, own(j, lpo_prep_taps_blur_bytes(a->out_h, blur_sigma)), a->out_h,
                       blur_sigma);
}

/* Random planes, each its own buffer of exactly pitch * rows bytes, so that ASan sees a byte read too far. */
static void make_planes(job *j) {
    lpo_prep_frame *f = &j->a.src;
    int32_t half_w = (f->width + 1) / 2, half_h = (f->height + 1) / 2;
    int32_t w[3] = {f->width, f->width, f->width}, h[3] = {f->height, f->height, f->height};
    if (f->pixfmt == LPO_PREP_RGB24) w[0] *= 3, w[1] = w[2] = 0;
    if (f->pixfmt == LPO_PREP_NV12) w[1] = 2 * half_w, w[2] = 0, h[1] = half_h;
    if (f->pixfmt == LPO_PREP_YUV420P) w[1] = w[2] = half_w, h[1] = h[2] = half_h;
    if (f->pixfmt == LPO_PREP_YUV422P) w[1] = w[2] = half_w;
    for (int p = 0; p < 3; p++) {
        if (!w[p]) continue;
        f->pitch_bytes[p] = (w[p] + 63) / 64 * 64 + (int32_t)draw(2) * 64;
        size_t n = (size_t)f->pitch_bytes[p] * (size_t)h[p];
        uint8_t *at = own(j, n);
        for (size_t i = 0; i < n; i++) at[i] = (uint8_t)draw(256);
        f->plane[p] = at;
    }
}

static job random_job(int32_t max_size) {
    job j;
    memset(&j, 0, sizeof j);
    lpo_prep_frame_args *a = &j.a;
    a->src.pixfmt = (int32_t)draw(6);
    a->src.matrix = (int32_t)draw(3);
    a->src.full_range = (int32_t)draw(2);
    a->src.width = 1 + (int32_t)draw((uint32_t)max_size);
    a->src.height = 1 + (int32_t)draw((uint32_t)max_size);
    a->crop_w = draw(2) ? a->src.width : 1 + (int32_t)draw((uint32_t)a->src.width);
    a->crop_h = draw(2) ? a->src.height : 1 + (int32_t)draw((uint32_t)a->src.height);
    a->crop_x = (int32_t)draw((uint32_t)(a->src.width - a->crop_w + 1));
    a->crop_y = (int32_t)draw((uint32_t)(a->src.height - a->crop_h + 1));
    int32_t lo_w = (a->crop_w + 12) / 13,
            lo_h = (a->crop_h + 12) / 13; /* up to the smallest scale there is */
    a->out_w = lo_w + (int32_t)draw((uint32_t)max_size);
    a->out_h = lo_h + (int32_t)draw((uint32_t)max_size);
    if (!draw(4)) a->out_w = lo_w, a->out_h = lo_h;
    a->mode = draw(2) ? LPO_PREP_TORCHVISION : LPO_PREP_PILLOW;
    a->grey = !draw(4);
    a->hflip = !draw(3);
    a->noise_scale = draw(3) ? 0 : lpo_prep_noise_scale(1 + draw(30));
    a->noise_key[0] = draw(1u << 31);
    a->noise_key[1] = draw(1u << 31);
    make_planes(&j);
    make_tables(&j, draw(3) ? 0 : 0.2 + draw(88) / 10.0);
    return j;
}

/* The kernel called as a link calls it: through the table, by struct. */
static uint8_t *run_card(const job *j, const lpo_patchify_args *p, int32_t type, int32_t frame,
                         void *patches) {
    lpo_hls_preprocess_args args;
    memset(&args, 0, sizeof args);
    size_t n = (size_t)j->a.out_w * (size_t)j->a.out_h * 3;
    uint8_t *rgb = memory(n);
    int32_t *schedule = memory((size_t)lpo_hls_preprocess_max_steps(&j->a) * 32);
    uint32_t *levels = memory(768 * 4);
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

static void check(const job *j, const char *what, int number) {
    const lpo_prep_frame_args *a = &j->a;
    size_t n = (size_t)a->out_w * (size_t)a->out_h * 3, differ = 0, first = 0;
    uint8_t *want = memory(n), *work = memory(lpo_prep_workspace_bytes(a));
    lpo_ref_preprocess_frame(want, a, work);
    uint8_t *got = run_card(j, NULL, HLS_PATCH_NONE, 0, NULL);
    for (size_t i = n; i-- > 0;)
        if (want[i] != got[i]) differ++, first = i;
    cr_expect_eq(
        differ, 0,
        "%s %d: %zu of %zu bytes differ, first at %zu: %d, expected %d (format %d, crop %dx%d+%d+%d, "
        "out %dx%d, mode %d, blur %d)",
        what, number, differ, n, first, got[first], want[first], a->src.pixfmt, a->crop_w, a->crop_h,
        a->crop_x, a->crop_y, a->out_w, a->out_h, a->mode, a->blur_horz.n_out);
    free(want);
    free(work);
    free(got);
}

/* Truth: 0 bytes differ from the reference over random formats, matrices, ranges, crops, odd sizes, scales
 * from 1/13 up, both modes and every augmentation. */
Test(hls_preprocess, same_bytes_as_the_reference) {
    for (int i = 0; i < 300; i++) {
        job j = random_job(i % 10 ? 70 : 300);
        check(&j, "case", i);
        release(&j);
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
    uint8_t *clip = memory(frame_bytes * (size_t)n_frames), *work = memory(1 << 20);
    float *want = memory(values * 4);
    void *got = memory(values * 4);
    memset(got, 0x5a, values * 4);
    for (int32_t f = 0; f < n_frames; f++) {
        job j;
        memset(&j, 0, sizeof j);
        j.a.src.pixfmt = LPO_PREP_NV12;
        j.a.src.width = j.a.crop_w = 91;
        j.a.src.height = j.a.crop_h = 77;
        j.a.out_w = p.width;
        j.a.out_h = p.height;
        make_planes(&j);
        make_tables(&j, 0);
        cr_assert_leq(lpo_prep_workspace_bytes(&j.a), (size_t)1 << 20);
        lpo_ref_preprocess_frame(clip + (size_t)f * frame_bytes, &j.a, work);
        free(run_card(&j, &p, type, f, got));
        release(&j);
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
    state = 7;
    job j = random_job(60);
    cr_expect_null(lpo_hls_preprocess_refuses(&j.a, 14));
    cr_expect_not_null(lpo_hls_preprocess_refuses(&j.a, 33));
    job k = j;
    k.a.horz.stride = 60;
    cr_expect_not_null(lpo_hls_preprocess_refuses(&k.a, 0));
    k = j;
    k.a.src.pitch_bytes[0] += 4;
    cr_expect_not_null(lpo_hls_preprocess_refuses(&k.a, 0));
    k = j;
    k.a.out_w = 2049;
    cr_expect_not_null(lpo_hls_preprocess_refuses(&k.a, 0));
    release(&j);
}

/* Truth: the model's clocks for 1080p NV12 stay within the design: 8 pixels a clock, and what bands, bursts
 * and fills cost on top. Modelled, not measured. */
Test(hls_preprocess, modelled_clocks_of_a_1080p_frame) {
    job j;
    memset(&j, 0, sizeof j);
    j.a.src.pixfmt = LPO_PREP_NV12;
    j.a.src.width = j.a.crop_w = 1920;
    j.a.src.height = j.a.crop_h = 1080;
    j.a.out_w = 672;
    j.a.out_h = 392;
    make_planes(&j);
    make_tables(&j, 0);
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
    release(&j);
}
