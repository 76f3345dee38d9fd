/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_linear.c -- the cases of kernels_linear.c on a GPU: see gpu_case.h. */
#include "gpu_case.h"

#include "../unit/kernels_linear.c"
