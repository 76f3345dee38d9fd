/* SPDX-License-Identifier: Apache-2.0 */
/* card_kernel.h -- what a kernel's shared object gives the software card: a table of entry points.
 * `leanpo xclbin build` generates them; write your own to wrap a kernel by hand. */
#ifndef LEANPO_CARD_KERNEL_H
#define LEANPO_CARD_KERNEL_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct card_env {
    /* Memory behind a device address; NULL outside every bank. Pages without a buffer fault when touched. */
    void *(*pointer)(const struct card_env *env, uint64_t address);
} card_env;

typedef struct card_kernel {
    const char *name; /* NULL ends the table */
    void (*run)(const uint8_t *regs,
                const card_env *env); /* regs: the 4 KiB register map, first argument at 0x10 */
} card_kernel;

extern __attribute__((visibility("default"))) const card_kernel card_kernels[];

#ifdef __cplusplus
}
#endif
#endif
