/* SPDX-License-Identifier: Apache-2.0 */
/* tensor_safetensors.c -- any bytes are opened or refused; what opens may be read to its last byte and
 * written again. */
#include "tensor/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int fd = memfd_create("fuzz", 0);
    if (fd < 0) return 0;
    if (size && write(fd, data, size) != (ssize_t)size) abort();
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    lpo_safetensors *s;
    lpo_error e = {0};
    lpo_status st = lpo_safetensors_open(&s, path, &e);
    if (st) {
        if (!e.msg[0] || e.code != st || s) abort(); /* a refusal says why */
    } else {
        unsigned sum = 0;
        for (int i = 0; i < lpo_safetensors_count(s); i++) {
            const lpo_tensor_info *t = lpo_safetensors_at(s, i);
            const unsigned char *p = t->data;
            for (size_t k = 0; k < t->size_bytes; k++) sum += p[k];
            if (lpo_safetensors_find(s, t->name) != t) abort();
        }
        volatile unsigned sink = sum; /* the reads above must happen */
        (void)sink;
    }
    lpo_safetensors_close(s);
    close(fd);
    return 0;
}
