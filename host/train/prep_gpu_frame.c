/* SPDX-License-Identifier: Apache-2.0 */
/* prep_gpu_frame.c -- see prep_gpu_frame.h. Work: rgb u8 [crop_h][crop_w][3] | after the first pass, u8 or
 * f32 [crop_h][out_w][3] | two images u8 [out_h][out_w][3]. */
#include "train/prep_gpu_frame.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 256 };

lpo_gpu_tables *lpo_gpu_tables_create(const lpo_prep_frame_args *a) {
    const lpo_prep_taps *t[4] = {&a->horz, &a->vert, &a->blur_horz, &a->blur_vert};
    size_t n = 0;
    for (int k = 0; k < 4; k++) n += (size_t)t[k]->n_out * (2 + (size_t)t[k]->stride);
    lpo_gpu_tables *p = malloc(sizeof *p + n * sizeof p->data[0]);
    if (!p) return NULL;
    *p = (lpo_gpu_tables){.size_bytes = n * sizeof p->data[0]};
    int32_t *at = p->data;
    for (int k = 0; k < 4; k++) {
        const size_t rows = (size_t)t[k]->n_out, weights = rows * (size_t)t[k]->stride;
        p->pass[k] = (lpo_prep_taps){.n_in = t[k]->n_in, .n_out = t[k]->n_out, .stride = t[k]->stride};
        if (!rows) continue;
        p->pass[k].start = memcpy(at, t[k]->start, 4 * rows);
        p->pass[k].count = memcpy(at + rows, t[k]->count, 4 * rows);
        at += 2 * rows;
        memcpy(at, t[k]->fixed ? (const void *)t[k]->fixed : (const void *)t[k]->real, 4 * weights);
        if (t[k]->fixed)
            p->pass[k].fixed = at;
        else
            p->pass[k].real = (const float *)at;
        at += weights;
    }
    return p;
}

bool lpo_gpu_tables_same(const lpo_gpu_tables *p, const lpo_gpu_tables *q) {
    for (int k = 0; k < 4; k++) {
        const lpo_prep_taps *a = &p->pass[k], *b = &q->pass[k];
        if (a->n_in != b->n_in || a->n_out != b->n_out || a->stride != b->stride || !a->real != !b->real)
            return false;
    }
    return !memcmp(p->data, q->data, p->size_bytes);
}

static lpo_gpu_tensor tensor(lpo_buffer *b, size_t offset_bytes, int32_t dtype) {
    return (lpo_gpu_tensor){b, offset_bytes, dtype};
}
static uint32_t groups(int32_t n) {
    return ((uint32_t)n + 63) / 64;
}

/* Pass k: along the rows of an image of `rows` rows, or along the columns of one whose rows are of `rows`
 * bytes.
 */
static lpo_status pass(lpo_device *d, const lpo_gpu_tables *p, lpo_buffer *buffer, int k, lpo_gpu_tensor out,
                       lpo_gpu_tensor in, int32_t rows, lpo_error *err) {
    const lpo_prep_taps *t = &p->pass[k];
    const int32_t *weight = t->fixed ? t->fixed : (const int32_t *)(const void *)t->real;
    const size_t start = 4 * (size_t)(t->start - p->data), weights = 4 * (size_t)(weight - p->data);
    lpo_gpu_launch l = {.tensor = {out, in, tensor(buffer, start, LPO_I32),
                                   tensor(buffer, start + 4 * (size_t)t->n_out, LPO_I32),
                                   tensor(buffer, weights, t->fixed ? LPO_I32 : LPO_F32)}};
    if (k % 2) {
        l.kernel = LPO_GPU_PREP_VERT;
        l.groups[0] = groups(rows), l.groups[1] = (uint32_t)t->n_out;
        l.n[0] = rows, l.n[1] = t->stride;
    } else {
        l.kernel = LPO_GPU_PREP_HORZ;
        l.groups[0] = groups(t->n_out), l.groups[1] = (uint32_t)rows;
        l.n[0] = t->n_in, l.n[1] = t->n_out, l.n[2] = t->stride;
    }
    return lpo_gpu_enqueue(d, &l, err);
}

typedef struct spaces { /* bytes into work */
    size_t passed, image, blurred, end;
} spaces;

static size_t aligned(size_t bytes) {
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static spaces spaces_of(const lpo_prep_frame_args *a) {
    const size_t image = aligned((size_t)a->out_w * (size_t)a->out_h * 3);
    const size_t each = a->mode == LPO_PREP_TORCHVISION ? sizeof(float) : 1;
    spaces s;
    s.passed = aligned((size_t)a->crop_w * (size_t)a->crop_h * 3);
    s.image = s.passed + aligned((size_t)a->out_w * (size_t)a->crop_h * 3 * each);
    s.blurred = s.image + image;
    s.end = s.blurred + image;
    return s;
}

size_t lpo_gpu_frame_work_bytes(const lpo_prep_frame_args *a) {
    return spaces_of(a).end;
}

lpo_status lpo_gpu_frame_start(lpo_device *d, const lpo_prep_frame_args *a, const lpo_gpu_tables *tables,
                               lpo_buffer *buffer, lpo_gpu_tensor result, lpo_gpu_tensor source,
                               lpo_buffer *work, lpo_error *err) {
    const spaces s = spaces_of(a);
    const int32_t row = 3 * a->out_w;
    const bool blur = tables->pass[2].n_out, retouch = a->grey || a->hflip || a->noise_scale;
    const lpo_gpu_tensor rgb = tensor(work, 0, LPO_U8), passed = tensor(work, s.passed, LPO_U8),
                         image = tensor(work, s.image, LPO_U8), blurred = tensor(work, s.blurred, LPO_U8);
    lpo_status st = lpo_gpu_enqueue(
        d,
        &(lpo_gpu_launch){.kernel = LPO_GPU_PREP_RGB,
                          .groups = {groups(a->crop_w), (uint32_t)a->crop_h},
                          .tensor = {rgb, source},
                          .n = {a->src.pixfmt, a->src.matrix, a->src.full_range != 0, a->src.width,
                                a->src.height, a->crop_x, a->crop_y, a->crop_w}},
        err);
    if (!st) st = pass(d, tables, buffer, 0, passed, rgb, a->crop_h, err);
    if (!st) st = pass(d, tables, buffer, 1, blur || retouch ? image : result, passed, row, err);
    if (!st && blur) st = pass(d, tables, buffer, 2, blurred, image, a->out_h, err);
    if (!st && blur) st = pass(d, tables, buffer, 3, retouch ? image : result, blurred, row, err);
    if (st || !retouch) return st;
    return lpo_gpu_enqueue(d,
                           &(lpo_gpu_launch){.kernel = LPO_GPU_PREP_FINISH,
                                             .groups = {groups(a->out_w), (uint32_t)a->out_h},
                                             .tensor = {result, image},
                                             .n = {a->out_w, a->grey, a->hflip, a->noise_scale,
                                                   a->noise_key[0], a->noise_key[1]}},
                           err);
}
