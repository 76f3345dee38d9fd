/* SPDX-License-Identifier: Apache-2.0 */
/* add.cl -- the residual sum; y may be a. */
KERNEL(256, lpo_add)(TENSOR(y), TENSOR(a), TENSOR(b), i64 n) {
    i64 i = GROUP(0) * 256 + LANE;
    if (i < n) PUT(y, i, GET(a, i) + GET(b, i));
}
