/* SPDX-License-Identifier: Apache-2.0 */
/* engine.h -- a few samples through the model and back: token log-probabilities out, their gradients in.
 * Chosen and rejected of a sample stand next to each other and share its clip, so that the model may compute
 * their common prefix once. */
#ifndef LPO_TRAIN_ENGINE_H
#define LPO_TRAIN_ENGINE_H
#include "base/arena.h"
#include "data/loader.h"
#include "model/model.h"

/* What one forward pass found out about samples[0..n). Row i of a side is t_x[start_x[i]..start_x[i+1]),
 * response tokens with the closing eos; the rejected side has empty rows when it was not asked for. Lives
 * until the next forward. */
typedef struct lpo_rows {
    int32_t n;
    const lpo_sample *samples;
    double *t_w, *t_l;
    int64_t *start_w, *start_l;
    double entropy_sum;     /* nats, over the tokens of both sides */
    int64_t hit_w;          /* chosen tokens that are the model's first choice */
    int64_t n_input_tokens; /* prompt and response, each sequence counted in full */
} lpo_rows;

typedef struct lpo_engine {
    lpo_model *model;
    lpo_tape *tape;
    lpo_arena *arena;
    bool checkpoint;       /* recompute activations in the backward pass */
    bool separate;         /* do not share what chosen and rejected have in common */
    uint64_t dropout_seed; /* of the next training pass, when there are adapters with dropout */
    double until_s;        /* over 0: a pass still at work then (lpo_now_s) ends with LPO_ECANCELED */
    lpo_val logp, dlogp;
    int n_forward;                          /* steps of the forward pass */
    double record_s, forward_s, backward_s; /* spent so far */
} lpo_engine;

lpo_status lpo_engine_open(lpo_engine *e, lpo_model *m, bool checkpoint, lpo_error *err);
void lpo_engine_close(lpo_engine *e); /* a zeroed one is fine */
/* From now on each op is a span of the trace. The device is waited for after each: the step gets slower. */
void lpo_engine_trace_ops(lpo_engine *e);
const char *lpo_engine_device(const lpo_engine *e); /* the first of the placement, as spans call it */

/* samples[first..first+n) of b. both: the rejected side too. train: a backward pass follows. */
lpo_status lpo_engine_forward(lpo_rows *out, lpo_engine *e, const lpo_batch *b, int32_t first, int32_t n,
                              bool both, bool train, lpo_error *err);
/* Adds d(loss)/d(parameters) to the model's gradients, given d(loss)/d(t_w), d(loss)/d(t_l) of the rows just
 * computed. */
lpo_status lpo_engine_backward(lpo_engine *e, const lpo_rows *r, const double *g_w, const double *g_l,
                               lpo_error *err);
#endif
