/* SPDX-License-Identifier: Apache-2.0 */
/* kernels_attn.c -- variable-length attention, its gradient and the cached form against the reference. */
#include "kernels_case.h"

#ifndef CASE_STEP /* all cases, or every second for a device that has taken all of them another way */
#define CASE_FIRST 0
#define CASE_STEP  1
#endif

/* Outputs are averages of values in [-1, 1), scores are of size 1 to 3: f32 rounding of scores (2^-22) and of
 * the sums reaches a few 1e-6. Gradients sum over up to 600 queries. bf16 rounds at the store. */
static const double TOLERANCE[] = {[LPO_F32] = 2e-5, [LPO_BF16] = 1e-2};

static const struct {
    int n_q, n_kv, d, causal, S;
    int32_t cu[6];
} cases[] = {
    {1, 1, 8, 1, 1, {0, 5}},
    {2, 1, 64, 1, 3, {0, 0, 1, 40}}, /* an empty sequence, and one of a single row */
    {4, 2, 72, 0, 2, {0, 33, 70}},
    {3, 3, 80, 1, 2, {0, 100, 130}},
    {6, 1, 128, 1, 1, {0, 300}}, /* more keys and more rows than a block */
    {2, 2, 16, 0, 5, {0, 16, 16, 17, 40, 41}},
    {4, 4, 32, 1, 1, {0, 530}},
    {7, 1, 64, 0, 1, {0, 270}},
    {12, 2, 128, 1, 2, {0, 50, 90}},
};

static lpo_attrs attrs_of(size_t i) {
    return (lpo_attrs){.n_q = cases[i].n_q,
                       .n_kv = cases[i].n_kv,
                       .d_head = cases[i].d,
                       .causal = cases[i].causal,
                       .scale = 2 / sqrtf((float)cases[i].d)};
}

/* Every head layout, block edge and sequence cut: fast = reference, for the output and the log-sum-exp; lse
 * is optional. */
Test(kernels_attn, forward) {
    for (size_t i = CASE_FIRST; i < sizeof cases / sizeof *cases; i += CASE_STEP)
        for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++) {
            const int T = cases[i].cu[cases[i].S], n_q = cases[i].n_q, d = cases[i].d,
                      W = (n_q + 2 * cases[i].n_kv) * d;
            char what[32];
            snprintf(what, sizeof what, "case %zu dtype %d", i, dtype);
            lpo_kcall c = {.arg = {case_tensor(dtype, 1, 2, T, n_q * d), case_tensor(LPO_F32, 1, 2, n_q, T),
                                   case_tensor(dtype, 1, 2, T, W), case_ints(cases[i].S + 1, cases[i].cu)},
                           .attrs = attrs_of(i)};
            if (i == 2) {
                free(c.arg[1].data);
                c.arg[1] = (lpo_karg){0};
            }
            case_compare(LPO_OP_ATTN, &c, TOLERANCE[dtype], what);
        }
}

/* The gradient, given the forward's own o and lse. */
Test(kernels_attn, backward) {
    for (size_t i = CASE_FIRST; i < sizeof cases / sizeof *cases; i += CASE_STEP)
        for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++) {
            const int T = cases[i].cu[cases[i].S], n_q = cases[i].n_q, d = cases[i].d,
                      W = (n_q + 2 * cases[i].n_kv) * d;
            char what[32];
            snprintf(what, sizeof what, "case %zu dtype %d", i, dtype);
            lpo_kcall f = {.arg = {case_tensor(dtype, 1, 2, T, n_q * d), case_tensor(LPO_F32, 1, 2, n_q, T),
                                   case_tensor(dtype, 1, 2, T, W), case_ints(cases[i].S + 1, cases[i].cu)},
                           .attrs = attrs_of(i)};
            cr_assert_eq(case_run(&lpo_kernels_cpu[LPO_OP_ATTN], &f), 0);
            lpo_kcall c = {.arg = {case_tensor(dtype, 1, 2, T, W), case_tensor(dtype, 1, 2, T, n_q * d),
                                   f.arg[2], f.arg[0], f.arg[1], f.arg[3]},
                           .attrs = f.attrs};
            case_compare(LPO_OP_ATTN_BWD, &c, 5 * TOLERANCE[dtype], what);
        }
}

