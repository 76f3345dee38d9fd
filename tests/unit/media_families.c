/* SPDX-License-Identifier: Apache-2.0 */
/* Truth: each family's own processor (transformers, on Pillow) makes these bytes and numbers of these frames
 * (tests/golden/preprocess_families.py recorded them): resize, cut, and what lies beyond the last patch to
 * the byte; normalised patches to 1e-6. And: frames are chosen as numpy's linspace, arange and range choose
 * them. */
#include "base/file.h"
#include "base/json.h"
#include "leanpo/media.h"
#include "leanpo/prep.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(call)                                                                                           \
    do {                                                                                                     \
        lpo_status must_ = (call);                                                                           \
        cr_assert_eq(must_, LPO_OK, "%s: %s", #call, err.msg);                                               \
    } while (0)

static char dir[64];

static void set_up(void) {
    snprintf(dir, sizeof dir, "/tmp/leanpo-media-XXXXXX");
    cr_assert(mkdtemp(dir));
}

static void tear_down(void) {
    lpo_dir_remove(dir, NULL);
}
TestSuite(families, .init = set_up, .fini = tear_down);

static const json_t *key(const json_t *o, const char *name) {
    const json_t *v = json_object_get(o, name);
    cr_assert(v, "%s", name);
    return v;
}

static int number(const json_t *o, const char *name) {
    return (int)json_integer_value(key(o, name));
}

/* Two equal frames, three channels of ramps that wrap. */
static void write_video(const char *path, int w, int h) {
    lpo_error err = {0};
    lpo_encoder *e;
    uint8_t *rgb = malloc((size_t)w * (size_t)h * 3);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int c = 0; c < 3; c++)
                rgb[(y * w + x) * 3 + c] = (uint8_t)(x * 3 + y * (c + 1) * 2 + c * 50);
    MUST(lpo_encoder_open(&e, path,
                          &(lpo_encode_options){.width = w, .height = h, .fps = 2, .lossless_rgb = 1}, &err));
    MUST(lpo_encoder_put(e, rgb, &err));
    MUST(lpo_encoder_put(e, rgb, &err));
    MUST(lpo_encoder_finish(e, &err));
    free(rgb);
}

static void write_json(const char *name, const json_t *v) {
    lpo_error err = {0};
    char path[160];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    MUST(lpo_json_save(v, path, &err));
}

static double sign(uint64_t i) {
    uint64_t z = i * 0x9e3779b97f4a7c15u;
    z ^= z >> 29;
    z *= 0xbf58476d1ce4e5b9u;
    return (z >> 40) & 1 ? -1 : 1;
}

static void check_patches(const json_t *c, const lpo_clip *clip, const lpo_prep_options *o,
                          const char *family) {
    const size_t rows = (size_t)clip->grid_t * (size_t)clip->grid_h * (size_t)clip->grid_w;
    const size_t n = rows * 3 * (size_t)o->temporal_patch * (size_t)o->patch_size * (size_t)o->patch_size;
    float *patches = malloc(n * sizeof *patches);
    lpo_prep_patchify(patches, clip, o);
    const json_t *at = key(c, "at"), *values = key(c, "values");
    for (size_t i = 0; i < json_array_size(at); i++) {
        const size_t k = (size_t)json_integer_value(json_array_get(at, i));
        const double want = json_number_value(json_array_get(values, i));
        cr_assert_lt(k, n);
        cr_expect(fabs(patches[k] - want) <= 1e-6, "%s: patch value %zu is %.8g, not %.8g", family, k,
                  patches[k], want);
    }
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += patches[i] * sign(i);
    cr_expect(fabs(sum - json_number_value(key(c, "signed"))) <= 1e-6 * sqrt((double)n), "%s: %.9g, not %.9g",
              family, sum, json_number_value(key(c, "signed")));
    free(patches);
}

static void check_case(const json_t *c) {
    lpo_error err = {0};
    char path[160], hash[32];
    const char *family = json_string_value(key(c, "family"));
    lpo_prep_options o;
    lpo_clip clip;
    snprintf(path, sizeof path, "%s/v.mkv", dir);
    write_video(path, number(c, "width"), number(c, "height"));
    write_json("config.json", key(c, "config"));
    write_json("preprocessor_config.json", key(c, "preprocessor"));
    write_json("video_preprocessor_config.json", key(c, "preprocessor")); /* there min_pixels is the clip's */
    MUST(lpo_prep_options_load(&o, dir, &err));
    cr_expect_str_eq(o.family, family);
    o.n_frames = o.temporal_patch;
    MUST(lpo_prep_video(&clip, path, &o, NULL, &err));
    const json_t *grid = key(c, "grid");
    const int have[3] = {clip.grid_t, clip.grid_h, clip.grid_w};
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(have[i], json_integer_value(json_array_get(grid, i)), "%s: side %zu is %d", family, i,
                     have[i]);
    uint64_t h = 0xcbf29ce484222325u;
    for (int i = 0; i < clip.height * clip.width * 3; i++) h = (h ^ clip.frames_u8[i]) * 0x100000001b3u;
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)h);
    cr_expect_str_eq(hash, json_string_value(key(c, "u8")), "%s, %dx%d: other bytes", family,
                     number(c, "width"), number(c, "height"));
    check_patches(c, &clip, &o, family);
    cr_expect_float_eq(clip.duration_s, 1, 1e-9);
    cr_expect_float_eq(clip.time_s[0], 0, 1e-9);
    lpo_clip_clear(&clip);
}

