/* SPDX-License-Identifier: Apache-2.0 */
/* align_objective.c -- fuzzes the JSON face of the objectives: first line the spec, the rest the entry. */
#include "leanpo/objective.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char spec[128];
    const uint8_t *end = memchr(data, '\n', size);
    if (!end || (size_t)(end - data) >= sizeof spec) return 0;
    size_t n = (size_t)(end - data);
    memcpy(spec, data, n);
    spec[n] = 0;
    char *out;
    lpo_error err;
    const char *const sets[] = {"beta=0.5"};
    lpo_objective_json(&out, spec, (const char *)end + 1, size - n - 1, NULL, 0, &err);
    free(out);
    lpo_objective_json(&out, spec, (const char *)end + 1, size - n - 1, sets, 1, &err);
    free(out);
    return 0;
}