/* Rows that several sequences go on from: of one block and of many, a prefix that ends within a block of
 * keys, one that is a part of its sequence, a prefix of a prefix, an empty continuation. */
static const struct {
    int n_q, n_kv, d, causal, S;
    int32_t cu[6], prefix[10];
} shared[] = {
    {2, 1, 16, 1, 3, {0, 5, 9, 12}, {0, 0, 0, 5, 0, 5}},
    {4, 2, 32, 1, 3, {0, 300, 400, 480}, {0, 0, 0, 300, 0, 300}},
    {6, 2, 64, 1, 5, {0, 40, 600, 600, 610, 640}, {0, 0, 0, 0, 3, 20, 40, 560, 50, 257}},
    {3, 3, 8, 0, 4, {0, 256, 300, 310, 330}, {0, 0, 0, 256, 260, 9, 256, 44}},
};

Test(kernels_attn, shared_prefix) {
    for (size_t i = CASE_FIRST; i < sizeof shared / sizeof *shared; i += CASE_STEP)
        for (int dtype = LPO_F32; dtype <= LPO_BF16; dtype++) {
            const int S = shared[i].S, T = shared[i].cu[S], n_q = shared[i].n_q, d = shared[i].d,
                      W = (n_q + 2 * shared[i].n_kv) * d;
            char what[32];
            snprintf(what, sizeof what, "shared %zu dtype %d", i, dtype);
            lpo_karg prefix = case_ints(2 * S, shared[i].prefix);
            prefix.ndim = 2, prefix.shape[0] = S, prefix.shape[1] = 2;
            lpo_kcall f = {.arg = {case_tensor(dtype, 1, 2, T, n_q * d), case_tensor(LPO_F32, 1, 2, n_q, T),
                                   case_tensor(dtype, 1, 2, T, W), case_ints(S + 1, shared[i].cu), prefix},
                           .attrs = {.n_q = n_q,
                                     .n_kv = shared[i].n_kv,
                                     .d_head = d,
                                     .causal = shared[i].causal,
                                     .scale = 2 / sqrtf((float)d)}};
            lpo_kcall copy = case_copy(&f);
            case_compare(LPO_OP_ATTN, &copy, TOLERANCE[dtype], what);
            cr_assert_eq(case_run(&lpo_kernels_cpu[LPO_OP_ATTN], &f), 0);
            lpo_kcall b = {.arg = {case_tensor(dtype, 1, 2, T, W), case_tensor(dtype, 1, 2, T, n_q * d),
                                   f.arg[2], f.arg[0], f.arg[1], f.arg[3], f.arg[4]},
                           .attrs = f.attrs};
            case_compare(LPO_OP_ATTN_BWD, &b, 5 * TOLERANCE[dtype], what);
        }
}

#if CASE_STEP == 1 /* what follows goes one way everywhere */
/* New rows are appended to their slot and see all before them: prefill, one row behind a long past, several
 * sequences in shuffled slots, slots of one row that sequences run on from, and a cache narrower than the
 * activations. The cache itself is compared too. */
