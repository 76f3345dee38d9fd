/* SPDX-License-Identifier: Apache-2.0 */
/* config_read.c -- see config_read.h. */
#include "model/config_read.h"

#include <string.h>

static const json_t *find(const lpo_source *s, const char *key) {
    const json_t *v = json_object_get(s->inner, key);
    if (!v || json_is_null(v)) v = json_object_get(s->outer, key);
    return v && !json_is_null(v) ? v : NULL;
}

int64_t lpo_source_int(lpo_source *s, const char *key, int64_t fallback, int64_t min, int64_t max) {
    int64_t v = fallback;
    if (s->status || !find(s, key)) return v;
    const json_t *own = json_object_get(s->inner, key);
    s->status =
        lpo_json_int_or(&v, own && !json_is_null(own) ? s->inner : s->outer, key, min, max, s->where, s->err);
    return v;
}

double lpo_source_real(lpo_source *s, const char *key, double fallback, double min, double max) {
    double v = fallback;
    if (s->status || !find(s, key)) return v;
    const json_t *at = json_is_number(json_object_get(s->inner, key)) ? s->inner : s->outer;
    s->status = lpo_json_real_or(&v, at, key, min, max, s->where, s->err);
    return v;
}

bool lpo_source_flag(lpo_source *s, const char *key, bool fallback) {
    const json_t *v = find(s, key);
    if (!v || s->status) return fallback;
    if (!json_is_boolean(v)) lpo_source_refuse(s, key, "expected true or false");
    return json_is_true(v);
}

const char *lpo_source_str(lpo_source *s, const char *key, const char *fallback) {
    const json_t *v = find(s, key);
    if (!v || s->status) return fallback;
    if (json_is_string(v)) return json_string_value(v);
    lpo_source_refuse(s, key, "expected a string");
    return fallback;
}

void lpo_source_refuse(lpo_source *s, const char *key, const char *what) {
    if (!s->status) s->status = lpo_fail(s->err, LPO_EFORMAT, "%s: key \"%s\": %s", s->where, key, what);
}

int32_t lpo_source_act(lpo_source *s, const char *key, const char *fallback) {
    const char *a = lpo_source_str(s, key, fallback);
    if (!strcmp(a, "quick_gelu")) return LPO_ACT_QUICK_GELU;
    if (!strcmp(a, "gelu_pytorch_tanh") || !strcmp(a, "gelu_new")) return LPO_ACT_GELU_TANH;
    if (!strcmp(a, "gelu")) return LPO_ACT_GELU;
    if (!strcmp(a, "silu") || !strcmp(a, "swish")) return LPO_ACT_SILU_MUL;
    if (!s->status)
        s->status = lpo_fail(s->err, LPO_EUNSUPPORTED, "%s: key \"%s\": activation \"%.40s\" is not known",
                             s->where, key, a);
    return 0;
}
