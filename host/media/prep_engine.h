/* SPDX-License-Identifier: Apache-2.0 */
/* prep_engine.h -- the device that renders frames, when it is not the CPU.
 * The pool hands it decoded frames and goes on decoding. The bytes are those of lpo_cpu_preprocess_frame. */
#ifndef LPO_MEDIA_PREP_ENGINE_H
#define LPO_MEDIA_PREP_ENGINE_H
#include "kernels/preprocess.h"
#include "leanpo/prep.h"

struct lpo_prep_engine {
    void *self;
    /* Words why a frame of this form does not fit the device (it is rendered on the CPU then), or NULL. */
    const char *(*refuses)(void *self, const lpo_prep_frame_args *a);
    /* Render a frame into out_rgb, now or later. a's pixels are borrowed for the call, its weight tables (one
     * set for all frames of a size) and out_rgb until the batch ends. Any thread. */
    lpo_status (*submit)(void *self, void **batch, uint8_t *out_rgb, const lpo_prep_frame_args *a,
                         lpo_error *err);
    /* All frames of the batch (started by a first submit with *batch NULL) are rendered; ends it. */
    lpo_status (*finish)(void *self, void *batch, lpo_error *err);
    void (*close)(void *self); /* no batch is open */
};
#endif
