/* SPDX-License-Identifier: Apache-2.0 */
/* prep_frames.h -- random frames with all that a call of the preprocessing needs, and what the reference
 * makes of them: for whatever has to give its bytes. Include it after criterion. */
#ifndef LPO_TESTS_PREP_FRAMES_H
#define LPO_TESTS_PREP_FRAMES_H
#include "kernels/preprocess.h"
#include "media/prep_engine.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static uint32_t prep_state = 1; /* of the random numbers */
static inline uint32_t prep_bits(void) {
    return prep_state = prep_state * 1664525u + 1013904223u;
}
static inline int32_t prep_draw(int32_t n) { /* 0..n-1 */
    return (int32_t)(((uint64_t)prep_bits() * (uint32_t)n) >> 32);
}
static inline void *prep_memory(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    cr_assert(p);
    return p;
}

typedef struct prep_case {
    lpo_prep_frame_args a;
    void *owned[8];
    int n_owned;
    uint8_t *got; /* a->out_w * a->out_h * 3 bytes of 0x5a */
} prep_case;

static inline void *prep_own(prep_case *c, void *p) {
    cr_assert(p);
    return c->owned[c->n_owned++] = p;
}
static inline void prep_case_free(prep_case *c) {
    for (int i = 0; i < c->n_owned; i++) free(c->owned[i]);
    memset(c, 0, sizeof *c);
}
static inline size_t prep_case_bytes(const prep_case *c) {
    return (size_t)c->a.out_w * (size_t)c->a.out_h * 3;
}

static inline void prep_case_tables(prep_case *c, double blur_sigma) {
    lpo_prep_frame_args *a = &c->a;
    const bool pillow = a->mode == LPO_PREP_PILLOW;
    void *h = prep_own(c, prep_memory(lpo_prep_taps_bytes(a->crop_w, a->out_w)));
    void *v = prep_own(c, prep_memory(lpo_prep_taps_bytes(a->crop_h, a->out_h)));
    (pillow ? lpo_prep_taps_pillow : lpo_prep_taps_torchvision)(&a->horz, h, a->crop_w, a->out_w);
    (pillow ? lpo_prep_taps_pillow : lpo_prep_taps_torchvision)(&a->vert, v, a->crop_h, a->out_h);
    if (blur_sigma <= 0) return;
    h = prep_own(c, prep_memory(lpo_prep_taps_blur_bytes(a->out_w, blur_sigma)));
    v = prep_own(c, prep_memory(lpo_prep_taps_blur_bytes(a->out_h, blur_sigma)));
    lpo_prep_taps_blur(&a->blur_horz, h, a->out_w, blur_sigma);
    lpo_prep_taps_blur(&a->blur_vert, v, a->out_h, blur_sigma);
}

/* Each plane a buffer of its own, so that a sanitizer sees a byte read too far. Whole words: pitches are
 * multiples of 64 bytes and rows end with their pitch, as a card has them. Else pitches of every kind, also
 * rows that run upwards, and a plane ends with its last pixel. */
static inline void prep_case_planes(prep_case *c, bool whole_words) {
    lpo_prep_frame *f = &c->a.src;
    const int32_t kind = whole_words ? 0 : prep_draw(3);
    for (int k = 0; k < 3; k++) {
        int32_t rows, row_bytes;
        if (!lpo_prep_plane(&rows, &row_bytes, f->pixfmt, f->width, f->height, k)) continue;
        int32_t pitch = kind ? row_bytes + prep_draw(5) : (row_bytes + 63) / 64 * 64;
        if (whole_words) pitch += prep_draw(2) * 64;
        const size_t last = (size_t)pitch * (size_t)(rows - 1);
        const size_t n = last + (size_t)(whole_words ? pitch : row_bytes);
        uint8_t *at = prep_own(c, whole_words ? prep_memory(n) : malloc(n));
        for (size_t i = 0; i < n; i++) at[i] = (uint8_t)(prep_bits() >> 24);
        f->plane[k] = kind == 2 ? at + last : at;
        f->pitch_bytes[k] = kind == 2 ? -pitch : pitch;
    }
}

