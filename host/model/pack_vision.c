/* SPDX-License-Identifier: Apache-2.0 */
/* pack_vision.c -- clips laid end to end for the tower, and how its rows become video rows of the text.
 * A unit is what one video row is made from before pooling: merge x merge patches. Units run in the order of
 * attention windows where a tower has them, else in their own: permuting the patches on their way in costs
 * the device nothing. The way back, class rows, learned positions, pooling and newlines are row mixes whose
 * tables are made here. */
#include "model/pack.h"

#include <math.h>
#include <string.h>

static int64_t clip_patches(const lpo_clip_input *c) {
    return (int64_t)c->grid_t * c->grid_h * c->grid_w;
}

int64_t lpo_clip_rows(const lpo_model *m, const lpo_clip_input *c) {
    return lpo_clip_rule_tokens(&m->config.clip, c->grid_t, c->grid_h, c->grid_w);
}

lpo_status lpo_clip_check(const lpo_model *m, const lpo_clip_input *c, lpo_error *err) {
    const int32_t g = m->config.vision.merge_size, side = m->config.vision.side;
    if (!c->patches || c->grid_t < 1 || c->grid_h < 1 || c->grid_w < 1 || c->grid_h % g || c->grid_w % g ||
        c->grid_t > 1 << 16 || c->grid_h > 1 << 12 || c->grid_w > 1 << 12)
        return lpo_fail(err, LPO_EINVAL,
                        "a grid of %d x %d x %d patches (height and width must be multiples of %d)",
                        c->grid_t, c->grid_h, c->grid_w, g);
    if (side && (c->grid_h != side || c->grid_w != side))
        return lpo_fail(err, LPO_EINVAL, "frames of %d x %d patches, but the tower's are %d x %d", c->grid_h,
                        c->grid_w, side, side);
    if (m->config.tokens_per_second > 0 && !(c->second_per_grid >= 0))
        return lpo_fail(err, LPO_EINVAL, "%g seconds between temporal patches", c->second_per_grid);
    return LPO_OK;
}

/* One clip on its way into the packing. */
typedef struct cursor {
    lpo_packed *o;
    const lpo_model_config *c;
    const lpo_clip_input *clip;
    int64_t patch, row, video; /* written so far: patches, tower rows, video rows */
} cursor;

static void add_cu(int32_t *cu, int32_t *n, int64_t end) {
    if (cu[*n - 1] != end) cu[(*n)++] = (int32_t)end;
}

/* Half the frequencies turn with h, half with w. */
static void rope_row(float *cos_out, float *sin_out, int32_t h, int32_t w, const lpo_vision_config *v) {
    const int32_t half = v->block.d_head / 2, quarter = v->block.d_head / 4;
    for (int32_t j = 0; j < half; j++) {
        const float inv = 1.0f / powf((float)v->rope_theta, (float)(2 * (j % quarter)) / (float)half);
        const float angle = (float)(j < quarter ? h : w) * inv;
        cos_out[j] = cosf(angle);
        sin_out[j] = sinf(angle);
    }
}

/* The unit at (t, y, x) of the clip becomes the next rows of the tower. */
static void put_unit(cursor *k, int64_t cols, int32_t t, int32_t y, int32_t x) {
    const lpo_vision_config *v = &k->c->vision;
    const int32_t g = v->merge_size, H = k->clip->grid_h / g, W = k->clip->grid_w / g;
    const int64_t group = (int64_t)g * g, unit = ((int64_t)t * H + y) * W + x, half = v->block.d_head / 2;
    const size_t row = (size_t)cols * (k->o->levels ? 1 : sizeof(float));
    memcpy((char *)k->o->patches + (size_t)k->patch * row,
           (const char *)k->clip->patches + (size_t)(unit * group) * row, (size_t)group * row);
    for (int32_t i = 0; i < (int32_t)group && k->o->vision_cos; i++)
        rope_row(k->o->vision_cos + (k->row + i) * half, k->o->vision_sin + (k->row + i) * half,
                 y * g + i / g, x * g + i % g, v);
    for (int32_t i = 0; i < (int32_t)group && k->o->class_mix; i++)
        k->o->class_mix[k->row + i] = (int32_t)(k->patch + i);
    if (k->o->window_cu) k->o->video_mix[k->video + unit] = (int32_t)(k->row / group);
    k->patch += group;
    k->row += group;
}

