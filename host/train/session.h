/* SPDX-License-Identifier: Apache-2.0 */
/* session.h -- a model folder opened for use: the model on its devices and the recipe that feeds it. What
 * score, eval, generate and pair sampling share. */
#ifndef LPO_TRAIN_SESSION_H
#define LPO_TRAIN_SESSION_H
#include "data/loader.h"
#include "device/fpga/fpga.h"
#include "model/generate.h"
#include "train/place.h"
#include "train/stop.h"

typedef struct lpo_session {
    lpo_model *model;
    lpo_model_info info;
    lpo_recipe recipe;
    int n_threads;
    lpo_fpga *card[LPO_N_STAGES]; /* of a stage placed on one, else NULL; stages on one device share it */
    lpo_prep_engine *prep_engine; /* recipe.prep's, when preprocess is not on the CPU */
    struct lpo_reducer *reducer;  /* train/reduce.h, when reduce is not on the CPU */
} lpo_session;

/* adapter: a folder of LoRA adapters for the model, or NULL (model_dir may be one itself). place: as
 * lpo_place_parse reads it; what it leaves open is on the CPU. clips: NULL = as the folder says. n_threads
 * 0 = all cores. */
lpo_status lpo_session_open(lpo_session *out, const char *model_dir, const char *adapter, const char *place,
                            const char *dtype, const char *chat_template, const lpo_clip_options *clips,
                            int n_threads, lpo_error *err);
void lpo_session_close(lpo_session *s); /* a zeroed one is fine */
/* The model from now on, the session's own: the same folder's, on another device. */
void lpo_session_move(lpo_session *s, lpo_model *m);

/* One question about one clip. */
typedef struct lpo_ask {
    const char *question;
    const lpo_clip *clip; /* NULL: no video. Equal pointers are encoded once */
    uint64_t
        stream; /* names the random stream: the answer depends on (question, clip, options, stream) alone */
    lpo_stops stops; /* end the answer; it ends before them. seqs keep their tokens */
} lpo_ask;

/* Answers (malloc'd text, special tokens left out), n of them. seqs[n] may be NULL; when given, free each
 * with lpo_gen_seq_clear. */
lpo_status lpo_session_answer(char **answers, lpo_gen_seq *seqs, lpo_session *s, const lpo_ask *asks, int n,
                              const lpo_gen_options *o, lpo_token_fn *fn, void *user, lpo_error *err);
#endif
