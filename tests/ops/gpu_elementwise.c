/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_elementwise.c -- the cases of kernels_elementwise.c on a GPU: see gpu_case.h. */
#include "gpu_case.h"

#include "../unit/kernels_elementwise.c"