/* All units of frame t, window by window: whole ones and what the right and lower edges leave. */
static void put_frame(cursor *k, int64_t cols, int32_t t) {
    const lpo_vision_config *v = &k->c->vision;
    const int32_t H = k->clip->grid_h / v->merge_size, W = k->clip->grid_w / v->merge_size;
    const int32_t side = v->window ? v->window : H > W ? H : W;
    const int64_t first = k->row;
    if (k->o->class_mix) k->o->class_mix[k->row++] = (int32_t)k->o->n_patches;
    for (int32_t top = 0; top < H; top += side)
        for (int32_t left = 0; left < W; left += side) {
            for (int32_t y = top; y < top + side && y < H; y++)
                for (int32_t x = left; x < left + side && x < W; x++) put_unit(k, cols, t, y, x);
            if (k->o->window_cu) add_cu(k->o->window_cu, &k->o->n_window_cu, k->row);
        }
    add_cu(k->o->vision_cu, &k->o->n_vision_cu, k->row);
    for (int64_t r = first; r < k->row && k->o->position_mix; r++) {
        k->o->position_mix[2 * r] = (int32_t)r;
        k->o->position_mix[2 * r + 1] = (int32_t)(k->o->n_vision + r - first);
    }
}

/* Where output i of n looks in a row of `size`: two neighbours and the share of the second. As the usual
 * half-pixel interpolation, in float. */
static void bilinear(int32_t at[2], float *share, int32_t i, int32_t n, int32_t size) {
    const float scale = (float)size / (float)n, src = scale * ((float)i + 0.5f) - 0.5f;
    const float from = src < 0 ? 0 : src;
    at[0] = (int32_t)from;
    at[1] = at[0] + (at[0] < size - 1);
    *share = from - (float)at[0];
}

/* Four taps of pooled row (y, x) over a frame whose patches start at tower row `first`. */
static void pool_taps(int32_t idx[4], float w[4], const lpo_clip_rule *r, int64_t first, int32_t y, int32_t x,
                      int32_t side) {
    int32_t ys[2], xs[2];
    float fy = 0.5f, fx = 0.5f;
    if (r->pool == LPO_POOL_BILINEAR) {
        const int32_t n = lpo_clip_rule_side(r, side);
        bilinear(ys, &fy, y, n, side);
        bilinear(xs, &fx, x, n, side);
    } else {
        ys[0] = y * r->stride, ys[1] = ys[0] + r->stride - 1;
        xs[0] = x * r->stride, xs[1] = xs[0] + r->stride - 1;
    }
    for (int i = 0; i < 4; i++) {
        idx[i] = (int32_t)(first + (int64_t)ys[i / 2] * side + xs[i % 2]);
        w[i] = (i / 2 ? fy : 1 - fy) * (i % 2 ? fx : 1 - fx);
    }
}

static void put_newline(cursor *k) {
    for (int i = 0; i < 4; i++) {
        k->o->video_mix[4 * k->video + i] = i ? -1 : (int32_t)k->o->n_vision;
        k->o->video_w[4 * k->video + i] = !i;
    }
    k->video++;
}

/* The pooled rows of the clip whose tower rows end here. */
static void put_pooled(cursor *k) {
    const lpo_clip_rule *r = &k->c->clip;
    const int32_t side = k->c->vision.side, n = lpo_clip_rule_side(r, side), extra = k->c->vision.class_token;
    const int64_t frame = (int64_t)side * side + extra, start = k->row - frame * k->clip->grid_t;
    for (int32_t t = 0; t < k->clip->grid_t; t++) {
        for (int32_t y = 0; y < n; y++) {
            for (int32_t x = 0; x < n; x++, k->video++)
                pool_taps(k->o->video_mix + 4 * k->video, k->o->video_w + 4 * k->video, r,
                          start + t * frame + extra, y, x, side);
            if (r->newline == LPO_NEWLINE_ROW) put_newline(k);
        }
        if (r->newline == LPO_NEWLINE_FRAME) put_newline(k);
    }
    if (r->newline == LPO_NEWLINE_CLIP) put_newline(k);
}

