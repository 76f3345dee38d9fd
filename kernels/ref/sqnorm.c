/* SPDX-License-Identifier: Apache-2.0 */
/* sqnorm.c -- sum of squares, added to what is there: one call per parameter gives the global norm. */
#include "kernels/ref/ref.h"

int lpo_ref_sqnorm(const lpo_kcall *c) {
    const lpo_karg *out = &c->arg[0], *x = &c->arg[1];
    if (!out->data || out->dtype != LPO_F64 || !ref_real(x)) return -1;
    double sum = 0;
    for (int64_t i = 0; i < lpo_karg_count(x); i++) sum += ref_get(x, i) * ref_get(x, i);
    *(double *)out->data += sum;
    return 0;
}
