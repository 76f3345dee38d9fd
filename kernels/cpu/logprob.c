/* SPDX-License-Identifier: Apache-2.0 */
/* logprob.c -- log-probability of the target over a large vocabulary, without ever holding the logits.
 * Forward: each block of logits (about 500 rows x 128 ids) leaves the register tiles, gives its max, sum of
 * exponentials and argmax while in cache, and is dropped; the pieces of a row are joined in vocabulary order.
 * Backward computes the logits again for CHUNK ids, turns them into their gradient in place, and multiplies
 * that with w and h. */
#include <math.h>

#include "kernels/cpu/gemm.h"

enum { ROWS = 1008, CHUNK = 8192, WIDTH = 128 /* ids of one piece */ };

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t valid(const lpo_kcall *c, int64_t V) {
    return c->attrs.n_valid > 0 && c->attrs.n_valid < V ? c->attrs.n_valid : V;
}

typedef struct forward {
    const int32_t *target; /* of the first row in work */
    lpo_stats *piece;      /* [block][ROWS] */
    float *z_target;       /* [ROWS] */
} forward;

static void collect(void *ctx, float *c, int64_t ld, int64_t i, int64_t m, int64_t j, int64_t n) {
    const forward *f = ctx;
    const lpo_simd *s = lpo_simd_get();
    for (int64_t r = 0; r < m; r++) {
        const float *z = c + r * ld;
        f->piece[j / WIDTH * ROWS + i + r] = s->stats(z, n);
        const int64_t goal = f->target[i + r];
        if (goal >= j && goal < j + n) f->z_target[i + r] = z[goal - j];
    }
}

typedef struct forward_scratch {
    lpo_stats *piece;
    float *z_target;
    void *gemm;
    size_t size;
} forward_scratch;

static forward_scratch forward_layout(const lpo_kcall *c) {
    const int64_t T = c->arg[4].shape[0], H = c->arg[4].shape[1], n = valid(c, c->arg[5].shape[0]);
    const int64_t n_blocks = (n + WIDTH - 1) / WIDTH;
    lpo_bump b = {c->scratch, 0};
    forward_scratch f;
    f.piece = lpo_take(&b, (size_t)(n_blocks * ROWS) * sizeof *f.piece);
    f.z_target = lpo_take(&b, ROWS * sizeof *f.z_target);
    f.gemm = lpo_take(&b, lpo_gemm_scratch(least(T, ROWS), n, H, false));
    f.size = b.used;
    return f;
}
size_t lpo_cpu_logprob_scratch(const lpo_kcall *c) {
    return forward_layout(c).size;
}

/* Row r of the rows in work, as row t of the result. */
static void join(const lpo_kcall *c, const forward *f, int64_t r, int64_t t, int64_t n) {
    const int64_t n_blocks = (n + WIDTH - 1) / WIDTH;
    double max = -INFINITY, sum = 0, dot = 0;
    int64_t best = 0;
    for (int64_t b = 0; b < n_blocks; b++) {
        const lpo_stats *p = &f->piece[b * ROWS + r];
        if ((double)p->max > max) {
            max = (double)p->max;
            best = b * WIDTH + p->best;
        }
    }
    for (int64_t b = 0; b < n_blocks; b++) {
        const lpo_stats *p = &f->piece[b * ROWS + r];
        const double e = exp((double)p->max - max);
        sum += (double)p->sum * e;
        dot += (double)p->dot * e;
    }
    const double lse = max + log(sum);
    const int32_t goal = f->target[r];
    ((float *)c->arg[0].data)[t] = goal < 0   ? 0
                                   : goal < n ? (float)((double)f->z_target[r] - lse)
                                              : -INFINITY;
    ((float *)c->arg[1].data)[t] = (float)lse;
    if (c->arg[2].data) ((float *)c->arg[2].data)[t] = (float)(lse - dot / sum);
    if (c->arg[3].data) ((int32_t *)c->arg[3].data)[t] = goal == best;
}