/* Totals, and where each clip's rows begin. */
static lpo_status measure(lpo_packed *o, int64_t *n_frames, const lpo_model *m,
                          const lpo_clip_input *const *clips, int n_clips, int64_t *base, lpo_error *err) {
    for (int i = 0; i < n_clips; i++) {
        if (!clips[i]) continue;
        lpo_status st = lpo_clip_check(m, clips[i], err);
        if (st) return lpo_fail_in(err, st, "clip %d", i);
        const float *levels = clips[i]->levels;
        if (!o->n_patches) o->levels = levels;
        if (!levels != !o->levels || (levels && memcmp(levels, o->levels, 3 * 256 * sizeof *levels)))
            return lpo_fail(err, LPO_EINVAL, "clip %d: its bytes stand for other values than those before",
                            i);
        base[i] = o->n_video;
        o->n_patches += clip_patches(clips[i]);
        o->n_video += lpo_clip_rows(m, clips[i]);
        *n_frames += clips[i]->grid_t;
        if (o->n_patches > INT32_MAX / 2)
            return lpo_fail(err, LPO_ELIMIT, "a batch of more than 2^30 patches");
    }
    o->n_vision = o->n_patches + (m->config.vision.class_token ? *n_frames : 0);
    return LPO_OK;
}

static bool allocate(lpo_packed *o, lpo_arena *a, const lpo_model *m, int64_t n_frames) {
    const lpo_vision_config *v = &m->config.vision;
    const size_t cols = (size_t)m->layout.patch_w->shape[1], half = (size_t)v->block.d_head / 2;
    const size_t rows = (size_t)o->n_vision, P = (size_t)o->n_patches;
    const bool pool = m->config.clip.pool != LPO_POOL_NONE;
    o->n_taps = pool ? 4 : v->window ? 1 : 0;
    o->patches = lpo_arena_alloc(a, P * cols, o->levels ? 1 : sizeof(float));
    o->vision_cu = lpo_arena_alloc(a, (size_t)n_frames + 1, sizeof(int32_t));
    bool ok = o->patches && o->vision_cu;
    if (v->window) ok &= !!(o->window_cu = lpo_arena_alloc(a, P + 1, sizeof(int32_t)));
    if (!v->side) {
        o->vision_cos = lpo_arena_alloc(a, rows * half, sizeof(float));
        o->vision_sin = lpo_arena_alloc(a, rows * half, sizeof(float));
        ok &= o->vision_cos && o->vision_sin;
    } else {
        ok &= !!(o->position_mix = lpo_arena_alloc(a, rows, 2 * sizeof(int32_t)));
    }
    if (v->class_token) ok &= !!(o->class_mix = lpo_arena_alloc(a, rows, sizeof(int32_t)));
    const size_t taps = (size_t)o->n_video * (size_t)o->n_taps;
    if (taps) ok &= !!(o->video_mix = lpo_arena_alloc(a, taps, sizeof(int32_t)));
    if (pool) ok &= !!(o->video_w = lpo_arena_alloc(a, taps, sizeof(float)));
    return ok;
}

lpo_status lpo_pack_clips(lpo_packed *o, lpo_arena *a, const lpo_model *m, const lpo_clip_input *const *clips,
                          int n_clips, int64_t *base, lpo_error *err) {
    int64_t n_frames = 0;
    lpo_status st = measure(o, &n_frames, m, clips, n_clips, base, err);
    if (st || !o->n_patches) return st;
    if (!allocate(o, a, m, n_frames))
        return lpo_fail(err, LPO_ENOMEM, "no memory for %lld patches", (long long)o->n_patches);
    o->n_vision_cu = o->n_window_cu = 1;
    cursor k = {.o = o, .c = &m->config};
    for (int i = 0; i < n_clips; i++) {
        if (!clips[i]) continue;
        k.clip = clips[i];
        for (int32_t t = 0; t < k.clip->grid_t; t++) put_frame(&k, m->layout.patch_w->shape[1], t);
        if (o->video_w)
            put_pooled(&k);
        else
            k.video += lpo_clip_rows(m, k.clip);
    }
    return LPO_OK;
}