Test(kernels_attn, cached) {
    static const struct {
        int n_q, n_kv, d, S, slots, max_len;
        int32_t cu[4], slot[3], past[3];
    } k[] = {
        {2, 1, 64, 1, 1, 40, {0, 40}, {0}, {0}},
        {6, 2, 32, 1, 2, 700, {0, 1}, {1}, {650}},
        {4, 4, 80, 3, 4, 300, {0, 1, 1, 200}, {2, 0, 3}, {299, 7, 90}},
        {4, 1, 128, 2, 2, 64, {0, 30, 64}, {1, 0}, {34, 1}},
        {4, 2, 32, 2, 470, 1, {0, 1, 61}, {3, 400}, {300, 10}},
    };
    for (size_t i = 0; i < sizeof k / sizeof *k; i++)
        for (int mix = 0; mix < 3; mix++) {
            const int cache = mix == 0 ? LPO_F32 : LPO_BF16, act = mix == 2 ? LPO_BF16 : LPO_F32;
            const int T = k[i].cu[k[i].S];
            lpo_kcall c = {
                .arg = {case_tensor(act, 1, 2, T, k[i].n_q * k[i].d),
                        case_tensor(cache, 1, 4, k[i].slots, k[i].max_len, 2, k[i].n_kv * k[i].d),
                        case_tensor(act, 1, 2, T, (k[i].n_q + 2 * k[i].n_kv) * k[i].d),
                        case_ints(k[i].S + 1, k[i].cu), case_ints(k[i].S, k[i].slot),
                        case_ints(k[i].S, k[i].past)},
                .attrs = {.n_q = k[i].n_q, .n_kv = k[i].n_kv, .d_head = k[i].d, .scale = 0.2f, .causal = 1}};
            case_compare(LPO_OP_ATTN_CACHED, &c, TOLERANCE[act], "");
        }
}

/* Tables a caller could get wrong are refused: rows behind the end of the cache, a slot that is not there, cu
 * that falls. */
Test(kernels_attn, refuses_bad_tables) {
    const int32_t cu[] = {0, 3}, bad_cu[] = {0, 4, 3}, slot[] = {1}, bad_slot[] = {2}, past[] = {6},
                  ok[] = {1};
    const lpo_attrs a = {.n_q = 1, .n_kv = 1, .d_head = 4, .scale = 1, .causal = 1};
    for (int set = 0; set < 2; set++)
        for (int fault = 0; fault < 2; fault++) {
            lpo_kcall c = {.arg = {case_tensor(LPO_F32, 1, 2, 3, 4), case_tensor(LPO_F32, 1, 4, 2, 8, 2, 4),
                                   case_tensor(LPO_F32, 1, 2, 3, 12), case_ints(2, cu),
                                   case_ints(1, fault ? bad_slot : slot), case_ints(1, fault ? ok : past)},
                           .attrs = a};
            cr_assert_lt(
                case_run(set ? &lpo_kernels_ref[LPO_OP_ATTN_CACHED] : &lpo_kernels_cpu[LPO_OP_ATTN_CACHED],
                         &c),
                0);
            case_free(&c);
        }
    /* A prefix that runs over the end of its sequence, into its own, before the first row, behind it. */
    static const int32_t bad_prefix[][2] = {{1, 2}, {2, 1}, {-1, 1}, {0, -1}, {0, INT32_MAX}};
    for (int i = 0; i < 10; i++) {
        lpo_karg prefix = case_ints(6, (int32_t[]){0, 0, 0, 0, bad_prefix[i / 2][0], bad_prefix[i / 2][1]});
        prefix.ndim = 2, prefix.shape[0] = 3, prefix.shape[1] = 2;
        lpo_kcall c = {.arg = {case_tensor(LPO_F32, 1, 2, 4, 4),
                               {0},
                               case_tensor(LPO_F32, 1, 2, 4, 12),
                               case_ints(4, (int32_t[]){0, 2, 3, 4}),
                               prefix},
                       .attrs = a};
        if (i / 2 == 1) ((int32_t *)prefix.data)[4] = 3;
        cr_assert_lt(case_run(i % 2 ? &lpo_kernels_ref[LPO_OP_ATTN] : &lpo_kernels_cpu[LPO_OP_ATTN], &c), 0,
                     "%d", i);
        case_free(&c);
    }
    for (int set = 0; set < 2; set++) {
        lpo_kcall c = {.arg = {case_tensor(LPO_F32, 1, 2, 3, 4),
                               {0},
                               case_tensor(LPO_F32, 1, 2, 3, 12),
                               case_ints(3, bad_cu)},
                       .attrs = a};
        cr_assert_lt(case_run(set ? &lpo_kernels_ref[LPO_OP_ATTN] : &lpo_kernels_cpu[LPO_OP_ATTN], &c), 0);
        case_free(&c);
    }
}
#endif
