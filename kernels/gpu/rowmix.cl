/* SPDX-License-Identifier: Apache-2.0 */
/* rowmix.cl -- weighted sums of a few rows of a and b, and the transpose as a gather: an input row collects
 * from every output row that named it, in order. */
KERNEL(64, lpo_rowmix)
(TENSOR(y), TENSOR(a), TENSOR(b), TENSOR(idx), TENSOR(w), i64 rows_a, i64 rows_b, i64 cols, i64 taps) {
    i64 row = GROUP(0);
    for (i64 k = LANE; k < cols; k += 64) {
        float sum = 0.0f;
        for (i64 i = 0; i < taps; i++) {
            i64 in = AT(int, idx)[row * taps + i];
            if (in < 0 || in >= rows_a + rows_b) continue;
            float v = in < rows_a ? GET(a, in * cols + k) : GET(b, (in - rows_a) * cols + k);
            sum = HAS(w) ? fma(GET(w, row * taps + i), v, sum) : sum + v;
        }
        PUT(y, row * cols + k, sum);
    }
}

/* d: the gradient of a (first = 0) or b (first = a's rows). n = output rows * taps. */
KERNEL(64, lpo_rowmix_bwd)(TENSOR(d), TENSOR(dy), TENSOR(idx), TENSOR(w), i64 n, i64 cols, i64 taps, i64 first) {
    i64 row = GROUP(0);
    for (i64 k = LANE; k < cols; k += 64) {
        float sum = 0.0f;
        for (i64 i = 0; i < n; i++) {
            if (AT(int, idx)[i] != first + row) continue;
            float v = GET(dy, i / taps * cols + k);
            sum = HAS(w) ? fma(GET(w, i), v, sum) : sum + v;
        }
        PUT(d, row * cols + k, sum);
    }
}
