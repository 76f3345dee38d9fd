/* SPDX-License-Identifier: Apache-2.0 */
/* attn_cached.cl -- causal attention of new rows against a key/value cache that they are first appended to.
 * cache[slot][position][k then v][n_kv*d]; slots lie end to end, so a row of the cache has one number. A group
 * owns one new row of one head and passes over its keys 64 at a time. Tables are clamped to the cache. */
#define COLUMNS 4 /* of 64: d <= 256 */

KERNEL(64, lpo_attn_append)
(TENSOR(cache), TENSOR(qkv), TENSOR(cu), TENSOR(slot), TENSOR(past), i64 n_seq, i64 n_q, i64 kv, i64 d,
 i64 max_len, i64 cache_rows) {
    i64 row = GROUP(0), s = lpo_sequence_of(AT(int, cu), n_seq, row);
    i64 at = (i64)AT(int, slot)[s] * max_len + AT(int, past)[s] + row - AT(int, cu)[s];
    if (at < 0 || at >= cache_rows) return;
    for (i64 i = LANE; i < 2 * kv; i += 64)
        PUT(cache, at * 2 * kv + i, GET(qkv, row * (n_q * d + 2 * kv) + n_q * d + i));
}

KERNEL(64, lpo_attn_cached)
(TENSOR(o), TENSOR(cache), TENSOR(qkv), TENSOR(cu), TENSOR(slot), TENSOR(past), i64 n_seq, i64 n_q, i64 n_kv,
 i64 d, i64 max_len, i64 cache_rows, double scale) {
    LOCAL float q[256], p[64], buf[64];
    i64 row = GROUP(0), head = GROUP(1), kv = n_kv * d, s = lpo_sequence_of(AT(int, cu), n_seq, row);
    i64 base = lpo_max(0, lpo_min(cache_rows - 1, (i64)AT(int, slot)[s] * max_len));
    i64 n = lpo_min(cache_rows - base, AT(int, past)[s] + row - AT(int, cu)[s] + 1);
    i64 k_at = base * 2 * kv + head / (n_q / n_kv) * d, v_at = k_at + kv;
    float acc[COLUMNS], max = LOWEST, sum = 0.0f;
    for (int x = 0; x < COLUMNS; x++) acc[x] = 0.0f;
    for (i64 i = LANE; i < d; i += 64) q[i] = GET(qkv, (row * (n_q + 2 * n_kv) + head) * d + i);
    BARRIER;
    for (i64 j0 = 0; j0 < n; j0 += 64) {
        float z = LOWEST;
        if (j0 + LANE < n) {
            z = 0.0f;
            for (i64 i = 0; i < d; i++) z = fma(q[i], GET(cache, k_at + (j0 + LANE) * 2 * kv + i), z);
            z *= (float)scale;
        }
        float now = fmax(max, lpo_group_max(buf, 64, LANE, z)), shrink = exp(max - now);
        max = now;
        p[LANE] = z > LOWEST ? exp(z - max) : 0.0f;
        sum = sum * shrink + lpo_group_sum(buf, 64, LANE, p[LANE]);
        i64 count = lpo_min(64, n - j0);
        for (int x = 0; LANE + 64 * x < d; x++) {
            float v = acc[x] * shrink;
            for (i64 j = 0; j < count; j++)
                v = fma(p[j], GET(cache, v_at + (j0 + j) * 2 * kv + LANE + 64 * x), v);
            acc[x] = v;
        }
        BARRIER;
    }
    for (int x = 0; LANE + 64 * x < d; x++)
        PUT(o, (row * n_q + head) * d + LANE + 64 * x, sum > 0.0f ? acc[x] / sum : 0.0f);
}
