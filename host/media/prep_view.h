/* SPDX-License-Identifier: Apache-2.0 */
/* prep_view.h -- one wanted view of a video (plain, or augmented): where each decoded frame goes and what is
 * done to it. A view is planned once for a source size; rendering a frame then reads it only, so frames
 * render concurrently. */
#ifndef LPO_MEDIA_PREP_VIEW_H
#define LPO_MEDIA_PREP_VIEW_H
#include "kernels/preprocess.h"
#include "leanpo/media.h"
#include "leanpo/prep.h"
#include "media/prep_engine.h"

typedef struct lpo_prep_view {
    lpo_clip *clip; /* sizes set, frames_u8 allocated */
    lpo_augment aug;
    int resize_pillow, color_force601;
    int short_side, cut, resize_h, resize_w; /* as lpo_prep_options */
    uint32_t *map;                           /* result frame j shows sampled frame map[j]; owned */
    void *tables;                            /* weights of args; owned */
    lpo_prep_frame_args args;                /* all but src's planes and colour, and the noise key */
    const lpo_prep_engine *engine;           /* where frames of the planned size are rendered; NULL: here */
} lpo_prep_view;

/* v zeroed before; aug NULL: none. Clear it even after failure. */
lpo_status lpo_prep_view_init(lpo_prep_view *v, lpo_clip *clip, const lpo_prep_options *o,
                              const lpo_augment *aug, lpo_error *err);
void lpo_prep_view_clear(lpo_prep_view *v);

/* Weight tables and crop for sources of this size. engine: NULL for none, else who renders them unless it
 * refuses. */
lpo_status lpo_prep_view_plan(lpo_prep_view *v, int width, int height, const lpo_prep_engine *engine,
                              lpo_error *err);
size_t lpo_prep_view_workspace(const lpo_prep_view *v);

/* Sampled frame i (of the planned size) into every place of the clip that shows it: at once, or on the
 * engine as part of *batch. */
lpo_status lpo_prep_view_render(const lpo_prep_view *v, void **batch, const lpo_frame *frame, int i,
                                void *workspace, lpo_error *err);

/* What seed decides: the crop of a WxH source, and the order of n frames. */
void lpo_augment_crop(int *x, int *y, int *w, int *h, const lpo_augment *aug, int width, int height);
void lpo_augment_frames(uint32_t *map, int n, const lpo_augment *aug);
#endif
