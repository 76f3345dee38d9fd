/* SPDX-License-Identifier: Apache-2.0 */
/* data_dataset.c -- any bytes as a JSONL set: opened or refused, never a crash; what is accepted has a
 * prompt, a video and an answer. */
#include "base/file.h"
#include "data/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char path[64];
    if (!path[0]) snprintf(path, sizeof path, "/tmp/leanpo-fuzz-%d.jsonl", (int)getpid());
    FILE *f = fopen(path, "wb");
    if (!f) abort();
    if (size && fwrite(data, 1, size, f) != size) abort();
    fclose(f);
    lpo_dataset_options o = lpo_dataset_options_default();
    o.max_bad = 1;
    o.need_pairs = size & 1;
    lpo_dataset *d = NULL;
    lpo_error err;
    if (!lpo_dataset_open(&d, path, &o, &err)) {
        for (int64_t i = 0; i < lpo_dataset_count(d); i++) {
            const lpo_record *r = lpo_dataset_at(d, i);
            if (!r->prompt || !r->video || !r->chosen || !r->chosen[0] || (o.need_pairs && !r->rejected))
                abort();
        }
    }
    lpo_dataset_close(d);
    unlink(path);
    return 0;
}
