/* SPDX-License-Identifier: Apache-2.0 */
/* prep_options.c -- a family's recipe: its constants, what a model folder says over them, and the size rule.
 * min_pixels in preprocessor_config.json is the limit for still images (3136 in every Qwen2-VL folder); clips
 * have their own, from video_preprocessor_config.json when there is one. */
#include "base/file.h"
#include "base/json.h"
#include "leanpo/prep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_JSON_BYTES = 1 << 20,
    MAX_CONFIG_BYTES = 4 << 20,
    FRAME_MAX_PIXELS = 768 * 784,
    MAX_FRAMES = 768,
    MAX_SIDE = 4096 /* of a fixed side */
};

#define CLIP_MEAN_STD                                                                                        \
    .mean = {0.48145466f, 0.4578275f, 0.40821073f}, .std = {0.26862954f, 0.26130258f, 0.27577711f}
#define QWEN(name)                                                                                           \
    {                                                                                                        \
        .family = name, .patch_size = 14, .temporal_patch = 2, .merge_size = 2, .min_pixels = 128 * 784,     \
        .total_pixels = 90316800, CLIP_MEAN_STD, .fps = 2.0, .resize_pillow = 1                              \
    }

/* model_type of config.json -> recipe. */
static const struct {
    const char *type;
    lpo_prep_options recipe;
} recipes[] = {
    {"qwen2_vl", QWEN("qwen2_vl")},
    {"qwen2_5_vl", QWEN("qwen2_5_vl")},
    {"llava_next_video",
     {.family = "llava_next_video",
      .patch_size = 14,
      .temporal_patch = 1,
      .merge_size = 1,
      CLIP_MEAN_STD,
      .fps = 1.0,
      .n_frames = 8,
      .resize_pillow = 1,
      .short_side = 336,
      .cut = 336,
      .uniform = 1,
      .max_frames = 64}},
    {"llava_video",
     {.family = "llava_video",
      .patch_size = 14,
      .temporal_patch = 1,
      .merge_size = 1,
      .mean = {.5f, .5f, .5f},
      .std = {.5f, .5f, .5f},
      .fps = 1.0,
      .resize_pillow = 1,
      .resize_h = 384,
      .resize_w = 384,
      .uniform = 1,
      .max_frames = 64}},
};

static const lpo_prep_options *recipe_of(const char *type) {
    if (!strcmp(type, "llava_qwen") || !strcmp(type, "llava_onevision")) type = "llava_video";
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++)
        if (!strcmp(recipes[i].type, type)) return &recipes[i].recipe;
    return NULL;
}

lpo_status lpo_prep_options_of(lpo_prep_options *o, const char *family, lpo_error *err) {
    const lpo_prep_options *r = recipe_of(family);
    if (!r)
        return lpo_fail(err, LPO_EUNSUPPORTED,
                        "preprocessing for family '%.40s' (there is qwen2_vl, qwen2_5_vl, llava_next_video, "
                        "llava_video)",
                        family);
    *o = *r;
    return LPO_OK;
}

static lpo_status load_triple(float out[3], const json_t *obj, const char *key, const char *where, double min,
                              lpo_error *err) {
    const json_t *v = json_object_get(obj, key);
    if (!v || json_is_null(v)) return LPO_OK;
    for (size_t c = 0; c < 3; c++) {
        const json_t *x = json_is_array(v) && json_array_size(v) == 3 ? json_array_get(v, c) : NULL;
        double value = json_is_number(x) ? json_number_value(x) : NAN;
        if (!(value >= min && value <= 255))
            return lpo_fail(err, LPO_EFORMAT, "%s: \"%s\" must be three numbers, at least %g", where, key,
                            min);
        out[c] = (float)value;
    }
    return LPO_OK;
}

static lpo_status load_int(int *out, const json_t *obj, const char *key, int64_t max, const char *where,
                           lpo_error *err) {
    int64_t v = *out;
    lpo_status s = lpo_json_int_or(&v, obj, key, 1, max, where, err);
    *out = (int)v;
    return s;
}

