/* SPDX-License-Identifier: Apache-2.0 */
/* json.h -- jansson with the house's errors: a file that does not parse, a key that is missing or has the
 * wrong type is a message naming the file, the line and the key. Values stay jansson's json_t: read them with
 * its own API. */
#ifndef LPO_BASE_JSON_H
#define LPO_BASE_JSON_H
#include "leanpo/status.h"

#include <jansson.h>
#include <stdint.h>

/* Parse a whole file (at most max_bytes); *out owned by the caller (json_decref). Nesting is capped by
 * jansson. */
lpo_status lpo_json_load(json_t **out, const char *path, size_t max_bytes, lpo_error *err);
/* Parse text; `where` names it in errors ("data.jsonl:12"), NULL: one line, of which the caller knows. */
lpo_status lpo_json_parse(json_t **out, const char *text, size_t size_bytes, const char *where,
                          lpo_error *err);

/* obj[key] of the wanted type; a missing key gives LPO_ENOTFOUND, a wrong type or a value outside [min,max]
 * gives LPO_EFORMAT. Borrowed results live as long as obj. */
lpo_status lpo_json_int(int64_t *out, const json_t *obj, const char *key, int64_t min, int64_t max,
                        const char *where, lpo_error *err);
lpo_status lpo_json_real(double *out, const json_t *obj, const char *key, double min, double max,
                         const char *where, lpo_error *err);
lpo_status lpo_json_str(const char **out, const json_t *obj, const char *key, const char *where,
                        lpo_error *err);
/* The same, leaving *out untouched (its default) when the key is missing or null. */
lpo_status lpo_json_int_or(int64_t *out, const json_t *obj, const char *key, int64_t min, int64_t max,
                           const char *where, lpo_error *err);
lpo_status lpo_json_real_or(double *out, const json_t *obj, const char *key, double min, double max,
                            const char *where, lpo_error *err);

/* Write obj atomically, indented by 2, with a final newline. */
lpo_status lpo_json_save(const json_t *obj, const char *path, lpo_error *err);
#endif
