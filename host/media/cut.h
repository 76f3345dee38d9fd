/* SPDX-License-Identifier: Apache-2.0 */
/* cut.h -- a clip's patches as a model takes them: bytes, and what they stand for. lpo_prep_patchify's floats
 * are levels[channel][byte]; the model's device makes them (op LEVELS), so a quarter of the bytes is stored
 * and moved. */
#ifndef LPO_MEDIA_CUT_H
#define LPO_MEDIA_CUT_H
#include "leanpo/prep.h"

typedef struct lpo_cut {
    float levels[3][256];
    uint8_t patches[]; /* rows and columns as lpo_prep_patchify's */
} lpo_cut;

size_t lpo_cut_bytes(const lpo_clip *c, const lpo_prep_options *o); /* of the whole */
void lpo_cut_fill(lpo_cut *out, const lpo_clip *c, const lpo_prep_options *o);
#endif
