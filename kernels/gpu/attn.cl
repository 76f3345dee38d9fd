/* SPDX-License-Identifier: Apache-2.0 */
/* attn.cl -- variable-length grouped-query attention, forward and backward, without the scores' matrix.
 * A row of qkv is q heads | k heads | v heads; query head h reads kv head h / (n_q / n_kv). A tile is ROWS
 * consecutive rows whatever sequences they belong to: each row knows the range of keys it sees.
 * Forward: a group owns a tile of queries of one head and passes over the keys KEYS at a time with a running
 * maximum. Backward has two passes, each with one owner for every sum: dq by tiles of queries; dk and dv by tiles
 * of keys, over the heads of their group in order. Four items share a row; an item keeps every fourth eight of
 * columns, of at most 4 * EIGHTS. Rows in local memory are padded with zeros to whole eights. */
#define ROWS 16
#define KEYS 16
#define FEW 8 /* rows that stream past a tile in backward */
#define EIGHTS 8

/* lpo_view_of, into the group's memory. */
FN void view_of(LOCAL_PTR int *to, const GLOBAL int *cu, const GLOBAL int *prefix, i64 n_seq, i64 row, i64 rows,
                i64 causal) {
    int view[4];
    lpo_view_of(view, cu, prefix, n_seq, row, rows, causal);
    for (int i = 0; i < 4; i++) to[i] = view[i];
}

FN bool sees(LOCAL_PTR int *view, i64 key) {
    return (key >= view[0] && key < view[1]) || (key >= view[2] && key < view[3]);
}

/* Does any of n queries see one of the keys j0..j0+count-1? */
FN bool any_sees(LOCAL_PTR int *views, int n, i64 j0, i64 count) {
    bool any = false;
    for (int i = 0; i < 2 * n; i++)
        any = any || (views[2 * i] < views[2 * i + 1] && views[2 * i] < j0 + count && j0 < views[2 * i + 1]);
    return any;
}

/* The first and one past the last key that any query of a tile sees. */
FN i64 first_seen(LOCAL_PTR int *views, i64 rows) {
    i64 first = rows;
    for (int i = 0; i < 2 * ROWS; i++)
        if (views[2 * i] < views[2 * i + 1]) first = lpo_min(first, views[2 * i]);
    return first;
}
FN i64 end_seen(LOCAL_PTR int *views) {
    i64 end = 0;
    for (int i = 0; i < 2 * ROWS; i++)
        if (views[2 * i] < views[2 * i + 1]) end = lpo_max(end, views[2 * i + 1]);
    return end;
}

#define PREFIX (HAS(prefix) ? AT(int, prefix) : 0)

/* n rows from `row` of a matrix, columns at..at+d-1, into to[n][ld]; rows past the end are zero. */
#define LOAD(to, n, x, row, width, at)                                                                       \
    for (i64 e = LANE; e < (n) * padded; e += 64) {                                                          \
        i64 lr = e / padded, lc = e % padded;                                                                \
        (to)[lr * ld + lc] =                                                                                 \
            lc < d && (row) + lr < rows ? GET(x, ((row) + lr) * (width) + (at) + lc) : 0.0f;                 \
    }

/* Eight sums of every eighth product, then those in order. n: a multiple of 8. */
FN_ALONE float dot(LOCAL_PTR float *a, LOCAL_PTR float *b, int n) {
    float8 eight = SET8(0.0f);
    float part[8], sum = 0.0f;
    for (int i = 0; i < n; i += 8) eight = FMA8(LOAD8(a + i), LOAD8(b + i), eight);
    STORE8(part, eight);
    for (int i = 0; i < 8; i++) sum += part[i];
    return sum;
}

/* acc (this item's eights) = acc * shrink + sum over n rows of weight[j] * rows[j]. */
FN_ALONE void accumulate(float8 *acc, float shrink, LOCAL_PTR float *weight, LOCAL_PTR float *row, int n, i64 ld,
                         int c, int padded) {
    for (int x = 0; 8 * (c + 4 * x) < padded; x++) {
        float8 v = MAD8(shrink, acc[x], SET8(0.0f));
        for (int j = 0; j < n; j++) v = MAD8(weight[j], LOAD8(row + j * ld + 8 * (c + 4 * x)), v);
        acc[x] = v;
    }
}

/* This item's eights of a row, to columns at.. of a matrix. */
#define STORE(x, at, acc, scale)                                                                             \
    for (int e = 0; 8 * (c + 4 * e) < d; e++) {                                                              \
        float out[8];                                                                                        \
        STORE8(out, acc[e]);                                                                                 \
        for (int f = 0; f < 8 && 8 * (c + 4 * e) + f < d; f++)                                               \
            PUT(x, (at) + 8 * (c + 4 * e) + f, out[f] * (scale));                                            \
    }

