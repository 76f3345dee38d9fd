/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_rows.c -- the cases of kernels_rows.c on a GPU: see gpu_case.h. */
#include "gpu_case.h"

#include "../unit/kernels_rows.c"
