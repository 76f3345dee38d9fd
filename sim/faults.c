/* SPDX-License-Identifier: Apache-2.0 */
/* faults.c -- LEANPO_CARD_FAULTS=KIND[:UNIT]@N,...: what goes wrong, where and at which event, counted
 * from 1. hang, abort, late, flip strike the N-th run of a compute unit ("vadd_1"); short the N-th transfer,
 * alloc the N-th allocation, load the N-th container; @* strikes every time.
 * Example: hang:preprocess_1@37,alloc@3. */
#include "shim.h"

#include <stdlib.h>
#include <string.h>

bool fault_now(const char *kind, const char *name, unsigned n) {
    const char *p = getenv("LEANPO_CARD_FAULTS");
    size_t kind_n = strlen(kind), name_n = strlen(name);
    while (p && *p) {
        const char *end = strchrnul(p, ','), *at = memchr(p, '@', (size_t)(end - p));
        const char *colon = memchr(p, ':', (size_t)(end - p));
        if (at && (size_t)((colon && colon < at ? colon : at) - p) == kind_n && !memcmp(p, kind, kind_n) &&
            (!colon || ((size_t)(at - colon - 1) == name_n && !memcmp(colon + 1, name, name_n))) &&
            (at[1] == '*' || strtoul(at + 1, NULL, 10) == n))
            return true;
        p = *end ? end + 1 : end;
    }
    return false;
}
