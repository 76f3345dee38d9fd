/* SPDX-License-Identifier: Apache-2.0 */
/* media_prep.c -- a video file becomes the clip the recipe says: size rule, augmentation specs, both views
 * from one decode, the same bytes at any thread count, and a file other programs read. */
#include "base/file.h"
#include "base/json.h"
#include "leanpo/media.h"
#include "leanpo/prep.h"
#include "media/prep_view.h"

#include <criterion/criterion.h>
#include <criterion/logging.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];
static char video_path[128];

enum { W = 90, H = 62, N = 9 };

/* Frame f of the test video: a moving ramp, different in every channel. */
static uint8_t sample(int f, int x, int y, int c) {
    return (uint8_t)(x * 3 + y * (c + 1) * 2 + f * 29 + c * 50);
}

static void set_up(void) {
    strcpy(dir, "/tmp/lpo-prep-XXXXXX");
    cr_assert(mkdtemp(dir) != NULL);
    snprintf(video_path, sizeof video_path, "%s/v.mkv", dir);
    lpo_error err = {0};
    lpo_encoder *e;
    lpo_encode_options o = {.width = W, .height = H, .fps = 3, .lossless_rgb = 1};
    cr_assert_eq(lpo_encoder_open(&e, video_path, &o, &err), LPO_OK, "%s", err.msg);
    uint8_t rgb[W * H * 3];
    for (int f = 0; f < N; f++) {
        for (int i = 0; i < W * H * 3; i++) rgb[i] = sample(f, i / 3 % W, i / 3 / W, i % 3);
        cr_assert_eq(lpo_encoder_put(e, rgb, &err), LPO_OK, "%s", err.msg);
    }
    cr_assert_eq(lpo_encoder_finish(e, &err), LPO_OK, "%s", err.msg);
}
static void tear_down(void) {
    lpo_dir_remove(dir, NULL);
}
TestSuite(prep_video, .init = set_up, .fini = tear_down);
TestSuite(prep_options, .init = set_up, .fini = tear_down);

static lpo_prep_options small_options(void) {
    lpo_prep_options o;
    cr_assert_eq(lpo_prep_options_load(&o, NULL, NULL), LPO_OK);
    o.target_h = 56, o.target_w = 84, o.n_frames = 4, o.n_threads = 1;
    return o;
}

/* Truth: sides are rounded to multiples of 28 half to even, as Python's round does; C's round would give 868
 * for 854. Over and under the pixel limits they are scaled by the square root, floored and ceiled. */
Test(prep, smart_resize_rounds_half_to_even) {
    static const struct {
        int h, w;
        int64_t min, max;
        int want_h, want_w;
    } cases[] = {
        {518, 518, 1, 1 << 30, 504, 504},        {630, 630, 1, 1 << 30, 616, 616},
        {742, 742, 1, 1 << 30, 728, 728},        {854, 854, 1, 1 << 30, 840, 840},
        {966, 966, 1, 1 << 30, 952, 952},        {1078, 1078, 1, 1 << 30, 1064, 1064},
        {480, 854, 1, 1 << 30, 476, 840},        {5, 900, 1, 1 << 30, 28, 896},
        {1080, 1920, 100352, 602112, 560, 1008}, {64, 64, 100352, 602112, 336, 336},
        {100, 200, 100352, 602112, 224, 448},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        int h, w;
        lpo_error err = {0};
        cr_assert_eq(lpo_smart_resize(&h, &w, cases[k].h, cases[k].w, 28, cases[k].min, cases[k].max, &err),
                     LPO_OK, "%s", err.msg);
        cr_assert(h == cases[k].want_h && w == cases[k].want_w, "%dx%d became %dx%d", cases[k].h, cases[k].w,
                  h, w);
    }
    int h, w;
    lpo_error err = {0};
    cr_assert_eq(lpo_smart_resize(&h, &w, 10, 2001, 28, 1, 1 << 30, &err), LPO_EINVAL);
    cr_assert(strstr(err.msg, "200"), "%s", err.msg);
    cr_assert_eq(lpo_smart_resize(&h, &w, 10, 2000, 28, 1, 1 << 30, &err), LPO_OK);
}

/* Truth: a clip's pixels are shared by its frames, between 768*784 and 1.05 of the least; a limit of the
 * model's own lowers it further. */
