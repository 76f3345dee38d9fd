/* SPDX-License-Identifier: Apache-2.0 */
/* opencl_attn.c -- the cases of kernels_attn.c on the first OpenCL device. */
#include "opencl_case.h"

#include "../unit/kernels_attn.c"
