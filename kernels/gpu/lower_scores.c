/* SPDX-License-Identifier: Apache-2.0 */
/* lower_scores.c -- attention as products of whole matrices, a head at a time.
 * attn.cl does it in one pass with the device's ordinary arithmetic. Where products run on matrix units, a
 * hundred times faster than that, computing every score, also those that no row may see, and sending them
 * through memory is the quicker way as long as sequences are few. The host does not know where they begin
 * (cu lies on the device), so all rows meet all keys and scores.cl masks; but equally long sequences, as a
 * clip's frames are, are runs of a batch. Rows come in chunks whose scores are at most SCORES, so scratch
 * stays below 200 MiB. p and ds are rounded to the storage type of qkv, sums are f32. dk and dv are summed
 * over the heads of their group and the chunks in order: the same bits each time. */
#include "kernels/gpu/lower.h"

enum {
    SCORES = 1 << 24,
    SCORES_IN_TESTS = 1 << 13,
    WORTH_ROWS = 256,
    FEW_SEQUENCES = 16,
    WORTH_EVEN = 64, /* rows of a run */
    ALIGNED = 8      /* scores of a row begin so */
};

/* Sequences of their own; with a prefix they see each other's rows. */
static int64_t runs_of(const lpo_gpu_call *c, const lpo_gpu_heads *h) {
    const void *prefix = c->k.arg[c->op == LPO_OP_ATTN ? 4 : 6].data;
    return c->k.attrs.even && !prefix && h->rows % h->n_seq == 0 ? h->n_seq : 1;
}

/* Each score costs some 16 bytes of memory traffic here and, in attn.cl, 4 d operations only where it is
 * seen: by the rates of a Hopper GPU the two meet where about one in 16 is. */
bool lpo_gpu_by_products(const lpo_gpu_call *c, const lpo_gpu_heads *h) {
    if (c->products != LPO_GPU_PRODUCTS_WHERE_LONG) return c->products == LPO_GPU_PRODUCTS_ALWAYS;
    if (h->rows < WORTH_ROWS) return false;
    return h->n_seq <= FEW_SEQUENCES || (runs_of(c, h) > 1 && h->rows / h->n_seq >= WORTH_EVEN);
}

typedef struct plan {
    const lpo_gpu_heads *h;
    int64_t runs, keys; /* keys rows that meet each other, runs times */
    int64_t ld, most;   /* of a row of scores; rows of a chunk of a run */
    lpo_gpu_tensor qkv, z, p;
} plan;

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static plan plan_of(lpo_gpu_call *c, const lpo_gpu_heads *h, int qkv) {
    const int64_t all = c->products == LPO_GPU_PRODUCTS_ALWAYS ? SCORES_IN_TESTS : SCORES;
    plan p = {.h = h, .runs = runs_of(c, h), .qkv = lpo_gpu_arg(c, qkv)};
    p.keys = h->rows / p.runs;
    p.ld = (p.keys + ALIGNED - 1) / ALIGNED * ALIGNED;
    p.most = least(p.keys, all / (p.runs * p.ld) < 1 ? 1 : all / (p.runs * p.ld));
    p.z = lpo_gpu_scratch(c, LPO_F32, p.runs * p.most * p.ld);
    p.p = lpo_gpu_scratch(c, p.qkv.dtype, p.runs * p.most * p.ld);
    return p;
}

/* d columns of a matrix from `at` on, rows `stride` apart. */
typedef struct columns {
    lpo_gpu_tensor at;
    int64_t stride;
} columns;

static columns of_qkv(const plan *p, int64_t row, int64_t head) {
    return (columns){lpo_gpu_at(p->qkv, row * p->h->width + head * p->h->d), p->h->width};
}

static columns of_heads(lpo_gpu_tensor x, const lpo_gpu_heads *h, int64_t row, int64_t head) {
    return (columns){lpo_gpu_at(x, (row * h->n_q + head) * h->d), h->n_q * h->d};
}

/* scores[m][keys] = x (m rows) y^T (keys rows), for each run. */
static int scores(lpo_gpu_call *c, const plan *p, lpo_gpu_tensor to, columns x, columns y, int64_t m) {
    const lpo_gpu_gemm g = {.c = to,
                            .a = x.at,
                            .b = y.at,
                            .m = m,
                            .n = p->keys,
                            .k = p->h->d,
                            .a_row = x.stride,
                            .a_col = 1,
                            .b_row = 1,
                            .b_col = y.stride,
                            .c_row = p->ld,
                            .batch = p->runs,
                            .a_batch = p->keys * x.stride,
                            .b_batch = p->keys * y.stride,
                            .c_batch = p->most * p->ld};
    return lpo_gpu_gemm_go(c, &g);
}

/* to (m rows) = scores[m][keys] y (keys rows). */
static int gather(lpo_gpu_call *c, const plan *p, columns to, lpo_gpu_tensor weights, columns y, int64_t m) {
    const lpo_gpu_gemm g = {.c = to.at,
                            .a = weights,
                            .b = y.at,
                            .m = m,
                            .n = p->h->d,
                            .k = p->keys,
                            .a_row = p->ld,
                            .a_col = 1,
                            .b_row = y.stride,
                            .b_col = 1,
                            .c_row = to.stride,
                            .batch = p->runs,
                            .a_batch = p->most * p->ld,
                            .b_batch = p->keys * y.stride,
                            .c_batch = p->keys * to.stride};
    return lpo_gpu_gemm_go(c, &g);
}

