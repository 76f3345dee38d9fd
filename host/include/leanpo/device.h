/* SPDX-License-Identifier: Apache-2.0 */
/* device.h -- what this machine can compute on. */
#ifndef LEANPO_DEVICE_H
#define LEANPO_DEVICE_H
#include "leanpo/status.h"

#include <stdint.h>

typedef struct lpo_device_desc {
    char spec[24];         /* what --place takes: "cpu", "ref", "cuda:1", "csim", "fpga:0" */
    char stages[32];       /* what it can serve: "backbone", "preprocess,reduce", or all three */
    char name[128];        /* for people: model, threads, instruction set */
    uint64_t memory_bytes; /* 0 = unknown */
} lpo_device_desc;

/* Fill at most max entries, in order of preference; returns how many there are. A device that does not open
 * is left out. FPGA cards are those of the container in $LEANPO_XCLBIN, else the software card; looking for
 * them settles which of the two this process can use. */
LPO_API int lpo_device_list(lpo_device_desc *out, int max);

/* Threads of the CPU kernels, for the calling thread's work: n >= 1 sets it, anything else leaves it. Returns
 * the number now in use. Results are the same bits at any number. */
LPO_API int lpo_device_threads(int n);
#endif
