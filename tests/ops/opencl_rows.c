/* SPDX-License-Identifier: Apache-2.0 */
/* opencl_rows.c -- the cases of kernels_rows.c on the first OpenCL device. */
#include "opencl_case.h"

#include "../unit/kernels_rows.c"
