/* SPDX-License-Identifier: Apache-2.0 */
/* kernels_batch.c -- a row does not know its batch: what it gets has the same bits alone, among a few and
 * among many. Generation relies on it: an answer must not depend on which other answers are sampled beside
 * it. Every instruction set keeps this within itself. */
#include "kernels_case.h"

static const lpo_simd *const sets[] = {
    &lpo_simd_base,
#if defined __x86_64__
    &lpo_simd_avx2,
    &lpo_simd_avx512,
#endif
};
enum { SETS = sizeof sets / sizeof *sets, MOST = 37 };

static void must_run(lpo_op op, lpo_kcall *c) {
    cr_assert_eq(case_run(&lpo_kernels_cpu[op], c), 0, "%s refuses", case_ops[op].name);
}

/* The first rows of a matrix (or entries of a vector), sharing its memory. */
static lpo_karg head(lpo_karg a, int64_t rows) {
    a.shape[0] = rows;
    return a;
}

/* K below, at and above a depth of the product, not a multiple of any vector; N with a partial last panel. */
Test(kernels_batch, linear) {
    static const int few[] = {1, 2, 3, 4, 5, 8, 9, 14, 16, 29, 32, 33}, deep[] = {7, 64, 385, 1001};
    for (int set = 0; set < SETS; set++) {
        if (!lpo_simd_runs(sets[set])) continue;
        lpo_simd_set(sets[set]);
        for (size_t k = 0; k < sizeof deep / sizeof *deep; k++)
            for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++) {
                const int K = deep[k], N = 83;
                lpo_kcall all = {.arg = {case_tensor(dtype, 1, 2, MOST, N), case_tensor(dtype, 1, 2, MOST, K),
                                         case_tensor(dtype, 1, 2, N, K), case_tensor(dtype, 1, 1, N)}};
                must_run(LPO_OP_LINEAR, &all);
                for (size_t i = 0; i < sizeof few / sizeof *few; i++) {
                    lpo_kcall some = {.arg = {case_tensor(dtype, 1, 2, few[i], N), head(all.arg[1], few[i]),
                                              all.arg[2], all.arg[3]}};
                    must_run(LPO_OP_LINEAR, &some);
                    cr_assert_arr_eq(some.arg[0].data, all.arg[0].data, case_bytes(&some.arg[0]),
                                     "set %d, K %d, dtype %d: %d rows", set, K, dtype, few[i]);
                    free(some.arg[0].data);
                }
                case_free(&all);
            }
    }
    lpo_simd_set(NULL);
}

Test(kernels_batch, logprob) {
    static const int few[] = {1, 2, 4, 5};
    for (int set = 0; set < SETS; set++) {
        if (!lpo_simd_runs(sets[set])) continue;
        lpo_simd_set(sets[set]);
        for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++) {
            const int H = 390, V = 301;
            lpo_kcall all = {.arg = {case_tensor(LPO_F32, 1, 1, MOST), case_tensor(LPO_F32, 1, 1, MOST),
                                     case_tensor(LPO_F32, 1, 1, MOST), case_ids(MOST, 0, 1),
                                     case_tensor(dtype, 1, 2, MOST, H), case_tensor(dtype, 1, 2, V, H),
                                     case_ids(MOST, 0, V)}};
            must_run(LPO_OP_LOGPROB, &all);
            for (size_t i = 0; i < sizeof few / sizeof *few; i++) {
                lpo_kcall some = case_copy(&all);
                for (int a = 0; a < 7; a++)
                    if (a != 5) some.arg[a].shape[0] = few[i];
                for (int a = 0; a < 4; a++) memset(some.arg[a].data, 0xff, case_bytes(&some.arg[a]));
                must_run(LPO_OP_LOGPROB, &some);
                for (int a = 0; a < 4; a++)
                    cr_assert_arr_eq(some.arg[a].data, all.arg[a].data, case_bytes(&some.arg[a]),
                                     "set %d, dtype %d: output %d of %d rows", set, dtype, a, few[i]);
                case_free(&some);
            }
            case_free(&all);
        }
    }
    lpo_simd_set(NULL);
}

