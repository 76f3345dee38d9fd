/* SPDX-License-Identifier: Apache-2.0 */
/* abi.c -- abi.def as a table, for whoever serves any kernel (links, the software card, the container).
 * Host code, never synthesised. */
#include "hls/abi.h"

#define HLS_KERNEL(k) static const lpo_hls_arg k##_table[] = {
#define HLS_ARG(k, arg, type, kind, dir, b)                                                                  \
    {#arg,                                                                                                   \
     #type,                                                                                                  \
     #b,                                                                                                     \
     HLS_##kind,                                                                                             \
     HLS_##dir,                                                                                              \
     HLS_REG_##k##_##arg,                                                                                    \
     HLS_WORD_##kind(type) == 8 ? 4 : 8,                                                                     \
     offsetof(lpo_hls_##k##_args, arg)},
#define HLS_LAST(k, arg, type, kind, dir, b)                                                                 \
    HLS_ARG(k, arg, type, kind, dir, b)                                                                      \
    }                                                                                                        \
    ;
#include "abi.def"

#define HLS_KERNEL(k)                                                                                        \
    static void run_##k(const void *args) {                                                                  \
        const lpo_hls_##k##_args *a = (const lpo_hls_##k##_args *)args;                                      \
        lpo_hls_##k(
#define HLS_ARG(k, arg, type, kind, dir, b) a->arg,
#define HLS_LAST(k, arg, type, kind, dir, b)                                                                 \
    a->arg);                                                                                                 \
    }
#include "abi.def"

const lpo_hls_kernel lpo_hls_kernels[] = {
#define HLS_KERNEL(k) {#k, k##_table, HLS_ARG_##k##_count, sizeof(lpo_hls_##k##_args), run_##k},
#define HLS_ARG(k, arg, type, kind, dir, b)
#define HLS_LAST(k, arg, type, kind, dir, b)
#include "abi.def"
    {NULL, NULL, 0, 0, NULL}};
