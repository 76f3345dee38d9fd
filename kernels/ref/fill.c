/* SPDX-License-Identifier: Apache-2.0 */
/* fill.c -- every element the same value, rounded to the dtype. */
#include "kernels/ref/ref.h"

int lpo_ref_fill(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0];
    if (!ref_real(y)) return -1;
    for (int64_t i = 0; i < lpo_karg_count(y); i++) ref_put(y, i, c->attrs.value);
    return 0;
}
