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

/* d: the gradient of a (first = 0) or b (first = a's rows). n = output rows * taps. The table is read once, WINDOW
 * entries at a time: each item lists what it found, then the list is put in order. A row named in several windows
 * is rounded to d's type between them. */
#define WINDOW 2048
KERNEL(64, lpo_rowmix_bwd)(TENSOR(d), TENSOR(dy), TENSOR(idx), TENSOR(w), i64 n, i64 cols, i64 taps, i64 first) {
    LOCAL ushort found[WINDOW], list[WINDOW];
    LOCAL int counts[64];
    i64 row = GROUP(0);
    for (i64 k = LANE; k < cols; k += 64) PUT(d, row * cols + k, 0.0f);
    for (i64 i0 = 0; i0 < n; i0 += WINDOW) {
        const GLOBAL int *at = AT(int, idx) + i0;
        int here = (int)lpo_min(WINDOW, n - i0), wanted = (int)(first + row), mine = 0, before = 0, total = 0;
        for (int i = LANE; i < here; i += 64) mine += at[i] == wanted ? 1 : 0;
        counts[LANE] = mine;
        BARRIER;
        for (int l = 0; l < 64; l++) {
            if (l == LANE) before = total;
            total += counts[l];
        }
        for (int i = LANE; i < here && mine > 0; i += 64)
            if (at[i] == wanted) found[before++] = (ushort)i;
        BARRIER;
        for (int m = LANE; m < total; m += 64) {
            int rank = 0;
            for (int o = 0; o < total; o++) rank += found[o] < found[m] ? 1 : 0;
            list[rank] = found[m];
        }
        BARRIER;
        for (i64 k = LANE; k < cols && total > 0; k += 64) {
            float sum = GET(d, row * cols + k);
            for (int m = 0; m < total; m++) {
                i64 i = i0 + list[m];
                float v = GET(dy, i / taps * cols + k);
                sum = HAS(w) ? fma(GET(w, i), v, sum) : sum + v;
            }
            PUT(d, row * cols + k, sum);
        }
    }
}
