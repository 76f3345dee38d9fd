/* SPDX-License-Identifier: Apache-2.0 */
/* clip_rule.h -- how many tokens a clip becomes, and in which order its rows stand.
 * A clip's patches are a grid [t, h, w]. A family merges neighbouring patches (Qwen), or pools a frame's
 * grid and may put a learned newline row behind rows, frames or the clip (LLaVA). Whoever writes prompts
 * needs the count, the model needs the rows: both read it from the same config.json with this. */
#ifndef LPO_BASE_CLIP_RULE_H
#define LPO_BASE_CLIP_RULE_H
#include "base/json.h"

typedef enum lpo_pool { LPO_POOL_NONE, LPO_POOL_AVERAGE, LPO_POOL_BILINEAR } lpo_pool;
/* After each row of a frame ("grid"), each frame, the clip, or nowhere. */
typedef enum lpo_newline {
    LPO_NEWLINE_NONE,
    LPO_NEWLINE_ROW,
    LPO_NEWLINE_FRAME,
    LPO_NEWLINE_CLIP
} lpo_newline;

typedef struct lpo_clip_rule {
    int32_t merge;  /* merge x merge patches become one row before anything else; 1: none */
    int32_t stride; /* of the pool, 1 or 2; average gives floor(side/stride), bilinear ceil(side/stride) */
    lpo_pool pool;
    lpo_newline newline;
} lpo_clip_rule;

/* The rule of a config.json (root object) by its model_type. Types without a rule of their own merge. */
lpo_status lpo_clip_rule_parse(lpo_clip_rule *out, const json_t *config, const char *where, lpo_error *err);
/* One side of a frame after merging and pooling. */
int32_t lpo_clip_rule_side(const lpo_clip_rule *r, int32_t patches);
int64_t lpo_clip_rule_tokens(const lpo_clip_rule *r, int32_t grid_t, int32_t grid_h, int32_t grid_w);
#endif