/* LLaVA's sizes: {"shortest_edge": n} with a centre crop, or {"height": h, "width": w}. */
static lpo_status load_frame(lpo_prep_options *o, const json_t *obj, const char *where, lpo_error *err) {
    const json_t *size = json_object_get(obj, "size"), *crop = json_object_get(obj, "crop_size");
    lpo_status s = LPO_OK;
    if (o->short_side) {
        s = load_int(&o->short_side, size, "shortest_edge", MAX_SIDE, where, err);
        o->cut = o->short_side;
        if (!s && json_is_object(crop)) s = load_int(&o->cut, crop, "height", MAX_SIDE, where, err);
        if (!s && o->cut > o->short_side)
            s = lpo_fail(err, LPO_EUNSUPPORTED, "%s: crop_size %d is over the shortest_edge %d", where,
                         o->cut, o->short_side);
    } else if (o->resize_h) {
        s = load_int(&o->resize_h, size, "height", MAX_SIDE, where, err);
        if (!s) s = load_int(&o->resize_w, size, "width", MAX_SIDE, where, err);
    }
    return s;
}

static lpo_status load_object(lpo_prep_options *o, const json_t *obj, const char *where, int is_video,
                              lpo_error *err) {
    const char *type = json_string_value(json_object_get(obj, "image_processor_type"));
    const int qwen = o->merge_size > 1;
    if (type && (strncmp(type, "Qwen2", 5) == 0) != qwen)
        return lpo_fail(err, LPO_EUNSUPPORTED, "%s: image_processor_type \"%s\" is not one of %s's", where,
                        type, o->family);
    const json_t *size = json_object_get(obj, "size");
    const int64_t most = (int64_t)1 << 40;
    lpo_status s = load_int(&o->patch_size, obj, "patch_size", 256, where, err);
    if (!s && qwen) s = load_int(&o->temporal_patch, obj, "temporal_patch_size", 16, where, err);
    if (!s && qwen) s = load_int(&o->merge_size, obj, "merge_size", 16, where, err);
    if (!s) s = load_triple(o->mean, obj, "image_mean", where, 0, err);
    if (!s) s = load_triple(o->std, obj, "image_std", where, 1e-6, err);
    if (!s) s = lpo_json_int_or(&o->max_pixels, obj, "max_pixels", 1, most, where, err);
    if (!s) s = lpo_json_real_or(&o->fps, obj, "fps", 1e-6, 1e6, where, err);
    if (!s) s = load_int(&o->n_frames, obj, "num_frames", MAX_FRAMES, where, err);
    if (!s && !qwen) return json_is_object(size) ? load_frame(o, obj, where, err) : LPO_OK;
    if (!s && is_video) s = lpo_json_int_or(&o->min_pixels, obj, "min_pixels", 1, most, where, err);
    if (!s && is_video && json_is_object(size)) {
        s = lpo_json_int_or(&o->min_pixels, size, "shortest_edge", 1, most, where, err);
        if (!s) s = lpo_json_int_or(&o->max_pixels, size, "longest_edge", 1, most, where, err);
    }
    return s;
}

/* The recipe config.json's model_type names; Qwen2-VL's for a folder without one. LLaVA's patches are the
 * tower's, which preprocessor_config.json does not know. */
static lpo_status load_family(lpo_prep_options *o, const char *model_dir, lpo_error *err) {
    char *path = lpo_path_join(model_dir, "config.json");
    if (!path) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", model_dir);
    json_t *config = NULL;
    const char *type = "qwen2_vl";
    lpo_status s = lpo_path_exists(path) ? lpo_json_load(&config, path, MAX_CONFIG_BYTES, err) : LPO_OK;
    const json_t *named = json_object_get(config, "model_type"),
                 *tower = json_object_get(config, "vision_config");
    if (json_is_string(named)) type = json_string_value(named);
    if (!s && (s = lpo_prep_options_of(o, type, err))) s = lpo_fail_in(err, s, "%s", path);
    if (!s && o->merge_size == 1 && json_is_object(tower)) {
        s = load_int(&o->patch_size, tower, "patch_size", 256, path, err);
        int image = o->resize_h ? o->resize_h : o->cut;
        if (!s) s = load_int(&image, tower, "image_size", MAX_SIDE, path, err);
        if (o->resize_h) o->resize_h = o->resize_w = image;
        if (o->cut) o->short_side = o->cut = image;
    }
    /* LLaVA-Video: spread over the whole video even where a frame a second would be fewer. */
    if (!s && o->uniform && json_is_true(json_object_get(config, "force_sample")))
        o->n_frames = o->max_frames;
    json_decref(config);
    free(path);
    return s;
}