typedef struct prep_limits {
    int32_t width, height, out; /* sizes are up to these; over 1000: exactly */
    int32_t shrink;             /* the scale goes down to 1/shrink (a card's limit is 13) */
    bool whole_words;           /* see prep_case_planes */
} prep_limits;

/* Any format, matrix, range, crop, scale, mode and augmentation. */
static inline prep_case prep_case_random(prep_limits m) {
    prep_case c;
    memset(&c, 0, sizeof c);
    lpo_prep_frame_args *a = &c.a;
    a->src.pixfmt = prep_draw(6), a->src.matrix = prep_draw(3), a->src.full_range = prep_draw(2);
    a->src.width = m.width > 1000 ? m.width : 1 + prep_draw(m.width);
    a->src.height = m.height > 1000 ? m.height : 1 + prep_draw(m.height);
    a->crop_w = prep_draw(2) ? a->src.width : 1 + prep_draw(a->src.width);
    a->crop_h = prep_draw(2) ? a->src.height : 1 + prep_draw(a->src.height);
    a->crop_x = prep_draw(a->src.width - a->crop_w + 1);
    a->crop_y = prep_draw(a->src.height - a->crop_h + 1);
    a->out_w = (a->crop_w + m.shrink - 1) / m.shrink, a->out_h = (a->crop_h + m.shrink - 1) / m.shrink;
    if (prep_draw(4)) a->out_w += prep_draw(m.out), a->out_h += prep_draw(m.out);
    a->mode = prep_draw(2) ? LPO_PREP_TORCHVISION : LPO_PREP_PILLOW;
    a->grey = !prep_draw(4), a->hflip = !prep_draw(3);
    a->noise_scale = prep_draw(3) ? 0 : lpo_prep_noise_scale(1 + prep_draw(30));
    a->noise_key[0] = prep_bits(), a->noise_key[1] = prep_bits();
    prep_case_planes(&c, m.whole_words);
    prep_case_tables(&c, prep_draw(3) ? 0 : 0.2 + prep_draw(88) / 10.0);
    c.got = prep_own(&c, prep_memory(prep_case_bytes(&c)));
    memset(c.got, 0x5a, prep_case_bytes(&c));
    return c;
}

/* Fails the test unless c->got are the reference's bytes. */
static inline void prep_case_check(const prep_case *c, int number) {
    const lpo_prep_frame_args *a = &c->a;
    const size_t n = prep_case_bytes(c);
    size_t differ = 0, first = 0;
    uint8_t *want = prep_memory(n), *work = prep_memory(lpo_prep_workspace_bytes(a));
    lpo_ref_preprocess_frame(want, a, work);
    for (size_t i = n; i-- > 0;)
        if (want[i] != c->got[i]) differ++, first = i;
    cr_expect_eq(differ, 0,
                 "case %d: %zu of %zu bytes differ, first at %zu: %d, expected %d (format %d, %dx%d crop "
                 "%dx%d+%d+%d -> %dx%d, mode %d, blur %d)",
                 number, differ, n, first, c->got[first], want[first], a->src.pixfmt, a->src.width,
                 a->src.height, a->crop_w, a->crop_h, a->crop_x, a->crop_y, a->out_w, a->out_h, a->mode,
                 a->blur_horz.n_out);
    free(want);
    free(work);
}

/* A batch of n random frames through an engine. */
static inline void prep_cases_run(lpo_prep_engine *e, int n, prep_limits m) {
    prep_case *c = calloc((size_t)n, sizeof *c);
    void *batch = NULL;
    lpo_error err;
    for (int i = 0; i < n; i++) {
        do {
            prep_case_free(&c[i]);
            c[i] = prep_case_random(m);
        } while (e->refuses(e->self, &c[i].a));
        cr_assert_eq(e->submit(e->self, &batch, c[i].got, &c[i].a, &err), LPO_OK, "%s", err.msg);
    }
    cr_assert_eq(e->finish(e->self, batch, &err), LPO_OK, "%s", err.msg);
    for (int i = 0; i < n; i++) {
        prep_case_check(&c[i], i);
        prep_case_free(&c[i]);
    }
    free(c);
}
#endif