/* sum[keys][d] (+)= scores^T x (m rows). */
static int scatter(lpo_gpu_call *c, const plan *p, lpo_gpu_tensor sum, lpo_gpu_tensor weights, columns x,
                   int64_t m, bool add) {
    const lpo_gpu_gemm g = {.c = sum,
                            .a = weights,
                            .b = x.at,
                            .m = p->keys,
                            .n = p->h->d,
                            .k = m,
                            .a_row = 1,
                            .a_col = p->ld,
                            .b_row = x.stride,
                            .b_col = 1,
                            .c_row = p->h->d,
                            .add = add,
                            .batch = p->runs,
                            .a_batch = p->most * p->ld,
                            .b_batch = p->keys * x.stride,
                            .c_batch = p->keys * p->h->d};
    return lpo_gpu_gemm_go(c, &g);
}

static int softmax(lpo_gpu_call *c, const plan *p, int64_t head, int64_t t0, int64_t m) {
    return lpo_gpu_go(
        c, (lpo_gpu_launch){.kernel = LPO_GPU_SCORES_SOFTMAX,
                            .groups = {(uint32_t)m, (uint32_t)p->runs},
                            .tensor = {p->p, lpo_gpu_at(lpo_gpu_arg(c, 1), head * p->h->rows), p->z,
                                       lpo_gpu_arg(c, 3), lpo_gpu_arg(c, 4)},
                            .n = {p->h->rows, p->h->n_seq, t0, p->ld, c->k.attrs.causal, p->keys, p->most},
                            .real = {(double)c->k.attrs.scale}});
}

int lpo_gpu_scores_go(lpo_gpu_call *c, const lpo_gpu_heads *h) {
    const plan p = plan_of(c, h, 2);
    int rc = 0;
    for (int64_t head = 0; head < h->n_q && !rc; head++) {
        const int64_t k = h->n_q + head / (h->n_q / h->n_kv), v = k + h->n_kv;
        for (int64_t t0 = 0; t0 < p.keys && !rc; t0 += p.most) {
            const int64_t m = least(p.most, p.keys - t0);
            rc = scores(c, &p, p.z, of_qkv(&p, t0, head), of_qkv(&p, 0, k), m);
            if (!rc) rc = softmax(c, &p, head, t0, m);
            if (!rc) rc = gather(c, &p, of_heads(lpo_gpu_arg(c, 0), h, t0, head), p.p, of_qkv(&p, 0, v), m);
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
    const plan *p = &b->p;
    return lpo_gpu_go(
        c, (lpo_gpu_launch){
               .kernel = LPO_GPU_SCORES_GRAD,
               .groups = {(uint32_t)m, (uint32_t)p->runs},
               .tensor = {p->p, b->ds, p->z, b->dz, lpo_gpu_at(lpo_gpu_arg(c, 4), head * p->h->rows),
                          lpo_gpu_at(b->delta, head * p->h->rows), lpo_gpu_arg(c, 5), lpo_gpu_arg(c, 6)},
               .n = {p->h->rows, p->h->n_seq, t0, p->ld, c->k.attrs.causal, p->keys, p->most},
               .real = {(double)c->k.attrs.scale}});
}

static int put(lpo_gpu_call *c, const lpo_gpu_heads *h, lpo_gpu_tensor x, int64_t head) {
    return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_SCORES_PUT,
                                          .groups = {(uint32_t)h->rows},
                                          .tensor = {lpo_gpu_arg(c, 0), x},
                                          .n = {h->width, head * h->d, h->d}});
}

/* Rows t0..t0+m-1 of every run, of one query head: dq, and their part of dk and dv. */
static int chunk_bwd(lpo_gpu_call *c, const back *b, int64_t head, int64_t t0, int64_t m, bool add) {
    const plan *p = &b->p;
    const lpo_gpu_heads *h = p->h;
    const int64_t k = h->n_q + head / (h->n_q / h->n_kv), v = k + h->n_kv;
    const columns q = of_qkv(p, t0, head), dout = of_heads(lpo_gpu_arg(c, 1), h, t0, head),
                  dq = {lpo_gpu_at(lpo_gpu_arg(c, 0), t0 * h->width + head * h->d), h->width};
    int rc = scores(c, p, p->z, q, of_qkv(p, 0, k), m);
    if (!rc) rc = scores(c, p, b->dz, dout, of_qkv(p, 0, v), m);
    if (!rc) rc = grad(c, b, head, t0, m);
    if (!rc) rc = gather(c, p, dq, b->ds, of_qkv(p, 0, k), m);
    if (!rc) rc = scatter(c, p, b->dk, b->ds, q, m, add);
    return rc ? rc : scatter(c, p, b->dv, p->p, dout, m, add);
}

int lpo_gpu_scores_bwd_go(lpo_gpu_call *c, const lpo_gpu_heads *h, lpo_gpu_tensor delta) {
    back b = {.p = plan_of(c, h, 2), .delta = delta};
    const int64_t group = h->n_q / h->n_kv;
    b.dz = lpo_gpu_scratch(c, LPO_F32, b.p.runs * b.p.most * b.p.ld);
    b.ds = lpo_gpu_scratch(c, b.p.qkv.dtype, b.p.runs * b.p.most * b.p.ld);
    b.dk = lpo_gpu_scratch(c, LPO_F32, h->rows * h->d);
    b.dv = lpo_gpu_scratch(c, LPO_F32, h->rows * h->d);
    int rc = 0;
    for (int64_t kv = 0; kv < h->n_kv && !rc; kv++) {
        for (int64_t head = kv * group; head < (kv + 1) * group && !rc; head++)
            for (int64_t t0 = 0; t0 < b.p.keys && !rc; t0 += b.p.most)
                rc = chunk_bwd(c, &b, head, t0, least(b.p.most, b.p.keys - t0), head > kv * group || t0 > 0);
        if (!rc) rc = put(c, h, b.dk, h->n_q + kv);
        if (!rc) rc = put(c, h, b.dv, h->n_q + h->n_kv + kv);
    }
    return rc;
}