static lpo_status load_file(lpo_prep_options *o, const char *model_dir, const char *name, int is_video,
                            lpo_error *err) {
    char *path = lpo_path_join(model_dir, name);
    json_t *obj = NULL;
    lpo_status s = LPO_OK;
    if (!path) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", model_dir);
    if ((!is_video && o->merge_size > 1) || lpo_path_exists(path)) { /* LLaVA-NeXT's folders have neither */
        s = lpo_json_load(&obj, path, MAX_JSON_BYTES, err);
        if (!s && !json_is_object(obj)) s = lpo_fail(err, LPO_EFORMAT, "%s: not a JSON object", path);
        if (!s) s = load_object(o, obj, path, is_video, err);
    }
    json_decref(obj);
    free(path);
    return s;
}

lpo_status lpo_prep_options_load(lpo_prep_options *o, const char *model_dir, lpo_error *err) {
    *o = recipes[0].recipe;
    if (!model_dir) return LPO_OK;
    lpo_status s = load_family(o, model_dir, err);
    if (!s) s = load_file(o, model_dir, "preprocessor_config.json", 0, err);
    if (!s) s = load_file(o, model_dir, "video_preprocessor_config.json", 1, err);
    return s;
}

static lpo_status ask_frames(lpo_prep_options *o, const lpo_clip_options *ask, lpo_error *err) {
    const int n = (int)ask->n_frames, pair = o->uniform ? 1 : 2;
    if (ask->n_frames < 0 || ask->n_frames > MAX_FRAMES)
        return lpo_fail(err, LPO_EINVAL, "--frames %lld: give 1..%d", (long long)ask->n_frames, MAX_FRAMES);
    if (n % pair)
        return lpo_fail(err, LPO_EINVAL, "--frames %d: %s takes frames in pairs; ask for %d", n, o->family,
                        n + 1);
    if (!(ask->fps >= 0 && ask->fps <= 1e6))
        return lpo_fail(err, LPO_EINVAL, "--fps %g: give a number of frames a second above 0", ask->fps);
    if (n && ask->fps > 0)
        return lpo_fail(err, LPO_EINVAL, "--frames %d and --fps %g: choose one of them", n, ask->fps);
    if (n || ask->fps > 0) o->n_frames = n;
    if (ask->fps > 0) o->fps = ask->fps;
    return LPO_OK;
}

