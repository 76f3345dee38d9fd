/* SPDX-License-Identifier: Apache-2.0 */
/* view.h -- a summary and its advice as text for people and as JSON for programs. Pure: the same figures give
 * the same bytes. */
#ifndef LPO_PROFILE_VIEW_H
#define LPO_PROFILE_VIEW_H
#include "profile/advice.h"
#include "profile/roofline.h"

#include <jansson.h>

char *lpo_profile_text(const lpo_summary *s, const lpo_roofline *r, const lpo_advice *a); /* malloc'd */
json_t *lpo_profile_json(const lpo_summary *s, const lpo_roofline *r, const lpo_advice *a);

/* What holds a stage back, as far as its own work says. */
typedef enum lpo_bound {
    LPO_BOUND_NONE,
    LPO_BOUND_WAIT,
    LPO_BOUND_COMPUTE,
    LPO_BOUND_BANDWIDTH,
    LPO_BOUND_OVERHEAD
} lpo_bound;
/* share: of the busy time that the roofline would need; 0 when it is not known. */
lpo_bound lpo_bound_of(double *share, const lpo_stage_time *t, const lpo_summary *s, const lpo_roofline *r);
const char *lpo_bound_name(lpo_bound b);

/* What the whole step is bound by: "decode", "wait:data", or the heaviest stage with its own bound. Into
 * text. */
void lpo_step_bound(char *text, size_t size_bytes, const lpo_summary *s, const lpo_roofline *r);
#endif
