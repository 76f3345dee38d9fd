/* SPDX-License-Identifier: Apache-2.0 */
/* kernels_elementwise.c -- activations, sums, casts, the optimizer step and the number formats. */
#include "kernels_case.h"

/* The polynomial exponential is good to 2 ulp and the error function to 1.5e-7 absolute. */
static const double TOLERANCE[] = {[LPO_F32] = 2e-6, [LPO_BF16] = 8e-3};

/* All activations and slopes over [-8, 8): in f32 and bf16, sizes across the chunk and thread cuts. */
Test(kernels_elementwise, act) {
    static const int sizes[][2] = {{1, 1}, {5, 33}, {2, 1025}, {40, 900}};
    for (int act = 0; act <= LPO_ACT_SILU_MUL; act++)
        for (size_t i = 0; i < 4; i++)
            for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++) {
                const int T = sizes[i][0], N = sizes[i][1], width = act == LPO_ACT_SILU_MUL ? 2 * N : N;
                lpo_kcall c = {.arg = {case_tensor(dtype, 1, 2, T, N), case_tensor(dtype, 8, 2, T, width)},
                               .attrs = {.act = act}};
                case_compare(LPO_OP_ACT, &c, TOLERANCE[dtype], "");
                lpo_kcall b = {.arg = {case_tensor(dtype, 1, 2, T, width), case_tensor(dtype, 1, 2, T, N),
                                       case_tensor(dtype, 8, 2, T, width)},
                               .attrs = {.act = act}};
                case_compare(LPO_OP_ACT_BWD, &b, TOLERANCE[dtype], "");
            }
}

/* Far outside the exponential's range activations go to 0 or x, never to NaN. */
Test(kernels_elementwise, act_saturates) {
    for (int act = 0; act < LPO_ACT_SILU_MUL; act++) {
        lpo_kcall c = {.arg = {case_tensor(LPO_F32, 1, 1, 4), case_tensor(LPO_F32, 1, 1, 4)},
                       .attrs = {.act = act}};
        const float x[4] = {-1e4f, -200, 200, 1e4f};
        memcpy(c.arg[1].data, x, sizeof x);
        case_compare(LPO_OP_ACT, &c, 1e-6, "");
    }
}

Test(kernels_elementwise, add) {
    for (int n = 1; n < 200000; n = n * 7 + 2)
        for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++) {
            lpo_kcall c = {.arg = {case_tensor(dtype, 1, 1, n), case_tensor(dtype, 1, 1, n),
                                   case_tensor(LPO_F32, 1, 1, n)}};
            case_compare(LPO_OP_ADD, &c, dtype == LPO_F32 ? 1e-7 : 8e-3, "");
        }
}

/* The sum may be written over one of its terms. */
Test(kernels_elementwise, add_in_place) {
    lpo_kcall c = {.arg = {{0}, case_tensor(LPO_F32, 1, 1, 3000), case_tensor(LPO_F32, 1, 1, 3000)}};
    lpo_kcall d = case_copy(&c);
    d.arg[0] = case_tensor(LPO_F32, 1, 1, 3000);
    cr_assert_eq(lpo_kernels_ref[LPO_OP_ADD].run(&d), 0);
    c.arg[0] = c.arg[1];
    cr_assert_eq(lpo_kernels_cpu[LPO_OP_ADD].run(&c), 0);
    cr_assert(memcmp(c.arg[0].data, d.arg[0].data, case_bytes(&d.arg[0])) == 0);
    c.arg[0].data = NULL;
    case_free(&c);
    case_free(&d);
}

/* Between all four real formats, exactly as the reference rounds. */
Test(kernels_elementwise, cast_and_fill) {
    static const int real[] = {LPO_F32, LPO_BF16, LPO_F64, LPO_F16};
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            for (int n = 1; n < 100000; n = n * 50 + 7) {
                lpo_kcall c = {.arg = {case_tensor(real[i], 1, 1, n), case_tensor(real[j], 3, 1, n)}};
                case_compare(LPO_OP_CAST, &c, 0, "");
                lpo_kcall f = {.arg = {case_tensor(real[i], 1, 1, n)}, .attrs = {.value = 0.1 * j}};
                case_compare(LPO_OP_FILL, &f, 0, "");
            }
}

