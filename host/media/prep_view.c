/* SPDX-License-Identifier: Apache-2.0 */
/* prep_view.c -- see prep_view.h. */
#include "media/prep_view.h"

#include "base/rng.h"

#include <stdlib.h>
#include <string.h>

_Static_assert((int)LPO_PIX_YUV420P == (int)LPO_PREP_YUV420P &&
                   (int)LPO_PIX_YUV422P == (int)LPO_PREP_YUV422P &&
                   (int)LPO_PIX_YUV444P == (int)LPO_PREP_YUV444P && (int)LPO_PIX_NV12 == (int)LPO_PREP_NV12 &&
                   (int)LPO_PIX_RGB24 == (int)LPO_PREP_RGB24 && (int)LPO_PIX_GBRP == (int)LPO_PREP_GBRP,
               "the kernel numbers pixel formats as the decoder does");
_Static_assert((int)LPO_MATRIX_BT601 == (int)LPO_PREP_BT601 && (int)LPO_MATRIX_BT709 == (int)LPO_PREP_BT709 &&
                   (int)LPO_MATRIX_BT2020 == (int)LPO_PREP_BT2020,
               "and matrices");

static size_t aligned(size_t bytes) {
    return (bytes + 63) & ~(size_t)63;
}

lpo_status lpo_prep_view_init(lpo_prep_view *v, lpo_clip *clip, const lpo_prep_options *o,
                              const lpo_augment *aug, lpo_error *err) {
    if (aug) v->aug = *aug;
    v->clip = clip;
    v->resize_pillow = o->resize_pillow;
    v->color_force601 = o->color_force601;
    if (!o->target_h) {
        v->short_side = o->short_side, v->cut = o->cut;
        v->resize_h = o->resize_h, v->resize_w = o->resize_w;
    }
    size_t bytes = (size_t)clip->n_frames * (size_t)clip->height * (size_t)clip->width * 3;
    v->map = malloc(sizeof *v->map * (size_t)clip->n_frames);
    clip->frames_u8 = malloc(bytes);
    if (!v->map || !clip->frames_u8)
        return lpo_fail(err, LPO_ENOMEM,
                        "out of memory for %d frames of %dx%d (ask for fewer frames or pixels)",
                        clip->n_frames, clip->width, clip->height);
    lpo_augment_frames(v->map, clip->n_frames, &v->aug);
    return LPO_OK;
}

void lpo_prep_view_clear(lpo_prep_view *v) {
    free(v->map);
    free(v->tables);
    memset(v, 0, sizeof *v);
}

/* The size the source is resized to, and where in it the clip's frame lies. */
typedef struct placing {
    int w, h, x, y;
} placing;

static placing place(const lpo_prep_view *v, const lpo_prep_frame_args *a) {
    placing p = {a->out_w, a->out_h, 0, 0};
    if (v->resize_h) {
        p.w = v->resize_w, p.h = v->resize_h;
    } else if (v->short_side) { /* the long side as Python's int(): cut off */
        const int w = a->crop_w, h = a->crop_h, s = v->short_side;
        p.w = w <= h ? s : (int)((double)s * w / h);
        p.h = w <= h ? (int)((double)s * h / w) : s;
        p.x = (p.w - v->cut) / 2, p.y = (p.h - v->cut) / 2;
    }
    return p;
}

/* Results [first, first+n) of a pass alone: the passes are separable, so a cut is a shorter table. It is
 * moved together, in the layout a table of n has (starts | counts | weights, each on a border of 16): a card
 * takes it as one block. */
static void window(lpo_prep_taps *t, int first, int n, void *mem) {
    if (n == t->n_out) return;
    const size_t padded = ((size_t)n + 15) / 16 * 16, skip = (size_t)first, count = (size_t)n;
    const size_t weights = count * (size_t)t->stride * sizeof(int32_t);
    int32_t *start = mem;
    const int32_t *from = t->fixed ? t->fixed : (const int32_t *)t->real;
    memmove(start, t->start + skip, count * sizeof *start);
    memmove(start + padded, t->count + skip, count * sizeof *start);
    memmove(start + 2 * padded, from + skip * (size_t)t->stride, weights);
    t->start = start;
    t->count = start + padded;
    if (t->fixed)
        t->fixed = start + 2 * padded;
    else
        t->real = (const float *)(start + 2 * padded);
    t->n_out = n;
}