Test(prep, frames_share_the_pixels) {
    lpo_prep_options o;
    cr_assert_eq(lpo_prep_options_load(&o, NULL, NULL), LPO_OK);
    cr_assert_eq(lpo_video_max_pixels(&o, 16), 768 * 784);
    cr_assert_eq(lpo_video_max_pixels(&o, 768), 235200);
    cr_assert_eq(lpo_video_max_pixels(&o, 4000), 105369); /* floor(1.05 * 100352) */
    o.max_pixels = 50000;
    cr_assert_eq(lpo_video_max_pixels(&o, 16), 50000);
}

/* Truth: a spec says what it looks like, is written back in a form that parses to the same, and nonsense is
 * refused by name. */
Test(augment, specs_parse_and_format) {
    static const struct {
        const char *spec, *canonical;
    } good[] = {
        {"", "none"},
        {"none", "none"},
        {"crop=.5..8", "crop=0.5..0.8"},
        {"crop=.5...8", "crop=0.5..0.8"},
        {"crop=0.25..1", "crop=0.25..1"},
        {"crop=.7", "crop=0.7..0.7"},
        {"crop=1..1", "crop=1..1"},
        {"crop=.5..8,flip,grey,blur=1.5,noise=8,drop=.25,shuffle,reverse,seed=3",
         "crop=0.5..0.8,flip,grey,blur=1.5,noise=8,drop=0.25,shuffle,reverse,seed=3"},
        {"seed=18446744073709551615", "seed=18446744073709551615"},
    };
    for (size_t k = 0; k < sizeof good / sizeof *good; k++) {
        lpo_augment a, again;
        lpo_error err = {0};
        char text[200], tiny[8];
        cr_assert_eq(lpo_augment_parse(&a, good[k].spec, &err), LPO_OK, "%s", err.msg);
        int n = lpo_augment_format(text, sizeof text, &a);
        cr_assert_str_eq(text, good[k].canonical);
        cr_assert_eq(n, (int)strlen(text));
        cr_assert_eq(lpo_augment_format(NULL, 0, &a), n);
        lpo_augment_format(tiny, sizeof tiny, &a); /* must not write past 8 */
        cr_assert_eq(lpo_augment_parse(&again, text, &err), LPO_OK, "%s", err.msg);
        cr_assert_arr_eq(&a, &again, sizeof a, "%s", text);
    }
    static const char *const refused[] = {
        "crop",      "crop=",      "crop=0",     "crop=.8...5",  "crop=.5..", "crop=.5..1x",
        "crop=1.5",  "crop=-1..1", "crop=nan",   "blur=17",      "blur=-1",   "blur=",
        "noise=1e9", "noise=inf",  "drop=1",     "flip=1",       "sepia",     "flip,,grey",
        "flip,",     "seed=-1",    "seed=three", "crop=.5...8.1"};
    for (size_t k = 0; k < sizeof refused / sizeof *refused; k++) {
        lpo_augment a;
        lpo_error err = {0};
        cr_assert_eq(lpo_augment_parse(&a, refused[k], &err), LPO_EINVAL, "'%s' was accepted", refused[k]);
        cr_assert(strstr(err.msg, "augment"), "%s", err.msg);
    }
}

/* Truth: a crop lies inside the frame and keeps area and aspect; drop loses exactly its share and shows an
 * earlier frame; shuffle permutes; reverse reverses; one choice does not move another. */
Test(augment, choices_follow_from_the_seed) {
    for (uint64_t seed = 0; seed < 300; seed++) {
        lpo_augment a = {.crop_min = .3, .crop_max = .6, .drop = .25, .seed = seed};
        int x, y, w, h;
        lpo_augment_crop(&x, &y, &w, &h, &a, 640, 360);
        cr_assert(x >= 0 && y >= 0 && x + w <= 640 && y + h <= 360);
        double area = (double)w * h / (640 * 360);
        cr_assert(area > .295 && area < .605, "area %f", area);
        uint32_t map[16], again[16];
        int shown[16] = {0}, n_shown = 0;
        lpo_augment_frames(map, 16, &a);
        for (int j = 0; j < 16; j++) {
            if (map[j] == (uint32_t)j) shown[j] = 1, n_shown++;
            if (j) cr_assert_geq(map[j], map[j - 1]);
        }
        cr_assert_eq(n_shown, 12, "seed %d shows %d", (int)seed, n_shown);
        for (int j = 0; j < 16; j++) cr_assert(map[j] < 16 && shown[map[j]]);
        a.shuffle = 1, a.drop = 0;
        lpo_augment_frames(map, 16, &a);
        memset(shown, 0, sizeof shown);
        for (int j = 0; j < 16; j++) shown[map[j]]++;
        for (int j = 0; j < 16; j++) cr_assert_eq(shown[j], 1);
        a.reverse = 1, a.noise_sigma = 4, a.hflip = 1;
        lpo_augment_frames(again, 16, &a);
        for (int j = 0; j < 16; j++) cr_assert_eq(again[j], map[15 - j]);
    }
    lpo_augment all = {.drop = .99, .seed = 1};
    uint32_t map[3];
    lpo_augment_frames(map, 3, &all); /* at least one stays */
    cr_assert(map[0] == map[1] && map[1] == map[2] && map[0] < 3);
}

