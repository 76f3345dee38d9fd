/* SPDX-License-Identifier: Apache-2.0 */
/* gemm.c -- blocks and threads of the matrix product.
 * For each block of about 1008 rows of A: pack them once, shared, as slivers [k][mr]; then every thread takes
 * blocks of columns, packs its piece of B as panels [k][nr] (DEPTH x 256 floats stay in the second cache) and
 * runs the register tile over them. Edges go through the same tile, whose unused lanes are not stored, so the
 * cut never changes an element's arithmetic. */
#include "kernels/cpu/gemm.h"

#include <omp.h>

enum {
    PACK_STEP = 16,
    LONG = 1024 /* k */,
    WORTH_THREADS = 1 << 18 /* multiply-adds */
};

static int64_t up(int64_t n, int64_t unit) {
    return (n + unit - 1) / unit * unit;
}
static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Wide blocks read packed A less often, narrow ones give every thread something. No bit depends on it. */
static int64_t width_of(const lpo_gemm *g, int n_threads) {
    if (g->width) return g->width;
    const int64_t n_pieces = n_threads > 1 ? 4 * n_threads : 1;
    const int64_t width = up((g->n + n_pieces - 1) / n_pieces, 32);
    return least(width, LPO_GEMM_COLUMNS);
}

/* Near-equal blocks of rows: a short last block would pack all of B again for a few rows. About 1008 of them,
 * or half of that where k is long and packed A would grow large. */
static int64_t rows_of_block(int64_t m, int64_t k, int mr) {
    const int64_t most = k > LONG ? LPO_GEMM_ROWS / 2 : LPO_GEMM_ROWS, unit = most / 3 * 2;
    const int64_t n_blocks = m < most ? 1 : (m + unit / 2) / unit;
    return up((m + n_blocks - 1) / n_blocks, mr);
}

typedef struct buffers {
    float *a, *b, *c; /* a shared; b and c for each thread */
    size_t b_floats, c_floats;
} buffers;

static buffers buffers_of(lpo_bump *bump, int64_t m, int64_t n, int64_t k, int n_threads) {
    const lpo_simd *s = lpo_simd_get();
    buffers buf = {0};
    const int64_t rows = up(least(m, LPO_GEMM_ROWS), s->mr), half = up(least(m, LPO_GEMM_ROWS / 2), s->mr);
    const int64_t block = least(up(n, 32), LPO_GEMM_COLUMNS), wide = rows * least(k, LONG);
    const int64_t a_lanes = wide > half * k ? wide : half * k;
    buf.b_floats = (size_t)(least(up(k, 16), LPO_GEMM_DEPTH) * block);
    buf.c_floats = (size_t)(rows * block);
    buf.a = lpo_take(bump, (size_t)(a_lanes / s->mr * s->a_width) * sizeof(float));
    buf.b = lpo_take(bump, buf.b_floats * sizeof(float) * (size_t)n_threads);
    buf.c = lpo_take(bump, buf.c_floats * sizeof(float) * (size_t)n_threads);
    return buf;
}

size_t lpo_gemm_scratch(int64_t m, int64_t n, int64_t k, bool serial) {
    lpo_bump bump = {0};
    buffers_of(&bump, m, n, k, serial ? 1 : lpo_cpu_threads());
    return bump.used;
}

static const void *at(const lpo_mat *x, int64_t i, int64_t j) {
    return (const char *)x->data + (i * x->row + j * x->col) * (x->bf16 ? 2 : 4);
}

/* k is cut into near-equal depths. Packed A is [depth][sliver][k][lane]: what one block of C reads lies in a
 * row. */
int64_t lpo_gemm_depth(int64_t k) {
    const int64_t n = (k + LPO_GEMM_DEPTH - 1) / LPO_GEMM_DEPTH;
    return n ? up((k + n - 1) / n, 16) : 16;
}

static void pack_sliver(const lpo_simd *s, const lpo_gemm *g, float *a, int64_t i0, int64_t m,
                        int64_t sliver) {
    const int64_t i = sliver * s->mr, n_slivers = (m + s->mr - 1) / s->mr, deep = lpo_gemm_depth(g->k);
    for (int64_t p = 0; p < g->k; p += deep) {
        const int64_t k = least(deep, g->k - p);
        s->pack(a + (p * n_slivers + sliver * k) * s->a_width, s->a_width, at(&g->a, i0 + i, p), g->a.bf16,
                g->a.row, g->a.col, (int)least(s->mr, m - i), k);
    }
}

/* Across the panels a few k at a time: rows of B are read in one piece. */
static void pack_panels(const lpo_simd *s, const lpo_gemm *g, float *b, int64_t p, int64_t k, int64_t j0,
                        int64_t n) {
    const int64_t step = g->b.col == 1 ? PACK_STEP : k;
    for (int64_t q = 0; q < k; q += step)
        for (int64_t j = 0; j < n; j += s->nr)
            s->pack(b + j * k + q * s->nr, s->nr, at(&g->b, p + q, j0 + j), g->b.bf16, g->b.col, g->b.row,
                    (int)least(s->nr, n - j), least(step, k - q));
}

