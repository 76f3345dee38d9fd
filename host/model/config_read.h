/* SPDX-License-Identifier: Apache-2.0 */
/* config_read.h -- keys of config.json with fallbacks. A key is looked for in the inner object, then in the
 * outer; the first failure is kept and later reads do nothing, so a parser reads straight down. */
#ifndef LPO_MODEL_CONFIG_READ_H
#define LPO_MODEL_CONFIG_READ_H
#include "model/config.h"
#include "model/family.h"

typedef struct lpo_source {
    const json_t *inner, *outer; /* text_config (or the top level again), top level */
    const char *where;           /* the file, for errors */
    lpo_error *err;
    lpo_status status; /* the first failure */
} lpo_source;

int64_t lpo_source_int(lpo_source *s, const char *key, int64_t fallback, int64_t min, int64_t max);
double lpo_source_real(lpo_source *s, const char *key, double fallback, double min, double max);
bool lpo_source_flag(lpo_source *s, const char *key, bool fallback);
const char *lpo_source_str(lpo_source *s, const char *key, const char *fallback);
int32_t lpo_source_act(lpo_source *s, const char *key, const char *fallback); /* lpo_act */
void lpo_source_refuse(lpo_source *s, const char *key, const char *what);

/* config_vision.c: the tower of c->family; reads json's vision_config and the keys beside it. */
void lpo_config_parse_vision(lpo_model_config *c, lpo_source *text, const json_t *json);
#endif
