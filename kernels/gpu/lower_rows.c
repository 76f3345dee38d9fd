/* SPDX-License-Identifier: Apache-2.0 */
/* lower_rows.c -- norms, rotation, embedding and row mix: a group owns a row. */
#include "kernels/gpu/lower.h"

int lpo_gpu_lower_norm(lpo_gpu_call *c) {
    const lpo_karg *y = &c->k.arg[0], *mean = &c->k.arg[1], *rstd = &c->k.arg[2], *x = &c->k.arg[3],
                   *w = &c->k.arg[4], *b = &c->k.arg[5];
    if (!lpo_gpu_float(y) || !lpo_gpu_is_or_absent(mean, LPO_F32) || !lpo_gpu_is_or_absent(rstd, LPO_F32) ||
        !lpo_gpu_float(x) || !lpo_gpu_float(w) || !lpo_gpu_float_or_absent(b))
        return -1;
    const int64_t T = x->shape[0], K = x->shape[1];
    if (!lpo_gpu_matrix(x, T, K) || !lpo_gpu_matrix(y, T, K) || !lpo_gpu_vector(w, K) ||
        !lpo_gpu_vector(b, K) || !lpo_gpu_vector(mean, T) || !lpo_gpu_vector(rstd, T))
        return -1;
    if (T == 0) return 0;
    return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_NORM,
                                          .groups = {(uint32_t)T},
                                          .tensor = {lpo_gpu_arg(c, 0), lpo_gpu_arg(c, 1), lpo_gpu_arg(c, 2),
                                                     lpo_gpu_arg(c, 3), lpo_gpu_arg(c, 4), lpo_gpu_arg(c, 5)},
                                          .n = {K, c->k.attrs.rms},
                                          .real = {c->k.attrs.eps}});
}

static int add_blocks(lpo_gpu_call *c, lpo_gpu_tensor out, lpo_gpu_tensor part, int64_t blocks,
                      int64_t cols) {
    if (!out.buffer) return 0;
    return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_COLUMNS_ADD,
                                          .groups = {lpo_gpu_groups(cols, 64)},
                                          .tensor = {out, part},
                                          .n = {blocks, cols}});
}

int lpo_gpu_columns_go(lpo_gpu_call *c, lpo_gpu_tensor out, lpo_gpu_tensor x, lpo_gpu_tensor part,
                       int64_t rows, int64_t cols) {
    const int64_t blocks = lpo_gpu_blocks(rows);
    int rc = lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_COLUMNS,
                                            .groups = {lpo_gpu_groups(cols, 64), (uint32_t)blocks},
                                            .tensor = {part, x},
                                            .n = {rows, cols}});
    return rc ? rc : add_blocks(c, out, part, blocks, cols);
}

int lpo_gpu_lower_norm_bwd(lpo_gpu_call *c) {
    const lpo_karg *dx = &c->k.arg[0], *dw = &c->k.arg[1], *db = &c->k.arg[2], *dy = &c->k.arg[3],
                   *x = &c->k.arg[4], *w = &c->k.arg[5], *mean = &c->k.arg[6], *rstd = &c->k.arg[7];
    if (!lpo_gpu_float(dx) || !lpo_gpu_is_or_absent(dw, LPO_F32) || !lpo_gpu_is_or_absent(db, LPO_F32) ||
        !lpo_gpu_float(dy) || !lpo_gpu_float(x) || !lpo_gpu_float(w) || !lpo_gpu_is(mean, LPO_F32) ||
        !lpo_gpu_is(rstd, LPO_F32))
        return -1;
    const int64_t T = x->shape[0], K = x->shape[1], blocks = lpo_gpu_blocks(T);
    if (!lpo_gpu_matrix(x, T, K) || !lpo_gpu_matrix(dx, T, K) || !lpo_gpu_matrix(dy, T, K) ||
        !lpo_gpu_vector(w, K) || !lpo_gpu_vector(dw, K) || !lpo_gpu_vector(db, K) ||
        !lpo_gpu_vector(mean, T) || !lpo_gpu_vector(rstd, T))
        return -1;
    if (T == 0 || K == 0) return 0;
    const bool columns = dw->data || db->data;
    lpo_gpu_tensor part = {0};
    if (columns) part = lpo_gpu_scratch(c, LPO_F32, 2 * blocks * K);
    /* The columns first: dx may be written over dy. */
    int rc = 0;
    if (columns)
        rc = lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_NORM_BWD_COLUMNS,
                                            .groups = {lpo_gpu_groups(K, 64), (uint32_t)blocks},
                                            .tensor = {part, lpo_gpu_arg(c, 3), lpo_gpu_arg(c, 4),
                                                       lpo_gpu_arg(c, 6), lpo_gpu_arg(c, 7)},
                                            .n = {T, K}});
    if (!rc)
        rc = lpo_gpu_go(c,
                        (lpo_gpu_launch){.kernel = LPO_GPU_NORM_BWD,
                                         .groups = {(uint32_t)T},
                                         .tensor = {lpo_gpu_arg(c, 0), lpo_gpu_arg(c, 3), lpo_gpu_arg(c, 4),
                                                    lpo_gpu_arg(c, 5), lpo_gpu_arg(c, 6), lpo_gpu_arg(c, 7)},
                                         .n = {K, c->k.attrs.rms}});
    if (!rc) rc = add_blocks(c, lpo_gpu_arg(c, 1), part, blocks, K);
    return rc ? rc : add_blocks(c, lpo_gpu_arg(c, 2), lpo_gpu_at(part, blocks * K), blocks, K);
}