/* The part of B that is packed next, called into the second cache a few rows (as they lie in memory) per
 * tile: the packing then runs at cache speed. */
typedef struct lookahead {
    const char *first;
    int64_t rows, stride, bytes, per_tile;
} lookahead;

static lookahead following(const lpo_gemm *g, int64_t p, int64_t j, int64_t n, int64_t n_tiles) {
    if (p >= g->k) {
        p = 0;
        j += n;
    }
    lookahead next = {0};
    if (j >= g->n) return next;
    const int64_t k = least(lpo_gemm_depth(g->k), g->k - p), size = g->b.bf16 ? 2 : 4;
    const int64_t w = least(n, g->n - j);
    next.first = at(&g->b, p, j);
    next.rows = g->b.col == 1 ? k : w;
    next.stride = (g->b.col == 1 ? g->b.row : g->b.col) * size;
    next.bytes = (g->b.col == 1 ? w : k) * size;
    next.per_tile = (next.rows + n_tiles - 1) / n_tiles;
    return next;
}
static int64_t look(const lookahead *next, int64_t seen) {
    const int64_t to = least(seen + next->per_tile, next->rows);
    for (; seen < to; seen++)
        for (int64_t i = 0; i < next->bytes; i += 64)
            __builtin_prefetch(next->first + seen * next->stride + i, 0, 2);
    return seen;
}

/* Rows i0..i0+m (packed in a), columns j0..j0+n. */
static void block(const lpo_simd *s, const lpo_gemm *g, const float *a, int64_t i0, int64_t m, int64_t j0,
                  int64_t n, float *b, float *c_buf) {
    float *c = g->c ? g->c + i0 * g->ldc + j0 : c_buf;
    const int64_t ldc = g->c ? g->ldc : n, n_slivers = (m + s->mr - 1) / s->mr, deep = lpo_gemm_depth(g->k);
    for (int64_t p = 0; p < g->k; p += deep) {
        const int64_t k = least(deep, g->k - p);
        pack_panels(s, g, b, p, k, j0, n);
        const lookahead next = following(g, p + k, j0, n, n_slivers * ((n + s->nr - 1) / s->nr));
        int64_t seen = 0;
        for (int64_t i = 0; i < m; i += s->mr)
            for (int64_t j = 0; j < n; j += s->nr) {
                seen = look(&next, seen);
                s->tile(k, a + (p * n_slivers + i / s->mr * k) * s->a_width, b + j * k, c + i * ldc + j, ldc,
                        (int)least(s->mr, m - i), (int)least(s->nr, n - j), p > 0 || (g->add && g->c));
            }
    }
    if (g->finish) g->finish(g->ctx, c, ldc, i0, m, j0, n);
}

static void run_serial(const lpo_simd *s, const lpo_gemm *g, const buffers *buf, int64_t width) {
    const int64_t rows = rows_of_block(g->m, g->k, s->mr);
    for (int64_t i0 = 0; i0 < g->m; i0 += rows) {
        const int64_t m = least(rows, g->m - i0);
        for (int64_t l = 0; l * s->mr < m; l++) pack_sliver(s, g, buf->a, i0, m, l);
        for (int64_t j = 0; j < g->n; j += width)
            block(s, g, buf->a, i0, m, j, least(width, g->n - j), buf->b, buf->c);
    }
}

static void run_parallel(const lpo_simd *s, const lpo_gemm *g, const buffers *buf, int64_t width) {
    const int64_t rows = rows_of_block(g->m, g->k, s->mr);
#pragma omp parallel num_threads(lpo_cpu_threads())
    {
        float *b = buf->b + (size_t)omp_get_thread_num() * buf->b_floats;
        float *c = buf->c + (size_t)omp_get_thread_num() * buf->c_floats;
        for (int64_t i0 = 0; i0 < g->m; i0 += rows) {
            const int64_t m = least(rows, g->m - i0);
#pragma omp for schedule(static)
            for (int64_t l = 0; l < (m + s->mr - 1) / s->mr; l++) pack_sliver(s, g, buf->a, i0, m, l);
#pragma omp for schedule(dynamic)
            for (int64_t j = 0; j < g->n; j += width)
                block(s, g, buf->a, i0, m, j, least(width, g->n - j), b, c);
        }
    }
}

void lpo_gemm_run(const lpo_gemm *g, void *scratch) {
    const lpo_simd *s = lpo_simd_get();
    lpo_bump bump = {scratch, 0};
    const bool serial = g->serial || lpo_cpu_threads() == 1 || g->m * g->n * g->k < WORTH_THREADS;
    const buffers buf = buffers_of(&bump, g->m, g->n, g->k, serial ? 1 : lpo_cpu_threads());
    if (g->m <= 0 || g->n <= 0) return;
    if (serial)
        run_serial(s, g, &buf, width_of(g, 1));
    else
        run_parallel(s, g, &buf, width_of(g, lpo_cpu_threads()));
}
