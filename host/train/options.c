/* SPDX-License-Identifier: Apache-2.0 */
/* options.c -- see options.h. Values are kept as text, canonical after a check, so that what the user wrote
 * is what config.json shows; numbers are parsed again where they are used. */
#include "train/options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VALUE = 4096, MAX_CONFIG = 1 << 20 };

typedef struct limits {
    double min, max;
    const char *choices;
    lpo_resume_rule rule;
} limits;

/* An empty alias is written NULL for the public. */
#define ALIAS(a) (sizeof(a) > 1 ? (a) : NULL)
static const lpo_option_info table[] = {
#define LPO_X(name, alias, type, fallback, min, max, choices, rule, help)                                    \
    {#name, ALIAS(alias), LPO_OPT_##type, fallback, help},
    LPO_TRAIN_OPTION_LIST(LPO_X)
#undef LPO_X
};
static const limits limit_of[] = {
#define LPO_X(name, alias, type, fallback, min, max, choices, rule, help)                                    \
    {min, max, choices, LPO_RESUME_##rule},
    LPO_TRAIN_OPTION_LIST(LPO_X)
#undef LPO_X
};

struct lpo_train_options {
    char *value[LPO_TRAIN_N_OPTIONS]; /* NULL: the default */
    bool given[LPO_TRAIN_N_OPTIONS];
};

const lpo_option_info *lpo_train_option_at(int i) {
    return i >= 0 && i < LPO_TRAIN_N_OPTIONS ? &table[i] : NULL;
}

lpo_train_options *lpo_train_options_create(void) {
    return calloc(1, sizeof(lpo_train_options));
}

void lpo_train_options_destroy(lpo_train_options *o) {
    if (!o) return;
    for (int i = 0; i < LPO_TRAIN_N_OPTIONS; i++) free(o->value[i]);
    free(o);
}

lpo_train_options *lpo_train_options_copy(const lpo_train_options *o) {
    lpo_train_options *c = lpo_train_options_create();
    for (int i = 0; c && i < LPO_TRAIN_N_OPTIONS; i++) {
        c->given[i] = o->given[i];
        if (!o->value[i]) continue;
        c->value[i] = strdup(o->value[i]);
        if (!c->value[i]) {
            lpo_train_options_destroy(c);
            return NULL;
        }
    }
    return c;
}

static bool same_name(const char *a, const char *b) {
    if (!b) return false;
    for (; *a && *b; a++, b++)
        if ((*a == '-' ? '_' : *a) != (*b == '-' ? '_' : *b)) return false;
    return *a == *b;
}

static int find(const char *name) {
    for (int i = 0; i < LPO_TRAIN_N_OPTIONS; i++)
        if (same_name(name, table[i].name) || same_name(name, table[i].alias)) return i;
    return -1;
}

static size_t distance(const char *a, const char *b) {
    size_t n = 0;
    for (; *a || *b; a += *a != 0, b += *b != 0) n += (*a == '-' ? '_' : *a) != (*b == '-' ? '_' : *b);
    return n;
}

static lpo_status unknown(const char *name, lpo_error *err) {
    const char *near = table[0].name;
    for (int i = 1; i < LPO_TRAIN_N_OPTIONS; i++)
        if (distance(name, table[i].name) < distance(name, near)) near = table[i].name;
    return lpo_fail(
        err, LPO_EINVAL,
        "training option \"%.60s\" is unknown (the nearest is %s; `leanpo train --help` lists all)", name,
        near);
}

static bool in_choices(const char *choices, const char *value) {
    size_t n = strlen(value);
    for (const char *c = choices; c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL)
        if (strcspn(c, "|") == n && !strncmp(c, value, n)) return true;
    return false;
}

/* Is `value` one this option takes? *canon is the text to keep. */
static lpo_status check(const char **canon, int i, const char *value, lpo_error *err) {
    const char *name = table[i].name;
    char *end = NULL;
    *canon = value;
    if (strlen(value) > MAX_VALUE)
        return lpo_fail(err, LPO_ELIMIT, "option %s: longer than %d bytes", name, MAX_VALUE);
    if (!*value && !*table[i].fallback) return LPO_OK;
    switch (table[i].type) {
    case LPO_OPT_STR:
        if (limit_of[i].choices && !in_choices(limit_of[i].choices, value))
            return lpo_fail(err, LPO_EINVAL, "option %s: \"%.80s\" is not one of %s", name, value,
                            limit_of[i].choices);
        return LPO_OK;
    case LPO_OPT_BOOL:
        if (!strcmp(value, "true") || !strcmp(value, "1") || !strcmp(value, "yes"))
            *canon = "true";
        else if (!strcmp(value, "false") || !strcmp(value, "0") || !strcmp(value, "no"))
            *canon = "false";
        else
            return lpo_fail(err, LPO_EINVAL, "option %s: \"%.80s\" is not true or false", name, value);
        return LPO_OK;
    case LPO_OPT_INT:
    case LPO_OPT_REAL: break;
    }
    bool whole = table[i].type == LPO_OPT_INT;
    double x = whole ? (double)strtoll(value, &end, 10) : strtod(value, &end);
    if (end == value || *end)
        return lpo_fail(err, LPO_EINVAL, "option %s: \"%.80s\" is not %s", name, value,
                        whole ? "a whole number" : "a number");
    if (!(x >= limit_of[i].min && x <= limit_of[i].max))
        return lpo_fail(err, LPO_EINVAL, "option %s: %.80s is outside %g..%g", name, value, limit_of[i].min,
                        limit_of[i].max);
    return LPO_OK;
}

static lpo_status put(lpo_train_options *o, int i, const char *value, lpo_error *err) {
    const char *canon;
    lpo_status s = check(&canon, i, value, err);
    if (s) return s;
    char *copy = strdup(canon);
    if (!copy) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    free(o->value[i]);
    o->value[i] = copy;
    return LPO_OK;
}

lpo_status lpo_train_options_set(lpo_train_options *o, const char *name, const char *value, lpo_error *err) {
    int i = find(name);
    if (i < 0) return unknown(name, err);
    char joined[2 * MAX_VALUE];
    /* --set may be repeated: the later pairs stand behind the earlier ones and win. */
    if (i == LPO_TRAIN_set && o->value[i] && *o->value[i] && *value) {
        if (strlen(o->value[i]) + strlen(value) + 2 > sizeof joined)
            return lpo_fail(err, LPO_ELIMIT, "option set: longer than %d bytes", MAX_VALUE);
        snprintf(joined, sizeof joined, "%s,%s", o->value[i], value);
        value = joined;
    }
    lpo_status s = put(o, i, value, err);
    if (!s) o->given[i] = true;
    return s;
}

/* A JSON value as option text in buf. */
static const char *text_of(char *buf, size_t size_bytes, const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_STRING: return json_string_value(v);
    case JSON_INTEGER: snprintf(buf, size_bytes, "%lld", (long long)json_integer_value(v)); return buf;
    case JSON_REAL: snprintf(buf, size_bytes, "%.17g", json_real_value(v)); return buf;
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_NULL: return "";
    case JSON_OBJECT:
    case JSON_ARRAY: break;
    }
    return NULL;
}

/* Every option of obj; only_missing leaves alone those the user gave. "run" is what config.json says beside
 * the options. */
static lpo_status take(lpo_train_options *o, const json_t *obj, bool only_missing, const char *where,
                       lpo_error *err) {
    const char *key;
    json_t *v;
    if (!json_is_object(obj))
        return lpo_fail(err, LPO_EFORMAT, "%s: expected a JSON object of options", where);
    json_object_foreach((json_t *)(uintptr_t)obj, key, v) {
        char buf[64];
        if (!strcmp(key, "run")) continue;
        int i = find(key);
        const char *text = text_of(buf, sizeof buf, v);
        lpo_status s = LPO_OK;
        if (i < 0)
            s = unknown(key, err);
        else if (!text)
            s = lpo_fail(err, LPO_EINVAL, "option %s: expected a string, a number or a boolean", key);
        else if (!(only_missing && o->given[i]))
            s = put(o, i, text, err);
        if (s) return lpo_fail_in(err, s, "%s", where);
        if (!only_missing) o->given[i] = true;
    }
    return LPO_OK;
}

lpo_status lpo_train_options_load(lpo_train_options *o, const char *config_json_path, lpo_error *err) {
    json_t *obj;
    lpo_status s = lpo_json_load(&obj, config_json_path, MAX_CONFIG, err);
    if (s) return s;
    s = take(o, obj, false, config_json_path, err);
    json_decref(obj);
    return s;
}

lpo_status lpo_train_options_inherit(lpo_train_options *o, const json_t *saved, const char *where,
                                     lpo_error *err) {
    return take(o, saved, true, where, err);
}

const char *lpo_train_str(const lpo_train_options *o, lpo_train_option_id id) {
    return o->value[id] ? o->value[id] : table[id].fallback;
}
int64_t lpo_train_int(const lpo_train_options *o, lpo_train_option_id id) {
    return strtoll(lpo_train_str(o, id), NULL, 10);
}
double lpo_train_real(const lpo_train_options *o, lpo_train_option_id id) {
    return strtod(lpo_train_str(o, id), NULL);
}
bool lpo_train_bool(const lpo_train_options *o, lpo_train_option_id id) {
    return !strcmp(lpo_train_str(o, id), "true");
}
bool lpo_train_is_given(const lpo_train_options *o, lpo_train_option_id id) {
    return o->given[id];
}

const char *lpo_train_options_get(const lpo_train_options *o, const char *name) {
    int i = find(name);
    return i < 0 ? NULL : lpo_train_str(o, (lpo_train_option_id)i);
}

lpo_clip_options lpo_train_options_clips(const lpo_train_options *o) {
    return (lpo_clip_options){lpo_train_int(o, LPO_TRAIN_frames), lpo_train_real(o, LPO_TRAIN_fps),
                              lpo_train_int(o, LPO_TRAIN_min_pixels), lpo_train_int(o, LPO_TRAIN_max_pixels)};
}

static json_t *json_of(const lpo_train_options *o, lpo_train_option_id id) {
    const char *text = lpo_train_str(o, id);
    switch (table[id].type) {
    case LPO_OPT_STR: break;
    case LPO_OPT_BOOL: return json_boolean(lpo_train_bool(o, id));
    case LPO_OPT_INT: return *text ? json_integer(lpo_train_int(o, id)) : json_null();
    case LPO_OPT_REAL: return *text ? json_real(lpo_train_real(o, id)) : json_null();
    }
    return json_string(text);
}

/* What a run was started with; an option that did not exist then had what is now its default. New reference.
 */
static json_t *json_before(const json_t *saved, lpo_train_option_id id) {
    static const lpo_train_options defaults;
    const json_t *v = json_object_get(saved, table[id].name);
    return v ? json_incref((json_t *)(uintptr_t)v) : json_of(&defaults, id);
}

json_t *lpo_train_options_json(const lpo_train_options *o) {
    json_t *obj = json_object();
    for (int i = 0; obj && i < LPO_TRAIN_N_OPTIONS; i++) {
        /* A config.json used as --config must start a run, not continue one. */
        if (i == LPO_TRAIN_resume) continue;
        if (json_object_set_new(obj, table[i].name, json_of(o, (lpo_train_option_id)i))) {
            json_decref(obj);
            return NULL;
        }
    }
    return obj;
}

lpo_status lpo_train_options_same_run(const lpo_train_options *o, const json_t *saved, const char *where,
                                      lpo_error *err) {
    char list[400] = "";
    size_t used = 0;
    for (int i = 0; i < LPO_TRAIN_N_OPTIONS; i++) {
        char was[81], number[64];
        json_t *v = json_before(saved, (lpo_train_option_id)i), *now = json_of(o, (lpo_train_option_id)i);
        const char *before = v ? text_of(number, sizeof number, v) : NULL;
        const bool differs = !before || !now || !json_equal(v, now);
        snprintf(was, sizeof was, "%s", before ? before : "nothing");
        json_decref(v);
        json_decref(now);
        if (!differs || limit_of[i].rule == LPO_RESUME_FREE) continue;
        if (limit_of[i].rule == LPO_RESUME_WARN) {
            lpo_log(LPO_LOG_WARN, "%s: %s was %s and is now %s", where, table[i].name, was,
                    lpo_train_str(o, (lpo_train_option_id)i));
            continue;
        }
        int k = snprintf(list + used, sizeof list - used, "%s%s (was \"%.40s\", is \"%.40s\")",
                         used ? ", " : "", table[i].name, was, lpo_train_str(o, (lpo_train_option_id)i));
        used = k < 0 || used + (size_t)k >= sizeof list ? sizeof list - 1 : used + (size_t)k;
    }
    if (!used) return LPO_OK;
    return lpo_fail(err, LPO_EINVAL,
                    "%s: the run was started with other options: %s; leave them out, or choose another --out",
                    where, list);
}
