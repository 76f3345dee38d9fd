/* SPDX-License-Identifier: Apache-2.0 */
/* pairs_result.h -- a pairs run as JSON: its options, its counts, its summary. */
#ifndef LPO_TRAIN_PAIRS_RESULT_H
#define LPO_TRAIN_PAIRS_RESULT_H
#include "train/pairs_run.h"

extern const char *const PAIRS_FATE_NAME[]; /* by pairs_fate: "kept", "gap", ... */

/* Everything the bytes of the output follow from; what only changes the pace is left out. */
lpo_status pairs_options_to_json(json_t **out, const pairs_run *r, lpo_error *err);

json_t *pairs_counts_to_json(const pairs_counts *c);
lpo_status pairs_counts_from_json(pairs_counts *c, const json_t *o, const char *where, lpo_error *err);
/* The judge's counts of this process on top of those of earlier ones. */
void pairs_judge_counts(pairs_run *r);

/* Means, rho from the file of candidates, pace. */
lpo_status pairs_result_fill(lpo_pairs_result *out, pairs_run *r, const char *candidates, lpo_error *err);
json_t *pairs_summary(const lpo_pairs_result *res, const pairs_run *r);
#endif
