/* SPDX-License-Identifier: Apache-2.0 */
/* sample.h -- one token from one row of logits, in double: the same on every machine. */
#ifndef LPO_MODEL_SAMPLE_H
#define LPO_MODEL_SAMPLE_H
#include "base/rng.h"
#include "model/generate.h"

typedef struct lpo_candidate {
    double p;
    int32_t id;
} lpo_candidate;

/* n_vocab logits; ids >= n_valid are not drawn. temperature 0 takes the largest (the lowest id of equals).
 * One uniform number is drawn per call, whatever the options, so that a stream's later draws do not depend on
 * them. work: n_vocab. */
int32_t lpo_sample_row(const float *logits, int32_t n_valid, const lpo_gen_options *o, lpo_rng *rng,
                       lpo_candidate *work);
/* log softmax(logits)[id] over all n_vocab. */
double lpo_sample_logp(const float *logits, int32_t n_vocab, int32_t id);
#endif