int lpo_gpu_lower_rope(lpo_gpu_call *c) {
    const lpo_karg *y = &c->k.arg[0], *x = &c->k.arg[1], *cs = &c->k.arg[2], *sn = &c->k.arg[3];
    if (!lpo_gpu_float(y) || !lpo_gpu_float(x) || !lpo_gpu_float(cs) || !lpo_gpu_float(sn)) return -1;
    const int64_t T = x->shape[0], W = x->shape[1], d = c->k.attrs.d_head, n_rot = c->k.attrs.n_rot;
    if (d <= 0 || d % 2 || n_rot < 0 || n_rot * d > W || !lpo_gpu_matrix(x, T, W) ||
        !lpo_gpu_matrix(y, T, W) || !lpo_gpu_matrix(cs, T, d / 2) || !lpo_gpu_matrix(sn, T, d / 2))
        return -1;
    if (T == 0) return 0;
    return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_ROPE,
                                          .groups = {lpo_gpu_groups(T * (W - n_rot * (d / 2)), 256)},
                                          .tensor = {lpo_gpu_arg(c, 0), lpo_gpu_arg(c, 1), lpo_gpu_arg(c, 2),
                                                     lpo_gpu_arg(c, 3)},
                                          .n = {T, W, d, n_rot, c->k.attrs.inverse}});
}

int lpo_gpu_lower_embed(lpo_gpu_call *c) {
    const lpo_karg *y = &c->k.arg[0], *table = &c->k.arg[1], *ids = &c->k.arg[2];
    const int64_t T = lpo_karg_count(ids), V = table->shape[0], H = table->shape[1];
    if (!lpo_gpu_float(y) || !lpo_gpu_float(table) || !lpo_gpu_is(ids, LPO_I32) ||
        !lpo_gpu_matrix(table, V, H) || !lpo_gpu_matrix(y, T, H))
        return -1;
    if (T == 0) return 0;
    int rc = lpo_gpu_check_ids(c, lpo_gpu_arg(c, 2), T, 0, V, LPO_GPU_FAULT_IDS);
    return rc ? rc
              : lpo_gpu_go(
                    c, (lpo_gpu_launch){.kernel = LPO_GPU_EMBED,
                                        .groups = {(uint32_t)T},
                                        .tensor = {lpo_gpu_arg(c, 0), lpo_gpu_arg(c, 1), lpo_gpu_arg(c, 2)},
                                        .n = {V, H}});
}

