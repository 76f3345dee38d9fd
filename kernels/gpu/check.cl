/* SPDX-License-Identifier: Apache-2.0 */
/* check.cl -- index tables live in the device's memory, so the device checks them. A fault leaves its code in
 * `status`, which the host reads when it waits; the kernels that use a table clamp what they read of it. All
 * writers write the same value. */
KERNEL(64, lpo_check_ids)(TENSOR(status), TENSOR(ids), i64 n, i64 low, i64 high, i64 code) {
    for (i64 i = LANE; i < n; i += 64)
        if (AT(int, ids)[i] < low || AT(int, ids)[i] >= high) AT(int, status)[0] = (int)code;
}

/* cu[0] = 0, rising, cu[n - 1] = rows; in equal steps when even. */
KERNEL(64, lpo_check_cu)(TENSOR(status), TENSOR(cu), i64 n, i64 rows, i64 even, i64 code) {
    for (i64 i = LANE; i < n; i += 64) {
        i64 before = i ? AT(int, cu)[i - 1] : 0, here = AT(int, cu)[i];
        if (here < before || (i == 0 && here != 0) || (i == n - 1 && here != rows) ||
            (even && here * (n - 1) != i * rows))
            AT(int, status)[0] = (int)code;
    }
}

/* Slots and pasts of attn_cached: every sequence's rows end inside the cache. */
KERNEL(64, lpo_check_slots)
(TENSOR(status), TENSOR(cu), TENSOR(slot), TENSOR(past), i64 n, i64 slots, i64 max_len, i64 code) {
    for (i64 s = LANE; s < n; s += 64) {
        i64 in = AT(int, slot)[s], had = AT(int, past)[s], rows = AT(int, cu)[s + 1] - AT(int, cu)[s];
        if (in < 0 || in >= slots || had < 0 || in * max_len + had + rows > slots * max_len)
            AT(int, status)[0] = (int)code;
    }
}

/* For each of n sequences (row, count): no count, or rows within one earlier sequence. */
KERNEL(64, lpo_check_prefix)(TENSOR(status), TENSOR(cu), TENSOR(prefix), i64 n, i64 code) {
    for (i64 s = LANE; s < n; s += 64) {
        i64 row = AT(int, prefix)[2 * s], count = AT(int, prefix)[2 * s + 1];
        bool within = count == 0;
        for (i64 r = 0; r < s && count > 0 && row >= 0; r++) {
            i64 a = AT(int, cu)[r], b = AT(int, cu)[r + 1];
            within = within || (a <= row && row < b && count <= b - row);
        }
        if (!within) AT(int, status)[0] = (int)code;
    }
}
