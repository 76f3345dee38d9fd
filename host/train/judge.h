/* SPDX-License-Identifier: Apache-2.0 */
/* judge.h -- an outside opinion on how far a candidate agrees with the reference answer, from 0 to 1.
 * A judge is a program or a server of somebody else: it hangs, lies, dies and answers late. Each of these is
 * charged to one question, which is asked again a few times and then goes without a score; only a judge that
 * has nothing usable to say any more ends the run. */
#ifndef LPO_TRAIN_JUDGE_H
#define LPO_TRAIN_JUDGE_H
#include "leanpo/pairs.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct lpo_judge_ask {
    const char *id, *question, *answer, *candidate;
    const char *prompt; /* the filled judge template (URL judges); borrowed like the rest */
    double score;       /* out: [0,1], or NaN: no usable reply */
} lpo_judge_ask;

typedef struct lpo_judge lpo_judge;

/* Uses the judge_* fields of o, which must outlive the judge; exactly one of judge_cmd and judge_url is set.
 * spent: calls already charged to the budget. Nothing is started or contacted yet. */
lpo_status lpo_judge_create(lpo_judge **out, const lpo_pairs_options *o, int64_t spent, lpo_error *err);
void lpo_judge_destroy(lpo_judge *j); /* ends the program; NULL accepted */
/* Fills the scores. One thread at a time. Fails when the judge is beyond use or the budget is spent. */
lpo_status lpo_judge_score(lpo_judge *j, lpo_judge_ask *asks, int n, lpo_error *err);
/* Any thread. A score under way ends soon, with LPO_ECANCELED, and so does every later one. */
void lpo_judge_cancel(lpo_judge *j);
/* Any thread. */
void lpo_judge_get_counts(lpo_judge_counts *out, lpo_judge *j);

/* ---- between judge.c and its two ways ---- */

/* A score a reply may carry; anything else is a bad reply. */
static inline int lpo_judge_valid(double x) {
    return x >= 0 && x <= 1;
}

/* Unusable replies in a row after which a judge is given up. */
enum { LPO_JUDGE_PATIENCE = 32, LPO_JUDGE_TICK_MS = 100 };

typedef struct lpo_judge_tally {
    atomic_llong calls, retries, timeouts, bad_replies, late_replies, restarts, failed;
    atomic_int bad_in_a_row;
    atomic_bool cancelled; /* looked at every LPO_JUDGE_TICK_MS */
    int64_t spent;
} lpo_judge_tally;

/* Takes one call from the budget; LPO_ELIMIT when it is spent, LPO_ECANCELED when cancelled. */
lpo_status lpo_judge_may_call(lpo_judge_tally *t, const lpo_pairs_options *o, lpo_error *err);
/* The beginning of what a judge said, on one line; cut, it ends in "...". */
void lpo_judge_quote(char *out, size_t cap, const char *text);

typedef struct lpo_judge_way {
    lpo_status (*open)(void **self, const lpo_pairs_options *o, lpo_judge_tally *t, lpo_error *err);
    void (*close)(void *self);
    lpo_status (*score)(void *self, lpo_judge_ask *asks, int n, lpo_error *err);
} lpo_judge_way;
extern const lpo_judge_way lpo_judge_command, lpo_judge_http;
#endif
