/* SPDX-License-Identifier: Apache-2.0 */
/* heldout.h -- the likelihood of a fixed set of records while training goes on: eval_* metrics, and the
 * displacement of chosen and rejected answers since the first step. Both come from one pass. */
#ifndef LPO_TRAIN_HELDOUT_H
#define LPO_TRAIN_HELDOUT_H
#include "train/loss.h"

typedef struct lpo_heldout {
    lpo_dataset *data;
    int64_t n_fixed; /* the first so many records are the fixed set */
    bool pairs;      /* every record has a rejected response */
    lpo_loss *loss;  /* bound to data; NULL: likelihoods only */
    lpo_reference ref;
    lpo_loader_options loader;
} lpo_heldout;

typedef struct lpo_heldout_result {
    double chosen, rejected; /* mean over the fixed set of the mean log-probability per token */
    lpo_loss_sum sum;
    double logps_chosen, logps_rejected; /* means over all records of the response's log-probability */
    double entropy, mean_token_accuracy; /* per token; over chosen tokens */
} lpo_heldout_result;

/* One pass over the data with the engine's model. step, total_steps: for losses that depend on them. */
lpo_status lpo_heldout_run(lpo_heldout_result *out, const lpo_heldout *h, lpo_engine *e,
                           const lpo_recipe *recipe, int64_t step, int64_t total_steps,
                           lpo_progress_fn *progress, void *user, lpo_error *err);
#endif
