/* SPDX-License-Identifier: Apache-2.0 */
/* kernels_rows.c -- norms, rotation, embedding and row mix against the reference. */
#include "kernels_case.h"

/* Row sums of up to 1536 values of size 1 in f32: a few 1e-6. A bf16 output is half an ulp (2^-9) off, one
 * ulp where both sides of a tie are taken; RMS rounds twice. */
static const double TOLERANCE[] = {[LPO_F32] = 2e-5, [LPO_BF16] = 1.2e-2};

static const int sizes[][2] = {{1, 1}, {3, 7}, {33, 64}, {100, 72}, {2500, 48}, {70, 1536}};

/* Layer norm and RMS norm, with and without bias; mean and rstd are compared as well. */
Test(kernels_rows, norm) {
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int rms = 0; rms < 2; rms++)
            for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++) {
                const int T = sizes[i][0], K = sizes[i][1];
                lpo_kcall c = {.arg = {case_tensor(dtype, 1, 2, T, K), case_tensor(LPO_F32, 1, 1, T),
                                       case_tensor(LPO_F32, 1, 1, T), case_tensor(dtype, 2, 2, T, K),
                                       case_tensor(dtype, 1, 1, K)},
                               .attrs = {.rms = rms, .eps = 1e-3}};
                if (i % 2) c.arg[5] = case_tensor(dtype, 1, 1, K);
                case_compare(LPO_OP_NORM, &c, TOLERANCE[dtype], rms ? "rms" : "layer");
            }
}

/* dx overwrites, dw and db accumulate over any number of row groups and may be absent. */
Test(kernels_rows, norm_bwd) {
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int rms = 0; rms < 2; rms++)
            for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++) {
                const int T = sizes[i][0], K = sizes[i][1];
                lpo_kcall c = {.arg = {case_tensor(dtype, 1, 2, T, K),
                                       {0},
                                       {0},
                                       case_tensor(dtype, 1, 2, T, K),
                                       case_tensor(dtype, 2, 2, T, K),
                                       case_tensor(dtype, 1, 1, K),
                                       case_tensor(LPO_F32, rms ? 0 : 0.1, 1, T),
                                       case_tensor(LPO_F32, 1, 1, T)},
                               .attrs = {.rms = rms}};
                if (i != 1) c.arg[1] = case_tensor(LPO_F32, 1, 1, K);
                if (i != 2) c.arg[2] = case_tensor(LPO_F32, 1, 1, K);
                case_compare(LPO_OP_NORM_BWD, &c, dtype == LPO_F32 ? 5e-5 : TOLERANCE[dtype],
                             rms ? "rms" : "layer");
            }
}

/* The first heads turn, the rest is copied, forward and inverse; tables may be wider than the row's dtype. */
Test(kernels_rows, rope) {
    for (int d = 2; d <= 128; d *= 4)
        for (int inverse = 0; inverse < 2; inverse++)
            for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++) {
                lpo_kcall c = {
                    .arg = {case_tensor(dtype, 1, 2, 50, 5 * d), case_tensor(dtype, 1, 2, 50, 5 * d),
                            case_tensor(LPO_F32, 1, 2, 50, d / 2), case_tensor(dtype, 1, 2, 50, d / 2)},
                    .attrs = {.n_rot = 3, .d_head = d, .inverse = inverse}};
                case_compare(LPO_OP_ROPE, &c, dtype == LPO_F32 ? 1e-6 : 8e-3, "");
            }
}

/* Turning in place gives what turning into another tensor gives. */
Test(kernels_rows, rope_in_place) {
    lpo_kcall c = {.arg = {case_tensor(LPO_F32, 1, 2, 9, 64), case_tensor(LPO_F32, 1, 2, 9, 64),
                           case_tensor(LPO_F32, 1, 2, 9, 8), case_tensor(LPO_F32, 1, 2, 9, 8)},
                   .attrs = {.n_rot = 3, .d_head = 16}};
    cr_assert_eq(lpo_kernels_cpu[LPO_OP_ROPE].run(&c), 0);
    lpo_kcall in_place = c;
    in_place.arg[0] = c.arg[1];
    cr_assert_eq(lpo_kernels_cpu[LPO_OP_ROPE].run(&in_place), 0);
    cr_assert(memcmp(c.arg[0].data, c.arg[1].data, case_bytes(&c.arg[0])) == 0);
    case_free(&c);
}

