/* SPDX-License-Identifier: Apache-2.0 */
/* rounds.h -- train --rounds N: pairs from the policy, the policy from the pairs, N times over. */
#ifndef LPO_CLI_ROUNDS_H
#define LPO_CLI_ROUNDS_H
#include "cli.h"
#include "leanpo/pairs.h"
#include "leanpo/train.h"

typedef struct cli_rounds {
    int n;               /* 0: train once on the data as it is */
    lpo_pairs_options o; /* what --pairs-... says */
} cli_rounds;

cli_rounds cli_rounds_default(void);
/* The rows of train's option table that belong to rounds. */
#define CLI_ROUNDS_OPTIONS(r)                                                                                \
    {"rounds", CLI_INT, &(r).n, "N",                                                                         \
     "data are questions: make pairs with the policy, train on them, N times over (OUT/round-K)"},           \
        {"pairs-augment", CLI_STR, &(r).o.augment, "SPEC",                                                   \
         "these are leanpo pairs' options without pairs-"},                                                  \
        {"pairs-templates", CLI_STR, &(r).o.templates, "DIR", ""},                                           \
        {"pairs-trust", CLI_STR, &(r).o.trust, "T", ""},                                                     \
        {"pairs-judge-cmd", CLI_STR, &(r).o.judge_cmd, "CMD", ""},                                           \
        {"pairs-judge-url", CLI_STR, &(r).o.judge_url, "URL", ""},                                           \
        {"pairs-judge-model", CLI_STR, &(r).o.judge_model, "NAME", ""},                                      \
        {"pairs-judge-key-env", CLI_STR, &(r).o.judge_key_env, "VAR", ""},                                   \
        {"pairs-judge-budget", CLI_I64, &(r).o.judge_budget, "N", "of each round"},                          \
        {"pairs-min-gap", CLI_REAL, &(r).o.min_gap, "X", ""},                                                \
        {"pairs-max-tokens", CLI_INT, &(r).o.max_tokens, "N", ""},                                           \
        {"pairs-batch-size", CLI_INT, &(r).o.batch_size, "N", ""}, {                                         \
        "pairs-limit", CLI_I64, &(r).o.limit, "N", ""                                                        \
    }

/* o: train's options, its data a set of questions, its model the first policy. Each round's folder holds
 * pairs.jsonl and a run; the last checkpoint of one round is the policy of the next, and stays.
 * OUT/rounds.json is the table printed. With --resume finished rounds are not done again. Returns an exit
 * code. */
int cli_rounds_run(const cli_rounds *r, lpo_train_options *o, int resume, int json);
#endif
