/* SPDX-License-Identifier: Apache-2.0 */
/* clip_rule.c -- see clip_rule.h. */
#include "base/clip_rule.h"

#include <string.h>

/* A string key with a fallback; NULL after a failure. */
static const char *word(const json_t *o, const char *key, const char *fallback, const char *where,
                        lpo_status *st, lpo_error *err) {
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) return fallback;
    if (json_is_string(v)) return json_string_value(v);
    *st = lpo_fail(err, LPO_EFORMAT, "%s: key \"%s\": expected a string", where, key);
    return fallback;
}

static lpo_status parse_pool(lpo_clip_rule *r, const json_t *c, const char *mode_key, const char *stride_key,
                             const char *fallback, const char *where, lpo_error *err) {
    lpo_status st = LPO_OK;
    const char *mode = word(c, mode_key, fallback, where, &st, err);
    int64_t stride = 2;
    if (!st) st = lpo_json_int_or(&stride, c, stride_key, 1, 2, where, err);
    if (st) return st;
    r->stride = (int32_t)stride;
    r->pool = !strcmp(mode, "average")    ? LPO_POOL_AVERAGE
              : !strcmp(mode, "bilinear") ? LPO_POOL_BILINEAR
                                          : LPO_POOL_NONE;
    if (r->pool == LPO_POOL_NONE)
        return lpo_fail(err, LPO_EUNSUPPORTED,
                        "%s: key \"%s\": pooling \"%.40s\" is not supported (average, bilinear)", where,
                        mode_key, mode);
    return LPO_OK;
}

static lpo_status parse_newline(lpo_clip_rule *r, const json_t *c, const char *where, lpo_error *err) {
    static const char *const names[] = {"no_token", "grid", "frame", "one_token"};
    lpo_status st = LPO_OK;
    const char *at = word(c, "mm_newline_position", "one_token", where, &st, err);
    if (st) return st;
    for (int i = 0; i < 4; i++)
        if (!strcmp(at, names[i])) {
            r->newline = (lpo_newline)i;
            return LPO_OK;
        }
    return lpo_fail(err, LPO_EUNSUPPORTED,
                    "%s: key \"mm_newline_position\": \"%.40s\" is not known (grid, frame, one_token, "
                    "no_token)",
                    where, at);
}

lpo_status lpo_clip_rule_parse(lpo_clip_rule *r, const json_t *c, const char *where, lpo_error *err) {
    *r = (lpo_clip_rule){1, 1, LPO_POOL_NONE, LPO_NEWLINE_NONE};
    lpo_status st = LPO_OK;
    const char *type = word(c, "model_type", "", where, &st, err);
    if (st) return st;
    if (!strcmp(type, "llava_next_video"))
        return parse_pool(r, c, "spatial_pool_mode", "spatial_pool_stride", "average", where, err);
    if (!strcmp(type, "llava_onevision")) {
        *r = (lpo_clip_rule){1, 2, LPO_POOL_BILINEAR, LPO_NEWLINE_CLIP};
        return LPO_OK;
    }
    if (!strcmp(type, "llava_qwen")) {
        st = parse_pool(r, c, "mm_spatial_pool_mode", "mm_spatial_pool_stride", "bilinear", where, err);
        return st ? st : parse_newline(r, c, where, err);
    }
    int64_t merge = 2;
    const json_t *tower = json_object_get(c, "vision_config");
    if (json_is_object(tower)) st = lpo_json_int_or(&merge, tower, "spatial_merge_size", 1, 16, where, err);
    r->merge = (int32_t)merge;
    return st;
}

int32_t lpo_clip_rule_side(const lpo_clip_rule *r, int32_t patches) {
    const int32_t n = patches / r->merge;
    return r->pool == LPO_POOL_NONE      ? n
           : r->pool == LPO_POOL_AVERAGE ? n / r->stride
                                         : (n + r->stride - 1) / r->stride;
}

int64_t lpo_clip_rule_tokens(const lpo_clip_rule *r, int32_t grid_t, int32_t grid_h, int32_t grid_w) {
    const int64_t h = lpo_clip_rule_side(r, grid_h), w = lpo_clip_rule_side(r, grid_w);
    const int64_t frame = h * (w + (r->newline == LPO_NEWLINE_ROW)) + (r->newline == LPO_NEWLINE_FRAME);
    return grid_t * frame + (r->newline == LPO_NEWLINE_CLIP);
}
