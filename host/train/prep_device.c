/* SPDX-License-Identifier: Apache-2.0 */
/* prep_device.c -- frames to a card and back. It stands here because it joins media's seam to device's
 * driver, which know nothing of each other.
 *
 * The driver copies a frame's planes into the card's buffer during submit, so the decoder may go on at once.
 * Rows whose pitch is no multiple of 64 bytes (or runs upwards) are laid out anew first. A batch keeps the
 * schedule of each set of weight tables; tables and schedules go to a buffer once and stay there. */
#include "train/prep_device.h"

#include "hls/preprocess/launch.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct prep_device {
    lpo_prep_engine engine;
    lpo_fpga *fpga;
    bool owned;
    atomic_flag said; /* that some frames stay on the CPU */
} prep_device;

/* What depends on the tables alone. */
typedef struct plan {
    struct plan *next;
    const int32_t *key[4]; /* the tables it was made for */
    int32_t n_steps;
    int32_t schedule[];
} plan;

typedef struct batch {
    plan *plans;
    lpo_fpga_job **jobs;
    size_t n_jobs, room;
    uint8_t *staging;
    size_t staging_bytes;
} batch;

static const char *refuses(void *self, const lpo_prep_frame_args *a) {
    prep_device *d = self;
    lpo_prep_frame_args plain = *a;
    memset(plain.src.plane, 0, sizeof plain.src.plane); /* any pitch will do: rows are laid out anew */
    const char *why = lpo_hls_preprocess_refuses(&plain, 0);
    if (why && !atomic_flag_test_and_set(&d->said))
        lpo_log(LPO_LOG_WARN,
                "preprocess: %s, more than the kernel is built for; such frames stay on the CPU", why);
    return why;
}

/* ---- one frame ---- */

static size_t table_bytes(const lpo_prep_taps *t) {
    size_t last = (size_t)(t->n_out - 1) * (size_t)t->stride;
    const char *weights = t->fixed ? (const char *)t->fixed : (const char *)t->real;
    return t->n_out ? (size_t)(weights - (const char *)t->start) + (last + (size_t)t->stride) * 4 : 0;
}

static plan *plan_of(batch *b, const lpo_prep_frame_args *a) {
    const int32_t *key[4] = {a->horz.start, a->vert.start, a->blur_horz.start, a->blur_vert.start};
    for (plan *p = b->plans; p; p = p->next)
        if (!memcmp(p->key, key, sizeof key)) return p;
    plan *p = malloc(sizeof *p + (size_t)lpo_hls_preprocess_max_steps(a) * 8 * sizeof p->schedule[0]);
    if (!p) return NULL;
    memcpy(p->key, key, sizeof key);
    p->n_steps = lpo_hls_preprocess_schedule(p->schedule, a);
    p->next = b->plans;
    return b->plans = p;
}

/* f with pitches the kernel takes; size_bytes of each plane. NULL when out of memory. */
static lpo_status lay_out(lpo_prep_frame *f, size_t size_bytes[3], batch *b, lpo_error *err) {
    int32_t rows, row_bytes;
    size_t need = 0;
    bool whole = true;
    for (int k = 0; k < 3; k++) {
        size_bytes[k] = 0;
        if (!lpo_prep_plane(&rows, &row_bytes, f->pixfmt, f->width, f->height, k)) continue;
        need += (size_t)rows * (((size_t)row_bytes + 63) & ~(size_t)63);
        whole &= f->pitch_bytes[k] > 0 && f->pitch_bytes[k] % HLS_WORD == 0;
    }
    if (!whole && need > b->staging_bytes) {
        free(b->staging);
        b->staging = aligned_alloc(64, need);
        b->staging_bytes = b->staging ? need : 0;
        if (!b->staging)
            return lpo_fail(err, LPO_ENOMEM, "out of memory for a %dx%d frame", f->width, f->height);
    }
    uint8_t *to = b->staging;
    for (int k = 0; k < 3; k++) {
        if (!lpo_prep_plane(&rows, &row_bytes, f->pixfmt, f->width, f->height, k)) {
            f->plane[k] = NULL;
            continue;
        }
        if (!whole) {
            int32_t pitch = (row_bytes + 63) & ~63;
            for (int32_t y = 0; y < rows; y++)
                memcpy(to + (size_t)y * (size_t)pitch, f->plane[k] + (ptrdiff_t)y * f->pitch_bytes[k],
                       (size_t)row_bytes);
            f->plane[k] = to;
            f->pitch_bytes[k] = pitch;
            to += (size_t)rows * (size_t)pitch;
        }
        /* The last row ends where its pixels end: what follows may not be ours to read. */
        size_bytes[k] = (size_t)(rows - 1) * (size_t)f->pitch_bytes[k] + (size_t)row_bytes;
    }
    return LPO_OK;
}

