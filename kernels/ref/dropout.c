/* SPDX-License-Identifier: Apache-2.0 */
/* dropout.c -- elements left out by a counter-based draw, the others scaled so that the mean stays. */
#include "kernels/ref/ref.h"

int lpo_ref_dropout(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *x = &c->arg[1];
    const int64_t n = lpo_karg_count(y);
    const double share = c->attrs.value;
    if (!ref_real(y) || !ref_real(x) || !ref_is_vec(x, n) || !(share >= 0 && share < 1)) return -1;
    for (int64_t i = 0; i < n; i++)
        ref_put(y, i, lpo_dropped(c->attrs.seed, i, share) ? 0 : ref_get(x, i) / (1 - share));
    return 0;
}
