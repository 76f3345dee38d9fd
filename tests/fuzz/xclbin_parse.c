/* SPDX-License-Identifier: Apache-2.0 */
/* xclbin_parse.c -- any bytes as a container: accepted or refused with a message, never a crash. What is
 * accepted lies inside its bytes and can be walked. */
#include "leanpo/xclbin.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lpo_xclbin *x = NULL;
    lpo_error err = {0};
    if (lpo_xclbin_parse(&x, data, size, "fuzz", &err)) {
        if (!err.msg[0] || x) abort();
        return 0;
    }
    unsigned sum = 0;
    for (int i = 0; i < x->n_sections; i++)
        for (uint64_t b = 0; b < x->sections[i].size_bytes; b += 64)
            sum += ((const uint8_t *)x->sections[i].data)[b];
    for (int i = 0; i < x->n_connections; i++)
        sum +=
            x->memories[x->connections[i].memory].used + (unsigned)strlen(x->ips[x->connections[i].ip].name);
    for (int k = 0; k < x->n_kernels; k++)
        for (int a = 0; a < x->kernels[k].n_args; a++) sum += (unsigned)strlen(x->kernels[k].args[a].type);
    lpo_xclbin_check_card(x, "fuzz", &err);
    lpo_xclbin_close(x);
    return sum == ~0u;
}
