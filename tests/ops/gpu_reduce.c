/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_reduce.c -- pairs reduced on a GPU have host/align's bits. Skips aloud without a device. */
#include <criterion/criterion.h>

#include "../unit/pair_batches.h"
#include "gpu_open.h"
#include "train/reduce.h"

enum { BATCHES = 30 };

static lpo_reducer *open_reducer(void) {
    lpo_reducer *r;
    lpo_device_close(gpu_open()); /* skips where there is none */
    MUST(lpo_reducer_on_gpu(&r, gpu_driver()->name, &err));
    return r;
}

/* The device reduces the pairs into p; then the host does it again, over the device's results. */
static int compare(lpo_reducer *r, lpo_objective *o, const char *spec, int64_t step, lpo_arena *arena) {
    static double out[MAX_PAIRS][LPO_PAIR_COLUMNS], sums[LPO_BATCH_COLUMNS];
    double *grads[LPO_N_COLUMNS] = {0}, loss;
    const char *name;
    lpo_reduce *job;
    make_batch();
    lpo_arena_reset(arena);
    cr_assert_eq(lpo_objective_begin(o, &made.in, step, 100, &err), LPO_OK, "%s: %s", spec, err.msg);
    lpo_pairs *p = lpo_objective_pairs(o, 0, &name);
    const char *why = lpo_reduce_refuses(p, &made.in);
    cr_assert_null(why, "%s: %s", spec, why);
    cr_assert_eq(lpo_reduce_submit(&job, r, p, &made.in, arena, &err), LPO_OK, "%s: %s", spec, err.msg);
    cr_assert_eq(lpo_reduce_wait(job, &err), LPO_OK, "%s: %s", spec, err.msg);
    cr_assert(p->done);
    const size_t n = (size_t)p->n * sizeof out[0];
    memcpy(out, p->out, n);
    memcpy(sums, p->batch, sizeof sums);
    memset(p->out, 0x5a, n);
    memset(p->batch, 0, sizeof p->batch);
    p->done = false;
    const lpo_status s = lpo_objective_end(&loss, grads, o, &err);
    cr_assert(s == LPO_OK || s == LPO_ENUMERIC, "%s: %s", spec, err.msg);
    if (s) return -1; /* overflow: NaNs may have any sign */
    cr_assert(!memcmp(out, p->out, n), "%s: rows of pairs have other bits", spec);
    const size_t means = p->n_w && p->n_l ? LPO_BATCH_COLUMNS : LPO_BATCH_TOKENS_W;
    cr_assert(!memcmp(sums, p->batch, means * sizeof *sums), "%s: the batch's sums have other bits", spec);
    return (int)p->rule.op;
}

/* Truth: for every op, score and modifier, over batches of any length and from certain to hopeless tokens,
 * every double the device gives is host/align's to the bit. */
Test(gpu_reduce, device_and_host_have_the_same_bits) {
    lpo_reducer *r = open_reducer();
    lpo_arena *arena = lpo_arena_create(0);
    int seen[LPO_PAIR_N_OPS] = {0};
    for (size_t i = 0; i < sizeof SPECS / sizeof *SPECS; i++) {
        lpo_objective *o = open_objective(SPECS[i]);
        for (int k = 0; k < BATCHES; k++) {
            const int op = compare(r, o, SPECS[i], k, arena);
            if (op >= 0) seen[op]++;
        }
        lpo_objective_destroy(o);
    }
    for (int op = 0; op < LPO_PAIR_N_OPS; op++)
        cr_expect_geq(seen[op], BATCHES / 2, "op %d: %d", op, seen[op]);
    lpo_arena_destroy(arena);
    lpo_reducer_close(r);
}

/* Truth: several terms of a loss are under way at once, and one waited for early does not disturb the others.
 */
Test(gpu_reduce, jobs_overlap) {
    enum { JOBS = 5 };
    lpo_reducer *r = open_reducer();
    lpo_arena *arena = lpo_arena_create(0);
    lpo_reduce *job[JOBS];
    lpo_objective *o[JOBS];
    lpo_pairs *p[JOBS];
    const char *name;
    double *grads[LPO_N_COLUMNS] = {0}, loss, got[JOBS];
    make_batch();
    for (int i = 0; i < JOBS; i++) {
        o[i] = open_objective(SPECS[3 * i + 6]);
        cr_assert_eq(lpo_objective_begin(o[i], &made.in, 0, 100, &err), LPO_OK, "%s", err.msg);
        p[i] = lpo_objective_pairs(o[i], 0, &name);
        cr_assert_eq(lpo_reduce_submit(&job[i], r, p[i], &made.in, arena, &err), LPO_OK, "%s", err.msg);
    }
    for (int i = JOBS - 1; i >= 0; i--) {
        cr_assert_eq(lpo_reduce_wait(job[i], &err), LPO_OK, "%s", err.msg);
        got[i] = p[i]->batch[LPO_BATCH_LOSS];
    }
    for (int i = 0; i < JOBS; i++) {
        memset(p[i]->batch, 0, sizeof p[i]->batch);
        p[i]->done = false;
        cr_assert_eq(lpo_objective_end(&loss, grads, o[i], &err), LPO_OK, "%s", err.msg);
        cr_expect_eq(p[i]->batch[LPO_BATCH_LOSS], got[i], "%s", SPECS[3 * i + 6]);
        lpo_objective_destroy(o[i]);
    }
    lpo_arena_destroy(arena);
    lpo_reducer_close(r);
}
