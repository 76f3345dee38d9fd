/* SPDX-License-Identifier: Apache-2.0 */
/* levels.c -- bytes to the values they stand for. */
#include "kernels/ref/ref.h"

int lpo_ref_levels(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *x = &c->arg[1], *value = &c->arg[2];
    const int64_t T = y->shape[0], K = y->shape[1], C = value->shape[0];
    if (!y->data || y->dtype != LPO_F32 || x->dtype != LPO_U8 || value->dtype != LPO_F32 || y->ndim != 2 ||
        !ref_is(x, T, K) || C < 1 || K % C || !ref_is(value, C, 256))
        return -1;
    for (int64_t t = 0; t < T; t++)
        for (int64_t k = 0; k < K; k++) {
            const int64_t byte = ((const uint8_t *)x->data)[t * K + k];
            ref_put(y, t * K + k, ref_get(value, k / (K / C) * 256 + byte));
        }
    return 0;
}
