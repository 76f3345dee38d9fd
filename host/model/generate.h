/* SPDX-License-Identifier: Apache-2.0 */
/* generate.h -- sampling from a model with a KV cache, many prompts at a time.
 * A sequence's answer depends on (model, prompt, options, its stream), not on what else is in the batch: the
 * kernels compute a row alike in any company, to the bit. */
#ifndef LPO_MODEL_GENERATE_H
#define LPO_MODEL_GENERATE_H
#include "model/model.h"

typedef struct lpo_gen_options {
    int max_tokens;     /* default 128 */
    double temperature; /* 0 = greedy (default) */
    double top_p;       /* 1 = off */
    int top_k;          /* 0 = off */
    uint64_t seed;
    int n_valid;           /* ids >= n_valid are never produced; 0 = vocabulary size */
    const int32_t *forced; /* teacher forcing of sequence 0 (tests, --token-logps check): these ids are
                              "sampled"; NULL = off */
    int n_forced;
} lpo_gen_options;
lpo_gen_options lpo_gen_options_default(void);

typedef struct lpo_gen_seq {
    int32_t *ids; /* answer ids, without the end-of-sequence id; malloc'd */
    float *logps; /* log p of each id under the untempered distribution, and of the eos when finished (n_ids +
                     finished) */
    int n_ids;
    bool finished; /* ended by eos (false: max_tokens or context full) */
    bool stopped;  /* ended by its lpo_token_fn */
} lpo_gen_seq;

/* Called for every new token, in order per sequence. LPO_TOKEN_LAST ends that answer with this token;
 * anything else but LPO_TOKEN_NEXT stops all with LPO_ECANCELED. */
enum { LPO_TOKEN_NEXT = 0, LPO_TOKEN_LAST = -1 };
typedef int lpo_token_fn(void *user, int seq, int32_t id);

/* prompts: sequences with n_ids == n_prompt. streams[n_seqs] (or NULL = 0,1,2..) name each sequence's random
 * stream. out[n_seqs] is filled; free each with lpo_gen_seq_clear. */
lpo_status lpo_generate(lpo_gen_seq *out, lpo_model *m, const lpo_model_batch *prompts,
                        const uint64_t *streams, const lpo_gen_options *o, lpo_token_fn *fn, void *user,
                        lpo_error *err);
void lpo_gen_seq_clear(lpo_gen_seq *s);
#endif