int lpo_gpu_lower_embed_bwd(lpo_gpu_call *c) {
    const lpo_karg *dtable = &c->k.arg[0], *dy = &c->k.arg[1], *ids = &c->k.arg[2];
    const int64_t T = lpo_karg_count(ids), V = dtable->shape[0], H = dtable->shape[1];
    if (!lpo_gpu_is(dtable, LPO_F32) || !lpo_gpu_float(dy) || !lpo_gpu_is(ids, LPO_I32) ||
        !lpo_gpu_matrix(dtable, V, H) || !lpo_gpu_matrix(dy, T, H))
        return -1;
    if (T == 0) return 0;
    int rc = lpo_gpu_check_ids(c, lpo_gpu_arg(c, 2), T, 0, V, LPO_GPU_FAULT_IDS);
    return rc ? rc
              : lpo_gpu_go(
                    c, (lpo_gpu_launch){.kernel = LPO_GPU_EMBED_BWD,
                                        .groups = {(uint32_t)T},
                                        .tensor = {lpo_gpu_arg(c, 0), lpo_gpu_arg(c, 1), lpo_gpu_arg(c, 2)},
                                        .n = {T, V, H}});
}

static bool mix_ok(const lpo_karg *idx, const lpo_karg *w, int64_t rows) {
    return lpo_gpu_is(idx, LPO_I32) && idx->ndim == 2 && idx->shape[0] == rows &&
           lpo_gpu_is_or_absent(w, LPO_F32) && lpo_gpu_matrix(w, rows, idx->shape[1]);
}

int lpo_gpu_lower_rowmix(lpo_gpu_call *c) {
    const lpo_karg *y = &c->k.arg[0], *a = &c->k.arg[1], *b = &c->k.arg[2], *idx = &c->k.arg[3],
                   *w = &c->k.arg[4];
    if (!lpo_gpu_float(y) || !lpo_gpu_float(a) || !lpo_gpu_float_or_absent(b)) return -1;
    const int64_t R = y->shape[0], H = y->shape[1], Ra = a->shape[0], Rb = b->data ? b->shape[0] : 0;
    if (!lpo_gpu_matrix(y, R, H) || !lpo_gpu_matrix(a, Ra, H) || !lpo_gpu_matrix(b, Rb, H) ||
        !mix_ok(idx, w, R))
        return -1;
    if (R == 0) return 0;
    int rc =
        lpo_gpu_check_ids(c, lpo_gpu_arg(c, 3), lpo_karg_count(idx), INT32_MIN, Ra + Rb, LPO_GPU_FAULT_ROWS);
    return rc ? rc
              : lpo_gpu_go(
                    c, (lpo_gpu_launch){.kernel = LPO_GPU_ROWMIX,
                                        .groups = {(uint32_t)R},
                                        .tensor = {lpo_gpu_arg(c, 0), lpo_gpu_arg(c, 1), lpo_gpu_arg(c, 2),
                                                   lpo_gpu_arg(c, 3), lpo_gpu_arg(c, 4)},
                                        .n = {Ra, Rb, H, idx->shape[1]}});
}

int lpo_gpu_lower_rowmix_bwd(lpo_gpu_call *c) {
    const lpo_karg *dy = &c->k.arg[2], *idx = &c->k.arg[3], *w = &c->k.arg[4];
    if (!lpo_gpu_float(dy) || !mix_ok(idx, w, dy->shape[0])) return -1;
    const int64_t R = dy->shape[0], H = dy->shape[1], C = idx->shape[1], Ra = c->k.arg[0].shape[0];
    if (!lpo_gpu_matrix(dy, R, H)) return -1;
    for (int i = 0; i < 2; i++) {
        const lpo_karg *d = &c->k.arg[i];
        if (!lpo_gpu_float_or_absent(d) || !lpo_gpu_matrix(d, d->shape[0], H)) return -1;
    }
    int rc = 0;
    for (int i = 0; i < 2 && !rc; i++) {
        const lpo_karg *d = &c->k.arg[i];
        if (!d->data || d->shape[0] == 0) continue;
        rc = lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_ROWMIX_BWD,
                                            .groups = {(uint32_t)d->shape[0]},
                                            .tensor = {lpo_gpu_arg(c, i), lpo_gpu_arg(c, 2),
                                                       lpo_gpu_arg(c, 3), lpo_gpu_arg(c, 4)},
                                            .n = {R * C, H, C, i ? Ra : 0}});
    }
    return rc;
}