lpo_status lpo_prep_view_plan(lpo_prep_view *v, int width, int height, const lpo_prep_engine *engine,
                              lpo_error *err) {
    lpo_prep_frame_args *a = &v->args;
    memset(a, 0, sizeof *a);
    a->src.width = width, a->src.height = height;
    a->out_w = v->clip->width, a->out_h = v->clip->height;
    a->mode = v->resize_pillow ? LPO_PREP_PILLOW : LPO_PREP_TORCHVISION;
    a->grey = v->aug.grey, a->hflip = v->aug.hflip;
    a->noise_scale = lpo_prep_noise_scale(v->aug.noise_sigma);
    lpo_augment_crop(&a->crop_x, &a->crop_y, &a->crop_w, &a->crop_h, &v->aug, width, height);

    const placing p = place(v, a);
    if (p.w > LPO_PREP_MAX_SIZE || p.h > LPO_PREP_MAX_SIZE)
        return lpo_fail(err, LPO_ELIMIT, "a %dx%d frame would become %dx%d, over %d", a->crop_w, a->crop_h,
                        p.w, p.h, LPO_PREP_MAX_SIZE);
    double sigma = v->aug.blur_sigma;
    size_t horz = aligned(lpo_prep_taps_bytes(a->crop_w, p.w));
    size_t vert = aligned(lpo_prep_taps_bytes(a->crop_h, p.h));
    size_t blur_horz = sigma > 0 ? aligned(lpo_prep_taps_blur_bytes(a->out_w, sigma)) : 0;
    size_t blur_vert = sigma > 0 ? aligned(lpo_prep_taps_blur_bytes(a->out_h, sigma)) : 0;
    free(v->tables);
    v->tables = aligned_alloc(64, horz + vert + blur_horz + blur_vert);
    if (!v->tables)
        return lpo_fail(err, LPO_ENOMEM, "out of memory for the weights of %dx%d to %dx%d", a->crop_w,
                        a->crop_h, a->out_w, a->out_h);
    char *mem = v->tables;
    if (v->resize_pillow) {
        lpo_prep_taps_pillow(&a->horz, mem, a->crop_w, p.w);
        lpo_prep_taps_pillow(&a->vert, mem + horz, a->crop_h, p.h);
    } else {
        lpo_prep_taps_torchvision(&a->horz, mem, a->crop_w, p.w);
        lpo_prep_taps_torchvision(&a->vert, mem + horz, a->crop_h, p.h);
    }
    window(&a->horz, p.x, a->out_w, mem);
    window(&a->vert, p.y, a->out_h, mem + horz);
    if (sigma > 0) {
        lpo_prep_taps_blur(&a->blur_horz, mem + horz + vert, a->out_w, sigma);
        lpo_prep_taps_blur(&a->blur_vert, mem + horz + vert + blur_horz, a->out_h, sigma);
    }
    v->engine = engine && !engine->refuses(engine->self, a) ? engine : NULL;
    return LPO_OK;
}

size_t lpo_prep_view_workspace(const lpo_prep_view *v) {
    return lpo_cpu_preprocess_bytes(&v->args);
}

lpo_status lpo_prep_view_render(const lpo_prep_view *v, void **batch, const lpo_frame *frame, int i,
                                void *workspace, lpo_error *err) {
    lpo_prep_frame_args a = v->args;
    int rgb = frame->pixfmt == LPO_PIX_RGB24 || frame->pixfmt == LPO_PIX_GBRP;
    a.src.pixfmt = (int32_t)frame->pixfmt;
    a.src.matrix = v->color_force601 && !rgb ? LPO_PREP_BT601 : (int32_t)frame->matrix;
    a.src.full_range = v->color_force601 && !rgb ? 0 : frame->full_range;
    for (int k = 0; k < 3; k++) {
        a.src.plane[k] = frame->plane[k];
        a.src.pitch_bytes[k] = frame->pitch_bytes[k];
    }
    size_t frame_bytes = (size_t)a.out_w * (size_t)a.out_h * 3;
    for (int j = 0; j < v->clip->n_frames; j++) {
        if (v->map[j] != (uint32_t)i) continue;
        lpo_rng r = lpo_rng_init(v->aug.seed, 1000 + (uint64_t)j);
        uint64_t key = lpo_rng_u64(&r);
        a.noise_key[0] = (uint32_t)key, a.noise_key[1] = (uint32_t)(key >> 32);
        uint8_t *out = v->clip->frames_u8 + (size_t)j * frame_bytes;
        if (!v->engine) {
            lpo_cpu_preprocess_frame(out, &a, workspace);
            continue;
        }
        lpo_status s = v->engine->submit(v->engine->self, batch, out, &a, err);
        if (s) return s;
    }
    return LPO_OK;
}
