/* SPDX-License-Identifier: Apache-2.0 */
/* norm.cl -- layer norm and RMS norm: a group owns a row. The weight's gradient is a sum over rows: groups
 * first sum BLOCK rows each (norm_bwd_columns), then columns_add adds those in order. */
#define BLOCK 64

KERNEL(64, lpo_norm)
(TENSOR(y), TENSOR(mean), TENSOR(rstd), TENSOR(x), TENSOR(w), TENSOR(b), i64 cols, i64 rms, double eps) {
    LOCAL float buf[64];
    i64 row = GROUP(0), at = row * cols;
    float m = 0.0f, v = 0.0f;
    if (!rms) {
        for (i64 k = LANE; k < cols; k += 64) m += GET(x, at + k);
        m = lpo_group_sum(buf, 64, LANE, m) / (float)cols;
    }
    for (i64 k = LANE; k < cols; k += 64) {
        float d = GET(x, at + k) - m;
        v = fma(d, d, v);
    }
    v = lpo_group_sum(buf, 64, LANE, v) / (float)cols;
    float r = 1.0f / sqrt(v + (float)eps);
    for (i64 k = LANE; k < cols; k += 64) {
        float n = (GET(x, at + k) - m) * r;
        if (rms) n = ROUND(x, n);
        n *= GET(w, k);
        if (HAS(b)) n += GET(b, k);
        PUT(y, at + k, n);
    }
    if (LANE == 0 && HAS(mean)) PUT(mean, row, m);
    if (LANE == 0 && HAS(rstd)) PUT(rstd, row, r);
}

KERNEL(64, lpo_norm_bwd)
(TENSOR(dx), TENSOR(dy), TENSOR(x), TENSOR(w), TENSOR(mean), TENSOR(rstd), i64 cols, i64 rms) {
    LOCAL float buf[64];
    i64 row = GROUP(0), at = row * cols;
    float m = GET(mean, row), r = GET(rstd, row), g_sum = 0.0f, gn_sum = 0.0f;
    for (i64 k = LANE; k < cols; k += 64) {
        float g = GET(dy, at + k) * GET(w, k);
        g_sum += g;
        gn_sum = fma(g, (GET(x, at + k) - m) * r, gn_sum);
    }
    g_sum = lpo_group_sum(buf, 64, LANE, g_sum) / (float)cols;
    gn_sum = lpo_group_sum(buf, 64, LANE, gn_sum) / (float)cols;
    if (rms) g_sum = 0.0f; /* no mean was taken away */
    for (i64 k = LANE; k < cols; k += 64) {
        float g = GET(dy, at + k) * GET(w, k), n = (GET(x, at + k) - m) * r;
        PUT(dx, at + k, r * (g - g_sum - n * gn_sum));
    }
}

/* part[2][blocks][cols]: sums of dy*n and of dy over each block of rows. */
KERNEL(64, lpo_norm_bwd_columns)
(TENSOR(part), TENSOR(dy), TENSOR(x), TENSOR(mean), TENSOR(rstd), i64 rows, i64 cols) {
    i64 k = GROUP(0) * 64 + LANE, block = GROUP(1), end = lpo_min(rows, (block + 1) * BLOCK);
    float sum_w = 0.0f, sum_b = 0.0f;
    if (k >= cols) return;
    for (i64 t = block * BLOCK; t < end; t++) {
        float d = GET(dy, t * cols + k);
        sum_w = fma(d, (GET(x, t * cols + k) - GET(mean, t)) * GET(rstd, t), sum_w);
        sum_b += d;
    }
    PUT(part, block * cols + k, sum_w);
    PUT(part, (GROUPS(1) + block) * cols + k, sum_b);
}

/* part[blocks][cols]: sums of x over each block of rows. */
KERNEL(64, lpo_columns)(TENSOR(part), TENSOR(x), i64 rows, i64 cols) {
    i64 k = GROUP(0) * 64 + LANE, block = GROUP(1), end = lpo_min(rows, (block + 1) * BLOCK);
    float sum = 0.0f;
    if (k >= cols) return;
    for (i64 t = block * BLOCK; t < end; t++) sum += GET(x, t * cols + k);
    PUT(part, block * cols + k, sum);
}

/* out[cols] += the blocks' sums, in order. */
KERNEL(64, lpo_columns_add)(TENSOR(out), TENSOR(part), i64 blocks, i64 cols) {
    i64 k = GROUP(0) * 64 + LANE;
    float sum = 0.0f;
    if (k >= cols) return;
    for (i64 b = 0; b < blocks; b++) sum += GET(part, b * cols + k);
    PUT(out, k, GET(out, k) + sum);
}
