/* SPDX-License-Identifier: Apache-2.0 */
/* lower_scores.c -- attention as products of whole matrices, a head at a time.
 * attn.cl does it in one pass with the device's ordinary arithmetic. Where products run on matrix units, a
 * hundred times faster than that, computing every score, also those that no row may see, and sending them
 * through memory is the quicker way as long as sequences are few. The host does not know where they begin
 * (cu lies on the device), so all rows meet all keys and scores.cl masks. Rows come in chunks whose scores
 * are at most SCORES, so scratch stays below 200 MiB. p and ds are rounded to the storage type of qkv, sums
 * are f32. dk and dv are summed over the heads of their group and the chunks in order: the same bits each
 * time. */
#include "kernels/gpu/lower.h"

enum {
    SCORES = 1 << 24,
    SCORES_IN_TESTS = 1 << 13,
    FEW_SEQUENCES = 16,
    WORTH_ROWS = 256,
    EVEN = 8 /* rows of scores begin aligned */
};

/* Each score costs some 16 bytes of memory traffic here and, in attn.cl, 4 d operations only where it is
 * seen: by the rates of a Hopper GPU the two meet where about one in 16 is. */
bool lpo_gpu_by_products(const lpo_gpu_call *c, const lpo_gpu_heads *h) {
    if (c->products == LPO_GPU_PRODUCTS_ALWAYS) return true;
    return c->products == LPO_GPU_PRODUCTS_WHERE_LONG && h->n_seq <= FEW_SEQUENCES && h->rows >= WORTH_ROWS;
}

typedef struct plan {
    const lpo_gpu_heads *h;
    int64_t ld, most; /* of a row of scores; rows of a chunk */
    lpo_gpu_tensor qkv, z, p;
} plan;

static plan plan_of(lpo_gpu_call *c, const lpo_gpu_heads *h, int qkv) {
    plan p = {.h = h, .ld = (h->rows + EVEN - 1) / EVEN * EVEN, .qkv = lpo_gpu_arg(c, qkv)};
    const int64_t all = c->products == LPO_GPU_PRODUCTS_ALWAYS ? SCORES_IN_TESTS : SCORES;
    p.most = all / p.ld < 1 ? 1 : all / p.ld;
    if (p.most > h->rows) p.most = h->rows;
    p.z = lpo_gpu_scratch(c, LPO_F32, p.most * p.ld);
    p.p = lpo_gpu_scratch(c, p.qkv.dtype, p.most * p.ld);
    return p;
}

/* scores[m][ld] = x (m rows of row_stride, d columns) times y's d columns at `at` of every row of qkv. */
static int scores(lpo_gpu_call *c, const plan *p, lpo_gpu_tensor to, lpo_gpu_tensor x, int64_t row_stride,
                  int64_t m, int64_t at) {
    return lpo_gpu_gemm_go(c, &(lpo_gpu_gemm){.c = to,
                                              .a = x,
                                              .b = lpo_gpu_at(p->qkv, at),
                                              .m = m,
                                              .n = p->h->rows,
                                              .k = p->h->d,
                                              .a_row = row_stride,
                                              .a_col = 1,
                                              .b_row = 1,
                                              .b_col = p->h->width,
                                              .c_row = p->ld});
}

/* to[m][to_stride] = scores[m][all rows] times y's d columns at `at` of every row of qkv. */
static int gather(lpo_gpu_call *c, const plan *p, lpo_gpu_tensor to, int64_t to_stride,
                  lpo_gpu_tensor weights, int64_t m, int64_t at) {
    return lpo_gpu_gemm_go(c, &(lpo_gpu_gemm){.c = to,
                                              .a = weights,
                                              .b = lpo_gpu_at(p->qkv, at),
                                              .m = m,
                                              .n = p->h->d,
                                              .k = p->h->rows,
                                              .a_row = p->ld,
                                              .a_col = 1,
                                              .b_row = p->h->width,
                                              .b_col = 1,
                                              .c_row = to_stride});
}

/* sum[all rows][d] (+)= scores^T times x (m rows of row_stride, d columns). */
static int scatter(lpo_gpu_call *c, const plan *p, lpo_gpu_tensor sum, lpo_gpu_tensor weights,
                   lpo_gpu_tensor x, int64_t row_stride, int64_t m, bool add) {
    return lpo_gpu_gemm_go(c, &(lpo_gpu_gemm){.c = sum,
                                              .a = weights,
                                              .b = x,
                                              .m = p->h->rows,
                                              .n = p->h->d,
                                              .k = m,
                                              .a_row = 1,
                                              .a_col = p->ld,
                                              .b_row = row_stride,
                                              .b_col = 1,
                                              .c_row = p->h->d,
                                              .add = add});
}

static int softmax(lpo_gpu_call *c, const plan *p, int64_t head, int64_t t0, int64_t m) {
    return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_SCORES_SOFTMAX,
                                          .groups = {(uint32_t)m},
                                          .tensor = {p->p, lpo_gpu_at(lpo_gpu_arg(c, 1), head * p->h->rows),
                                                     p->z, lpo_gpu_arg(c, 3), lpo_gpu_arg(c, 4)},
                                          .n = {p->h->rows, p->h->n_seq, t0, p->ld, c->k.attrs.causal},
                                          .real = {(double)c->k.attrs.scale}});
}