KERNEL(64, lpo_attn)
(TENSOR(o), TENSOR(lse), TENSOR(qkv), TENSOR(cu), TENSOR(prefix), i64 rows, i64 n_seq, i64 n_q, i64 n_kv, i64 d, i64 causal,
 double scale LOCAL_ARG) {
    LOCAL_POOL(pool);
    LOCAL float s[ROWS * KEYS];
    LOCAL int views[4 * ROWS];
    i64 tile = GROUP(0) * ROWS, head = GROUP(1), width = (n_q + 2 * n_kv) * d, padded = (d + 7) / 8 * 8, ld = padded + 1;
    i64 k_at = (n_q + head / (n_q / n_kv)) * d, v_at = k_at + n_kv * d;
    LOCAL_PTR float *q = pool, *kv = pool + ROWS * ld;
    int r = LANE / 4, c = LANE % 4;
    if (LANE < ROWS) view_of(views + 4 * LANE, AT(int, cu), PREFIX, n_seq, tile + LANE, rows, causal);
    LOAD(q, ROWS, qkv, tile, width, head * d)
    BARRIER;
    i64 begin = first_seen(views, rows), stop = end_seen(views);
    float8 acc[EIGHTS];
    float max = LOWEST, sum = 0.0f;
    for (int x = 0; x < EIGHTS; x++) acc[x] = SET8(0.0f);
    for (i64 j0 = begin; j0 < stop; j0 += KEYS) {
        if (!any_sees(views, ROWS, j0, KEYS)) continue;
        LOAD(kv, KEYS, qkv, j0, width, k_at)
        BARRIER;
        for (int j = c; j < KEYS; j += 4) {
            bool seen = sees(views + 4 * r, j0 + j);
            s[r * KEYS + j] = seen ? (float)scale * dot(q + r * ld, kv + j * ld, (int)padded) : LOWEST;
        }
        BARRIER;
        float now = max;
        for (int j = 0; j < KEYS; j++) now = fmax(now, s[r * KEYS + j]);
        float shrink = exp(max - now);
        max = now;
        LOAD(kv, KEYS, qkv, j0, width, v_at)
        BARRIER;
        for (int j = c; j < KEYS; j += 4) {
            float z = s[r * KEYS + j];
            s[r * KEYS + j] = z > LOWEST ? exp(z - max) : 0.0f;
        }
        BARRIER;
        float part = 0.0f;
        for (int j = 0; j < KEYS; j++) part += s[r * KEYS + j];
        sum = sum * shrink + part;
        accumulate(acc, shrink, s + r * KEYS, kv, KEYS, ld, c, (int)padded);
        BARRIER;
    }
    i64 row = tile + r;
    if (row < rows) {
        float scaled = sum > 0.0f ? 1.0f / sum : 0.0f;
        STORE(o, (row * n_q + head) * d, acc, scaled)
        if (c == 0 && HAS(lse)) PUT(lse, head * rows + row, max + log(sum));
    }
}

/* delta[n_q][rows] = do . o, a row of one head an item. */
KERNEL(64, lpo_attn_delta)(TENSOR(delta), TENSOR(dout), TENSOR(o), i64 rows, i64 n_q, i64 d) {
    i64 i = GROUP(0) * 64 + LANE, at = i * d;
    if (i >= rows * n_q) return;
    float sum = 0.0f;
    for (i64 k = 0; k < d; k++) sum = fma(GET(dout, at + k), GET(o, at + k), sum);
    PUT(delta, i % n_q * rows + i / n_q, sum);
}

KERNEL(64, lpo_attn_dq)
(TENSOR(dqkv), TENSOR(dout), TENSOR(qkv), TENSOR(lse), TENSOR(delta), TENSOR(cu), TENSOR(prefix), i64 rows, i64 n_seq, i64 n_q,
 i64 n_kv, i64 d, i64 causal, double scale LOCAL_ARG) {
    LOCAL_POOL(pool);
    LOCAL float ds[ROWS * FEW];
    LOCAL int views[4 * ROWS];
    i64 tile = GROUP(0) * ROWS, head = GROUP(1), width = (n_q + 2 * n_kv) * d, padded = (d + 7) / 8 * 8, ld = padded + 1;
    i64 k_at = (n_q + head / (n_q / n_kv)) * d, v_at = k_at + n_kv * d;
    LOCAL_PTR float *q = pool, *g = q + ROWS * ld, *kv = g + ROWS * ld;
    int r = LANE / 4, c = LANE % 4;
    i64 row = tile + r;
    if (LANE < ROWS) view_of(views + 4 * LANE, AT(int, cu), PREFIX, n_seq, tile + LANE, rows, causal);
    LOAD(q, ROWS, qkv, tile, width, head * d)
    LOAD(g, ROWS, dout, tile, n_q * d, head * d)
    float l = row < rows ? GET(lse, head * rows + row) : 0.0f;
    float dl = row < rows ? GET(delta, head * rows + row) : 0.0f;
    BARRIER;
    i64 begin = first_seen(views, rows), stop = end_seen(views);
    float8 acc[EIGHTS];
    float p[2];
    for (int x = 0; x < EIGHTS; x++) acc[x] = SET8(0.0f);
    for (i64 j0 = begin; j0 < stop; j0 += FEW) {
        if (!any_sees(views, ROWS, j0, FEW)) continue;
        LOAD(kv, FEW, qkv, j0, width, k_at)
        BARRIER;
        for (int x = 0; x < 2; x++) {
            i64 j = c + 4 * x;
            bool seen = sees(views + 4 * r, j0 + j);
            p[x] = seen ? exp((float)scale * dot(q + r * ld, kv + j * ld, (int)padded) - l) : 0.0f;
        }
        BARRIER;
        LOAD(kv, FEW, qkv, j0, width, v_at)
        BARRIER;
        for (int x = 0; x < 2; x++) {
            i64 j = c + 4 * x;
            ds[r * FEW + j] = p[x] * (dot(g + r * ld, kv + j * ld, (int)padded) - dl) * (float)scale;
        }
        BARRIER;
        LOAD(kv, FEW, qkv, j0, width, k_at)
        BARRIER;
        accumulate(acc, 1.0f, ds + r * FEW, kv, FEW, ld, c, (int)padded);
        BARRIER;
    }
    if (row < rows) STORE(dqkv, row * width + head * d, acc, 1.0f)
}

