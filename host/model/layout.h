/* SPDX-License-Identifier: Apache-2.0 */
/* layout.h -- the parameters a config implies, from shapes alone: nothing is allocated on a device.
 * In memory q|k|v and gate|up are one matrix each (one GEMM instead of three); on disk they are separate
 * tensors. Each parameter lists the disk tensors that make it up, top to bottom. */
#ifndef LPO_MODEL_LAYOUT_H
#define LPO_MODEL_LAYOUT_H
#include "base/arena.h"
#include "graph/tape.h"
#include "model/config.h"
#include "model/family.h"

/* Which --train group a parameter belongs to. */
typedef enum lpo_group { LPO_GROUP_VISION, LPO_GROUP_PROJECTOR, LPO_GROUP_LLM, LPO_N_GROUPS } lpo_group;
typedef enum lpo_init { LPO_INIT_ZERO, LPO_INIT_ONE, LPO_INIT_NORMAL } lpo_init;

typedef struct lpo_part {
    const char *name;  /* without the prefix */
    int64_t row, rows; /* of the parameter (elements of a vector) */
    int ndim;
    int64_t shape[5]; /* on disk */
} lpo_part;

typedef struct lpo_slot {
    lpo_param p; /* name, dtype 0, shape; no memory until the model allocates it */
    lpo_where where;
    lpo_group group;
    lpo_init init;
    bool unused; /* on disk, and no part of the computation: kept as read, never trained */
    int n_parts;
    lpo_part part[3];
    struct lpo_adapter *adapter[3]; /* of the parts; NULL: none */
} lpo_slot;

/* One transformer block; absent biases are NULL. */
typedef struct lpo_block {
    lpo_param *norm1_w, *norm1_b, *qkv_w, *qkv_b, *out_w, *out_b;
    lpo_param *norm2_w, *norm2_b, *up_w, *up_b, *down_w, *down_b;
} lpo_block;

typedef struct lpo_layout {
    lpo_arena *arena;
    const lpo_family *family;
    lpo_slot *slots; /* the fixed order of checkpoints and optimizer states */
    int n_slots, cap;
    lpo_param *patch_w, *patch_b, *class_w, *position_w, *pre_norm_w, *pre_norm_b; /* NULL: has none */
    lpo_block *vision, *text;
    lpo_param *merge_norm_w, *merge_norm_b; /* Qwen's */
    lpo_param *merge1_w, *merge1_b, *merge2_w, *merge2_b, *newline_w;
    lpo_param *embed_w, *norm_w, *head_w; /* head_w == embed_w when tied */
} lpo_layout;

/* c->tied must be known. LPO_ELIMIT when the parameters exceed 2^40. */
lpo_status lpo_layout_create(lpo_layout *out, const lpo_model_config *c, lpo_error *err);
void lpo_layout_clear(lpo_layout *l);
int64_t lpo_layout_count(const lpo_layout *l,
                         bool vision_only); /* parameters; the projector counts as vision */

/* style: the row of family->prefix. False when the family has no such name in that style. */
bool lpo_part_name(char out[256], const lpo_layout *l, const lpo_slot *s, const lpo_part *p, int style);
#endif
