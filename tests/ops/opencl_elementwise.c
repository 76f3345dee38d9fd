/* SPDX-License-Identifier: Apache-2.0 */
/* opencl_elementwise.c -- the cases of kernels_elementwise.c on the first OpenCL device. */
#include "opencl_case.h"

#include "../unit/kernels_elementwise.c"
