/* SPDX-License-Identifier: Apache-2.0 */
/* reduce.c -- see reduce.h. */
#include "train/reduce.h"

struct lpo_reduce {
    lpo_pairs *pairs;
    lpo_fpga_job *job;
};

/* Do a side's tokens fit the kernel's floats? All but an f64 backbone's do. */
static bool are_floats(const lpo_column *t) {
    for (int64_t k = 0; k < t->n; k++)
        if ((double)(float)t->data[k] != t->data[k]) return false;
    return true;
}

const char *lpo_reduce_refuses(const lpo_pairs *p, const lpo_batch_columns *in) {
    const lpo_column *w = &in->col[LPO_COL_t_w], *l = &in->col[LPO_COL_t_l];
    if (!p) return "it is not a loss of pairs";
    if (p->whole) return "it compares the pairs of a batch with each other, so none is done before the last";
    if (!w->row_start || (p->s_l && !l->row_start)) return "the batch holds sums, not tokens";
    if (w->n + l->n > INT32_MAX || p->n > INT32_MAX / 2) return "the batch is too large";
    if (!are_floats(w) || (p->s_l && !are_floats(l)))
        return "the model computes in f64, the kernel reads f32";
    return NULL;
}

/* Tokens as the kernel reads them: w0 l0 w1 l1 .., an empty l where no rejected response is read. */
static void pack(float *logp, double *weight, uint32_t *seg_start, const lpo_pairs *p,
                 const lpo_batch_columns *in) {
    const int n_sides = p->s_l ? 2 : 1;
    uint32_t at = 0;
    for (int64_t i = 0; i < p->n; i++) {
        for (int side = 0; side < n_sides; side++) {
            const lpo_column *t = &in->col[side ? LPO_COL_t_l : LPO_COL_t_w];
            const double *w = side ? p->token_l : p->token_w;
            seg_start[2 * i + side] = at;
            for (int64_t k = t->row_start[i]; k < t->row_start[i + 1]; k++, at++) {
                logp[at] = (float)t->data[k];
                if (weight) weight[at] = w[k];
            }
        }
        if (n_sides == 1) seg_start[2 * i + 1] = at;
    }
    seg_start[2 * p->n] = at;
}

lpo_status lpo_reduce_submit(lpo_reduce **job, lpo_fpga *card, lpo_pairs *p, const lpo_batch_columns *in,
                             lpo_arena *arena, lpo_error *err) {
    const size_t n = (size_t)in->col[LPO_COL_t_w].n + (p->s_l ? (size_t)in->col[LPO_COL_t_l].n : 0);
    const size_t n_pairs = (size_t)p->n, room = n ? n : 1;
    *job = NULL;
    lpo_reduce *r = lpo_arena_alloc(arena, 1, sizeof *r);
    float *logp = lpo_arena_alloc(arena, room, sizeof *logp);
    double *weight = p->token_w ? lpo_arena_alloc(arena, room, sizeof *weight) : NULL;
    uint32_t *seg_start = lpo_arena_alloc(arena, 2 * n_pairs + 1, sizeof *seg_start);
    if (!r || !logp || !seg_start || (p->token_w && !weight))
        return lpo_fail(err, LPO_ENOMEM, "out of memory to reduce a batch");
    pack(logp, weight, seg_start, p, in);
    const lpo_hls_reward_reduce_args args = {
        .logp = logp,
        .weight = weight,
        .seg_start = seg_start,
        .pair_in = p->in[0],
        .pair_out = p->out[0],
        .batch_out = p->batch,
        .opcode = p->rule.op,
        .score = p->rule.score,
        .flags = p->rule.flags,
        .n_pairs = (uint32_t)p->n,
        .weighted = weight != NULL,
        .beta = p->rule.beta,
        .tau = p->rule.tau,
        .alpha = p->rule.alpha,
    };
    const size_t size[HLS_ARG_reward_reduce_count] = {
        [HLS_ARG_reward_reduce_logp] = n * sizeof *logp,
        [HLS_ARG_reward_reduce_weight] = weight ? n * sizeof *weight : 0,
        [HLS_ARG_reward_reduce_seg_start] = (2 * n_pairs + 1) * sizeof *seg_start,
        [HLS_ARG_reward_reduce_pair_in] = n_pairs * sizeof *p->in,
        [HLS_ARG_reward_reduce_pair_out] = n_pairs * sizeof *p->out,
        [HLS_ARG_reward_reduce_batch_out] = sizeof p->batch,
    };
    r->pairs = p;
    lpo_status s = lpo_fpga_submit(&r->job, card, LPO_HLS_reward_reduce, &args, size, 0, true, err);
    if (!s) *job = r;
    return s;
}

lpo_status lpo_reduce_wait(lpo_reduce *job, lpo_error *err) {
    lpo_status s = lpo_fpga_wait(job->job, err);
    job->pairs->done = !s;
    return s;
}
