/* SPDX-License-Identifier: Apache-2.0 */
/* abi.h -- what abi.def means to C: per kernel K the entry lpo_hls_K(arguments...), the struct lpo_hls_K_args
 * with one member an argument, HLS_REG_K_argument (its register's offset) and HLS_ARG_K_argument (its index);
 * and for code that serves any kernel, the table lpo_hls_kernels.
 * Register rule of the tools: the first argument at 0x10; a pointer or a 64-bit scalar takes 0xc, a 32-bit
 * one 8. The kernels are reentrant: what they need lies on the stack, up to 6 MiB of it. */
#ifndef LPO_HLS_ABI_H
#define LPO_HLS_ABI_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HLS_TYPE_SCALAR_IN(type)  type
#define HLS_TYPE_GLOBAL_IN(type)  const type *
#define HLS_TYPE_GLOBAL_OUT(type) type *
#define HLS_WORD_SCALAR(type)     (sizeof(type) > 4 ? 0xc : 8)
#define HLS_WORD_GLOBAL(type)     0xc

/* Argument structs. */
#define HLS_KERNEL(k)                       typedef struct lpo_hls_##k##_args {
#define HLS_ARG(k, arg, type, kind, dir, b) HLS_TYPE_##kind##_##dir(type) arg;
#define HLS_LAST(k, arg, type, kind, dir, b)                                                                 \
    HLS_TYPE_##kind##_##dir(type) arg;                                                                       \
    }                                                                                                        \
    lpo_hls_##k##_args;
#include "abi.def"

/* Entry points. */
#define HLS_KERNEL(k)                        void lpo_hls_##k(
#define HLS_ARG(k, arg, type, kind, dir, b) HLS_TYPE_##kind##_##dir(type) arg,
#define HLS_LAST(k, arg, type, kind, dir, b) HLS_TYPE_##kind##_##dir(type) arg);
#include "abi.def"

/* Offsets: an enumerator follows its predecessor, so each argument leaves one that ends its register. */
#define HLS_KERNEL(k) enum { HLS_REG_##k##_before = 0x10 - 1,
#define HLS_ARG(k, arg, type, kind, dir, b)                                                                  \
    HLS_REG_##k##_##arg, HLS_REG_##k##_##arg##_ends = HLS_REG_##k##_##arg + HLS_WORD_##kind(type) - 1,
#define HLS_LAST(k, arg, type, kind, dir, b)                                                                 \
    HLS_ARG(k, arg, type, kind, dir, b) HLS_REG_##k##_end                                                    \
    }                                                                                                        \
    ;
#include "abi.def"

#define HLS_KERNEL(k)                       enum {
#define HLS_ARG(k, arg, type, kind, dir, b) HLS_ARG_##k##_##arg,
#define HLS_LAST(k, arg, type, kind, dir, b)                                                                 \
    HLS_ARG_##k##_##arg, HLS_ARG_##k##_count                                                                 \
    }                                                                                                        \
    ;
#include "abi.def"

enum { HLS_SCALAR, HLS_GLOBAL };
enum { HLS_IN, HLS_OUT };
enum { HLS_PATCH_NONE, HLS_PATCH_F32, HLS_PATCH_BF16 };

typedef struct lpo_hls_arg {
    const char *name, *type, *bundle; /* type as C spells it, without the star of a GLOBAL */
    int kind, dir;
    uint32_t reg_offset;  /* in the control port */
    uint32_t size_bytes;  /* in the registers: 4 or 8 */
    size_t struct_offset; /* in lpo_hls_K_args */
} lpo_hls_arg;

typedef struct lpo_hls_kernel {
    const char *name;
    const lpo_hls_arg *args;
    int n_args;
    size_t args_bytes;             /* of lpo_hls_K_args */
    void (*run)(const void *args); /* lpo_hls_K_args: calls the kernel here and now */
} lpo_hls_kernel;

extern const lpo_hls_kernel lpo_hls_kernels[]; /* ended by a row without a name */

#ifdef __cplusplus
}
#endif
#endif
