/* SPDX-License-Identifier: Apache-2.0 */
/* text_load.c -- any bytes as a tokenizer.json: it loads or is refused with a message; what loads can be
 * used. */
#include "leanpo/text.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] = "the cat, 12 caf\xc3\xa9 ab<|im_start|>  \n";
    char path[64];
    int fd = memfd_create("tokenizer.json", 0);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    lpo_tokenizer *t;
    lpo_error err = {0};
    lpo_status s = lpo_tokenizer_load(&t, path, &err);
    if (s ? t != NULL || err.code != s || !err.msg[0] : t == NULL) abort();
    if (t) {
        lpo_ids ids = {0};
        char *back = NULL;
        size_t n;
        if (lpo_tokenizer_encode(&ids, t, text, sizeof text - 1, &err) == LPO_OK &&
            lpo_tokenizer_decode(&back, &n, t, ids.ids, ids.n, 0, &err) != LPO_OK)
            abort();
        free(back);
        lpo_ids_clear(&ids);
    }
    lpo_tokenizer_destroy(t);
    close(fd);
    return 0;
}
