/* SPDX-License-Identifier: Apache-2.0 */
/* pairs.h -- preference pairs from plain video questions: phase 1 of LeanPO.
 * For a line (video V, question q, answer a) the model answers q on V with a in its prompt, rewrites that
 * answer after reflection (y_w), and answers q without a on an augmented view A(V) (y_l). Both are scored:
 * reward, the mean log-probability of the answer's tokens given V and q alone, and trust, the agreement with
 * a. The pair is kept when trust(y_w) exceeds trust(y_l) by more than min_gap. What a line yields depends on
 * (seed, line number) alone, not on batches, threads or interruptions. */
#ifndef LEANPO_PAIRS_H
#define LEANPO_PAIRS_H
#include "leanpo/prep.h"

#include <stdint.h>

typedef struct lpo_pairs_options {
    const char *model, *data, *out; /* folder, QA lines, pairs */
    const char *adapter;            /* folder of LoRA adapters for model, or NULL */
    const char *place, *dtype, *chat_template;
    lpo_clip_options clips;
    const char *templates; /* "plain" (default), "world" or a folder: prior.txt, reflection.txt, judge.txt */
    const char *augment;   /* lpo_augment_parse's language; "none": y_l is made on V */
    const char *trust;     /* "content_f1" (default), "token_f1", "chrf", "exact" */
    const char *judge_cmd; /* a shell command that scores instead: JSON lines in, JSON lines out */
    const char *judge_url; /* an OpenAI-compatible chat endpoint that scores instead */
    const char *judge_model, *judge_key_env; /* its model name; the environment variable with the key */
    double judge_timeout_s;                  /* for one reply; default 60 */
    int judge_retries;                       /* of one candidate after a bad reply or none; default 2 */
    int judge_parallel;                      /* candidates asked about at a time; default 4 */
    int64_t judge_budget;                    /* most calls of the whole run; 0: no limit */
    int no_prior, no_reflection;             /* leave a step out: a plain first answer; the draft is y_w */
    int max_tokens, batch_size, n_threads;   /* of an answer; answers generated together; 0: all cores */
    double temperature_chosen, temperature_rejected, top_p;
    int top_k;
    double min_gap, max_bad; /* max_bad: share of unusable lines above which the run stops */
    int64_t limit;           /* the first N usable lines; 0: all */
    uint64_t seed;
    int resume; /* go on with an interrupted run of the same options */
} lpo_pairs_options;

typedef struct lpo_judge_counts {
    int64_t calls, retries, timeouts, bad_replies, late_replies, restarts, failed;
} lpo_judge_counts;

typedef struct lpo_pairs_result {
    int64_t n_questions, n_pairs;                        /* usable lines; of those, kept */
    int64_t n_gap, n_identical, n_empty, n_judge, n_bad; /* dropped, by reason; n_bad: quarantined lines */
    int64_t n_decoded;                                   /* videos decoded by this process */
    double trust_chosen, trust_rejected;                 /* means over the pairs kept */
    double reward_chosen, reward_rejected, grounding;    /* NaN without an augmented view */
    double rho, rho_low, rho_high; /* Spearman, reward against trust, over all candidates of the run; 95% */
    int64_t n_candidates;
    lpo_judge_counts judge;
    double seconds, questions_per_s, tokens_per_s; /* of this process */
    double wait_videos, wait_judge;                /* shares of its seconds in which the model stood still */
} lpo_pairs_result;

LPO_API lpo_pairs_options lpo_pairs_options_default(void);

/* Writes `out` and beside it, with .jsonl left off: NAME.candidates.jsonl (every line's answers, scores and
 * what became of them), NAME.quarantine.jsonl (unusable lines and why) and NAME.summary.json. Until the end
 * they are in the folder out.partial, which survives any interruption; `out` appears last. LPO_EFORMAT when
 * every pair was filtered out: then the candidates are what is left. */
LPO_API lpo_status lpo_pairs(lpo_pairs_result *out, const lpo_pairs_options *o, lpo_progress_fn *progress,
                             void *user, lpo_error *err);

/* The plain templates as files to edit; files that exist are not overwritten (LPO_EINVAL). */
LPO_API lpo_status lpo_pairs_write_templates(const char *dir, lpo_error *err);
/* What the model is asked with the answer in sight (malloc'd): for a first answer, or, given that as `draft`,
 * for the rewritten one. templates as in the options. */
LPO_API lpo_status lpo_pairs_prompt(char **out, const char *templates, const char *question,
                                    const char *answer, const char *draft, lpo_error *err);
#endif
