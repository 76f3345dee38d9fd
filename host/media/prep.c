/* SPDX-License-Identifier: Apache-2.0 */
/* prep.c -- a video file to clips: open, choose frames, choose a size, then decode and render side by side.
 * One pass over the file feeds both views; which sampled frame a view shows where is the view's affair. */
#include "leanpo/prep.h"

#include "base/trace.h"
#include "leanpo/media.h"
#include "media/cut.h"
#include "media/prep_pool.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_THREADS = 64 };
static const int64_t MAX_CLIP_BYTES = (int64_t)8 << 30;

void lpo_clip_clear(lpo_clip *c) {
    free(c->frames_u8);
    free(c->time_s);
    memset(c, 0, sizeof *c);
}

static lpo_status check_options(const lpo_prep_options *o, lpo_error *err) {
    int factor = o->patch_size * o->merge_size;
    lpo_prep_options known;
    lpo_status s = lpo_prep_options_of(&known, o->family, err);
    if (s) return s;
    if (o->patch_size < 1 || o->patch_size > 256 || o->merge_size < 1 || o->merge_size > 16 ||
        o->temporal_patch < 1 || o->temporal_patch > 16)
        return lpo_fail(err, LPO_EINVAL, "patch %d, merge %d, temporal patch %d: out of range", o->patch_size,
                        o->merge_size, o->temporal_patch);
    if (o->target_h < 0 || o->target_w < 0 || o->target_h % factor || o->target_w % factor ||
        !o->target_h != !o->target_w || o->target_h > LPO_PREP_MAX_SIZE || o->target_w > LPO_PREP_MAX_SIZE)
        return lpo_fail(err, LPO_EINVAL, "target size %dx%d: both sides must be multiples of %d, at most %d",
                        o->target_w, o->target_h, factor, LPO_PREP_MAX_SIZE);
    return LPO_OK;
}

/* Which frames: *indices malloc'd. */
static lpo_status sample(int64_t **indices, int *n, const lpo_video_info *info, const lpo_prep_options *o,
                         lpo_error *err) {
    lpo_sample_options so = lpo_sample_options_default();
    if (o->fps > 0) so.fps = o->fps;
    so.n_frames = o->n_frames;
    so.hf_sampler = o->hf_sampler;
    if (o->uniform) so.max_frames = o->max_frames;
    int room = so.max_frames > o->n_frames + 1 ? so.max_frames : o->n_frames + 1;
    *indices = malloc(sizeof **indices * (size_t)room);
    if (!*indices) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    return (o->uniform ? lpo_sample_uniform : lpo_sample_qwen)(*indices, n, info->n_frames, info->fps, &so,
                                                               err);
}

/* Everything of a clip but its pixels. */
static lpo_status shape(lpo_clip *c, const int64_t *indices, int n, const lpo_video_info *info,
                        const lpo_prep_options *o, lpo_error *err) {
    int factor = o->patch_size * o->merge_size;
    c->n_frames = n;
    c->height = o->target_h, c->width = o->target_w;
    if (!o->target_h && (o->resize_h || o->short_side)) { /* what does not fill a patch is never seen */
        c->height = (o->resize_h ? o->resize_h : o->cut) / o->patch_size * o->patch_size;
        c->width = (o->resize_h ? o->resize_w : o->cut) / o->patch_size * o->patch_size;
    } else if (!o->target_h) {
        lpo_status s = lpo_smart_resize(&c->height, &c->width, info->height, info->width, factor,
                                        o->min_pixels, lpo_video_max_pixels(o, n), err);
        if (s) return s;
    }
    if ((int64_t)n * c->height * c->width * 3 > MAX_CLIP_BYTES)
        return lpo_fail(err, LPO_ELIMIT, "%d frames of %dx%d are over 8 GiB (ask for fewer frames or pixels)",
                        n, c->width, c->height);
    c->grid_t = (n + o->temporal_patch - 1) / o->temporal_patch;
    c->grid_h = c->height / o->patch_size;
    c->grid_w = c->width / o->patch_size;
    double sampled_fps = (double)n / (double)info->n_frames * info->fps;
    c->second_per_grid = o->temporal_patch / sampled_fps;
    c->duration_s = info->duration_s;
    c->time_s = malloc((size_t)n * sizeof *c->time_s);
    if (!c->time_s) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    for (int i = 0; i < n; i++) c->time_s[i] = (double)indices[i] / info->fps;
    return LPO_OK;
}

