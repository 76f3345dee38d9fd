/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_scores.c -- attention by whole products (lower_scores.c), which devices with matrix units take for few
 * long sequences: every case of the CPU's attention, whatever its lengths, in chunks of few rows. */
#define CASE_PRODUCTS LPO_GPU_PRODUCTS_ALWAYS
#include "gpu_case.h"

#include "../unit/kernels_attn.c"
