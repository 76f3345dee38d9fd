/* SPDX-License-Identifier: Apache-2.0 */
/* train.h -- preference training (and SFT), scoring and evaluation of a model folder on a JSONL file. */
#ifndef LEANPO_TRAIN_H
#define LEANPO_TRAIN_H
#include "leanpo/prep.h"

#include <stddef.h>
#include <stdint.h>

/* A run's options are one table: name, type, default, help. --flags of the CLI, --config files and
 * RUN/config.json all read and write these names (TRL's where TRL has one). */
typedef struct lpo_train_options lpo_train_options;
typedef enum lpo_option_type { LPO_OPT_INT, LPO_OPT_REAL, LPO_OPT_STR, LPO_OPT_BOOL } lpo_option_type;
typedef struct lpo_option_info {
    const char *name;  /* "learning_rate"; the flag is --learning-rate */
    const char *alias; /* "lr", or NULL */
    lpo_option_type type;
    const char *fallback; /* default, as text */
    const char *help;     /* one line, with the unit */
} lpo_option_info;
LPO_API const lpo_option_info *lpo_train_option_at(int i); /* NULL after the last */

LPO_API lpo_train_options *lpo_train_options_create(void); /* NULL when out of memory */
LPO_API void lpo_train_options_destroy(lpo_train_options *o);
/* value as text; '-' and '_' in names are equal. Errors name the option, the value and what is allowed. */
LPO_API lpo_status lpo_train_options_set(lpo_train_options *o, const char *name, const char *value,
                                         lpo_error *err);
LPO_API lpo_status lpo_train_options_load(lpo_train_options *o, const char *config_json_path, lpo_error *err);
LPO_API const char *lpo_train_options_get(const lpo_train_options *o, const char *name);
/* The options frames, fps, min_pixels and max_pixels. */
LPO_API lpo_clip_options lpo_train_options_clips(const lpo_train_options *o);

typedef struct lpo_train_result {
    int64_t steps; /* optimizer steps done in all */
    double loss, eval_loss, reward_accuracy, reward_margin;
    double displacement_chosen,
        displacement_rejected;               /* change of mean log-probability per token since step 0 */
    double seconds, pairs_per_s, wait_share; /* share of the time spent waiting for data */
    int64_t fallbacks; /* times that `auto` gave a device up for the CPU, since the run began */
    char last_checkpoint[512];
} lpo_train_result;

/* Runs (or resumes) training into the run folder `out`. `cancel` is polled once a step: non-zero finishes the
 * step, writes a checkpoint and returns LPO_ECANCELED. Bit-exact resume; one machine, any thread count. */
LPO_API lpo_status lpo_train(lpo_train_result *out, const lpo_train_options *o, int (*cancel)(void *),
                             lpo_progress_fn *progress, void *user, lpo_error *err);

typedef struct lpo_score_options {
    const char *model, *data, *out; /* out: JSONL, the input lines plus logps_*, rewards_* and n_tokens */
    const char *adapter;            /* folder of LoRA adapters for model, or NULL */
    const char *place, *dtype, *chat_template;
    lpo_clip_options clips;
    int token_logps; /* add per-token lists */
    int batch_size, n_threads;
    int64_t limit;
    double beta; /* reward = beta * mean log-likelihood; default 1 */
} lpo_score_options;
typedef struct lpo_score_result {
    int64_t n, n_bad;
    double mean_logp_chosen, mean_logp_rejected, accuracy; /* per token; rejected and accuracy for pairs */
} lpo_score_result;
LPO_API lpo_score_options lpo_score_options_default(void);
LPO_API lpo_status lpo_score(lpo_score_result *out, const lpo_score_options *o, lpo_progress_fn *progress,
                             void *user, lpo_error *err);

typedef struct lpo_eval_options {
    const char *model, *data, *out; /* out: JSONL of answers, or NULL */
    const char *adapter;            /* folder of LoRA adapters for model, or NULL */
    const char *place, *dtype, *chat_template;
    lpo_clip_options clips;
    int max_tokens, batch_size, n_threads;
    int64_t limit;
    uint64_t seed;
    double temperature;
} lpo_eval_options;
enum { LPO_EVAL_MAX_TYPES = 32 };
typedef struct lpo_eval_result {
    int64_t n, n_bad;
    double accuracy; /* share of answers whose content words are those of the reference, none missing, none
                        beside */
    double exact_match, token_f1, content_f1;
    double mean_logp; /* of the reference answers: mean over records of the log-probability per token */
    int n_types;      /* by the record's "type" key */
    struct {
        char name[32];
        int64_t n;
        double accuracy, content_f1;
    } type[LPO_EVAL_MAX_TYPES];
    double seconds, tokens_per_s;
} lpo_eval_result;
LPO_API lpo_eval_options lpo_eval_options_default(void);
LPO_API lpo_status lpo_eval(lpo_eval_result *out, const lpo_eval_options *o, lpo_progress_fn *progress,
                            void *user, lpo_error *err);

typedef struct lpo_generate_options {
    const char *model;
    const char *adapter; /* folder of LoRA adapters for model, or NULL */
    const char *place, *dtype, *chat_template, *augment;
    lpo_clip_options clips;
    const char *const *stop; /* an answer ends before the first of these texts in it */
    int n_stop;
    int max_tokens, top_k, n_threads;
    double temperature, top_p;
    uint64_t seed;
    /* lpo_generate_text */
    const char *video, *prompt;
    /* lpo_generate_data */
    const char *data, *out;
    int n_samples;  /* answers to each line, 1..1024; default 1 */
    int batch_size; /* answers generated together; default 64 */
    double max_bad; /* share of unusable lines above which the run stops; default .01 */
    int64_t limit;  /* the first N usable lines; 0: all */
    int resume;     /* go on with an interrupted run of the same options */
} lpo_generate_options;
LPO_API lpo_generate_options lpo_generate_options_default(void);
/* One answer (malloc'd); `piece` gets the text as it comes (may be NULL). */
LPO_API lpo_status lpo_generate_text(char **answer, const lpo_generate_options *o,
                                     void (*piece)(void *user, const char *text), void *user, lpo_error *err);

typedef struct lpo_generate_result {
    int64_t n_lines, n_bad; /* answered; quarantined */
    int64_t n_answers, n_tokens;
    int64_t n_empty, n_cut; /* of the answers: nothing but white space; ended by max_tokens or the context */
    /* of this process */
    int64_t n_decoded, n_encoded; /* videos decoded; clips run through the tower */
    int64_t prompt_tokens, shared_tokens;
    double seconds, lines_per_s, tokens_per_s;
} lpo_generate_result;
/* Answers every line of `data` ({"video","question"} or {"video","prompt"}) into `out`: the line with
 * "completion" and "finish_reason" ("stop" or "length") added, or with "completions", a list, and a list of
 * reasons when n_samples is above 1. An answer depends on (seed, line number, sample) alone, not on batches,
 * threads or interruptions. Beside out, with .jsonl left off: NAME.quarantine.jsonl and NAME.summary.json;
 * until the end all is in the folder out.partial, which survives any interruption. *out_result is up to date
 * whenever progress is called. */
LPO_API lpo_status lpo_generate_data(lpo_generate_result *out_result, const lpo_generate_options *o,
                                     lpo_progress_fn *progress, void *user, lpo_error *err);
#endif