/* Bytes become the values of their part of the row, to the bit. */
Test(kernels_elementwise, levels) {
    static const int sizes[][3] = {{1, 1, 1}, {7, 36, 3}, {300, 1176, 3}, {2, 10, 5}};
    for (size_t i = 0; i < 4; i++) {
        const int T = sizes[i][0], K = sizes[i][1], C = sizes[i][2];
        lpo_kcall c = {.arg = {case_tensor(LPO_F32, 1, 2, T, K), case_tensor(LPO_U8, 1, 2, T, K),
                               case_tensor(LPO_F32, 3, 2, C, 256)}};
        case_compare(LPO_OP_LEVELS, &c, 0, "");
    }
}

/* The share asked for is left out, others are scaled, another seed leaves out others; share 0 is a copy. */
Test(kernels_elementwise, dropout) {
    enum { N = 20000 };
    for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++)
        for (int i = 0; i < 3; i++) {
            lpo_kcall c = {
                .arg = {case_tensor(dtype, 1, 2, N / 10, 10), case_tensor(dtype, 1, 2, N / 10, 10)},
                .attrs = {.value = 0.25 * i, .seed = 5}};
            lpo_kcall d = case_copy(&c);
            cr_assert_eq(lpo_kernels_cpu[LPO_OP_DROPOUT].run(&d), 0);
            int n_zero = 0, n_same = 0;
            for (int64_t k = 0; k < N; k++) {
                n_zero += case_get(&d.arg[0], k) == 0;
                n_same += lpo_dropped(5, k, 0.25 * i) == lpo_dropped(6, k, 0.25 * i);
            }
            const double share = 0.25 * i, sd = sqrt(share * (1 - share) * N);
            cr_assert(fabs(n_zero - share * N) <= 4 * sd, "%d of %d", n_zero, N);
            cr_assert(i == 0 || fabs(n_same - (share * share + (1 - share) * (1 - share)) * N) < 400);
            case_free(&d);
            case_compare(LPO_OP_DROPOUT, &c, dtype == LPO_F32 ? 1e-6 : 1e-2, "");
        }
    lpo_kcall bad = {.arg = {case_tensor(LPO_F32, 1, 1, 4), case_tensor(LPO_F32, 1, 1, 4)},
                     .attrs = {.value = 1}};
    cr_assert_lt(lpo_kernels_cpu[LPO_OP_DROPOUT].run(&bad), 0);
    cr_assert_lt(lpo_kernels_ref[LPO_OP_DROPOUT].run(&bad), 0);
    case_free(&bad);
}

/* One step: decay, moments, bias correction, clipping, the bf16 copy. */
Test(kernels_elementwise, adamw) {
    for (int n = 1; n < 200000; n = n * 60 + 5)
        for (int mode = 0; mode < 4; mode++) {
            lpo_kcall c = {.arg = {case_tensor(LPO_F32, 1, 1, n),
                                   case_tensor(LPO_F32, 1, 1, n),
                                   case_tensor(LPO_F32, 0, 1, n),
                                   {0},
                                   case_tensor(mode & 1 ? LPO_BF16 : LPO_F32, 1, 1, n)},
                           .attrs = {.lr = 0.01,
                                     .beta1 = 0.9,
                                     .beta2 = 0.99,
                                     .eps = 1e-8,
                                     .weight_decay = 0.1,
                                     .bias1 = 0.19,
                                     .bias2 = 0.03,
                                     .g_scale = 0.5}};
            for (int i = 0; i < n; i++) ((float *)c.arg[2].data)[i] = (float)fabs(case_uniform());
            if (mode & 1) c.arg[3] = case_tensor(LPO_BF16, 1, 1, n);
            if (mode & 2) {
                c.attrs.max_norm = 1;
                c.arg[5] = case_tensor(LPO_F64, 1, 1, 1);
                *(double *)c.arg[5].data = 40;
            }
            case_compare(LPO_OP_ADAMW, &c, mode & 1 ? 8e-3 : 1e-6, "");
        }
}

