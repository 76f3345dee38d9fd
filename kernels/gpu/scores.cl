/* SPDX-License-Identifier: Apache-2.0 */
/* scores.cl -- attention of one head as whole products, for devices whose products are far faster than their
 * other arithmetic (lower_scores.c): what stands between the products. z = q k^T and dz = dout v^T are f32
 * [runs][chunk][ld], p and ds are stored as qkv is. A run is `keys` rows that meet each other and no other: all rows,
 * or one of equally long sequences. A group owns row t0 + GROUP(0) of run GROUP(1). */
#define THREADS 64
#define PREFIX  (HAS(prefix) ? AT(int, prefix) : 0)

FN bool sees(const int *view, i64 key) {
    return (key >= view[0] && key < view[1]) || (key >= view[2] && key < view[3]);
}

/* p = softmax of the scaled scores, 0 where nothing is seen; lse. */
KERNEL(64, lpo_scores_softmax)
(TENSOR(p), TENSOR(lse), TENSOR(z), TENSOR(cu), TENSOR(prefix), i64 rows, i64 n_seq, i64 t0, i64 ld, i64 causal, i64 keys,
 i64 chunk, double scale) {
    LOCAL float buf[THREADS];
    int view[4];
    i64 first = GROUP(1) * keys, row = first + t0 + GROUP(0), at = (GROUP(1) * chunk + GROUP(0)) * ld;
    lpo_view_of(view, AT(int, cu), PREFIX, n_seq, row, rows, causal);
    float max = LOWEST, sum = 0.0f;
    for (i64 j = LANE; j < keys; j += THREADS)
        if (sees(view, first + j)) max = fmax(max, (float)scale * GET(z, at + j));
    max = lpo_group_max(buf, THREADS, LANE, max);
    for (i64 j = LANE; j < keys; j += THREADS)
        if (sees(view, first + j)) sum += exp((float)scale * GET(z, at + j) - max);
    sum = lpo_group_sum(buf, THREADS, LANE, sum);
    float inverse = sum > 0.0f ? 1.0f / sum : 0.0f;
    for (i64 j = LANE; j < keys; j += THREADS)
        PUT(p, at + j, sees(view, first + j) ? exp((float)scale * GET(z, at + j) - max) * inverse : 0.0f);
    if (LANE == 0 && HAS(lse)) PUT(lse, row, max + log(sum));
}

/* p again, from lse, and ds = p (dz - delta) scale. */
KERNEL(64, lpo_scores_grad)
(TENSOR(p), TENSOR(ds), TENSOR(z), TENSOR(dz), TENSOR(lse), TENSOR(delta), TENSOR(cu), TENSOR(prefix), i64 rows, i64 n_seq,
 i64 t0, i64 ld, i64 causal, i64 keys, i64 chunk, double scale) {
    int view[4];
    i64 first = GROUP(1) * keys, row = first + t0 + GROUP(0), at = (GROUP(1) * chunk + GROUP(0)) * ld;
    lpo_view_of(view, AT(int, cu), PREFIX, n_seq, row, rows, causal);
    float l = GET(lse, row), d = GET(delta, row);
    for (i64 j = LANE; j < keys; j += THREADS) {
        float e = sees(view, first + j) ? exp((float)scale * GET(z, at + j) - l) : 0.0f;
        PUT(p, at + j, e);
        PUT(ds, at + j, e > 0.0f ? e * (GET(dz, at + j) - d) * (float)scale : 0.0f);
    }
}

/* Columns at..at+d-1 of y[rows][width] are x[rows][d]. */
KERNEL(64, lpo_scores_put)(TENSOR(y), TENSOR(x), i64 width, i64 at, i64 d) {
    i64 row = GROUP(0);
    for (i64 c = LANE; c < d; c += 64) PUT(y, row * width + at + c, GET(x, row * d + c));
}