/* Truth: every frame of a clip has the bytes the reference kernel makes of the frame that was encoded. */
Test(prep_video, equals_the_reference_kernel) {
    for (int pillow = 0; pillow < 2; pillow++) {
        lpo_prep_options o = small_options();
        o.resize_pillow = pillow;
        lpo_clip clip;
        lpo_error err = {0};
        cr_assert_eq(lpo_prep_video(&clip, video_path, &o, NULL, &err), LPO_OK, "%s", err.msg);
        cr_assert(clip.n_frames == 4 && clip.height == 56 && clip.width == 84);
        cr_assert(clip.grid_t == 2 && clip.grid_h == 4 && clip.grid_w == 6);
        cr_assert_float_eq(clip.second_per_grid, 2 / (4. / 9 * 3), 1e-9);

        int64_t indices[800];
        int n;
        lpo_sample_options so = lpo_sample_options_default();
        so.n_frames = 4;
        cr_assert_eq(lpo_sample_qwen(indices, &n, N, 3, &so, NULL), LPO_OK);
        lpo_prep_frame_args a = {.src = {LPO_PREP_RGB24, 0, 1, W, H, {0}, {3 * W}}};
        a.crop_w = W, a.crop_h = H, a.out_w = 84, a.out_h = 56;
        a.mode = pillow ? LPO_PREP_PILLOW : LPO_PREP_TORCHVISION;
        void *horz = aligned_alloc(64, (lpo_prep_taps_bytes(W, 84) + 63) & ~63u);
        void *vert = aligned_alloc(64, (lpo_prep_taps_bytes(H, 56) + 63) & ~63u);
        (pillow ? lpo_prep_taps_pillow : lpo_prep_taps_torchvision)(&a.horz, horz, W, 84);
        (pillow ? lpo_prep_taps_pillow : lpo_prep_taps_torchvision)(&a.vert, vert, H, 56);
        void *work = aligned_alloc(64, (lpo_prep_workspace_bytes(&a) + 63) & ~63u);
        for (int k = 0; k < 4; k++) {
            uint8_t rgb[W * H * 3], want[84 * 56 * 3];
            for (int i = 0; i < W * H * 3; i++) rgb[i] = sample((int)indices[k], i / 3 % W, i / 3 / W, i % 3);
            a.src.plane[0] = rgb;
            lpo_ref_preprocess_frame(want, &a, work);
            cr_assert_arr_eq(clip.frames_u8 + k * sizeof want, want, sizeof want, "frame %d", k);
        }
        free(horz), free(vert), free(work);
        lpo_clip_clear(&clip);
    }
}

/* Truth: one decode for two views gives the bytes of two calls, at 1, 2 and 5 threads alike. */
Test(prep_video, two_views_and_any_thread_count_give_the_same_bytes) {
    lpo_prep_options o = small_options();
    o.n_frames = 8;
    lpo_augment aug;
    lpo_error err = {0};
    cr_assert_eq(lpo_augment_parse(&aug, "crop=.4..7,flip,blur=.8,noise=6,drop=.3,shuffle,seed=5", &err),
                 LPO_OK);
    lpo_clip plain, changed;
    cr_assert_eq(lpo_prep_video(&plain, video_path, &o, NULL, &err), LPO_OK, "%s", err.msg);
    cr_assert_eq(lpo_prep_video(&changed, video_path, &o, &aug, &err), LPO_OK, "%s", err.msg);
    size_t bytes = (size_t)8 * 56 * 84 * 3;
    cr_assert(memcmp(plain.frames_u8, changed.frames_u8, bytes) != 0);
    for (int threads = 1; threads <= 5; threads += threads) {
        lpo_clip p, c;
        o.n_threads = threads;
        cr_assert_eq(lpo_prep_video2(&p, &c, video_path, &o, &aug, &err), LPO_OK, "%s", err.msg);
        cr_assert_arr_eq(p.frames_u8, plain.frames_u8, bytes, "%d threads", threads);
        cr_assert_arr_eq(c.frames_u8, changed.frames_u8, bytes, "%d threads", threads);
        lpo_clip_clear(&p), lpo_clip_clear(&c);
    }
    lpo_clip_clear(&plain), lpo_clip_clear(&changed);
}

