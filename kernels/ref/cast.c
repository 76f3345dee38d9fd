/* SPDX-License-Identifier: Apache-2.0 */
/* cast.c -- between the real dtypes; a double holds each of them exactly, so only the store rounds. */
#include "kernels/ref/ref.h"

int lpo_ref_cast(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *x = &c->arg[1];
    const int64_t n = lpo_karg_count(y);
    if (!ref_real(y) || !ref_real(x) || !ref_is_vec(x, n)) return -1;
    for (int64_t i = 0; i < n; i++) ref_put(y, i, ref_get(x, i));
    return 0;
}
