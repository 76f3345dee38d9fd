/* SPDX-License-Identifier: Apache-2.0 */
/* session.h -- a model folder opened for use: the model on its devices and the recipe that feeds it. What
 * score, eval, generate and pair sampling share. */
#ifndef LPO_TRAIN_SESSION_H
#define LPO_TRAIN_SESSION_H
#include "data/loader.h"
#include "device/fpga/fpga.h"
#include "model/generate.h"
#include "train/stop.h"

typedef struct lpo_session {
    lpo_model *model;
    lpo_model_info info;
    lpo_recipe recipe;
    int n_threads;
    lpo_fpga *fpga; /* the card of the stages placed on one, NULL when there are none; both share it */
    bool fpga_preprocess, fpga_reduce;
    lpo_prep_engine *prep_engine; /* recipe.prep's, when fpga_preprocess */
} lpo_session;

/* adapter: a folder of LoRA adapters for the model, or NULL (model_dir may be one itself). place: the whole
 * --place string ("backbone=cpu,preprocess=cpu" or one device name) or NULL; n_threads 0 =
 * all cores. */
lpo_status lpo_session_open(lpo_session *out, const char *model_dir, const char *adapter, const char *place,
                            const char *dtype, const char *chat_template, int n_threads, lpo_error *err);
void lpo_session_close(lpo_session *s); /* a zeroed one is fine */

/* The device list of one stage in a --place string: "backbone=cpu,reduce=fpga" -> "cpu"; a bare name serves
 * every stage; absent: "cpu". A stage or device nobody knows is LPO_EINVAL. out has room for 64 bytes. */
lpo_status lpo_place_stage(char out[64], const char *place, const char *stage, lpo_error *err);

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
