/* SPDX-License-Identifier: Apache-2.0 */
/* few.cl -- y[m,n] = x w^T (+ bias) for at most ROWS rows, as generation has them: the time is that of reading
 * w once. A group owns OUT columns of y; neighbours read neighbours of DEEP of k of their rows of w, which go to
 * local memory as [k][column]. An item owns eight columns of one row. An element is summed over k in order,
 * fused, by one item, as in gemm.cl: a row's bits do not say how many rows there are. */
#define ROWS 8
#define OUT 16
#define DEEP 128
#define LD (OUT + 1)

/* k0..k0+DEEP-1 of n rows from r0, to[k * k_step + row * row_step]; zero outside. */
FN_ALONE void load_rows(LOCAL_PTR float *to, int k_step, int row_step, const GLOBAL uchar *p, int type, i64 r0, i64 rows,
                        int n, i64 k0, i64 depth, int lane) {
    int left = (int)lpo_max(0, lpo_min(n, rows - r0));
    for (int k = lane; k < DEEP; k += 64) {
        bool in = k0 + k < depth;
        LOCAL_PTR float *at = to + k * k_step;
        i64 from = r0 * depth + k0 + k;
        if (type == F32)
            for (int r = 0; r < left; r++) at[r * row_step] = in ? ((const GLOBAL float *)p)[from + r * depth] : 0.0f;
        else
            for (int r = 0; r < left; r++)
                at[r * row_step] = in ? BITS_FLOAT((uint)((const GLOBAL ushort *)p)[from + r * depth] << 16) : 0.0f;
        for (int r = left; r < n; r++) at[r * row_step] = 0.0f;
    }
}

FN_ALONE float8 multiply(float8 sum, LOCAL_PTR float *x, LOCAL_PTR float *w) {
    for (int k = 0; k < DEEP; k++) sum = MAD8(x[k], LOAD8(w + k * LD), sum);
    return sum;
}

KERNEL(64, lpo_few)
(TENSOR(y), TENSOR(x), TENSOR(w), TENSOR(bias), i64 m, i64 n, i64 depth LOCAL_ARG) {
    LOCAL_POOL(pool);
    LOCAL_PTR float *wt = pool, *xt = pool + DEEP * LD;
    i64 j0 = GROUP(0) * OUT;
    int row = LANE % ROWS, at = LANE / ROWS * 8;
    bool mine = row < m && at < OUT;
    float8 sum = SET8(0.0f);
    for (i64 k0 = 0; k0 < depth; k0 += DEEP) {
        load_rows(wt, LD, 1, w_base + w_at, w_type, j0, n, OUT, k0, depth, LANE);
        load_rows(xt, 1, DEEP, x_base + x_at, x_type, 0, m, (int)m, k0, depth, LANE);
        BARRIER;
        if (mine) sum = multiply(sum, xt + row * DEEP, wt + at);
        BARRIER;
    }
    float out[8];
    STORE8(out, sum);
    for (int e = 0; e < 8; e++) {
        i64 j = j0 + at + e;
        if (!mine || j >= n) continue;
        float v = out[e];
        if (HAS(bias)) v += GET(bias, j);
        PUT(y, row * n + j, v);
    }
}
