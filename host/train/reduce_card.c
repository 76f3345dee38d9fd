/* SPDX-License-Identifier: Apache-2.0 */
/* reduce_card.c -- pairs through the reward_reduce kernel of a card. */
#include "train/reduce.h"

#include <stdlib.h>

typedef struct on_card {
    lpo_reducer reducer;
    lpo_fpga *card;
} on_card;

static lpo_status submit(void *self, void **job, lpo_pairs *p, const lpo_reduce_input *in, lpo_arena *arena,
                         lpo_error *err) {
    const lpo_hls_reward_reduce_args args = {
        .logp = in->logp,
        .weight = in->weight,
        .seg_start = in->seg_start,
        .pair_in = in->pair_in,
        .pair_out = p->out[0],
        .batch_out = p->batch,
        .opcode = p->rule.op,
        .score = p->rule.score,
        .flags = p->rule.flags,
        .n_pairs = (uint32_t)p->n,
        .weighted = in->weight != NULL,
        .beta = p->rule.beta,
        .tau = p->rule.tau,
        .alpha = p->rule.alpha,
    };
    const size_t size[HLS_ARG_reward_reduce_count] = {
        [HLS_ARG_reward_reduce_logp] = in->n_tokens * sizeof *in->logp,
        [HLS_ARG_reward_reduce_weight] = in->weight ? in->n_tokens * sizeof *in->weight : 0,
        [HLS_ARG_reward_reduce_seg_start] = (2 * in->n_pairs + 1) * sizeof *in->seg_start,
        [HLS_ARG_reward_reduce_pair_in] = in->n_pairs * sizeof *p->in,
        [HLS_ARG_reward_reduce_pair_out] = in->n_pairs * sizeof *p->out,
        [HLS_ARG_reward_reduce_batch_out] = sizeof p->batch,
    };
    lpo_fpga_job *run = NULL;
    (void)arena;
    lpo_status s =
        lpo_fpga_submit(&run, ((on_card *)self)->card, LPO_HLS_reward_reduce, &args, size, 0, true, err);
    *job = run;
    return s;
}

static lpo_status wait(void *self, void *job, lpo_pairs *p, lpo_error *err) {
    (void)self, (void)p;
    return lpo_fpga_wait(job, err);
}

lpo_status lpo_reducer_on_card(lpo_reducer **out, lpo_fpga *card, lpo_error *err) {
    on_card *c = malloc(sizeof *c);
    *out = NULL;
    if (!c) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    *c = (on_card){{c, lpo_fpga_name(card), submit, wait, free}, card};
    *out = &c->reducer;
    return LPO_OK;
}
