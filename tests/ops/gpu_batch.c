/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_batch.c -- a row does not know its batch on this device either: what a linear layer gives it has the
 * same bits alone, among the few that few.cl takes and among the many of gemm.cl. Generation relies on it: an
 * answer must not depend on which other answers are sampled beside it. True of the dialect's own products;
 * cuBLASLt chooses by shape and promises nothing here, so on cuda this runs only without it. */
#include "gpu_case.h"

/* K within one stretch of local memory, just past one, and several; N that fills no group; every mix of
 * dtypes is one kernel, so the two pure ones stand for all. */
Test(gpu_batch, linear) {
    char why[256];
    if (gpu_driver() == &lpo_driver_cuda && lpo_cuda_describe(why, sizeof why) &&
        strstr(why, "by libcublasLt") && !getenv("CUDA_SHIM_LT"))
        cr_skip_test("%s", why);
    static const int few[] = {1, 2, 3, 5, 7, 8, 9, 14}, deep[] = {7, 129, 1001};
    enum { MOST = 37, N = 83 };
    for (size_t k = 0; k < sizeof deep / sizeof *deep; k++)
        for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++) {
            lpo_kcall all = {.arg = {case_tensor(dtype, 1, 2, MOST, N),
                                     case_tensor(dtype, 1, 2, MOST, deep[k]),
                                     case_tensor(dtype, 1, 2, N, deep[k]), case_tensor(dtype, 1, 1, N)}};
            case_run_device(LPO_OP_LINEAR, &all, "many");
            for (size_t i = 0; i < sizeof few / sizeof *few; i++) {
                lpo_kcall some = case_copy(&all);
                some.arg[0].shape[0] = some.arg[1].shape[0] = few[i];
                memset(some.arg[0].data, 0xff, case_bytes(&some.arg[0]));
                case_run_device(LPO_OP_LINEAR, &some, "few");
                cr_assert_arr_eq(some.arg[0].data, all.arg[0].data, case_bytes(&some.arg[0]),
                                 "K %d, dtype %d: %d rows", deep[k], dtype, few[i]);
                case_free(&some);
            }
            case_free(&all);
        }
}
