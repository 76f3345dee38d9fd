/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as config.json: a status, or a configuration whose parameter table can be laid out (or is refused
 * by its cap) without overflow. Layouts of more than a few blocks are skipped: they only repeat. */
#include "model/layout.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *j;
    lpo_model_config c;
    lpo_layout l;
    lpo_error err;
    if (lpo_json_parse(&j, (const char *)data, size, "fuzz", &err)) return 0;
    if (!lpo_config_parse(&c, j, "fuzz", &err)) {
        if (c.n_layers > 100) c.n_layers = 100;
        if (c.vision.depth > 100) c.vision.depth = 100;
        if (!lpo_layout_create(&l, &c, &err)) {
            if (lpo_layout_count(&l, false) <= 0) abort();
            lpo_layout_clear(&l);
        }
    }
    json_decref(j);
    return 0;
}
