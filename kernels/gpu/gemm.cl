/* SPDX-License-Identifier: Apache-2.0 */
/* gemm.cl -- C[m,n] (+)= A B (+ bias) for any strides: A's element (i, k) at i*a_row + k*a_col, B's (k, j) at
 * k*b_row + j*b_col; a batch of them lies a_batch, b_batch, c_batch apart. A group owns TILE x TILE of C, an item OWN x OWN neighbours of them, held in registers while a
 * slice of STEP of k lies in local memory as float. An element is summed over k in order, fused, by one item: the
 * bits depend on k alone. */
#define TILE 64
#define STEP 16
#define OWN 8
#define LD (TILE + 4)

/* Rows r0.. and depths k0.. of a matrix to to[k][r]: neighbours read neighbours, zero outside. A tile that lies
 * inside and is f32, as most are, takes the short way. */
FN void load_tile(LOCAL_PTR float *to, const GLOBAL uchar *p, int type, i64 r0, i64 rows, i64 row_stride, i64 k0,
                  i64 depth, i64 k_stride, int lane) {
    bool by_row = row_stride == 1;
    int r = by_row ? lane : lane / STEP, k = by_row ? 0 : lane % STEP, each = by_row ? LD : 64 / STEP;
    i64 at = (r0 + r) * row_stride + (k0 + k) * k_stride, step = by_row ? k_stride : 64 / STEP * row_stride;
    to += k * LD + r;
    if (type == F32 && r0 + TILE <= rows && k0 + STEP <= depth) {
        const GLOBAL float *from = (const GLOBAL float *)p + at;
        for (int i = 0; i < STEP; i++) to[i * each] = from[i * step];
        return;
    }
    int r_left = (int)lpo_min(TILE, rows - r0) - r, k_left = (int)lpo_min(STEP, depth - k0) - k;
    for (int i = 0; i < STEP; i++) {
        bool in = by_row ? r_left > 0 && i < k_left : k_left > 0 && i * (64 / STEP) < r_left;
        to[i * each] = in ? lpo_get(p, type, at + i * step) : 0.0f;
    }
}

/* sum[8] += the slice's products. Alone, so that a CPU keeps the sums in registers. */
FN_ALONE void multiply(float8 *sum, LOCAL_PTR float *a, LOCAL_PTR float *b) {
    float8 s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3], s4 = sum[4], s5 = sum[5], s6 = sum[6], s7 = sum[7];
    for (int k = 0; k < STEP; k++, a += LD, b += LD) {
        float8 bk = LOAD8(b);
        s0 = MAD8(a[0], bk, s0);
        s1 = MAD8(a[1], bk, s1);
        s2 = MAD8(a[2], bk, s2);
        s3 = MAD8(a[3], bk, s3);
        s4 = MAD8(a[4], bk, s4);
        s5 = MAD8(a[5], bk, s5);
        s6 = MAD8(a[6], bk, s6);
        s7 = MAD8(a[7], bk, s7);
    }
    sum[0] = s0, sum[1] = s1, sum[2] = s2, sum[3] = s3, sum[4] = s4, sum[5] = s5, sum[6] = s6, sum[7] = s7;
}

KERNEL(64, lpo_gemm)
(TENSOR(c), TENSOR(a), TENSOR(b), TENSOR(bias), i64 m, i64 n, i64 depth, i64 a_row, i64 a_col, i64 b_row,
 i64 b_col, i64 c_row, i64 add, i64 a_batch, i64 b_batch, i64 c_batch) {
    LOCAL float at[STEP * LD], bt[STEP * LD];
    i64 i0 = GROUP(1) * TILE, j0 = GROUP(0) * TILE, to = GROUP(2) * c_batch;
    const GLOBAL uchar *a = a_base + a_at + GROUP(2) * a_batch * (a_type == BF16 ? 2 : 4);
    const GLOBAL uchar *b = b_base + b_at + GROUP(2) * b_batch * (b_type == BF16 ? 2 : 4);
    int x = LANE % 8 * OWN, y = LANE / 8 * OWN;
    float8 s[OWN];
    for (int e = 0; e < OWN; e++) s[e] = SET8(0.0f);
    for (i64 k0 = 0; k0 < depth; k0 += STEP) {
        load_tile(at, a, a_type, i0, m, a_row, k0, depth, a_col, LANE);
        load_tile(bt, b, b_type, j0, n, b_col, k0, depth, b_row, LANE);
        BARRIER;
        multiply(s, at + y, bt + x);
        BARRIER;
    }
    float sum[OWN * OWN];
    for (int e = 0; e < OWN; e++) STORE8(sum + OWN * e, s[e]);
    for (int e = 0; e < OWN * OWN; e++) {
        i64 i = i0 + y + e / OWN, j = j0 + x + e % OWN;
        if (i >= m || j >= n) continue;
        float v = sum[e];
        if (HAS(bias)) v += GET(bias, j);
        if (add) v += GET(c, to + i * c_row + j);
        PUT(c, to + i * c_row + j, v);
    }
}