/* Truth: the frame changes of A(V) act on whole frames: reversed is the plain clip backwards. */
Test(prep_video, reverse_plays_backwards) {
    lpo_prep_options o = small_options();
    lpo_augment aug = {.reverse = 1};
    lpo_clip plain, back;
    lpo_error err = {0};
    cr_assert_eq(lpo_prep_video2(&plain, &back, video_path, &o, &aug, &err), LPO_OK, "%s", err.msg);
    size_t frame = (size_t)56 * 84 * 3;
    for (size_t k = 0; k < 4; k++)
        cr_assert_arr_eq(plain.frames_u8 + k * frame, back.frames_u8 + (3 - k) * frame, frame);
    lpo_clip_clear(&plain), lpo_clip_clear(&back);
}

/* Truth: the saved file is a safetensors file: 8-byte size, JSON, tensors where the offsets say, with the
 * clip's frames and its patches in them. */
Test(prep_video, saves_safetensors) {
    lpo_prep_options o = small_options();
    lpo_clip clip;
    lpo_error err = {0};
    char path[160], *data;
    size_t size;
    snprintf(path, sizeof path, "%s/c.safetensors", dir);
    cr_assert_eq(lpo_prep_video(&clip, video_path, &o, NULL, &err), LPO_OK, "%s", err.msg);
    clip.n_frames = 3; /* an odd clip: the last step repeats a frame */
    cr_assert_eq(lpo_prep_save(path, &clip, &o, &err), LPO_OK, "%s", err.msg);
    cr_assert_eq(lpo_file_read(&data, &size, path, 1 << 24, &err), LPO_OK, "%s", err.msg);
    uint64_t header = 0;
    for (int k = 7; k >= 0; k--) header = header << 8 | (uint8_t)data[k];
    cr_assert_eq(header % 8, 0);
    json_t *obj;
    cr_assert_eq(lpo_json_parse(&obj, data + 8, header, path, &err), LPO_OK, "%s", err.msg);
    long long begin[2], end[2], shape[4], rows, cols;
    const char *dtype[2], *grid;
    int bad = json_unpack(obj, "{s:{s:s,s:[I,I],s:[I,I]}, s:{s:s,s:[I,I,I,I],s:[I,I]}, s:{s:s}}", "patches",
                          "dtype", &dtype[0], "shape", &rows, &cols, "data_offsets", &begin[0], &end[0],
                          "frames_u8", "dtype", &dtype[1], "shape", &shape[0], &shape[1], &shape[2],
                          &shape[3], "data_offsets", &begin[1], &end[1], "__metadata__", "grid_thw", &grid);
    cr_assert_eq(bad, 0);
    cr_assert(!strcmp(dtype[0], "F32") && !strcmp(dtype[1], "U8") && !strcmp(grid, "2,4,6"));
    cr_assert(rows == 48 && cols == 1176 && shape[0] == 3 && shape[1] == 56 && shape[2] == 84 &&
              shape[3] == 3);
    cr_assert(begin[0] == 0 && end[0] == begin[1] && end[0] == rows * cols * 4);
    cr_assert_eq(size, 8 + header + (size_t)end[1]);
    cr_assert_arr_eq(data + 8 + header + begin[1], clip.frames_u8, (size_t)3 * 56 * 84 * 3);
    float *patches = malloc((size_t)(rows * cols) * 4);
    lpo_prep_patchify(patches, &clip, &o);
    cr_assert_arr_eq(data + 8 + header, patches, (size_t)(rows * cols) * 4);
    free(patches), free(data), json_decref(obj);

    /* Headers of eight lengths in a row: each is padded to 8 without losing a byte. */
    for (double seconds = 1; seconds >= 1. / 128; seconds /= 2) {
        clip.second_per_grid = seconds;
        cr_assert_eq(lpo_prep_save(path, &clip, &o, &err), LPO_OK, "%s", err.msg);
        cr_assert_eq(lpo_file_read(&data, &size, path, 1 << 24, &err), LPO_OK, "%s", err.msg);
        header = (uint8_t)data[0] + 256u * (uint8_t)data[1];
        cr_assert_eq(header % 8, 0);
        cr_assert_eq(size, 8 + header + (size_t)end[1]);
        cr_assert_eq(lpo_json_parse(&obj, data + 8, header, path, &err), LPO_OK, "%s", err.msg);
        free(data), json_decref(obj);
    }
    lpo_clip_clear(&clip);
}

