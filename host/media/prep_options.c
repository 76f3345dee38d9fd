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

enum { MAX_JSON_BYTES = 1 << 20, FRAME_MAX_PIXELS = 768 * 784 };

static const lpo_prep_options qwen2_vl = {.family = "qwen2_vl",
                                          .patch_size = 14,
                                          .temporal_patch = 2,
                                          .merge_size = 2,
                                          .min_pixels = 128 * 784,
                                          .total_pixels = 90316800,
                                          .mean = {0.48145466f, 0.4578275f, 0.40821073f},
                                          .std = {0.26862954f, 0.26130258f, 0.27577711f},
                                          .fps = 2.0,
                                          .resize_pillow = 1};

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

static lpo_status load_object(lpo_prep_options *o, const json_t *obj, const char *where, int is_video,
                              lpo_error *err) {
    const char *type = json_string_value(json_object_get(obj, "image_processor_type"));
    if (type && strncmp(type, "Qwen2", 5) != 0)
        return lpo_fail(err, LPO_EUNSUPPORTED, "%s: image_processor_type \"%s\" is not one of Qwen2VL's",
                        where, type);
    const json_t *size = json_object_get(obj, "size");
    const int64_t most = (int64_t)1 << 40;
    lpo_status s = load_int(&o->patch_size, obj, "patch_size", 256, where, err);
    if (!s) s = load_int(&o->temporal_patch, obj, "temporal_patch_size", 16, where, err);
    if (!s) s = load_int(&o->merge_size, obj, "merge_size", 16, where, err);
    if (!s) s = load_triple(o->mean, obj, "image_mean", where, 0, err);
    if (!s) s = load_triple(o->std, obj, "image_std", where, 1e-6, err);
    if (!s) s = lpo_json_int_or(&o->max_pixels, obj, "max_pixels", 1, most, where, err);
    if (!s) s = lpo_json_real_or(&o->fps, obj, "fps", 1e-6, 1e6, where, err);
    if (!s) s = load_int(&o->n_frames, obj, "num_frames", 768, where, err);
    if (!s && is_video) s = lpo_json_int_or(&o->min_pixels, obj, "min_pixels", 1, most, where, err);
    if (!s && is_video && json_is_object(size)) {
        s = lpo_json_int_or(&o->min_pixels, size, "shortest_edge", 1, most, where, err);
        if (!s) s = lpo_json_int_or(&o->max_pixels, size, "longest_edge", 1, most, where, err);
    }
    return s;
}

static lpo_status load_file(lpo_prep_options *o, const char *model_dir, const char *name, int is_video,
                            lpo_error *err) {
    char *path = lpo_path_join(model_dir, name);
    json_t *obj = NULL;
    lpo_status s = LPO_OK;
    if (!path) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", model_dir);
    if (!is_video || lpo_path_exists(path)) {
        s = lpo_json_load(&obj, path, MAX_JSON_BYTES, err);
        if (!s && !json_is_object(obj)) s = lpo_fail(err, LPO_EFORMAT, "%s: not a JSON object", path);
        if (!s) s = load_object(o, obj, path, is_video, err);
    }
    json_decref(obj);
    free(path);
    return s;
}

lpo_status lpo_prep_options_load(lpo_prep_options *o, const char *model_dir, lpo_error *err) {
    *o = qwen2_vl;
    if (!model_dir) return LPO_OK;
    lpo_status s = load_file(o, model_dir, "preprocessor_config.json", 0, err);
    if (!s) s = load_file(o, model_dir, "video_preprocessor_config.json", 1, err);
    return s;
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
