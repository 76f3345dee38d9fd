/* SPDX-License-Identifier: Apache-2.0 */
/* gemm.h -- C[m,n] = A[m,k] B[k,n] for any strides and for f32 or bf16 operands, accumulated in f32.
 * Our own rather than a BLAS because of three needs a BLAS call cannot meet at once: bits that do not depend
 * on threads, bf16 widened while packing, and an epilogue that sees each block while it is still in cache
 * (bias, rounding, the log-sum-exp of logits that are never stored). Every element of C is summed by one
 * thread over k in one order. */
#ifndef LPO_KERNELS_CPU_GEMM_H
#define LPO_KERNELS_CPU_GEMM_H
#include "kernels/cpu/cpu.h"

typedef struct lpo_mat {
    const void *data;
    bool bf16;
    int64_t row, col; /* element (i, j) at i*row + j*col */
} lpo_mat;

/* c: m x n complete sums at rows i.., columns j.. of the product. May rewrite c. Called from several threads,
 * once per block. */
typedef void lpo_gemm_finish(void *ctx, float *c, int64_t ld, int64_t i, int64_t m, int64_t j, int64_t n);

typedef struct lpo_gemm {
    int64_t m, n, k;
    lpo_mat a, b;
    float *c; /* NULL: blocks exist only for finish */
    int64_t ldc;
    bool add; /* C += */
    bool serial;
    int64_t width; /* columns of a block, a multiple of 32, for a finish whose result depends on it; 0: as
                      suits */
    lpo_gemm_finish *finish;
    void *ctx;
} lpo_gemm;

static inline lpo_mat lpo_mat_of(const lpo_karg *a, int64_t row, int64_t col) {
    return (lpo_mat){a->data, a->dtype == LPO_BF16, row, col};
}
enum {
    LPO_GEMM_ROWS = 1512, /* of one block at most, a multiple of every mr */
    LPO_GEMM_COLUMNS = 256,
    LPO_GEMM_DEPTH = 384 /* of k: a sliver of A stays in the first cache while panels of B stream past it */
};
/* An element of C is the sum, in order, of sums over this many k (the last may be fewer), each of which adds
 * its products one after the other with one rounding. It depends on k alone: not on m, n, threads or
 * neighbours. */
int64_t lpo_gemm_depth(int64_t k);
size_t lpo_gemm_scratch(int64_t m, int64_t n, int64_t k, bool serial); /* grows with each of m, n, k */
void lpo_gemm_run(const lpo_gemm *g, void *scratch);
#endif
