/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_attn.c -- the cases of kernels_attn.c on a GPU: see gpu_case.h. */
#include "gpu_case.h"

#include "../unit/kernels_attn.c"
