/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_scores.c -- attention by whole products (lower_scores.c), which devices with matrix units take for few
 * long sequences: every second case of the CPU's attention, whatever its lengths, in chunks of few rows. */
#define CASE_PRODUCTS LPO_GPU_PRODUCTS_ALWAYS
#define CASE_FIRST    1
#define CASE_STEP     2
#include "gpu_case.h"

#include "../unit/kernels_attn.c"

/* Three sequences of 37. */
static lpo_kcall even_case(int dtype, bool backward, int causal) {
    static const int32_t bounds[] = {0, 37, 74, 111};
    enum { T = 111, Q = 4, KV = 2, D = 20, W = (Q + 2 * KV) * D };
    lpo_kcall f = {.arg = {case_tensor(dtype, 1, 2, T, Q * D), case_tensor(LPO_F32, 1, 2, Q, T),
                           case_tensor(dtype, 1, 2, T, W), case_ints(4, bounds)},
                   .attrs = {.n_q = Q, .n_kv = KV, .d_head = D, .scale = 0.3f, .causal = causal, .even = 1}};
    if (!backward) return f;
    cr_assert_eq(case_run(&lpo_kernels_ref[LPO_OP_ATTN], &f), 0);
    return (lpo_kcall){.arg = {case_tensor(dtype, 1, 2, T, W), case_tensor(dtype, 1, 2, T, Q * D), f.arg[2],
                               f.arg[0], f.arg[1], f.arg[3]},
                       .attrs = f.attrs};
}

/* Equally long sequences are a batch of products: the same results, both ways, causal or not. */
Test(gpu_scores, even) {
    for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++)
        for (int causal = 0; causal < 2; causal++) {
            lpo_kcall f = even_case(dtype, false, causal), b = even_case(dtype, true, causal);
            case_compare(LPO_OP_ATTN, &f, dtype == LPO_F32 ? 2e-5 : 1.2e-2, "even");
            case_compare(LPO_OP_ATTN_BWD, &b, dtype == LPO_F32 ? 1e-4 : 5e-2, "even");
        }
}

/* A table that is even in name only is reported as a bad one. */
Test(gpu_scores, even_in_name) {
    lpo_kcall c = even_case(LPO_F32, false, 1);
    lpo_device *d = case_device();
    const lpo_driver *v = gpu_driver();
    lpo_step s = {.op = LPO_OP_ATTN, .attrs = c.attrs};
    ((int32_t *)c.arg[3].data)[1] = 36;
    for (int i = 0; i < 4; i++) {
        s.arg[i] = (lpo_dtensor){.dtype = c.arg[i].dtype, .ndim = c.arg[i].ndim};
        memcpy(s.arg[i].shape, c.arg[i].shape, sizeof s.arg[i].shape);
        MUST(v->alloc(&s.arg[i].buffer, d, case_bytes(&c.arg[i]), &err));
        MUST(v->upload(s.arg[i].buffer, 0, c.arg[i].data, case_bytes(&c.arg[i]), &err));
    }
    MUST(v->submit(d, &s, &err));
    cr_expect_eq(v->wait(d, &err), LPO_EINVAL);
    cr_expect(strstr(err.msg, "bounds"), "%s", err.msg);
    for (int i = 0; i < 4; i++) v->release(s.arg[i].buffer);
    case_free(&c);
}
