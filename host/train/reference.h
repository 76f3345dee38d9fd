/* SPDX-License-Identifier: Apache-2.0 */
/* reference.h -- the reference model's log-probability of every response token of a set, computed once before
 * training. A frozen second model would double the parameters in memory for numbers that never change; these
 * are 4 bytes a token and survive a restart as RUN/ref_logps.safetensors. */
#ifndef LPO_TRAIN_REFERENCE_H
#define LPO_TRAIN_REFERENCE_H
#include "train/engine.h"

/* Record i (its index in the dataset) has chosen tokens t_w[start_w[i]..start_w[i+1]), rejected ones
 * likewise. */
typedef struct lpo_reference {
    int64_t n;
    float *t_w, *t_l;
    int64_t *start_w, *start_l; /* [n+1] */
} lpo_reference;

void lpo_reference_clear(lpo_reference *r); /* a zeroed one is fine */

/* One forward pass over d in file order, lo->batch_size records at a time. both: rejected responses too. */
lpo_status lpo_reference_compute(lpo_reference *out, lpo_engine *e, lpo_dataset *d, const lpo_recipe *recipe,
                                 const lpo_loader_options *lo, bool both, lpo_progress_fn *progress,
                                 void *user, lpo_error *err);
/* key says what the numbers were made from; loading a file with another key, or none, is LPO_ENOTFOUND. */
lpo_status lpo_reference_save(const lpo_reference *r, const char *path, const char *key, lpo_error *err);
lpo_status lpo_reference_load(lpo_reference *out, const char *path, const char *key, lpo_error *err);
#endif