/* One token at a time against the cache gives the rows of the whole sequence at once, and of the sequence
 * behind another: the cut into blocks of queries does not show, nor whether its beginning is shared. More
 * tokens than one block of keys. */
Test(kernels_batch, attention) {
    enum { LEN = 300, HEADS = 4, KV = 2, D = 16, W = (HEADS + 2 * KV) * D, OUT = HEADS * D };
    const lpo_attrs at = {.n_q = HEADS, .n_kv = KV, .d_head = D, .causal = 1, .scale = 0.25f};
    for (int set = 0; set < SETS; set++) {
        if (!lpo_simd_runs(sets[set])) continue;
        lpo_simd_set(sets[set]);
        for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++) {
            const size_t row = OUT * lpo_dtype_bytes(dtype), in = W * lpo_dtype_bytes(dtype);
            lpo_kcall both = {
                .arg = {case_tensor(dtype, 1, 2, LEN + 11, OUT), case_tensor(LPO_F32, 1, 2, HEADS, LEN + 11),
                        case_tensor(dtype, 2, 2, LEN + 11, W), case_ints(3, (int32_t[]){0, 11, LEN + 11})},
                .attrs = at};
            must_run(LPO_OP_ATTN, &both);
            const char *want = (char *)both.arg[0].data + 11 * row;
            lpo_kcall step = {.arg = {case_tensor(dtype, 1, 2, 1, OUT),
                                      case_tensor(dtype, 1, 4, 1, LEN, 2, KV * D),
                                      case_tensor(dtype, 1, 2, 1, W), case_ints(2, (int32_t[]){0, 1}),
                                      case_ints(1, (int32_t[]){0}), case_ints(1, (int32_t[]){0})},
                              .attrs = at};
            for (int t = 0; t < LEN; t++) {
                memcpy(step.arg[2].data, (char *)both.arg[2].data + (size_t)(11 + t) * in, in);
                *(int32_t *)step.arg[5].data = t;
                must_run(LPO_OP_ATTN_CACHED, &step);
                cr_assert_arr_eq(step.arg[0].data, want + (size_t)t * row, row, "set %d, dtype %d: token %d",
                                 set, dtype, t);
            }
            /* The same rows as a beginning of 130 and two ways to go on from it, the second of which is ours.
             */
            enum { HEAD = 130, OTHER = 9 };
            lpo_karg prefix = case_ints(6, (int32_t[]){0, 0, 0, HEAD, 0, HEAD});
            prefix.ndim = 2, prefix.shape[0] = 3, prefix.shape[1] = 2;
            lpo_kcall split = {.arg = {case_tensor(dtype, 1, 2, LEN + OTHER, OUT),
                                       case_tensor(LPO_F32, 1, 2, HEADS, LEN + OTHER),
                                       case_tensor(dtype, 2, 2, LEN + OTHER, W),
                                       case_ints(4, (int32_t[]){0, HEAD, HEAD + OTHER, LEN + OTHER}), prefix},
                               .attrs = at};
            memcpy(split.arg[2].data, (char *)both.arg[2].data + 11 * in, HEAD * in);
            memcpy((char *)split.arg[2].data + (HEAD + OTHER) * in,
                   (char *)both.arg[2].data + (11 + HEAD) * in, (LEN - HEAD) * in);
            must_run(LPO_OP_ATTN, &split);
            cr_assert_arr_eq(split.arg[0].data, want, HEAD * row, "set %d, dtype %d", set, dtype);
            cr_assert_arr_eq((char *)split.arg[0].data + (HEAD + OTHER) * row, want + HEAD * row,
                             (LEN - HEAD) * row, "set %d, dtype %d", set, dtype);
            case_free(&split);
            case_free(&both);
            case_free(&step);
        }
    }
    lpo_simd_set(NULL);
}
