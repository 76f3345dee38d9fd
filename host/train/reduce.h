/* SPDX-License-Identifier: Apache-2.0 */
/* reduce.h -- pairs of a batch through the reward_reduce kernel instead of host/align's loop: the stage
 * `--place reduce=csim|fpga`. One run is one term of the loss over one micro-batch. Both sides compute
 * kernels/pair_loss.h, so no bit depends on the place; only derivatives by the sums, rewards and losses come
 * back (64 bytes a pair): spreading them over tokens, weights of terms and the one rounding to f32 stay with
 * the host, where several terms meet. */
#ifndef LPO_TRAIN_REDUCE_H
#define LPO_TRAIN_REDUCE_H
#include "align/pairs.h"
#include "device/fpga/fpga.h"

/* Why these pairs cannot go to the card, NULL when they can. NULL pairs: the loss is not one of pairs. */
const char *lpo_reduce_refuses(const lpo_pairs *p, const lpo_batch_columns *in);

typedef struct lpo_reduce lpo_reduce;
/* Starts the run; p, in, arena and what lies in it must stay until the wait. */
lpo_status lpo_reduce_submit(lpo_reduce **job, lpo_fpga *card, lpo_pairs *p, const lpo_batch_columns *in,
                             lpo_arena *arena, lpo_error *err);
/* p has its results and is `done`. Always call it once for each job. */
lpo_status lpo_reduce_wait(lpo_reduce *job, lpo_error *err);
#endif
