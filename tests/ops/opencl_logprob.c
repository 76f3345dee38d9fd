/* SPDX-License-Identifier: Apache-2.0 */
/* opencl_logprob.c -- the cases of kernels_logprob.c on the first OpenCL device. */
#include "opencl_case.h"

#include "../unit/kernels_logprob.c"