static lpo_status on_frame(void *user, int i, const lpo_frame *frame, lpo_error *err) {
    return lpo_prep_pool_put(user, frame, i, err);
}

/* clips[k] by augs[k] (NULL: plain). */
static lpo_status prepare(lpo_clip *const clips[], const lpo_augment *const augs[], int n_views,
                          const char *path, const lpo_prep_options *o, lpo_error *err) {
    lpo_prep_view views[2] = {0};
    lpo_video *video = NULL;
    lpo_prep_pool *pool = NULL;
    int64_t *indices = NULL;
    int n = 0, n_threads = o->n_threads > 0 ? o->n_threads : (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (n_threads > MAX_THREADS) n_threads = MAX_THREADS;
    for (int k = 0; k < n_views; k++) memset(clips[k], 0, sizeof *clips[k]);

    lpo_status s = check_options(o, err);
    if (s) return s;
    s = lpo_video_open(&video, path, NULL, n_threads, err);
    if (s) return s; /* its errors name the file */
    const lpo_video_info *info = lpo_video_get_info(video);
    s = sample(&indices, &n, info, o, err);
    for (int k = 0; !s && k < n_views; k++) {
        s = shape(clips[k], indices, n, info, o, err);
        if (!s) s = lpo_prep_view_init(&views[k], clips[k], o, augs[k], err);
    }
    if (!s) s = lpo_prep_pool_create(&pool, views, n_views, n_threads, o->engine, err);
    if (s) s = lpo_fail_in(err, s, "%s", path);
    /* Rendering on this thread stands inside the span, and is told apart by its own. */
    const double t0 = lpo_trace_begin();
    const double pixels = (double)info->width * (double)info->height;
    if (!s) s = lpo_video_read(video, indices, n, on_frame, pool, err);
    if (!s && (s = lpo_prep_pool_finish(pool, err))) s = lpo_fail_in(err, s, "%s", path);
    lpo_trace_end(t0, "decode", "cpu", path, 1.5 * pixels * n, 0);
    lpo_trace_count("n:frames", n);
    lpo_trace_count("n:frame_pixels", pixels * n);
    for (int k = 0; k < n_views; k++)
        lpo_trace_count("n:prep_pixels", (double)clips[k]->n_frames * clips[k]->height * clips[k]->width);

    lpo_prep_pool_destroy(pool);
    for (int k = 0; k < n_views; k++) {
        lpo_prep_view_clear(&views[k]);
        if (s) lpo_clip_clear(clips[k]);
    }
    free(indices);
    lpo_video_close(video);
    return s;
}

lpo_status lpo_prep_video(lpo_clip *out, const char *path, const lpo_prep_options *o, const lpo_augment *aug,
                          lpo_error *err) {
    return prepare(&out, &aug, 1, path, o, err);
}

lpo_status lpo_prep_video2(lpo_clip *out, lpo_clip *out_aug, const char *path, const lpo_prep_options *o,
                           const lpo_augment *aug, lpo_error *err) {
    lpo_clip *clips[2] = {out, out_aug};
    const lpo_augment *augs[2] = {NULL, aug};
    return prepare(clips, augs, 2, path, o, err);
}

static lpo_patchify_args patchify_args(const lpo_clip *c, const lpo_prep_options *o) {
    lpo_patchify_args a = {.n_frames = c->n_frames,
                           .height = c->height,
                           .width = c->width,
                           .patch = o->patch_size,
                           .temporal = o->temporal_patch,
                           .merge = o->merge_size};
    memcpy(a.mean, o->mean, sizeof a.mean);
    memcpy(a.std, o->std, sizeof a.std);
    return a;
}

void lpo_prep_patchify(float *patches, const lpo_clip *c, const lpo_prep_options *o) {
    const lpo_patchify_args a = patchify_args(c, o);
    lpo_cpu_patchify(patches, c->frames_u8, &a);
}

size_t lpo_cut_bytes(const lpo_clip *c, const lpo_prep_options *o) {
    return sizeof(lpo_cut) + (size_t)c->grid_t * (size_t)c->grid_h * (size_t)c->grid_w * 3 *
                                 (size_t)o->temporal_patch * (size_t)o->patch_size * (size_t)o->patch_size;
}

void lpo_cut_fill(lpo_cut *out, const lpo_clip *c, const lpo_prep_options *o) {
    const lpo_patchify_args a = patchify_args(c, o);
    lpo_patch_levels(out->levels, o->mean, o->std);
    lpo_cpu_cut(out->patches, c->frames_u8, &a);
}
