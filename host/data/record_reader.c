/* SPDX-License-Identifier: Apache-2.0 */
/* record_reader.c -- see record.h. */
#include "base/file.h"
#include "data/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static const int64_t MAX_LINE_BYTES = (int64_t)16 << 20;

struct lpo_record_reader {
    FILE *file;
    char *path, *dir, *line;
    size_t cap;
    int64_t offset, lines;
    lpo_record_need need;
    XXH64_state_t *hash; /* of the bytes read, or NULL */
};

lpo_status lpo_record_reader_open(lpo_record_reader **out, const char *path, lpo_record_need need,
                                  lpo_error *err) {
    *out = NULL;
    lpo_record_reader *r = calloc(1, sizeof *r);
    if (!r) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    r->need = need;
    r->path = strdup(path);
    r->dir = lpo_path_dir(path);
    r->file = fopen(path, "re");
    lpo_status s = LPO_OK;
    if (!r->path || !r->dir)
        s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    else if (!r->file)
        s = lpo_fail(err, errno == ENOENT ? LPO_ENOTFOUND : LPO_EIO, "%s: cannot open it: %s", path,
                     strerror(errno));
    if (s) {
        lpo_record_reader_close(r);
        return s;
    }
    *out = r;
    return LPO_OK;
}

void lpo_record_reader_close(lpo_record_reader *r) {
    if (!r) return;
    if (r->file) fclose(r->file);
    if (r->hash) XXH64_freeState(r->hash);
    free(r->line);
    free(r->dir);
    free(r->path);
    free(r);
}

void lpo_record_reader_tell(const lpo_record_reader *r, int64_t *offset_bytes, int64_t *lines) {
    *offset_bytes = r->offset;
    *lines = r->lines;
}

lpo_status lpo_record_reader_seek(lpo_record_reader *r, int64_t offset_bytes, int64_t lines, lpo_error *err) {
    if (fseeko(r->file, (off_t)offset_bytes, SEEK_SET))
        return lpo_fail(err, LPO_EIO, "%s: cannot go to byte %lld: %s", r->path, (long long)offset_bytes,
                        strerror(errno));
    r->offset = offset_bytes;
    r->lines = lines;
    return LPO_OK;
}

static ssize_t next_text(lpo_record_reader *r) {
    for (ssize_t len; (len = getline(&r->line, &r->cap, r->file)) >= 0;) {
        r->offset += len;
        r->lines++;
        if (r->hash) XXH64_update(r->hash, r->line, (size_t)len);
        while (len > 0 && (r->line[len - 1] == '\n' || r->line[len - 1] == '\r')) len--;
        r->line[len] = 0;
        if (!lpo_text_blank(r->line) || strlen(r->line) != (size_t)len) return len;
    }
    return -1;
}

lpo_status lpo_record_reader_next(lpo_record *out, const char **reason, lpo_record_reader *r,
                                  lpo_arena *arena, lpo_error *err) {
    *out = (lpo_record){0}; /* also at the end: nothing of the line before is left to be freed twice */
    ssize_t len = next_text(r);
    if (len < 0 && ferror(r->file))
        return lpo_fail(err, LPO_EIO, "%s: cannot read it: %s", r->path, strerror(errno));
    if (len < 0) return LPO_EEND;
    lpo_error why;
    json_t *obj = NULL;
    *out = (lpo_record){.line = r->lines};
    if (len > MAX_LINE_BYTES) {
        *reason = "the line is too long";
    } else if (lpo_json_parse(&obj, r->line, (size_t)len, "the line", &why)) {
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

static lpo_status count_all(lpo_record_census *out, lpo_record_reader *r, lpo_arena *arena, lpo_error *err) {
    lpo_record rec;
    const char *reason;
    lpo_status s;
    while (!(s = lpo_record_reader_next(&rec, &reason, r, arena, err))) {
        if (!reason) {
            out->n_good++;
        } else if (out->n_bad++ == 0) {
            out->first_bad_line = rec.line;
            snprintf(out->first_bad, sizeof out->first_bad, "%s", reason);
        }
        json_decref((json_t *)(uintptr_t)rec.json);
        lpo_arena_reset(arena);
    }
    out->size_bytes = r->offset;
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
    if (c->n_good)
        return lpo_record_check_share(c, path, c->n_bad, max_bad, c->first_bad_line, c->first_bad, err);
    if (!c->n_bad) return lpo_fail(err, LPO_EFORMAT, "%s: no usable line", path);
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