static lpo_status ask_pixels(lpo_prep_options *o, const lpo_clip_options *ask, lpo_error *err) {
    const char *name = ask->max_pixels ? "max-pixels" : "min-pixels";
    const int64_t value = ask->max_pixels ? ask->max_pixels : ask->min_pixels;
    const int side = o->patch_size * o->merge_size;
    const int64_t most = (int64_t)1 << 28; /* 16384 x 16384 */
    if (!ask->min_pixels && !ask->max_pixels) return LPO_OK;
    if (o->short_side || o->resize_h)
        return lpo_fail(err, LPO_EINVAL, "--%s %lld: %s has frames of one size, %dx%d; leave it out", name,
                        (long long)value, o->family, o->short_side ? o->cut : o->resize_w,
                        o->short_side ? o->cut : o->resize_h);
    if (o->target_h)
        return lpo_fail(err, LPO_EINVAL, "--%s %lld: frames shall be %dx%d already; leave one out", name,
                        (long long)value, o->target_w, o->target_h);
    if (ask->min_pixels < 0 || ask->min_pixels > most)
        return lpo_fail(err, LPO_EINVAL, "--min-pixels %lld: give 1..%lld", (long long)ask->min_pixels,
                        (long long)most);
    if (ask->max_pixels && (ask->max_pixels < (int64_t)side * side || ask->max_pixels > most))
        return lpo_fail(err, LPO_EINVAL, "--max-pixels %lld: a token of %s is %dx%d pixels; give %d..%lld",
                        (long long)ask->max_pixels, o->family, side, side, side * side, (long long)most);
    if (ask->min_pixels) o->min_pixels = ask->min_pixels;
    if (ask->max_pixels) o->max_pixels = ask->max_pixels;
    if (o->max_pixels && o->max_pixels < o->min_pixels)
        return lpo_fail(err, LPO_EINVAL, "--%s %lld: at most %lld pixels a frame, but at least %lld; give %s",
                        name, (long long)value, (long long)o->max_pixels, (long long)o->min_pixels,
                        ask->max_pixels && ask->min_pixels ? "a smaller --min-pixels"
                        : ask->max_pixels                  ? "--min-pixels too"
                                                           : "--max-pixels too");
    if (ask->max_pixels > lpo_video_max_pixels(o, 1))
        lpo_log(LPO_LOG_WARN, "--max-pixels %lld: frames of a %s clip have at most %lld", (long long)value,
                o->family, (long long)lpo_video_max_pixels(o, 1));
    return LPO_OK;
}

lpo_status lpo_prep_options_ask(lpo_prep_options *o, const lpo_clip_options *ask, lpo_error *err) {
    const lpo_status s = ask_frames(o, ask, err);
    return s ? s : ask_pixels(o, ask, err);
}

int64_t lpo_video_max_pixels(const lpo_prep_options *o, int n_frames) {
    double share = (double)o->total_pixels / (n_frames > 0 ? n_frames : 1) * 2;
    double most = share < FRAME_MAX_PIXELS ? share : FRAME_MAX_PIXELS;
    double least = floor((double)o->min_pixels * 1.05);
    int64_t max = (int64_t)(most > least ? most : least);
    return o->max_pixels > 0 && o->max_pixels < max ? o->max_pixels : max;
}

lpo_status lpo_smart_resize(int *out_h, int *out_w, int h, int w, int factor, int64_t min_pixels,
                            int64_t max_pixels, lpo_error *err) {
    if (h < 1 || w < 1 || factor < 1 || max_pixels < 1)
        return lpo_fail(err, LPO_EINVAL, "cannot resize a %dx%d frame to multiples of %d in %lld pixels", w,
                        h, factor, (long long)max_pixels);
    if ((double)(h > w ? h : w) / (h > w ? w : h) > 200)
        return lpo_fail(err, LPO_EINVAL, "a %dx%d frame is longer than 200 times its width (crop the video)",
                        w, h);
    /* rint is round half to even, as Python's round: 854/28 = 30.5 is 30. */
    double nh = fmax(factor, rint((double)h / factor) * factor),
           nw = fmax(factor, rint((double)w / factor) * factor);
    double area = (double)h * w;
    if (nh * nw > (double)max_pixels) {
        double beta = sqrt(area / (double)max_pixels);
        nh = fmax(factor, floor(h / beta / factor) * factor);
        nw = fmax(factor, floor(w / beta / factor) * factor);
    } else if (nh * nw < (double)min_pixels) {
        double beta = sqrt((double)min_pixels / area);
        nh = ceil(h * beta / factor) * factor;
        nw = ceil(w * beta / factor) * factor;
    }
    if (nh > 16384 || nw > 16384)
        return lpo_fail(err, LPO_ELIMIT,
                        "a %dx%d frame would become %.0fx%.0f, over 16384 (lower min_pixels)", w, h, nw, nh);
    *out_h = (int)nh, *out_w = (int)nw;
    return LPO_OK;
}
