/* SPDX-License-Identifier: Apache-2.0 */
/* tensor_dtype.c -- conversion rounds once, to nearest even, whatever the route; widening is exact. */
#include "tensor/dtype.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* Every bf16 and f16 widens and comes back the same (NaNs stay NaNs). */
Test(tensor_dtype, every_half_round_trips) {
    static const int32_t half[] = {LPO_BF16, LPO_F16}, wide[] = {LPO_F32, LPO_F64};
    for (int k = 0; k < 4; k++) {
        for (uint32_t i = 0; i < 65536; i++) {
            uint16_t h = (uint16_t)i, back = 0;
            unsigned char mid[8];
            cr_assert_eq(lpo_dtype_convert(mid, wide[k / 2], &h, half[k % 2], 1, NULL), LPO_OK);
            cr_assert_eq(lpo_dtype_convert(&back, half[k % 2], mid, wide[k / 2], 1, NULL), LPO_OK);
            bool nan = k % 2 ? (h & 0x7fff) > 0x7c00 : (h & 0x7fff) > 0x7f80;
            if (nan)
                cr_assert((back & 0x7fff) > (k % 2 ? 0x7c00 : 0x7f80));
            else
                cr_assert_eq(back, h, "%04x came back %04x", h, back);
        }
    }
}

/* Ties go to even; a double just above a tie goes up although its float stands on the tie. */
Test(tensor_dtype, rounds_once) {
    struct {
        double in;
        uint16_t bf16;
    } c[] = {{1 + 0x1p-8, 0x3f80},
             {1 + 3 * 0x1p-8, 0x3f82},
             {1 + 0x1p-8 + 0x1p-40, 0x3f81},
             {1e39, 0x7f80},
             {-0.0, 0x8000}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        uint16_t got;
        cr_assert_eq(lpo_dtype_convert(&got, LPO_BF16, &c[i].in, LPO_F64, 1, NULL), LPO_OK);
        cr_expect_eq(got, c[i].bf16, "%.17g gave %04x", c[i].in, got);
    }
}

/* Equal dtypes copy bytes, integers are never read as numbers, names round-trip. */
Test(tensor_dtype, others) {
    int32_t i = 5, j = 0;
    float f;
    lpo_error e = {0};
    cr_expect_eq(lpo_dtype_convert(&j, LPO_I32, &i, LPO_I32, 1, &e), LPO_OK);
    cr_expect_eq(j, 5);
    cr_expect_eq(lpo_dtype_convert(&f, LPO_F32, &i, LPO_I32, 1, &e), LPO_EUNSUPPORTED);
    cr_expect_eq(lpo_dtype_convert(&f, 99, &i, LPO_I32, 1, &e), LPO_EUNSUPPORTED);
    for (int32_t t = 0; t < LPO_N_DTYPES; t++) cr_expect_eq(lpo_dtype_parse(lpo_dtype_name(t)), t);
    cr_expect_eq(lpo_dtype_parse("F8"), -1);
    cr_expect_null(lpo_dtype_name(LPO_N_DTYPES));
}
