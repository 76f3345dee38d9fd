/* SPDX-License-Identifier: Apache-2.0 */
/* family.h -- the table of model families. A family is a row here (which model_type it has, which tower,
 * what its classes assume when config.json is silent, how its tensors are called on disk), a preprocessing
 * recipe (host/media/prep_options.c) and a chat template (host/text/chat.c). The computation is one for all.
 */
#ifndef LPO_MODEL_FAMILY_H
#define LPO_MODEL_FAMILY_H
#include <stdbool.h>
#include <stdint.h>

/* Groups of tensors that share a prefix on disk. */
typedef enum lpo_where {
    LPO_WHERE_VISION,
    LPO_WHERE_PROJECT1,
    LPO_WHERE_PROJECT2,
    LPO_WHERE_NEWLINE,
    LPO_WHERE_TEXT,
    LPO_WHERE_HEAD,
    LPO_N_WHERES
} lpo_where;

typedef enum lpo_tower { LPO_TOWER_QWEN2, LPO_TOWER_QWEN2_5, LPO_TOWER_VIT } lpo_tower;

/* What the text class assumes. kv 0: as many as heads. */
typedef struct lpo_text_defaults {
    const char *type; /* text_config.model_type, or the family's own */
    int32_t hidden, ff, layers, heads, kv, vocab, max_positions;
    double eps, theta;
    bool qkv_bias, mrope;
} lpo_text_defaults;

typedef struct lpo_vit_defaults {
    const char *type; /* vision_config.model_type */
    int32_t hidden, ff, layers, heads, patch, image;
    const char *act;
    double eps;
    bool clip; /* CLIP: a class token, a norm before the blocks, no patch bias */
} lpo_vit_defaults;

enum { LPO_MAX_STYLES = 5 };

typedef struct lpo_family {
    const char *name;     /* "qwen2_vl": --family, lpo_model_info */
    const char *types[3]; /* model_type values of config.json */
    lpo_tower tower;
    const char *architecture;
    const char *text_type, *vit_type; /* of the rows below, when config.json does not name one */
    lpo_vit_defaults whole_vit;       /* when there is no vision_config at all */
    int32_t feature_layer; /* class default: hidden state of the tower that is used, from the end */
    bool pool_first;       /* pool, then project; else project, then pool and add newlines */
    int32_t video_pad_id;  /* class default */
    int init_style;        /* of folders made from nothing */
    int n_styles;
    const char *prefix[LPO_MAX_STYLES][LPO_N_WHERES]; /* published names, oldest first; NULL: no such group */
} lpo_family;

const lpo_family *lpo_family_of_type(const char *model_type); /* NULL: unknown */
const lpo_family *lpo_family_named(const char *name);         /* NULL: unknown */
const char *lpo_family_names(void);                           /* "qwen2_vl, ...", for errors */
const lpo_text_defaults *lpo_text_defaults_of(const char *type);
const lpo_vit_defaults *lpo_vit_defaults_of(const char *type);
#endif