/* Truth: what cannot be done is refused in words, and leaves an empty clip. */
Test(prep_video, refuses_in_words) {
    static const struct {
        const char *path, *family;
        int target_h, target_w;
        lpo_status want;
        const char *word;
    } cases[] = {
        {"/nowhere/v.mp4", "qwen2_vl", 56, 84, LPO_ENOTFOUND, "/nowhere/v.mp4"},
        {NULL, "qwen2_vl", 50, 84, LPO_EINVAL, "multiples of 28"},
        {NULL, "qwen2_vl", 56, 0, LPO_EINVAL, "multiples of 28"},
        {NULL, "llava", 56, 84, LPO_EUNSUPPORTED, "llava"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        lpo_prep_options o = small_options();
        o.family = cases[k].family, o.target_h = cases[k].target_h, o.target_w = cases[k].target_w;
        lpo_clip clip = {0};
        lpo_error err = {0};
        const char *path = cases[k].path ? cases[k].path : video_path;
        cr_assert_eq(lpo_prep_video(&clip, path, &o, NULL, &err), cases[k].want, "%s", err.msg);
        cr_assert(strstr(err.msg, cases[k].word), "%s", err.msg);
        cr_assert_null(clip.frames_u8);
    }
}

static void write_config(const char *name, const char *text) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    cr_assert_eq(lpo_file_write(path, text, strlen(text), NULL), LPO_OK);
}

/* Truth: the model folder overrides the family's constants; the still-image minimum of
 * preprocessor_config.json does not apply to clips, video_preprocessor_config.json's does; what is wrong is
 * named. */
Test(prep_options, come_from_the_model_folder) {
    lpo_prep_options o;
    lpo_error err = {0};
    cr_assert_eq(lpo_prep_options_load(&o, dir, &err), LPO_ENOTFOUND);
    write_config("preprocessor_config.json",
                 "{\"image_processor_type\": \"Qwen2VLImageProcessor\", \"min_pixels\": 3136, "
                 "\"max_pixels\": 12845056,"
                 " \"patch_size\": 16, \"image_mean\": [0.5, 0.25, 0.125], \"image_std\": [0.5, 0.5, 1]}");
    cr_assert_eq(lpo_prep_options_load(&o, dir, &err), LPO_OK, "%s", err.msg);
    cr_assert(o.patch_size == 16 && o.merge_size == 2 && o.min_pixels == 100352 && o.mean[1] == .25f &&
              o.std[2] == 1);
    cr_assert_eq(lpo_video_max_pixels(&o, 16), 768 * 784);
    write_config("video_preprocessor_config.json",
                 "{\"size\": {\"shortest_edge\": 4096, \"longest_edge\": 9999}}");
    cr_assert_eq(lpo_prep_options_load(&o, dir, &err), LPO_OK, "%s", err.msg);
    cr_assert(o.min_pixels == 4096 && o.max_pixels == 9999);
    static const struct {
        const char *text;
        lpo_status want;
        const char *word;
    } bad[] = {
        {"{\"patch_size\": 0}", LPO_EFORMAT, "patch_size"},
        {"{\"image_std\": [1, 1, 0]}", LPO_EFORMAT, "image_std"},
        {"{\"image_mean\": [1, 1]}", LPO_EFORMAT, "image_mean"},
        {"{\"image_processor_type\": \"CLIPImageProcessor\"}", LPO_EUNSUPPORTED, "CLIPImageProcessor"},
        {"[]", LPO_EFORMAT, "object"},
        {"{", LPO_EFORMAT, "preprocessor_config.json"},
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        write_config("preprocessor_config.json", bad[k].text);
        cr_assert_eq(lpo_prep_options_load(&o, dir, &err), bad[k].want, "%s: %s", bad[k].text, err.msg);
        cr_assert(strstr(err.msg, bad[k].word), "%s", err.msg);
    }
}
