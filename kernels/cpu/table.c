/* SPDX-License-Identifier: Apache-2.0 */
/* table.c -- the fast set. */
#include "kernels/op.h"

const lpo_kernel lpo_kernels_cpu[LPO_N_OPS];
