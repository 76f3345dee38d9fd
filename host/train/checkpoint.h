/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint.h -- the folders RUN/checkpoints/step-N: which one is whole, and how one comes to be.
 * Power may fail at any instant. A checkpoint is therefore built as step-N.tmp and renamed when every byte of
 * it is on disk: a folder named step-N was complete once. state.json holds an XXH64 of every other file and
 * of itself, so that damage done later is found too, and an older checkpoint is used instead. */
#ifndef LPO_TRAIN_CHECKPOINT_H
#define LPO_TRAIN_CHECKPOINT_H
#include "leanpo/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LPO_MAX_OBJECTIVE_STATE = 64, LPO_PATH_BYTES = 1024 };

/* What a run must know to go on, beside the parameters and the optimizer's moments. Nothing here comes from a
 * clock: the same run gives the same bytes. */
typedef struct lpo_run_state {
    int64_t step;          /* optimizer steps done */
    uint64_t seed;         /* batches follow from (seed, step) alone: no generator state */
    int64_t metrics_bytes; /* size of metrics.jsonl */
    int64_t num_tokens;    /* seen so far */
    bool has_base;         /* mean log-probabilities of the fixed set before the first step are known: */
    double base_chosen, base_rejected;
    double loss, eval_loss, reward_accuracy, reward_margin, displacement_chosen,
        displacement_rejected; /* the latest */
    int n_objective;           /* running state of the loss */
    double objective[LPO_MAX_OBJECTIVE_STATE];
} lpo_run_state;

/* Paths are written into buffers of LPO_PATH_BYTES. */

/* Makes an empty RUN/checkpoints/step-N.tmp for the caller to fill. */
lpo_status lpo_checkpoint_begin(char *tmp_path, const char *run_dir, int64_t step, lpo_error *err);
/* Hashes what is in it, adds state.json, flushes, renames: path is RUN/checkpoints/step-N. On failure the
 * .tmp is removed. */
lpo_status lpo_checkpoint_commit(char *path, const char *run_dir, const lpo_run_state *state, lpo_error *err);
void lpo_checkpoint_abort(const char *run_dir, int64_t step);

/* The newest checkpoint whose checksums hold. A damaged one is logged and renamed to step-N.damaged;
 * leftovers of an interrupted save are removed. LPO_ENOTFOUND when there is none. */
lpo_status lpo_checkpoint_latest(char *path, lpo_run_state *state, const char *run_dir, lpo_error *err);
/* Is this one whole? Fills state. */
lpo_status lpo_checkpoint_read(lpo_run_state *state, const char *path, lpo_error *err);
/* Removes all but the `keep` newest (0: keeps all), and but the one at path `in_use` (may be NULL): a resumed
 * run copies tokenizer files from the checkpoint it came from for as long as it saves. */
lpo_status lpo_checkpoint_prune(const char *run_dir, int keep, const char *in_use, lpo_error *err);
#endif
