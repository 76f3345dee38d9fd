/* SPDX-License-Identifier: Apache-2.0 */
/* card_kernel.h -- what a kernel's shared object gives the software card: a table of entry points, and if it
 * can, what its runs would take on hardware. `leanpo xclbin build` generates both; write your own to wrap a
 * kernel by hand. */
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

/* Optional. begin is called before and end after each run, on its thread; end gives the modelled clock cycles
 * and bytes of memory traffic, 0 for what is not known. The trace (LEANPO_CARD_TRACE) tells them. */
typedef struct card_timing {
    void (*begin)(void);
    void (*end)(uint64_t *cycles, uint64_t *bytes);
} card_timing;

extern __attribute__((visibility("default"))) const card_timing card_timing_model;

#ifdef __cplusplus
}
#endif
#endif
