/* SPDX-License-Identifier: Apache-2.0 */
/* record_reader.c -- see record.h. */
#include "base/file.h"
#include "base/line_reader.h"
#include "data/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

enum { MAX_LINE_BYTES = 16 << 20 };

struct lpo_record_reader {
    lpo_line_reader *file;
    char *dir;
    int64_t lines;
    lpo_record_need need;
    XXH64_state_t *hash; /* of what is read, or NULL */
};

lpo_status lpo_record_reader_open(lpo_record_reader **out, const char *path, lpo_record_need need,
                                  lpo_error *err) {
    *out = NULL;
    lpo_record_reader *r = calloc(1, sizeof *r);
    if (!r) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    r->need = need;
    r->dir = lpo_path_dir(path);
    lpo_status s = r->dir ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    if (!s) s = lpo_line_reader_open(&r->file, path, MAX_LINE_BYTES, err);
    if (s) {
        lpo_record_reader_close(r);
        return s;
    }
    *out = r;
    return LPO_OK;
}

void lpo_record_reader_close(lpo_record_reader *r) {
    if (!r) return;
    lpo_line_reader_close(r->file);
    if (r->hash) XXH64_freeState(r->hash);
    free(r->dir);
    free(r);
}

void lpo_record_reader_tell(const lpo_record_reader *r, int64_t *offset_bytes, int64_t *lines) {
    *offset_bytes = lpo_line_reader_tell(r->file);
    *lines = r->lines;
}

lpo_status lpo_record_reader_seek(lpo_record_reader *r, int64_t offset_bytes, int64_t lines, lpo_error *err) {
    r->lines = lines;
    return lpo_line_reader_seek(r->file, offset_bytes, err);
}

/* The next line that is not blank. What a line has beyond the most is hashed by its length alone: the line is
 * no good whatever it says. */
static lpo_status next_text(lpo_line *line, lpo_record_reader *r, lpo_error *err) {
    lpo_status s;
    while (!(s = lpo_line_reader_next(line, r->file, err))) {
        r->lines++;
        if (r->hash) XXH64_update(r->hash, line->text, line->size_bytes);
        if (r->hash) XXH64_update(r->hash, &line->span_bytes, sizeof line->span_bytes);
        if (!lpo_text_blank(line->text) || strlen(line->text) != line->size_bytes) break;
    }
    return s;
}

lpo_status lpo_record_reader_next(lpo_record *out, const char **reason, lpo_record_reader *r,
                                  lpo_arena *arena, lpo_error *err) {
    *out = (lpo_record){0}; /* also at the end: nothing of the line before is left to be freed twice */
    lpo_line line;
    lpo_status s = next_text(&line, r, err);
    if (s) return s;
    lpo_error why;
    json_t *obj = NULL;
    *out = (lpo_record){.line = r->lines};
    if (line.too_long) {
        *reason = lpo_arena_printf(arena, "the line has %lld bytes, over the most of %d",
                                   (long long)line.span_bytes, MAX_LINE_BYTES);
        if (!*reason) *reason = "the line is too long";
    } else if (lpo_json_parse(&obj, line.text, line.size_bytes, NULL, &why)) {
        *reason = lpo_arena_strdup(arena, why.msg);
        if (!*reason) *reason = "out of memory";
    } else {
        *reason = lpo_record_parse(out, obj, arena, r->dir, r->need);
        if (*reason)
            json_decref(obj);
        else
            out->json = obj;
    }
    return LPO_OK;
}

/* Why the record's video cannot be read, in out, or NULL. Lines on one video often stand together: last is
 * where it was found before. */
static const char *missing(char out[256], char **last, const lpo_record *rec) {
    if (*last && !strcmp(*last, rec->video)) return NULL;
    if (access(rec->video, R_OK)) {
        snprintf(out, 256, "%s: %s", rec->video, strerror(errno));
        return out;
    }
    free(*last);
    *last = strdup(rec->video);
    return NULL;
}

static lpo_status count_all(lpo_record_census *out, lpo_record_reader *r, lpo_arena *arena, lpo_error *err) {
    lpo_record rec;
    const char *reason;
    char why[256], *last = NULL;
    lpo_status s;
    while (!(s = lpo_record_reader_next(&rec, &reason, r, arena, err))) {
        out->n_bad += reason != NULL;
        out->n_good += reason == NULL;
        if (!reason && (reason = missing(why, &last, &rec))) out->n_missing++;
        if (reason && !out->first_bad_line) {
            out->first_bad_line = rec.line;
            snprintf(out->first_bad, sizeof out->first_bad, "%s", reason);
        }
        json_decref((json_t *)(uintptr_t)rec.json);
        lpo_arena_reset(arena);
    }
    free(last);
    out->size_bytes = lpo_line_reader_tell(r->file);
    out->hash = XXH64_digest(r->hash);
    return s == LPO_EEND ? LPO_OK : s;
}

lpo_status lpo_record_check_share(const lpo_record_census *c, const char *path, int64_t n_bad, double max_bad,
                                  int64_t line, const char *why, lpo_error *err) {
    const int64_t n = c->n_good + c->n_bad;
    if (!n_bad || (double)n_bad <= max_bad * (double)n) return LPO_OK;
    return lpo_fail(err, LPO_EFORMAT,
                    "%s: %lld of %lld lines are bad, over --max-bad %g; at line %lld: %s (mend the file, or "
                    "raise --max-bad)",
                    path, (long long)n_bad, (long long)n, max_bad, (long long)line, why);
}

static lpo_status check_usable(const lpo_record_census *c, const char *path, double max_bad, lpo_error *err) {
    const int64_t n_bad = c->n_bad + c->n_missing;
    if (c->n_good > c->n_missing)
        return lpo_record_check_share(c, path, n_bad, max_bad, c->first_bad_line, c->first_bad, err);
    if (!n_bad)
        return lpo_fail(err, LPO_EFORMAT, "%s: it holds nothing; expected one JSON object a line", path);
    return lpo_fail(err, LPO_EFORMAT, "%s: no usable line; line %lld: %s", path, (long long)c->first_bad_line,
                    c->first_bad);
}

lpo_status lpo_record_count(lpo_record_census *out, const char *path, lpo_record_need need, double max_bad,
                            lpo_error *err) {
    memset(out, 0, sizeof *out);
    lpo_record_reader *r;
    lpo_status s = lpo_record_reader_open(&r, path, need, err);
    if (s) return s;
    lpo_arena *arena = lpo_arena_create(1 << 16);
    r->hash = XXH64_createState();
    if (r->hash && arena) {
        XXH64_reset(r->hash, 0);
        s = count_all(out, r, arena, err);
    } else {
        s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    }
    lpo_arena_destroy(arena);
    lpo_record_reader_close(r);
    return s ? s : check_usable(out, path, max_bad, err);
}
