/* SPDX-License-Identifier: Apache-2.0 */
/* generator.h -- continuous batching: prompts come and go while others decode.
 * Requests wait in a queue; as many run together as the KV cache holds. A finished one frees its slot for the
 * next. Requests that name the same clip share its encoding, and those whose prompts begin alike (the same
 * ids up to and beyond the clip) share the key/value rows of that beginning: it is computed once. What a
 * request answers depends on (ids, clip, options, stream) alone, never on what runs beside it. One thread
 * drives a generator; it borrows the model. */
#ifndef LPO_MODEL_GENERATOR_H
#define LPO_MODEL_GENERATOR_H
#include "model/generate.h"

typedef struct lpo_generator lpo_generator;

typedef struct lpo_generator_options {
    int max_seqs;       /* running together; 0: 256 */
    size_t cache_bytes; /* of keys and values; 0: 4 GiB */
    bool no_prefix_cache;
} lpo_generator_options;

typedef struct lpo_gen_request {
    const int32_t *ids; /* the prompt; copied */
    int32_t n_ids;
    const lpo_clip_input
        *clip;       /* borrowed until the request is done; NULL: no video. Equal pointers are one clip */
    uint64_t stream; /* of random numbers */
    lpo_gen_options options; /* forced and its like are borrowed until done */
    uint64_t user;           /* handed back */
    bool more;               /* its answer will be asked about: the clip's rows are kept, and the clip stays
                                borrowed, until lpo_generator_next is called after it was handed back */
    lpo_token_fn *fn;        /* or NULL: hears every new token, with `user` for its seq */
    void *fn_user;
} lpo_gen_request;

/* NULL options: the defaults. */
lpo_status lpo_generator_create(lpo_generator **out, lpo_model *m, const lpo_generator_options *o,
                                lpo_error *err);
void lpo_generator_destroy(lpo_generator *g); /* NULL accepted; drops what is unfinished */
/* Errors: a prompt longer than the context, ids out of range, bad options: that request alone is refused. */
lpo_status lpo_generator_add(lpo_generator *g, const lpo_gen_request *r, lpo_error *err);
/* Runs until a request is done, in no promised order: LPO_OK, its answer in *out (lpo_gen_seq_clear it) and
 * its number in *user. LPO_EEND when none is left. After any other error the generator is only good for
 * destroying. */
lpo_status lpo_generator_next(lpo_gen_seq *out, uint64_t *user, lpo_generator *g, lpo_error *err);
/* Nothing follows the answer handed back last: its clip is the caller's again, without another answer. NULL
 * accepted. */
void lpo_generator_let_go(lpo_generator *g);
int lpo_generator_pending(const lpo_generator *g); /* added and not yet handed back */

typedef struct lpo_generator_stats {
    int64_t prompt_tokens, shared_tokens; /* of prompts; of those, found computed already */
    int64_t new_tokens, steps, clips;
} lpo_generator_stats;
void lpo_generator_get_stats(lpo_generator_stats *out, const lpo_generator *g);
#endif
