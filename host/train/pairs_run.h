/* SPDX-License-Identifier: Apache-2.0 */
/* pairs_run.h -- what the files of the pairs pipeline share.
 * Lines go through in blocks of PAIRS_BLOCK. Several blocks are under way at a time: the videos of the newest
 * are being decoded, the answers of the middle ones generated, the oldest judged, scored and written. A
 * block is also what is scored in one go, so that no number depends on how lines happened to meet. */
#ifndef LPO_TRAIN_PAIRS_RUN_H
#define LPO_TRAIN_PAIRS_RUN_H
#include "align/trust.h"
#include "data/record.h"
#include "leanpo/pairs.h"
#include "model/generator.h"
#include "train/engine.h"
#include "train/judge.h"
#include "train/pairs_views.h"
#include "train/partial.h"
#include "train/prompts.h"
#include "train/session.h"

#include <pthread.h>

enum { PAIRS_BLOCK = 16, PAIRS_JUDGED = 8 }; /* lines; blocks judged at a time, at most */
#define PAIRS_TAKEN_BYTES                                                                                    \
    ((size_t)4 << 30) /* of views under way: beyond, no more is begun or decoded ahead */
typedef enum pairs_role { PAIRS_DRAFT, PAIRS_WINNER, PAIRS_LOSER, PAIRS_ROLES } pairs_role;
typedef enum pairs_fate {
    PAIRS_KEPT,
    PAIRS_GAP,
    PAIRS_IDENTICAL,
    PAIRS_EMPTY,
    PAIRS_JUDGE,
    PAIRS_BAD
} pairs_fate;

typedef struct pairs_item {
    lpo_record rec;     /* its json is the item's */
    const char *truth;  /* the answer */
    const char *reason; /* not NULL: the line is unusable, and why; block's arena */
    lpo_views *views;
    bool started;
    int n_open;              /* answers not there yet */
    char *text[PAIRS_ROLES]; /* malloc'd; NULL: not asked for */
    double trust[PAIRS_ROLES], reward[PAIRS_ROLES], grounding;
    pairs_fate fate;
} pairs_item;

typedef struct pairs_block {
    pairs_item item[PAIRS_BLOCK];
    int n, n_started;
    lpo_arena *arena, *judge_arena;
    int64_t end_offset, end_line; /* of the data file, after its last line */
    bool judged;                  /* trust is there; under the run's lock */
} pairs_block;

/* What has been written and agreed to; all of it survives a kill. */
typedef struct pairs_counts {
    int64_t n_lines, n_parsed; /* all; those that are questions, whatever their videos */
    int64_t n_questions, n_pairs, n_bad, n_dropped[PAIRS_BAD];
    double trust[PAIRS_ROLES], reward[PAIRS_ROLES], grounding; /* sums over the pairs */
    lpo_judge_counts judge;
} pairs_counts;

typedef struct pairs_run {
    const lpo_pairs_options *o;
    lpo_session session;
    lpo_prompts prompts;
    lpo_view_choice augment;
    bool augmented;
    lpo_trust_fn *trust; /* NULL: the judge's */
    lpo_judge *judge;
    lpo_record_reader *reader;
    lpo_record_census census;
    lpo_view_store *views;
    lpo_generator *gen;
    lpo_engine engine;
    lpo_partial_options output;
    lpo_partial *partial;
    json_t *options;               /* its identity */
    pairs_counts counts;           /* of what is written */
    lpo_judge_counts judge_before; /* of earlier processes, as is the next */
    int64_t questions_before;
    int64_t written_offset, written_line; /* of the data file: what the output covers */
    int64_t n_new_tokens, n_decoded;      /* by this process, once the model is closed */
    double wait_videos_s, wait_judge_s;
    double start_s;
    bool told;        /* how the first questions fared, if badly */
    bool same_folder; /* paths in the output may stay as the data file has them */
    /* blocks under way, oldest first */
    pairs_block *ring;
    int depth, first, n_blocks;
    int64_t n_read;        /* usable lines read, of this and earlier processes */
    bool at_end, complete; /* nothing left to read; everything written */
    /* the judge's thread */
    pthread_mutex_t
        lock; /* guards judged, to_judge, judge_*, and the ring's ends while the judge reads them */
    pairs_block *to_judge[PAIRS_JUDGED]; /* those it works on */
    int n_to_judge;
    bool judge_stop;
    pthread_cond_t changed;
    lpo_status judge_status;
    lpo_error judge_err;
} pairs_run;

static inline pairs_block *pairs_block_at(pairs_run *r, int i) {
    return &r->ring[(r->first + i) % r->depth];
}

/* pairs_answer.c: lines in, answers out. */
lpo_status pairs_read_blocks(pairs_run *r, lpo_error *err);
lpo_status pairs_start_items(pairs_run *r, lpo_error *err);
lpo_status pairs_take_answer(pairs_run *r, lpo_error *err);
bool pairs_block_answered(const pairs_block *b);
void pairs_block_clear(pairs_run *r, pairs_block *b);
/* Marks the line as unusable; what is under way for it is waited for. */
void pairs_item_reject(pairs_block *b, pairs_item *it, const char *reason);

/* pairs_score.c: trust, fates, rewards. */
/* Any thread, one at a time. */
lpo_status pairs_trust(pairs_run *r, pairs_block *const *b, int n, lpo_error *err);
lpo_status pairs_score(pairs_run *r, pairs_block *b, lpo_error *err);

/* pairs_files.c: what a line leaves in the output. */
lpo_status pairs_files_open(pairs_run *r, bool *finished, lpo_error *err);
lpo_status pairs_files_put(pairs_run *r, const pairs_block *b, lpo_error *err);
lpo_status pairs_files_commit(pairs_run *r, lpo_error *err);
lpo_status pairs_files_commit_due(pairs_run *r, lpo_error *err); /* when it costs little */
/* All is written: summary and renames, or the word that nothing was kept. */
lpo_status pairs_files_finish(lpo_pairs_result *out, pairs_run *r, lpo_error *err);
void pairs_files_close(pairs_run *r);
#endif