Test(families, processors_make_these_bytes) {
    lpo_error err = {0};
    json_t *all;
    MUST(lpo_json_load(&all, TESTS_DIR "/golden/families/preprocess.json", 1 << 20, &err));
    cr_assert_geq(json_array_size(all), 10);
    for (size_t i = 0; i < json_array_size(all); i++) check_case(json_array_get(all, i));
    json_decref(all);
}

/* A folder of LLaVA-NeXT's has no preprocessor_config.json; a crop larger than the frame is refused. */
Test(families, constants_do_without_files) {
    lpo_error err = {0};
    lpo_prep_options o;
    json_t *j = json_pack("{s:s}", "model_type", "llava_qwen");
    write_json("config.json", j);
    MUST(lpo_prep_options_load(&o, dir, &err));
    cr_expect(o.resize_h == 384 && o.resize_w == 384 && o.patch_size == 14 && o.max_frames == 64 &&
              o.fps == 1.0);
    cr_expect_eq(o.n_frames, 0);
    json_object_set_new(j, "force_sample", json_true());
    write_json("config.json", j);
    MUST(lpo_prep_options_load(&o, dir, &err));
    cr_expect_eq(o.n_frames, 64);
    json_object_set_new(j, "model_type", json_string("llava_next_video"));
    write_json("config.json", j);
    json_decref(j);
    j = json_pack("{s:{s:i}, s:{s:i, s:i}}", "size", "shortest_edge", 100, "crop_size", "height", 200,
                  "width", 200);
    write_json("preprocessor_config.json", j);
    json_decref(j);
    cr_expect_eq(lpo_prep_options_load(&o, dir, &err), LPO_EUNSUPPORTED);
    cr_expect(strstr(err.msg, "crop_size"), "%s", err.msg);
    cr_expect_eq(lpo_prep_options_of(&o, "llava", &err), LPO_EUNSUPPORTED);
}

static int64_t chosen(int64_t *idx, int *n, int64_t total, double fps_src, int n_frames, int arange) {
    lpo_error err = {0};
    const lpo_sample_options o = {.fps = 1, .n_frames = n_frames, .max_frames = 64, .hf_sampler = arange};
    MUST(lpo_sample_uniform(idx, n, total, fps_src, &o, &err));
    int64_t sum = 0;
    for (int i = 0; i < *n; i++) {
        cr_assert(idx[i] >= 0 && idx[i] < total && (i == 0 || idx[i] >= idx[i - 1]));
        sum += idx[i];
    }
    return sum;
}

/* Counts and sums of indices as numpy gives them; no total is too short. */
Test(families, frames_are_chosen_as_numpy_does) {
    static const struct {
        int64_t total;
        double fps;
        int n_frames, n;
        int64_t linspace, arange; /* sums of indices; arange with n_frames alone */
    } cases[] = {
        {100, 25, 8, 8, 393, 348},
        {10, 25, 3, 3, 13, 9},
        {1000, 25, 64, 64, 31941, 31472},
        {7, 25, 1, 1, 0, 0},
        {3, 25, 5, 5, 4, 4},
        {100, 25, 0, 4, 150, 150},
        {3000, 29.97, 0, 64, 95937, -1},
        {1600, 24.5, 0, 64, 51138, -1},
        {90, 0.6, 0, 64, 2817, -1},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        int64_t idx[128];
        int n;
        cr_expect_eq(chosen(idx, &n, cases[k].total, cases[k].fps, cases[k].n_frames, 0), cases[k].linspace,
                     "case %zu", k);
        cr_expect_eq(n, cases[k].n, "case %zu: %d frames", k, n);
        if (cases[k].arange >= 0)
            cr_expect_eq(chosen(idx, &n, cases[k].total, cases[k].fps, cases[k].n_frames, 1), cases[k].arange,
                         "case %zu", k);
    }
    lpo_error err = {0};
    int64_t idx[64];
    int n;
    lpo_sample_options o = {.fps = 1, .max_frames = 64};
    cr_expect_eq(lpo_sample_uniform(idx, &n, 0, 25, &o, &err), LPO_EINVAL);
    cr_expect_eq(lpo_sample_uniform(idx, &n, 9, 0, &o, &err), LPO_EINVAL);
}