int lpo_gpu_scores_go(lpo_gpu_call *c, const lpo_gpu_heads *h) {
    const plan p = plan_of(c, h, 2);
    const int64_t group = h->n_q / h->n_kv;
    int rc = 0;
    for (int64_t head = 0; head < h->n_q && !rc; head++) {
        const int64_t k_at = (h->n_q + head / group) * h->d, v_at = k_at + h->n_kv * h->d;
        for (int64_t t0 = 0; t0 < h->rows && !rc; t0 += p.most) {
            const int64_t m = h->rows - t0 < p.most ? h->rows - t0 : p.most;
            rc = scores(c, &p, p.z, lpo_gpu_at(p.qkv, t0 * h->width + head * h->d), h->width, m, k_at);
            if (!rc) rc = softmax(c, &p, head, t0, m);
            if (!rc)
                rc = gather(c, &p, lpo_gpu_at(lpo_gpu_arg(c, 0), (t0 * h->n_q + head) * h->d), h->n_q * h->d,
                            p.p, m, v_at);
        }
    }
    return rc;
}

/* ---- backward ---- */

typedef struct back {
    plan p;
    lpo_gpu_tensor dz, ds, dk, dv, delta;
} back;

static int grad(lpo_gpu_call *c, const back *b, int64_t head, int64_t t0, int64_t m) {
    const int64_t rows = b->p.h->rows;
    return lpo_gpu_go(
        c,
        (lpo_gpu_launch){.kernel = LPO_GPU_SCORES_GRAD,
                         .groups = {(uint32_t)m},
                         .tensor = {b->p.p, b->ds, b->p.z, b->dz, lpo_gpu_at(lpo_gpu_arg(c, 4), head * rows),
                                    lpo_gpu_at(b->delta, head * rows), lpo_gpu_arg(c, 5), lpo_gpu_arg(c, 6)},
                         .n = {rows, b->p.h->n_seq, t0, b->p.ld, c->k.attrs.causal},
                         .real = {(double)c->k.attrs.scale}});
}

static int put(lpo_gpu_call *c, const lpo_gpu_heads *h, lpo_gpu_tensor x, int64_t at) {
    return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_SCORES_PUT,
                                          .groups = {(uint32_t)h->rows},
                                          .tensor = {lpo_gpu_arg(c, 0), x},
                                          .n = {h->width, at, h->d}});
}

/* Rows t0..t0+m-1 of one query head: dq, and their part of dk and dv. */
static int chunk_bwd(lpo_gpu_call *c, const back *b, int64_t head, int64_t t0, int64_t m, bool add) {
    const lpo_gpu_heads *h = b->p.h;
    const int64_t k_at = (h->n_q + head / (h->n_q / h->n_kv)) * h->d, v_at = k_at + h->n_kv * h->d,
                  q_at = t0 * h->width + head * h->d;
    const lpo_gpu_tensor q = lpo_gpu_at(b->p.qkv, q_at),
                         dout = lpo_gpu_at(lpo_gpu_arg(c, 1), (t0 * h->n_q + head) * h->d);
    int rc = scores(c, &b->p, b->p.z, q, h->width, m, k_at);
    if (!rc) rc = scores(c, &b->p, b->dz, dout, h->n_q * h->d, m, v_at);
    if (!rc) rc = grad(c, b, head, t0, m);
    if (!rc) rc = gather(c, &b->p, lpo_gpu_at(lpo_gpu_arg(c, 0), q_at), h->width, b->ds, m, k_at);
    if (!rc) rc = scatter(c, &b->p, b->dk, b->ds, q, h->width, m, add);
    return rc ? rc : scatter(c, &b->p, b->dv, b->p.p, dout, h->n_q * h->d, m, add);
}

int lpo_gpu_scores_bwd_go(lpo_gpu_call *c, const lpo_gpu_heads *h, lpo_gpu_tensor delta) {
    back b = {.p = plan_of(c, h, 2), .delta = delta};
    const int64_t group = h->n_q / h->n_kv;
    b.dz = lpo_gpu_scratch(c, LPO_F32, b.p.most * b.p.ld);
    b.ds = lpo_gpu_scratch(c, b.p.qkv.dtype, b.p.most * b.p.ld);
    b.dk = lpo_gpu_scratch(c, LPO_F32, h->rows * h->d);
    b.dv = lpo_gpu_scratch(c, LPO_F32, h->rows * h->d);
    int rc = 0;
    for (int64_t kv = 0; kv < h->n_kv && !rc; kv++) {
        for (int64_t head = kv * group; head < (kv + 1) * group && !rc; head++)
            for (int64_t t0 = 0; t0 < h->rows && !rc; t0 += b.p.most)
                rc = chunk_bwd(c, &b, head, t0, h->rows - t0 < b.p.most ? h->rows - t0 : b.p.most,
                               head > kv * group || t0 > 0);
        if (!rc) rc = put(c, h, b.dk, (h->n_q + kv) * h->d);
        if (!rc) rc = put(c, h, b.dv, (h->n_q + h->n_kv + kv) * h->d);
    }
    return rc;
}
