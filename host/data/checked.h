/* SPDX-License-Identifier: Apache-2.0 */
/* checked.h -- what a look at every video of a set found, remembered beside a run: going on with it does not
 * decode them all again. The file holds what the outcome follows from (the caller's identity of the data, and
 * of the recipe), every video's size and time of change, and which lines were refused and why; a checksum
 * tells a damaged one. It is believed only when all of that is the same; videos are looked at by stat alone.
 */
#ifndef LPO_DATA_CHECKED_H
#define LPO_DATA_CHECKED_H
#include "data/loader.h"

typedef struct lpo_checked {
    const char *path;       /* of the file */
    const json_t *identity; /* an object: the data and what else the caller knows */
    const char *model_dir;  /* the recipe's */
    bool recall;            /* false: look anew, whatever the file says */
} lpo_checked;

/* lpo_dataset_validate's work, or its outcome from c's file, in the same order: the same set, the same
 * quarantine. Otherwise checks, says why and keeps what it finds; that it cannot be kept is only logged. */
lpo_status lpo_dataset_check(lpo_dataset *d, const lpo_recipe *r, const lpo_checked *c, int n_threads,
                             lpo_progress_fn *progress, void *user, lpo_error *err);
#endif
