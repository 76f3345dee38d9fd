/* SPDX-License-Identifier: Apache-2.0 */
/* generate.c -- a batch of prompts through a generator (generator.c), answers in the order of the prompts. */
#include "model/generate.h"

#include "model/generator.h"
#include "model/parts.h"

#include <stdlib.h>
#include <string.h>

lpo_gen_options lpo_gen_options_default(void) {
    return (lpo_gen_options){.max_tokens = 128, .top_p = 1};
}

void lpo_gen_seq_clear(lpo_gen_seq *s) {
    free(s->ids);
    free(s->logps);
    memset(s, 0, sizeof *s);
}

static lpo_status add_all(lpo_generator *g, const lpo_model_batch *b, const uint64_t *streams,
                          const lpo_gen_options *o, lpo_token_fn *fn, void *user, lpo_error *err) {
    for (int s = 0; s < b->n_seqs; s++) {
        const lpo_seq_input *q = &b->seqs[s];
        if (q->n_ids != q->n_prompt || q->clip >= b->n_clips)
            return lpo_fail(err, LPO_EINVAL, "sequence %d: expected a prompt alone, and a clip of the batch",
                            s);
        lpo_gen_request r = {.ids = q->ids,
                             .n_ids = q->n_ids,
                             .clip = q->clip >= 0 ? &b->clips[q->clip] : NULL,
                             .stream = streams ? streams[s] : (uint64_t)s,
                             .options = *o,
                             .user = (uint64_t)s,
                             .fn = fn,
                             .fn_user = user};
        if (s) r.options.n_forced = 0;
        lpo_status st = lpo_generator_add(g, &r, err);
        if (st) return lpo_fail_in(err, st, "sequence %d", s);
    }
    return LPO_OK;
}

lpo_status lpo_generate(lpo_gen_seq *out, lpo_model *m, const lpo_model_batch *prompts,
                        const uint64_t *streams, const lpo_gen_options *o, lpo_token_fn *fn, void *user,
                        lpo_error *err) {
    const lpo_gen_options given = o ? *o : lpo_gen_options_default();
    memset(out, 0, (size_t)prompts->n_seqs * sizeof *out);
    lpo_generator *g;
    lpo_status st = lpo_generator_create(&g, m, NULL, err);
    if (st) return st;
    st = add_all(g, prompts, streams, &given, fn, user, err);
    for (int i = 0; i < prompts->n_seqs && !st; i++) {
        lpo_gen_seq s;
        uint64_t which;
        st = lpo_generator_next(&s, &which, g, err);
        if (!st) out[which] = s;
    }
    lpo_generator_destroy(g);
    return st;
}
