/* SPDX-License-Identifier: Apache-2.0 */
/* reduce.h -- pairs of a batch through a device's kernel instead of host/align's loop: the stage
 * `--place reduce=csim|fpga|opencl|cuda`. One run is one term of the loss over one micro-batch. Every place
 * computes kernels/pair_loss.h, so no bit depends on it; only derivatives by the sums, rewards and losses
 * come back (64 bytes a pair): spreading them over tokens, weights of terms and the one rounding to f32 stay
 * with the host, where several terms meet. */
#ifndef LPO_TRAIN_REDUCE_H
#define LPO_TRAIN_REDUCE_H
#include "align/pairs.h"
#include "device/fpga/fpga.h"

/* What a kernel reads, in one piece of memory: rows of numbers | weights of tokens, if any | tokens, w0 l0 w1
 * l1 .., an empty l where no rejected response is read | where each of these begins, and the end. */
typedef struct lpo_reduce_input {
    double *pair_in, *weight; /* weight NULL: 1 */
    float *logp;
    uint32_t *seg_start;
    size_t n_pairs, n_tokens, size_bytes; /* from pair_in on */
} lpo_reduce_input;

/* A device that reduces. One thread at a time. */
typedef struct lpo_reducer {
    void *self;
    const char *name; /* "csim", "opencl:1" */
    /* Starts p's run; p, in and the arena stay until the wait. */
    lpo_status (*submit)(void *self, void **job, lpo_pairs *p, const lpo_reduce_input *in, lpo_arena *arena,
                         lpo_error *err);
    lpo_status (*wait)(void *self, void *job, lpo_pairs *p, lpo_error *err); /* p->out and batch are there */
    void (*close)(void *self);                                               /* no job is under way */
} lpo_reducer;

lpo_status lpo_reducer_on_card(lpo_reducer **out, lpo_fpga *card, lpo_error *err); /* borrows the card */
/* device: "opencl", "cuda:1", ...: it is opened once more, for this stage alone. */
lpo_status lpo_reducer_on_gpu(lpo_reducer **out, const char *device, lpo_error *err);
void lpo_reducer_close(lpo_reducer *r); /* NULL accepted */

/* Why these pairs cannot go to a device, NULL when they can. NULL pairs: the loss is not one of pairs. */
const char *lpo_reduce_refuses(const lpo_pairs *p, const lpo_batch_columns *in);

typedef struct lpo_reduce lpo_reduce;
/* Starts the run; p, in, arena and what lies in it must stay until the wait. */
lpo_status lpo_reduce_submit(lpo_reduce **job, lpo_reducer *r, lpo_pairs *p, const lpo_batch_columns *in,
                             lpo_arena *arena, lpo_error *err);
/* p has its results and is `done`. Always call it once for each job. */
lpo_status lpo_reduce_wait(lpo_reduce *job, lpo_error *err);
#endif
