/* SPDX-License-Identifier: Apache-2.0 */
/* gemm.cl -- C[m,n] (+)= A B (+ bias) for any strides: A's element (i, k) at i*a_row + k*a_col, B's (k, j) at
 * k*b_row + j*b_col. A group owns TILE x TILE of C, an item 4 x 4 of them; slices of STEP of k pass through
 * local memory as float. An element is summed over k in order, fused, by one item: the bits depend on k alone. */
#define TILE 64
#define STEP 16

/* Row r of the tile and depth k of the slice for item number i, so that neighbours read neighbours. */
#define SPREAD(r, k, i, row_stride)                                                                          \
    int r = (row_stride) == 1 ? (i) % TILE : (i) / STEP, k = (row_stride) == 1 ? (i) / TILE : (i) % STEP

KERNEL(256, lpo_gemm)
(TENSOR(c), TENSOR(a), TENSOR(b), TENSOR(bias), i64 m, i64 n, i64 depth, i64 a_row, i64 a_col, i64 b_row,
 i64 b_col, i64 c_row, i64 add) {
    LOCAL float at[STEP * (TILE + 1)], bt[STEP * (TILE + 1)];
    i64 i0 = GROUP(1) * TILE, j0 = GROUP(0) * TILE;
    int x = LANE % 16, y = LANE / 16;
    float sum[16];
    for (int e = 0; e < 16; e++) sum[e] = 0.0f;
    for (i64 k0 = 0; k0 < depth; k0 += STEP) {
        for (int e = LANE; e < TILE * STEP; e += 256) {
            SPREAD(r, k, e, a_row);
            at[k * (TILE + 1) + r] =
                i0 + r < m && k0 + k < depth ? GET(a, (i0 + r) * a_row + (k0 + k) * a_col) : 0.0f;
        }
        for (int e = LANE; e < TILE * STEP; e += 256) {
            SPREAD(r, k, e, b_col);
            bt[k * (TILE + 1) + r] =
                j0 + r < n && k0 + k < depth ? GET(b, (k0 + k) * b_row + (j0 + r) * b_col) : 0.0f;
        }
        BARRIER;
        for (int k = 0; k < STEP; k++) {
            LOCAL_PTR float *ak = at + k * (TILE + 1) + y, *bk = bt + k * (TILE + 1) + x;
            float b0 = bk[0], b1 = bk[16], b2 = bk[32], b3 = bk[48];
            for (int e = 0; e < 4; e++) {
                float ae = ak[16 * e];
                sum[4 * e] = fma(ae, b0, sum[4 * e]);
                sum[4 * e + 1] = fma(ae, b1, sum[4 * e + 1]);
                sum[4 * e + 2] = fma(ae, b2, sum[4 * e + 2]);
                sum[4 * e + 3] = fma(ae, b3, sum[4 * e + 3]);
            }
        }
        BARRIER;
    }
    for (int e = 0; e < 16; e++) {
        i64 i = i0 + y + e / 4 * 16, j = j0 + x + e % 4 * 16;
        if (i >= m || j >= n) continue;
        float v = sum[e];
        if (HAS(bias)) v += GET(bias, j);
        if (add) v += GET(c, i * c_row + j);
        PUT(c, i * c_row + j, v);
    }
}
