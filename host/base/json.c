/* SPDX-License-Identifier: Apache-2.0 */
/* json.c -- see json.h. */
#include "base/json.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

lpo_status lpo_json_parse(json_t **out, const char *text, size_t size_bytes, const char *where,
                          lpo_error *err) {
    json_error_t e;
    *out = json_loadb(text, size_bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (*out) return LPO_OK;
    if (!where) return lpo_fail(err, LPO_EFORMAT, "column %d: not valid JSON: %s", e.column, e.text);
    return lpo_fail(err, LPO_EFORMAT, "%s: line %d, column %d: not valid JSON: %s", where, e.line, e.column,
                    e.text);
}

lpo_status lpo_json_load(json_t **out, const char *path, size_t max_bytes, lpo_error *err) {
    char *text;
    size_t size;
    *out = NULL;
    lpo_status s = lpo_file_read(&text, &size, path, max_bytes, err);
    if (s) return s;
    s = lpo_json_parse(out, text, size, path, err);
    free(text);
    return s;
}

static const char *type_name(const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: break;
    }
    return "null";
}

static lpo_status find(json_t **v, const json_t *obj, const char *key, const char *where, lpo_error *err) {
    if (!json_is_object(obj)) return lpo_fail(err, LPO_EFORMAT, "%s: expected a JSON object", where);
    *v = json_object_get(obj, key);
    if (!*v || json_is_null(*v)) return lpo_fail(err, LPO_ENOTFOUND, "%s: key \"%s\" is missing", where, key);
    return LPO_OK;
}

static int absent(const json_t *obj, const char *key) {
    return json_is_object(obj) && (!json_object_get(obj, key) || json_is_null(json_object_get(obj, key)));
}

lpo_status lpo_json_int(int64_t *out, const json_t *obj, const char *key, int64_t min, int64_t max,
                        const char *where, lpo_error *err) {
    json_t *v;
    lpo_status s = find(&v, obj, key, where, err);
    if (s) return s;
    if (!json_is_integer(v))
        return lpo_fail(err, LPO_EFORMAT, "%s: key \"%s\": expected an integer, found %s", where, key,
                        type_name(v));
    int64_t x = json_integer_value(v);
    if (x < min || x > max)
        return lpo_fail(err, LPO_EFORMAT, "%s: key \"%s\": %lld is outside %lld..%lld", where, key,
                        (long long)x, (long long)min, (long long)max);
    *out = x;
    return LPO_OK;
}

lpo_status lpo_json_real(double *out, const json_t *obj, const char *key, double min, double max,
                         const char *where, lpo_error *err) {
    json_t *v;
    lpo_status s = find(&v, obj, key, where, err);
    if (s) return s;
    if (!json_is_number(v))
        return lpo_fail(err, LPO_EFORMAT, "%s: key \"%s\": expected a number, found %s", where, key,
                        type_name(v));
    double x = json_number_value(v);
    if (!(x >= min && x <= max))
        return lpo_fail(err, LPO_EFORMAT, "%s: key \"%s\": %g is outside %g..%g", where, key, x, min, max);
    *out = x;
    return LPO_OK;
}

lpo_status lpo_json_str(const char **out, const json_t *obj, const char *key, const char *where,
                        lpo_error *err) {
    json_t *v;
    lpo_status s = find(&v, obj, key, where, err);
    if (s) return s;
    if (!json_is_string(v))
        return lpo_fail(err, LPO_EFORMAT, "%s: key \"%s\": expected a string, found %s", where, key,
                        type_name(v));
    *out = json_string_value(v);
    return LPO_OK;
}

lpo_status lpo_json_int_or(int64_t *out, const json_t *obj, const char *key, int64_t min, int64_t max,
                           const char *where, lpo_error *err) {
    return absent(obj, key) ? LPO_OK : lpo_json_int(out, obj, key, min, max, where, err);
}

lpo_status lpo_json_real_or(double *out, const json_t *obj, const char *key, double min, double max,
                            const char *where, lpo_error *err) {
    return absent(obj, key) ? LPO_OK : lpo_json_real(out, obj, key, min, max, where, err);
}

lpo_status lpo_json_save(const json_t *obj, const char *path, lpo_error *err) {
    char *text = json_dumps(obj, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    if (!text) return lpo_fail(err, LPO_ENOMEM, "%s: cannot render as JSON", path);
    size_t n = strlen(text);
    text[n] = '\n'; /* over the NUL: jansson's buffer is ours */
    lpo_status s = lpo_file_write(path, text, n + 1, err);
    free(text);
    return s;
}
