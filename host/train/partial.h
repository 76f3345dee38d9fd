/* SPDX-License-Identifier: Apache-2.0 */
/* partial.h -- JSONL files that a run writes together, line by line, and that a kill at any moment leaves
 * good for going on. They grow at their ends in the folder OUT.partial; state.json there, replaced as a
 * whole, says how many bytes of each count, which line of the data comes next, and what has been counted. A
 * resumed run cuts the files to those sizes and goes on from that line; when a line's output depends on
 * nothing before it, the bytes are those of an undisturbed run. Once state.json says that the last line is
 * in, the files move to their places, OUT last: moving again what has moved already is no harm. */
#ifndef LPO_TRAIN_PARTIAL_H
#define LPO_TRAIN_PARTIAL_H
#include "data/record.h"
#include "leanpo/prep.h"

typedef struct lpo_partial_file {
    const char *name;   /* in the folder: "pairs.jsonl" */
    const char *suffix; /* of its place beside OUT, after OUT's name without .jsonl; NULL: OUT itself */
    bool may_lack;      /* empty, it is not written at all */
} lpo_partial_file;
enum { LPO_PARTIAL_FILES = 4 };

typedef struct lpo_partial_options {
    const char *out, *command; /* "leanpo pairs" */
    const lpo_partial_file *files;
    int n_files;            /* the first is OUT */
    const json_t *identity; /* all that the bytes follow from; an interrupted run of another is refused */
    const char *data;       /* the file read: no output may take its place */
    int64_t data_bytes;     /* of it */
    bool resume;
    int digits; /* significant ones of a number, 1..17 */
} lpo_partial_options;

/* What has been written and agreed to. */
typedef struct lpo_partial_state {
    json_t *counts;       /* the caller's, to be dropped; NULL: a new run */
    int64_t offset, line; /* of the data file: what the output covers */
    bool complete;        /* all is written: lpo_partial_finish is what is left, if anything */
} lpo_partial_state;

typedef struct lpo_partial lpo_partial;
/* The options are borrowed. LPO_EINVAL: an interrupted run is there and resume is not given, its identity is
 * another, another process is at work on it, or OUT is no place for a file. */
lpo_status lpo_partial_open(lpo_partial **out, lpo_partial_state *state, const lpo_partial_options *o,
                            lpo_error *err);
/* What is not committed is forgotten; before the first line is, nothing is left behind. NULL accepted. */
void lpo_partial_close(lpo_partial *p);
/* Takes o. */
lpo_status lpo_partial_put(lpo_partial *p, int file, json_t *o, lpo_error *err);
/* A line of the data that is no good, with the reason: into that file, and the log. */
lpo_status lpo_partial_reject(lpo_partial *p, int file, const char *data, const lpo_record *rec,
                              const char *reason, lpo_error *err);
/* Takes counts. */
lpo_status lpo_partial_commit(lpo_partial *p, json_t *counts, int64_t offset, int64_t line, bool complete,
                              lpo_error *err);
bool lpo_partial_due(const lpo_partial *p);  /* a commit costs little now */
bool lpo_partial_gone(const lpo_partial *p); /* finished by an earlier process */
/* Where a file lies now. */
const char *lpo_partial_path(const lpo_partial *p, int file);
/* summary (borrowed; its "counts" and "options" are read back on a resume) goes to NAME.summary.json. */
lpo_status lpo_partial_finish(lpo_partial *p, const json_t *summary, lpo_error *err);
/* In place of finish, when the run failed: the other files move to their places, for who wants to see why,
 * and there is no OUT. */
lpo_status lpo_partial_fail(lpo_partial *p, lpo_error *err);

/* The part of an identity that every run over a data file has. Of place it is the backbone's device, whose
 * change is warned about, not refused: other devices sum in another order, so an answer drawn there may
 * differ, and a run whose device is gone can still be finished. The other stages give the same bits
 * everywhere. */
lpo_status lpo_partial_identity(json_t **out, const char *model, const char *adapter, const char *place,
                                const char *chat_template, const char *dtype, const lpo_clip_options *clips,
                                const lpo_record_census *data, lpo_error *err);
#endif