static lpo_status submit(void *self, void **state, uint8_t *out_rgb, const lpo_prep_frame_args *frame,
                         lpo_error *err) {
    prep_device *d = self;
    batch *b = *state;
    lpo_prep_frame_args a = *frame;
    lpo_hls_preprocess_args args = {0};
    size_t size[HLS_ARG_preprocess_count] = {0};
    if (!b) *state = b = calloc(1, sizeof *b);
    if (b && b->n_jobs == b->room) {
        lpo_fpga_job **more = realloc(b->jobs, (b->room + 64) * sizeof *more);
        if (more) b->jobs = more, b->room += 64;
    }
    plan *p = b && b->n_jobs < b->room ? plan_of(b, &a) : NULL;
    if (!p) return lpo_fail(err, LPO_ENOMEM, "out of memory for a frame");
    lpo_status st = lay_out(&a.src, &size[HLS_ARG_preprocess_plane0], b, err);
    if (st) return st;
    lpo_hls_preprocess_fill(&args, &a, NULL, HLS_PATCH_NONE, 0);
    args.schedule = p->schedule;
    args.n_steps = p->n_steps;
    args.rgb = out_rgb;
    args.want_rgb = 1;
    size[HLS_ARG_preprocess_horz_taps] = table_bytes(&a.horz);
    size[HLS_ARG_preprocess_vert_taps] = table_bytes(&a.vert);
    size[HLS_ARG_preprocess_blur_horz_taps] = args.blur_horz_taps ? table_bytes(&a.blur_horz) : 0;
    size[HLS_ARG_preprocess_blur_vert_taps] = args.blur_vert_taps ? table_bytes(&a.blur_vert) : 0;
    size[HLS_ARG_preprocess_schedule] = (size_t)p->n_steps * 8 * sizeof *p->schedule;
    size[HLS_ARG_preprocess_rgb] = (size_t)a.out_w * (size_t)a.out_h * 3;
    const uint64_t resident =
        UINT64_C(1) << HLS_ARG_preprocess_horz_taps | UINT64_C(1) << HLS_ARG_preprocess_vert_taps |
        UINT64_C(1) << HLS_ARG_preprocess_blur_horz_taps | UINT64_C(1) << HLS_ARG_preprocess_blur_vert_taps |
        UINT64_C(1) << HLS_ARG_preprocess_schedule;
    st = lpo_fpga_submit(&b->jobs[b->n_jobs], d->fpga, LPO_HLS_preprocess, &args, size, resident, false, err);
    if (!st) b->n_jobs++;
    return st;
}

static lpo_status finish(void *self, void *state, lpo_error *err) {
    prep_device *d = self;
    batch *b = state;
    lpo_status first = LPO_OK;
    if (!b) return LPO_OK;
    for (size_t i = 0; i < b->n_jobs; i++) {
        lpo_status st = lpo_fpga_wait(b->jobs[i], first ? NULL : err);
        if (!first) first = st;
    }
    while (b->plans) { /* tables and schedule are about to be freed */
        plan *p = b->plans;
        b->plans = p->next;
        for (int k = 0; k < 4; k++)
            if (p->key[k]) lpo_fpga_forget(d->fpga, p->key[k]);
        lpo_fpga_forget(d->fpga, p->schedule);
        free(p);
    }
    free(b->staging);
    free(b->jobs);
    free(b);
    return first;
}

/* ---- the engine ---- */

static void close_engine(void *self) {
    prep_device *d = self;
    if (d->owned) lpo_fpga_close(d->fpga);
    free(d);
}

lpo_status lpo_prep_device_create(lpo_prep_engine **out, lpo_fpga *f, lpo_error *err) {
    prep_device *d = calloc(1, sizeof *d);
    *out = NULL;
    if (!d) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    d->engine = (lpo_prep_engine){d, refuses, submit, finish, close_engine};
    d->fpga = f;
    atomic_flag_clear(&d->said);
    *out = &d->engine;
    return LPO_OK;
}

lpo_status lpo_prep_device_open(lpo_prep_engine **out, const char *device, const char *xclbin,
                                lpo_error *err) {
    lpo_fpga *f = NULL;
    *out = NULL;
    lpo_status st = lpo_fpga_open(&f, device, xclbin, err);
    if (!st) st = lpo_prep_device_create(out, f, err);
    if (st)
        lpo_fpga_close(f);
    else
        ((prep_device *)(*out)->self)->owned = true;
    return st;
}