int lpo_cpu_logprob(const lpo_kcall *c) {
    const lpo_karg *logp = &c->arg[0], *lse = &c->arg[1], *entropy = &c->arg[2], *hit = &c->arg[3],
                   *h = &c->arg[4], *w = &c->arg[5], *target = &c->arg[6];
    if (!logp->data || logp->dtype != LPO_F32 || !lse->data || lse->dtype != LPO_F32 ||
        !lpo_is_f32_or_absent(entropy) || (hit->data && hit->dtype != LPO_I32) || !lpo_is_float(h) ||
        !lpo_is_float(w))
        return -1;
    const int64_t T = h->shape[0], H = h->shape[1], V = w->shape[0], n = valid(c, V);
    if (!lpo_is_matrix(h, T, H) || !lpo_is_matrix(w, V, H) || !lpo_cpu_ids_ok(target, T, INT32_MIN, V) ||
        !lpo_is_vector(logp, T) || !lpo_is_vector(lse, T) || !lpo_is_vector(entropy, T) ||
        !lpo_is_vector(hit, T))
        return -1;
    const forward_scratch mem = forward_layout(c);
    for (int64_t t0 = 0; t0 < T; t0 += ROWS) {
        const int64_t rows = least(ROWS, T - t0);
        forward f = {(const int32_t *)target->data + t0, mem.piece, mem.z_target};
        lpo_mat a = lpo_mat_of(h, H, 1);
        a.data = (const char *)h->data + (size_t)(t0 * H) * lpo_dtype_bytes(h->dtype);
        const lpo_gemm g = {.m = rows,
                            .n = n,
                            .k = H,
                            .a = a,
                            .b = lpo_mat_of(w, 1, H),
                            .width = WIDTH,
                            .finish = collect,
                            .ctx = &f};
        lpo_gemm_run(&g, mem.gemm);
        for (int64_t r = 0; r < rows; r++) join(c, &f, r, t0 + r, n);
    }
    return 0;
}

typedef struct backward {
    const int32_t *target;
    const float *dlogp, *lse;
    int64_t v0, n_valid; /* the chunk's first id */
} backward;

static void to_gradient(void *ctx, float *c, int64_t ld, int64_t i, int64_t m, int64_t j, int64_t n) {
    const backward *b = ctx;
    const lpo_simd *s = lpo_simd_get();
    for (int64_t r = 0; r < m; r++) {
        float *z = c + r * ld;
        const int64_t goal = b->target[i + r];
        const float d = goal < 0 || goal >= b->n_valid ? 0 : b->dlogp[i + r];
        s->exp_sum(z, 1, b->lse[i + r], n);
        s->scale(z, -d, n);
        if (goal >= b->v0 + j && goal < b->v0 + j + n) z[goal - b->v0 - j] += d;
    }
}

typedef struct backward_scratch {
    float *dz, *dh;
    void *gemm;
    size_t size;
} backward_scratch;

static backward_scratch backward_layout(const lpo_kcall *c) {
    const int64_t T = c->arg[4].shape[0], H = c->arg[4].shape[1], n = valid(c, c->arg[5].shape[0]);
    const int64_t rows = least(T, ROWS), chunk = least(n, CHUNK);
    lpo_bump b = {c->scratch, 0};
    backward_scratch f = {0};
    f.dz = lpo_take(&b, (size_t)(rows * chunk) * sizeof(float));
    if (c->arg[0].dtype == LPO_BF16) f.dh = lpo_take(&b, (size_t)(rows * H) * sizeof(float));
    size_t size = lpo_gemm_scratch(rows, chunk, H, false), dh = lpo_gemm_scratch(rows, H, chunk, false),
           dw = lpo_gemm_scratch(chunk, H, rows, false);
    size = size > dh ? size : dh;
    f.gemm = lpo_take(&b, size > dw ? size : dw);
    f.size = b.used;
    return f;
}
size_t lpo_cpu_logprob_bwd_scratch(const lpo_kcall *c) {
    return backward_layout(c).size;
}

