/* SPDX-License-Identifier: Apache-2.0 */
/* record.h -- one JSON line of a set as a record, and sets too long for memory read line by line. */
#ifndef LPO_DATA_RECORD_H
#define LPO_DATA_RECORD_H
#include "base/arena.h"
#include "data/dataset.h"

/* What a line must have beside its video. */
typedef enum lpo_record_need {
    LPO_NEED_ANSWER,  /* a question and its answer, or a pair */
    LPO_NEED_PAIR,    /* "rejected" too */
    LPO_NEED_QUESTION /* that alone; chosen and rejected stay NULL */
} lpo_record_need;

/* Fill r (all but json, line and index, which are set already) from obj, or return why it cannot be used.
 * Strings point into obj and the arena; relative video paths start at dir. */
const char *lpo_record_parse(lpo_record *r, const json_t *obj, lpo_arena *arena, const char *dir,
                             lpo_record_need need);
/* A new reference to "video" as a set elsewhere may say it: as it is when both lie in one folder, else the
 * whole path. */
json_t *lpo_record_video_from(const lpo_record *r, bool same_folder);
bool lpo_text_blank(const char *s); /* nothing but white space */

/* Lines one after another. One thread. */
typedef struct lpo_record_reader lpo_record_reader;
lpo_status lpo_record_reader_open(lpo_record_reader **out, const char *path, lpo_record_need need,
                                  lpo_error *err);
void lpo_record_reader_close(lpo_record_reader *r); /* NULL accepted */
/* The next line that is not blank: *reason NULL and r->json owned by the caller (json_decref), or *reason
 * says why it cannot be used (arena memory) and r->line which it is. LPO_EEND after the last. r->index is not
 * set. */
lpo_status lpo_record_reader_next(lpo_record *r, const char **reason, lpo_record_reader *from,
                                  lpo_arena *arena, lpo_error *err);
/* Where the next line begins, and how many lines came before: a place to go on from. */
void lpo_record_reader_tell(const lpo_record_reader *r, int64_t *offset_bytes, int64_t *lines);
lpo_status lpo_record_reader_seek(lpo_record_reader *r, int64_t offset_bytes, int64_t lines, lpo_error *err);

/* What a first look at the whole file finds; of a video only whether it is there. */
typedef struct lpo_record_census {
    int64_t n_good, n_bad; /* lines */
    int64_t n_missing;     /* of the good ones, those whose video is not there */
    int64_t size_bytes;
    uint64_t hash;          /* of the file */
    int64_t first_bad_line; /* or missing */
    char first_bad[256];
} lpo_record_census;
/* LPO_EFORMAT: no line is usable, or the share of bad and missing ones is over max_bad. */
lpo_status lpo_record_count(lpo_record_census *out, const char *path, lpo_record_need need, double max_bad,
                            lpo_error *err);
/* The same once n_bad lines have turned out bad, the last of them this one. */
lpo_status lpo_record_check_share(const lpo_record_census *c, const char *path, int64_t n_bad, double max_bad,
                                  int64_t line, const char *why, lpo_error *err);
#endif