/* Adds to what is there; double sums, so only the order of additions differs. */
Test(kernels_elementwise, sqnorm) {
    for (int n = 1; n < 300000; n = n * 9 + 4)
        for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++) {
            lpo_kcall c = {.arg = {case_tensor(LPO_F64, 1, 1, 1), case_tensor(dtype, 1, 1, n)}};
            case_compare(LPO_OP_SQNORM, &c, 1e-12, "");
        }
}

/* Every 16-bit pattern survives the way to float and back; NaN stays NaN. */
Test(kernels_elementwise, half_formats_round_trip) {
    for (uint32_t u = 0; u < 65536; u++) {
        const uint16_t h = (uint16_t)u;
        if ((h & 0x7fff) <= 0x7c00) cr_assert_eq(lpo_f32_to_f16(lpo_f16_to_f32(h)), h, "f16 %04x", u);
        if ((h & 0x7fff) <= 0x7f80) cr_assert_eq(lpo_f32_to_bf16(lpo_bf16_to_f32(h)), h, "bf16 %04x", u);
        if ((h & 0x7fff) > 0x7c00) cr_assert(isnan(lpo_f16_to_f32(lpo_f32_to_f16(lpo_f16_to_f32(h)))));
        if ((h & 0x7fff) > 0x7f80) cr_assert(isnan(lpo_bf16_to_f32(lpo_f32_to_bf16(lpo_bf16_to_f32(h)))));
    }
}

/* Ties go to even, past the largest comes infinity, and a double just above a tie is not rounded twice. */
Test(kernels_elementwise, half_formats_round_to_nearest_even) {
    cr_assert_eq(lpo_f32_to_bf16(1 + 0x1p-8f), 0x3f80);
    cr_assert_eq(lpo_f32_to_bf16(1 + 0x3p-8f), 0x3f82);
    cr_assert_eq(lpo_f32_to_f16(1 + 0x1p-11f), 0x3c00);
    cr_assert_eq(lpo_f32_to_f16(1 + 0x3p-11f), 0x3c02);
    cr_assert_eq(lpo_f32_to_f16(65519.996f), 0x7bff);
    cr_assert_eq(lpo_f32_to_f16(65520), 0x7c00);
    cr_assert_eq(lpo_f32_to_f16(0x1p-25f), 0);
    cr_assert_eq(lpo_f32_to_f16(0x1.8p-25f), 1);
    cr_assert_eq(lpo_f32_to_bf16(lpo_f64_to_odd_f32(1 + 0x1p-8 + 0x1p-40)), 0x3f81);
    cr_assert_eq(lpo_f32_to_bf16(lpo_f64_to_odd_f32(-1 - 0x1p-8 + 0x1p-40)), 0xbf80);
}

/* The vector conversion agrees with the scalar one where it is hard: ties, overflow, infinities, NaN,
 * subnormals. */
Test(kernels_elementwise, cast_edges) {
    const float hard[] = {1 + 0x1p-8f, 1 + 0x3p-8f, -1 - 0x1p-8f, 3.4e38f, INFINITY,
                          -INFINITY,   0x1p-133f,   0x1.8p-133f,  0,       -0.0f};
    const int n = sizeof hard / sizeof *hard;
    lpo_kcall c = {.arg = {case_tensor(LPO_BF16, 1, 1, 4 * n), case_tensor(LPO_F32, 1, 1, 4 * n)}};
    for (int i = 0; i < 4 * n; i++) ((float *)c.arg[1].data)[i] = hard[i % n];
    case_compare(LPO_OP_CAST, &c, 0, "");
    lpo_kcall nan = {.arg = {case_tensor(LPO_BF16, 1, 1, 40), case_tensor(LPO_F32, 1, 1, 40)}};
    for (int i = 0; i < 40; i++) ((float *)nan.arg[1].data)[i] = lpo_bits_float(0x7f800001u);
    cr_assert_eq(lpo_kernels_cpu[LPO_OP_CAST].run(&nan), 0);
    for (int i = 0; i < 40; i++) cr_assert(isnan(case_get(&nan.arg[0], i)));
    case_free(&nan);
}