/* One chunk of ids for some rows: dh (+)= dz w, dw += dz^T h. */
static void chunk_bwd(const lpo_kcall *c, const backward_scratch *mem, backward *b, lpo_mat rows_of_h,
                      float *dh, int64_t rows, int64_t n) {
    const lpo_karg *dw = &c->arg[1], *w = &c->arg[5];
    const int64_t H = w->shape[1];
    const void *w_chunk = (const char *)w->data + (size_t)(b->v0 * H) * lpo_dtype_bytes(w->dtype);
    const bool bf16 = w->dtype == LPO_BF16;
    const lpo_gemm logits = {.m = rows,
                             .n = n,
                             .k = H,
                             .a = rows_of_h,
                             .b = {w_chunk, bf16, 1, H},
                             .c = mem->dz,
                             .ldc = n,
                             .finish = to_gradient,
                             .ctx = b};
    lpo_gemm_run(&logits, mem->gemm);
    const lpo_gemm to_h = {.m = rows,
                           .n = H,
                           .k = n,
                           .a = {mem->dz, false, n, 1},
                           .b = {w_chunk, bf16, H, 1},
                           .c = dh,
                           .ldc = H,
                           .add = b->v0 > 0};
    lpo_gemm_run(&to_h, mem->gemm);
    if (!dw->data) return;
    const lpo_gemm to_w = {.m = n,
                           .n = H,
                           .k = rows,
                           .a = {mem->dz, false, 1, n},
                           .b = rows_of_h,
                           .c = (float *)dw->data + b->v0 * H,
                           .ldc = H,
                           .add = true};
    lpo_gemm_run(&to_w, mem->gemm);
}

int lpo_cpu_logprob_bwd(const lpo_kcall *c) {
    const lpo_karg *dh = &c->arg[0], *dw = &c->arg[1], *dlogp = &c->arg[2], *lse = &c->arg[3],
                   *h = &c->arg[4], *w = &c->arg[5], *target = &c->arg[6];
    if (!lpo_is_float(dh) || !lpo_is_f32_or_absent(dw) || !dlogp->data || dlogp->dtype != LPO_F32 ||
        !lse->data || lse->dtype != LPO_F32 || !lpo_is_float(h) || !lpo_is_float(w))
        return -1;
    const int64_t T = h->shape[0], H = h->shape[1], V = w->shape[0], n = valid(c, V);
    if (!lpo_is_matrix(h, T, H) || !lpo_is_matrix(w, V, H) || !lpo_is_matrix(dh, T, H) ||
        !lpo_is_matrix(dw, V, H) || !lpo_cpu_ids_ok(target, T, INT32_MIN, V) || !lpo_is_vector(dlogp, T) ||
        !lpo_is_vector(lse, T))
        return -1;
    const backward_scratch mem = backward_layout(c);
    for (int64_t t0 = 0; t0 < T; t0 += ROWS) {
        const int64_t rows = least(ROWS, T - t0);
        backward b = {(const int32_t *)target->data + t0, (const float *)dlogp->data + t0,
                      (const float *)lse->data + t0, 0, n};
        lpo_mat rows_of_h = lpo_mat_of(h, H, 1);
        rows_of_h.data = (const char *)h->data + (size_t)(t0 * H) * lpo_dtype_bytes(h->dtype);
        float *out = mem.dh ? mem.dh : (float *)dh->data + t0 * H;
        for (; b.v0 < n; b.v0 += CHUNK) chunk_bwd(c, &mem, &b, rows_of_h, out, rows, least(CHUNK, n - b.v0));
        if (mem.dh) lpo_simd_get()->narrow((uint16_t *)dh->data + t0 * H, out, rows * H);
    }
    return 0;
}
