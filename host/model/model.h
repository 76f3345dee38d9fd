/* SPDX-License-Identifier: Apache-2.0 */
/* model.h -- the one model definition: vision tower, projector, decoder, recorded on a tape.
 * A model is a config, a family and a list of parameters on a device. Parameters may be stored fused (q|k|v,
 * gate|up) where the disk has several tensors: the family's name map says which rows of which parameter a
 * disk tensor is. */
#ifndef LPO_MODEL_MODEL_H
#define LPO_MODEL_MODEL_H
#include "graph/tape.h"
#include "leanpo/model.h"

/* One video, preprocessed. patches [grid_t*grid_h*grid_w, 3*tp*p*p], rows ordered (t, h/2, w/2, 2h, 2w): f32,
 * or with levels bytes that the device turns into these. All clips of a batch alike. Borrowed. */
typedef struct lpo_clip_input {
    const void *patches;
    int32_t grid_t, grid_h, grid_w;
    double second_per_grid; /* seconds between temporal patches (Qwen2.5-VL) */
    const float *levels;    /* [3][256] f32 of the bytes of a channel; NULL: patches are f32 */
} lpo_clip_input;

/* One token sequence: prompt ids then response ids (response empty when only the prompt is wanted). The run
 * of video_pad ids, grid_t*grid_h*grid_w/merge^2 long, takes the clip's embeddings. Several sequences may
 * name one clip: it is encoded once. */
typedef struct lpo_seq_input {
    const int32_t *ids;
    int32_t n_ids, n_prompt;
    int32_t clip; /* index, or -1 */
} lpo_seq_input;

typedef struct lpo_model_batch {
    const lpo_clip_input *clips;
    const lpo_seq_input *seqs;
    int32_t n_clips, n_seqs;
} lpo_model_batch;

typedef struct lpo_forward_options {
    bool checkpoint;       /* recompute each block's activations in the backward pass */
    bool want_stats;       /* entropy and hit too */
    bool separate;         /* every sequence in full, nothing shared between neighbours */
    uint64_t dropout_seed; /* of the adapters, another for every pass of a training; 0: none is dropped */
} lpo_forward_options;

typedef struct lpo_forward_out {
    lpo_val
        logp; /* [N] f32: log p of every response token, sequences in order; N = sum of n_ids - n_prompt */
    lpo_val entropy, hit; /* [N], when asked for, else LPO_NONE */
    int64_t n_tokens;     /* N */
} lpo_forward_out;

/* Record the forward pass of a batch. A prompt and clip that neighbours have in common (chosen and rejected)
 * are computed once, unless o->separate; on the cpu the results are the same bits either way, gradients the
 * same up to the order of sums. Errors: ids out of range, a pad run that does not match the clip's grid, a
 * sequence longer than max_position_embeddings, an empty response batch. */
lpo_status lpo_model_record(lpo_forward_out *out, lpo_tape *t, lpo_model *m, const lpo_model_batch *b,
                            const lpo_forward_options *o, lpo_error *err);

/* Parameters in a fixed order (the order of the checkpoint and of the optimizer state). */
lpo_param *const *lpo_model_params(lpo_model *m, int *n);
const lpo_placement *lpo_model_placement(const lpo_model *m);

/* Allocate zeroed f32 gradients for the trainable parameters in one buffer per device (grad_offset_bytes
 * set); release with the model. lpo_model_set_trainable first. */
lpo_status lpo_model_alloc_grads(lpo_model *m, lpo_error *err);
lpo_status lpo_model_zero_grads(lpo_model *m, lpo_error *err);
/* groups: comma list of "llm", "projector", "vision" (embeddings, norms and lm_head belong to llm), "all"
 * (these three), or "lora" (the adapters; nothing when there are none). */
lpo_status lpo_model_set_trainable(lpo_model *m, const char *groups, lpo_error *err);
/* A second model with the same config, copied parameters, none trainable, without adapters (the reference
 * model). */
lpo_status lpo_model_clone(lpo_model **out, lpo_model *m, lpo_error *err);
#endif
