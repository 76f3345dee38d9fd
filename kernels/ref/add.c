/* SPDX-License-Identifier: Apache-2.0 */
/* add.c -- the residual sum. */
#include "kernels/ref/ref.h"

int lpo_ref_add(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *a = &c->arg[1], *b = &c->arg[2];
    const int64_t n = lpo_karg_count(y);
    if (!ref_real(y) || !ref_real(a) || !ref_real(b) || !ref_is_vec(a, n) || !ref_is_vec(b, n)) return -1;
    for (int64_t i = 0; i < n; i++) ref_put(y, i, ref_get(a, i) + ref_get(b, i));
    return 0;
}