/* Gather copies exactly; scatter adds every row once, also when an id occurs many times. */
Test(kernels_rows, embed) {
    for (int H = 1; H < 2000; H = H * 5 + 1)
        for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++)
            for (int table = LPO_F32; table <= LPO_BF16; table++) {
                lpo_kcall c = {.arg = {case_tensor(dtype, 1, 2, 60, H), case_tensor(table, 1, 2, 7, H),
                                       case_ids(60, 0, 7)}};
                case_compare(LPO_OP_EMBED, &c, 0, "");
                lpo_kcall b = {.arg = {case_tensor(LPO_F32, 1, 2, 7, H), case_tensor(dtype, 1, 2, 60, H),
                                       case_ids(60, 0, 7)}};
                case_compare(LPO_OP_EMBED_BWD, &b, 1e-5, "");
            }
}

/* An id outside the table is refused before anything is written. */
Test(kernels_rows, embed_refuses_bad_ids) {
    const int32_t ids[] = {0, 7};
    for (int set = 0; set < 2; set++) {
        const lpo_kernel *k = set ? lpo_kernels_ref : lpo_kernels_cpu;
        lpo_kcall c = {
            .arg = {case_tensor(LPO_F32, 1, 2, 2, 4), case_tensor(LPO_F32, 1, 2, 7, 4), case_ints(2, ids)}};
        cr_assert_lt(k[LPO_OP_EMBED].run(&c), 0);
        case_free(&c);
    }
}

static lpo_karg matrix(lpo_karg a, int rows, int cols) {
    a.ndim = 2;
    a.shape[0] = rows;
    a.shape[1] = cols;
    return a;
}

/* Rows of two tensors mixed with weights, some taps empty; b and w are optional. */
Test(kernels_rows, rowmix) {
    for (int H = 3; H < 3000; H = H * 9 + 1)
        for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++)
            for (int with = 0; with < 4; with++) {
                lpo_kcall c = {.arg = {case_tensor(dtype, 1, 2, 40, H),
                                       case_tensor(dtype, 1, 2, 6, H),
                                       {0},
                                       matrix(case_ids(40 * 4, -3, with & 1 ? 11 : 6), 40, 4)}};
                if (with & 1) c.arg[2] = case_tensor(dtype, 1, 2, 5, H);
                if (with & 2) c.arg[4] = case_tensor(LPO_F32, 1, 2, 40, 4);
                case_compare(LPO_OP_ROWMIX, &c, TOLERANCE[dtype], "");
            }
}

/* The transpose, overwriting: da, db or both; an absent da still says where b's rows begin. */
Test(kernels_rows, rowmix_bwd) {
    for (int H = 3; H < 3000; H = H * 9 + 1)
        for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++)
            for (int with = 0; with < 3; with++) {
                lpo_kcall c = {.arg = {case_tensor(dtype, 1, 2, 6, H), case_tensor(dtype, 1, 2, 5, H),
                                       case_tensor(dtype, 1, 2, 40, H),
                                       matrix(case_ids(40 * 4, -3, 11), 40, 4),
                                       case_tensor(LPO_F32, 1, 2, 40, 4)}};
                if (with < 2) {
                    free(c.arg[with].data);
                    c.arg[with].data = NULL;
                }
                case_compare(LPO_OP_ROWMIX_BWD, &c, TOLERANCE[dtype], "");
            }
}

/* A table longer than what a group of a GPU reads at a time (2048 entries), with rows named hundreds of
 * times: each addition is there once, in every stretch. Sums of 400 terms below 1 with their rounding errors.
 */
Test(kernels_rows, rowmix_bwd_of_a_long_table) {
    lpo_kcall c = {.arg = {case_tensor(LPO_F32, 1, 2, 6, 3), case_tensor(LPO_F32, 1, 2, 5, 3),
                           case_tensor(LPO_F32, 1, 2, 1200, 3), matrix(case_ids(1200 * 4, -3, 11), 1200, 4),
                           case_tensor(LPO_F32, 1, 2, 1200, 4)}};
    case_compare(LPO_OP_ROWMIX_BWD, &c, 2e-5, "");
}

/* RMS rounds x * rstd to bf16 before the weight: with y in f32 nothing hides it, and skipping it is off by
 * 2^-9. */
Test(kernels_rows, rms_rounds_before_the_weight) {
    lpo_kcall c = {.arg = {case_tensor(LPO_F32, 1, 2, 3, 40),
                           {0},
                           {0},
                           case_tensor(LPO_BF16, 2, 2, 3, 40),
                           case_tensor(LPO_F32, 1, 1, 40)},
                   .attrs = {.rms = 1, .eps = 1e-6}};
    case_compare(LPO_OP_NORM, &c, 1e-6, "");
}
