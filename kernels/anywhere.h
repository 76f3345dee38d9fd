/* SPDX-License-Identifier: Apache-2.0 */
/* anywhere.h -- the words in which a text of this folder is at once C11, the C++14 of the fabric, and, behind
 * gpu/dialect.h, OpenCL C and CUDA C++: arithmetic whose bits may not depend on the place is written once.
 *
 * LPO_FN     a function
 * LPO_TABLE  a table of constants, outside of functions
 * LPO_FMAF   x*y + z in binary32, rounded once */
#ifndef LPO_KERNELS_ANYWHERE_H
#define LPO_KERNELS_ANYWHERE_H
#ifndef LPO_GPU /* there dialect.h has defined them */
#include <stddef.h>
#include <stdint.h>
#define LPO_FN            static inline
#define LPO_TABLE         static const
#define LPO_FMAF(x, y, z) __builtin_fmaf(x, y, z)
#endif
#endif
