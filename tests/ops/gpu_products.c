/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_products.c -- log-probabilities as devices with matrix units compute them: a bf16 model's gradient of
 * logits is rounded to bf16, within the tolerance of one that is not. */
#define CASE_PRODUCTS LPO_GPU_PRODUCTS_ALWAYS
#include "gpu_case.h"

#include "../unit/kernels_logprob.c"
