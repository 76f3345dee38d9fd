/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_logprob.c -- the cases of kernels_logprob.c on a GPU: see gpu_case.h. */
#include "gpu_case.h"

#include "../unit/kernels_logprob.c"
