/* SPDX-License-Identifier: Apache-2.0 */
/* generator_state.h -- what generator.c (who runs when, and where its rows lie) and generator_pass.c (one
 * pass of the model over the rows that are due) share. */
#ifndef LPO_MODEL_GENERATOR_STATE_H
#define LPO_MODEL_GENERATOR_STATE_H
#include "model/generator.h"
#include "model/kv.h"
#include "model/sample.h"

/* Rows of keys and values of a prompt: the first `done` of them are computed. */
typedef struct gen_prefix {
    int32_t *ids; /* NULL: none */
    int32_t n_ids, first, done;
} gen_prefix;

/* One clip, or all requests without one, while a request names it. */
typedef struct gen_clip {
    const lpo_clip_input *clip;   /* NULL: no video */
    int n_queued, n_live, n_held; /* held: answered, and more may follow */
    gen_prefix kept;              /* of a finished request, for those to come */
    void *rows; /* its encoding [n_rows, d_model] of the model's dtype, or NULL: not computed, or dropped */
    int64_t n_rows;
    int64_t base;  /* of its rows among this pass's video rows */
    uint64_t used; /* when last: the pass's number */
    struct gen_clip *next;
} gen_clip;

typedef struct gen_live {
    struct gen_live *next; /* in the queue, or among the answered */
    uint64_t user;
    gen_clip *clip;
    lpo_gen_options o;
    lpo_token_fn *fn;
    void *fn_user;
    lpo_rng rng;
    gen_prefix p;
    const gen_prefix *donor; /* whose first `shared` rows it waits for, or NULL */
    int32_t shared;
    int32_t run, room;                 /* where its pads begin, or -1; rows it may need */
    int32_t *pos;                      /* [3 n_ids] until the prompt is computed */
    int32_t next_pos, last_id, n_feed; /* n_feed: rows in this pass */
    bool more, over;
    int32_t drawn;    /* of this pass, */
    float drawn_logp; /* and its log-probability */
    lpo_gen_seq out;
    int cap; /* room in out's arrays */
} gen_live;

typedef struct gen_list {
    gen_live *first, *last;
    int n;
} gen_list;

/* The rows of a pass as the model wants them. */
typedef struct gen_inputs {
    int32_t n_rows, n_seqs, n_out; /* n_out: rows whose next token is drawn */
    int64_t n_video;
    int32_t *ids, *pos, *cu, *slot, *past, *row, *mix;
    float *cos, *sin;
    void *video; /* [n_video, d_model] */
} gen_inputs;

/* The recorded pass, reused while all it does is one text row for each of as many sequences. */
typedef struct gen_step {
    int32_t n; /* sequences; 0: not reusable */
    lpo_val ids, cos, sin, slot, past, logits;
} gen_step;

struct lpo_generator {
    lpo_model *m;
    lpo_generator_options o;
    lpo_kv kv;
    gen_list queue, answered;
    gen_clip *held;     /* of the answer handed back last, or NULL */
    gen_live **live;    /* [max_seqs], in the order they came */
    gen_live **drawing; /* [max_seqs], those of this pass's logits */
    int n_live;
    gen_clip *clips;
    size_t rows_bytes; /* of all encodings */
    lpo_tape *tape;
    lpo_arena *arena; /* of one pass */
    gen_step step;
    float *logits; /* [cap_logits, vocab] */
    int32_t cap_logits;
    uint64_t pass;
    lpo_candidate *work; /* [n_work, vocab]: of a thread that draws */
    int n_work;
    lpo_generator_stats stats;
};

/* The model over what is due: one row of each sequence that decodes, as many prompt rows as fit a pass.
 * g->logits [n_out] in the order of g->live. Sets n_feed, not done. */
lpo_status gen_pass(lpo_generator *g, lpo_error *err);
#endif
