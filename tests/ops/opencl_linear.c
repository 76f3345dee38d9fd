/* SPDX-License-Identifier: Apache-2.0 */
/* opencl_linear.c -- the cases of kernels_linear.c on the first OpenCL device. */
#include "opencl_case.h"

#include "../unit/kernels_linear.c"
