/* SPDX-License-Identifier: Apache-2.0 */
/* kernels_logprob.c -- chunked log-probability and its gradient against the reference. */
#include "kernels_case.h"

/* Logits are of size 4 (h in [-2, 2), w in [-1, 1), H near 32): an f32 logit is off by a few 1e-6, and so are
 * logp, lse and entropy, joined in double. */
static const double TOLERANCE = 2e-5;

static const struct {
    int T, H, V, n_valid;
} cases[] = {{1, 4, 3, 0},     {5, 33, 100, 0},     {20, 32, 1000, 900}, {17, 16, 8500, 0},
             {505, 8, 300, 0}, {1012, 4, 150, 149}, {2, 64, 129, 500}};

static lpo_karg targets(int T, int n) { /* every fourth row is not scored; the last id is used */
    lpo_karg t = case_ids(T, 0, n);
    for (int i = 0; i < T; i++)
        if (i % 4 == 3) ((int32_t *)t.data)[i] = -100;
    ((int32_t *)t.data)[0] = n - 1;
    return t;
}

static int valid(size_t i) {
    return cases[i].n_valid > 0 && cases[i].n_valid < cases[i].V ? cases[i].n_valid : cases[i].V;
}

/* All four outputs, with the optional two present and absent, across blocks of rows and of ids; masked ids
 * have no mass. */
Test(kernels_logprob, forward) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++) {
            const int T = cases[i].T, H = cases[i].H, V = cases[i].V;
            char what[32];
            snprintf(what, sizeof what, "case %zu dtype %d", i, dtype);
            lpo_kcall c = {.arg = {case_tensor(LPO_F32, 1, 1, T),
                                   case_tensor(LPO_F32, 1, 1, T),
                                   {0},
                                   {0},
                                   case_tensor(dtype, 2, 2, T, H),
                                   case_tensor(dtype, 1, 2, V, H),
                                   targets(T, valid(i))},
                           .attrs = {.n_valid = cases[i].n_valid}};
            if (i != 1) {
                c.arg[2] = case_tensor(LPO_F32, 1, 1, T);
                c.arg[3] = case_ids(T, 0, 1);
            }
            case_compare(LPO_OP_LOGPROB, &c, TOLERANCE, what);
        }
}

/* A target that is masked out has probability 0: log-probability minus infinity, as in the reference. */
Test(kernels_logprob, masked_target) {
    const int32_t goal[] = {9, 2};
    for (int set = 0; set < 2; set++) {
        lpo_kcall c = {.arg = {case_tensor(LPO_F32, 1, 1, 2),
                               case_tensor(LPO_F32, 1, 1, 2),
                               {0},
                               {0},
                               case_tensor(LPO_F32, 1, 2, 2, 4),
                               case_tensor(LPO_F32, 1, 2, 10, 4),
                               case_ints(2, goal)},
                       .attrs = {.n_valid = 9}};
        cr_assert_eq(case_run(set ? &lpo_kernels_ref[LPO_OP_LOGPROB] : &lpo_kernels_cpu[LPO_OP_LOGPROB], &c),
                     0);
        const float *logp = c.arg[0].data;
        cr_assert(isinf(logp[0]) && logp[0] < 0);
        cr_assert(isfinite(logp[1]));
        case_free(&c);
    }
}

/* Logits far apart (size 1000) neither overflow nor lose the target: logp of the arg-max is 0 to rounding. */
Test(kernels_logprob, large_logits) {
    lpo_kcall c = {.arg = {case_tensor(LPO_F32, 1, 1, 8), case_tensor(LPO_F32, 1, 1, 8),
                           case_tensor(LPO_F32, 1, 1, 8), case_ids(8, 0, 1),
                           case_tensor(LPO_F32, 100, 2, 8, 32), case_tensor(LPO_F32, 10, 2, 400, 32),
                           case_ids(8, 0, 400)}};
    case_compare(LPO_OP_LOGPROB, &c, 1e-4, ""); /* f32 logits of 1000 are spaced 6e-5 */
}

/* dh overwrites, dw accumulates and may be absent; more rows and more ids than one chunk. */
Test(kernels_logprob, backward) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++) {
            const int T = cases[i].T, H = cases[i].H, V = cases[i].V;
            char what[32];
            snprintf(what, sizeof what, "case %zu dtype %d", i, dtype);
            lpo_kcall f = {.arg = {case_tensor(LPO_F32, 1, 1, T),
                                   case_tensor(LPO_F32, 1, 1, T),
                                   {0},
                                   {0},
                                   case_tensor(dtype, 2, 2, T, H),
                                   case_tensor(dtype, 1, 2, V, H),
                                   targets(T, valid(i))},
                           .attrs = {.n_valid = cases[i].n_valid}};
            cr_assert_eq(case_run(&lpo_kernels_cpu[LPO_OP_LOGPROB], &f), 0);
            lpo_kcall c = {.arg = {case_tensor(dtype, 1, 2, T, H),
                                   {0},
                                   case_tensor(LPO_F32, 1, 1, T),
                                   f.arg[1],
                                   f.arg[4],
                                   f.arg[5],
                                   f.arg[6]},
                           .attrs = f.attrs};
            free(f.arg[0].data);
            if (i != 1) c.arg[1] = case_tensor(LPO_F32, 1, 2, V, H);
            case_compare(LPO_OP_LOGPROB_BWD, &c, dtype == LPO_F32 ? TOLERANCE : 8e-3, what);
        }
}

/* Scratch stays under 64 MiB for the largest vocabulary and a long batch. */
Test(kernels_logprob, scratch_is_bounded) {
    lpo_kcall c = {.arg = {{.dtype = LPO_F32},
                           {0},
                           {0},
                           {0},
                           {.dtype = LPO_F32, .ndim = 2, .shape = {4096, 3584}},
                           {.dtype = LPO_F32, .ndim = 2, .shape = {152064, 3584}}}};
    lpo_kernels_cpu_threads(4);
    cr_expect_leq(lpo_kernels_cpu[LPO_OP_LOGPROB].scratch(&c), (size_t)64 << 20);
    cr_expect_leq(lpo_kernels_cpu[LPO_OP_LOGPROB_BWD].scratch(&c), (size_t)64 << 20);
}
