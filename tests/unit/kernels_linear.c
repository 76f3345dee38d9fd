/* SPDX-License-Identifier: Apache-2.0 */
/* kernels_linear.c -- the linear layer's three products against the reference. */
#include "kernels_case.h"

/* Inputs are uniform in [-1, 1): a sum of K products has size sqrt(K)/3 and an f32 rounding error near
 * sqrt(K) * 2^-24 * sqrt(K)/3; 2e-5 is ten times that at K = 1000. A bf16 output is off by half its ulp,
 * 2^-9, and one more where the two sums straddle a tie. */
static const double TOLERANCE[] = {[LPO_F32] = 2e-5, [LPO_BF16] = 8e-3};

static const struct {
    int T, K, N;
} shapes[] = {{1, 1, 1},     {1, 64, 7},     {4, 33, 65},   {5, 16, 32},     {14, 32, 33},   {15, 100, 31},
              {37, 5, 129},  {64, 64, 64},   {3, 400, 300}, {100, 128, 384}, {29, 385, 140}, {130, 768, 48},
              {505, 17, 40}, {520, 40, 260}, {9, 1, 64},    {13, 769, 13},   {2, 1000, 2}};

static const int dtypes[][3] = {/* x, w, y */
                                {LPO_F32, LPO_F32, LPO_F32},
                                {LPO_BF16, LPO_BF16, LPO_BF16},
                                {LPO_F32, LPO_BF16, LPO_F32},
                                {LPO_BF16, LPO_F32, LPO_BF16},
                                {LPO_BF16, LPO_BF16, LPO_F32}};

/* y = x w^T + b for every cut of the tiles: one row, partial tiles in both directions, several k blocks,
 * several row blocks, with and without bias, in each mix of dtypes. */
Test(kernels_linear, forward) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
            const int T = shapes[i].T, K = shapes[i].K, N = shapes[i].N;
            char what[64];
            snprintf(what, sizeof what, "%d x %d x %d, dtypes %zu", T, K, N, d);
            lpo_kcall c = {.arg = {case_tensor(dtypes[d][2], 1, 2, T, N),
                                   case_tensor(dtypes[d][0], 1, 2, T, K),
                                   case_tensor(dtypes[d][1], 1, 2, N, K)}};
            if (i % 2) c.arg[3] = case_tensor(dtypes[d][1], 1, 1, N);
            case_compare(LPO_OP_LINEAR, &c, TOLERANCE[dtypes[d][2]], what);
        }
}

/* dx overwrites: what was there before must not show. */
Test(kernels_linear, dx) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
            const int T = shapes[i].T, K = shapes[i].K, N = shapes[i].N;
            lpo_kcall c = {.arg = {case_tensor(dtypes[d][2], 1, 2, T, K),
                                   case_tensor(dtypes[d][0], 1, 2, T, N),
                                   case_tensor(dtypes[d][1], 1, 2, N, K)}};
            case_compare(LPO_OP_LINEAR_DX, &c, TOLERANCE[dtypes[d][2]], "");
        }
}

/* dw and db add to what is there, in f32, whatever dy and x are; either may be absent. */
Test(kernels_linear, dw) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
            const int T = shapes[i].T, K = shapes[i].K, N = shapes[i].N;
            lpo_kcall c = {
                .arg = {
                    {0}, {0}, case_tensor(dtypes[d][0], 1, 2, T, N), case_tensor(dtypes[d][1], 1, 2, T, K)}};
            if (i % 3 != 1) c.arg[0] = case_tensor(LPO_F32, 1, 2, N, K);
            if (i % 3 != 2) c.arg[1] = case_tensor(LPO_F32, 1, 1, N);
            case_compare(LPO_OP_LINEAR_DW, &c, TOLERANCE[LPO_F32], "");
        }
}

/* A shape that does not fit is refused, not computed. */
Test(kernels_linear, refuses_wrong_shapes) {
    lpo_kcall c = {.arg = {case_tensor(LPO_F32, 1, 2, 3, 5), case_tensor(LPO_F32, 1, 2, 3, 4),
                           case_tensor(LPO_F32, 1, 2, 5, 3)}};
    cr_assert_lt(lpo_kernels_cpu[LPO_OP_LINEAR].run(&c), 0);
    cr_assert_lt(lpo_kernels_ref[LPO_OP_LINEAR].run(&c), 0);
    case_free(&c);
}
