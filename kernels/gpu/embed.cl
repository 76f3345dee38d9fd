/* SPDX-License-Identifier: Apache-2.0 */
/* embed.cl -- gather rows of a table, and its transpose. Transposed, the first row with an id owns it: its
 * group adds all rows with that id, in order. Ids are clamped to the table; check.cl reports them. */
KERNEL(64, lpo_embed)(TENSOR(y), TENSOR(table), TENSOR(ids), i64 n_ids, i64 cols) {
    i64 row = GROUP(0), id = lpo_max(0, lpo_min(n_ids - 1, AT(int, ids)[row]));
    for (i64 k = LANE; k < cols; k += 64) PUT(y, row * cols + k, GET(table, id * cols + k));
}

KERNEL(64, lpo_embed_bwd)(TENSOR(dtable), TENSOR(dy), TENSOR(ids), i64 rows, i64 n_ids, i64 cols) {
    LOCAL float seen[64];
    i64 row = GROUP(0);
    int id = AT(int, ids)[row];
    float earlier = 0.0f;
    for (i64 t = LANE; t < row; t += 64) earlier += AT(int, ids)[t] == id ? 1.0f : 0.0f;
    earlier = lpo_group_sum(seen, 64, LANE, earlier);
    if (earlier > 0.0f || id < 0 || id >= n_ids) return;
    for (i64 k = LANE; k < cols; k += 64) {
        float sum = GET(dtable, id * cols + k);
        for (i64 t = row; t < rows; t++)
            if (AT(int, ids)[t] == id) sum += GET(dy, t * cols + k);
        PUT(dtable, id * cols + k, sum);
    }
}
