/* SPDX-License-Identifier: Apache-2.0 */
/* dataset.h -- JSONL sets of video questions and of preference pairs.
 * One object a line. QA: {"video","question","answer","id"?}. Pairs (TRL's form):
 * {"video","prompt","chosen","rejected"}, strings or conversational lists of {"role","content"} (the last
 * user / assistant content is taken). Video paths are relative to the file. Extra keys are kept: `json` is
 * the whole object. Bad lines are skipped, counted and written to the quarantine file with the reason. */
#ifndef LPO_DATA_DATASET_H
#define LPO_DATA_DATASET_H
#include "base/json.h"

#include <stdbool.h>

typedef struct lpo_record {
    const char *id;       /* "id", or the line number */
    const char *video;    /* resolved path, or NULL */
    const char *prompt;   /* user text */
    const char *chosen;   /* the answer (QA) or the preferred response */
    const char *rejected; /* NULL in a QA set */
    const json_t *json;   /* the line */
    int64_t line;         /* 1-based */
    int64_t index;        /* position among the good lines */
} lpo_record;

typedef struct lpo_dataset lpo_dataset;

typedef struct lpo_dataset_options {
    bool need_pairs;        /* refuse lines without "rejected" */
    double max_bad;         /* share of bad lines above which opening fails (default .01) */
    const char *quarantine; /* path, or NULL: bad lines are only counted and logged */
    int64_t max_line_bytes; /* default 16 MiB */
    int64_t limit;          /* first N good lines only; 0 = all */
} lpo_dataset_options;
lpo_dataset_options lpo_dataset_options_default(void);

lpo_status lpo_dataset_open(lpo_dataset **out, const char *path, const lpo_dataset_options *o,
                            lpo_error *err);
void lpo_dataset_close(lpo_dataset *d); /* NULL accepted */
int64_t lpo_dataset_count(const lpo_dataset *d);
int64_t lpo_dataset_bad(const lpo_dataset *d);
/* The reason of bad line i of those, in the order they were found; *line: its number. */
const char *lpo_dataset_bad_at(const lpo_dataset *d, int64_t i, int64_t *line);
const lpo_record *lpo_dataset_at(const lpo_dataset *d, int64_t i);
const char *lpo_dataset_path(const lpo_dataset *d);
/* Drop record i as bad (its video cannot be read...): counted, quarantined; indices of the others shift when
 * lpo_dataset_compact is called. */
lpo_status lpo_dataset_reject(lpo_dataset *d, int64_t i, const char *reason, lpo_error *err);
/* Apply the rejections; fails when the bad share is over max_bad, naming the first reason. */
lpo_status lpo_dataset_compact(lpo_dataset *d, lpo_error *err);
#endif