KERNEL(64, lpo_attn_dkv)
(TENSOR(dqkv), TENSOR(dout), TENSOR(qkv), TENSOR(lse), TENSOR(delta), TENSOR(cu), TENSOR(prefix), i64 rows, i64 n_seq, i64 n_q,
 i64 n_kv, i64 d, i64 causal, double scale LOCAL_ARG) {
    LOCAL_POOL(pool);
    LOCAL float p[ROWS * FEW], ds[ROWS * FEW];
    LOCAL int views[4 * FEW];
    i64 tile = GROUP(0) * ROWS, kv_head = GROUP(1), group = n_q / n_kv, width = (n_q + 2 * n_kv) * d, padded = (d + 7) / 8 * 8, ld = padded + 1;
    i64 k_at = (n_q + kv_head) * d, v_at = k_at + n_kv * d;
    LOCAL_PTR float *k = pool, *v = k + ROWS * ld, *buf = v + ROWS * ld;
    int r = LANE / 4, c = LANE % 4;
    LOAD(k, ROWS, qkv, tile, width, k_at)
    LOAD(v, ROWS, qkv, tile, width, v_at)
    BARRIER;
    /* Queries see backwards only, but for their own sequence when not causal. */
    i64 s = lpo_sequence_of(AT(int, cu), n_seq, tile), begin = causal ? tile : lpo_max(0, lpo_min(rows, AT(int, cu)[s]));
    i64 last = lpo_sequence_of(AT(int, cu), n_seq, lpo_min(rows, tile + ROWS) - 1);
    i64 stop = HAS(prefix) ? rows : lpo_min(rows, AT(int, cu)[last + 1]);
    float8 acc_k[EIGHTS], acc_v[EIGHTS];
    for (int x = 0; x < EIGHTS; x++) acc_k[x] = acc_v[x] = SET8(0.0f);
    for (i64 head = kv_head * group; head < (kv_head + 1) * group; head++)
        for (i64 q0 = begin; q0 < stop; q0 += FEW) {
            if (LANE < FEW) view_of(views + 4 * LANE, AT(int, cu), PREFIX, n_seq, q0 + LANE, rows, causal);
            BARRIER;
            bool any = any_sees(views, FEW, tile, ROWS);
            if (!any) {
                BARRIER;
                continue;
            }
            LOAD(buf, FEW, qkv, q0, width, head * d)
            BARRIER;
            for (int x = 0; x < 2; x++) {
                i64 j = c + 4 * x;
                bool seen = sees(views + 4 * j, tile + r);
                p[r * FEW + j] = seen ? exp((float)scale * dot(k + r * ld, buf + j * ld, (int)padded) -
                                            GET(lse, head * rows + q0 + j))
                                      : 0.0f;
            }
            BARRIER;
            LOAD(buf, FEW, dout, q0, n_q * d, head * d)
            BARRIER;
            for (int x = 0; x < 2; x++) {
                i64 j = c + 4 * x;
                float dl = q0 + j < rows ? GET(delta, head * rows + q0 + j) : 0.0f;
                ds[r * FEW + j] = p[r * FEW + j] * (dot(v + r * ld, buf + j * ld, (int)padded) - dl) * (float)scale;
            }
            accumulate(acc_v, 1.0f, p + r * FEW, buf, FEW, ld, c, (int)padded);
            BARRIER;
            LOAD(buf, FEW, qkv, q0, width, head * d)
            BARRIER;
            accumulate(acc_k, 1.0f, ds + r * FEW, buf, FEW, ld, c, (int)padded);
            BARRIER;
        }
    i64 row = tile + r;
    if (row < rows) {
        STORE(dqkv, row * width + k_at, acc_k, 1.0f)
        STORE(dqkv, row * width + v_at, acc_v, 1.0f)
    }
}
