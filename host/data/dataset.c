/* SPDX-License-Identifier: Apache-2.0 */
/* dataset.c -- see dataset.h. The file is read line by line; each good line's JSON object stays in memory and
 * the record's strings point into it (joined or resolved ones into an arena). The quarantine file is
 * rewritten whole, atomically, when opening and when compacting: it always lists every bad line of the set.
 */
#include "data/dataset.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/line_reader.h"
#include "data/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bad_line {
    int64_t line;
    const char *reason;
    const char *video; /* NULL when the line did not get that far */
} bad_line;

struct lpo_dataset {
    char *path, *dir;
    lpo_dataset_options opt;
    char *quarantine;
    lpo_record *rec;
    int64_t n, cap;
    unsigned char *rejected; /* by record, allocated on the first rejection */
    bad_line *bad;
    int64_t n_bad, cap_bad;
    lpo_arena *arena;
};

lpo_dataset_options lpo_dataset_options_default(void) {
    return (lpo_dataset_options){.max_bad = .01, .max_line_bytes = (int64_t)16 << 20};
}

static lpo_status no_memory(const lpo_dataset *d, lpo_error *err) {
    return lpo_fail(err, LPO_ENOMEM, "%s: out of memory while reading the set", d->path);
}

static lpo_status add_bad(lpo_dataset *d, int64_t line, const char *video, const char *reason,
                          lpo_error *err) {
    if (d->n_bad == d->cap_bad) {
        int64_t cap = d->cap_bad ? 2 * d->cap_bad : 16;
        bad_line *p = realloc(d->bad, (size_t)cap * sizeof *p);
        if (!p) return no_memory(d, err);
        d->bad = p;
        d->cap_bad = cap;
    }
    bad_line b = {line, lpo_arena_strdup(d->arena, reason), video ? lpo_arena_strdup(d->arena, video) : NULL};
    if (!b.reason || (video && !b.video)) return no_memory(d, err);
    d->bad[d->n_bad++] = b;
    lpo_log(LPO_LOG_WARN, "%s:%lld: skipped: %s", d->path, (long long)line, reason);
    return LPO_OK;
}

static lpo_status write_quarantine(lpo_dataset *d, lpo_error *err) {
    if (!d->quarantine || (d->n_bad == 0 && !lpo_path_exists(d->quarantine))) return LPO_OK;
    lpo_writer *w;
    lpo_status s = lpo_writer_open(&w, d->quarantine, err);
    if (s) return s;
    for (int64_t i = 0; i < d->n_bad && !s; i++) {
        json_t *o = json_pack("{ss sI ss ss*}", "file", d->path, "line", (json_int_t)d->bad[i].line, "reason",
                              d->bad[i].reason, "video", d->bad[i].video);
        char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
        s = text ? lpo_writer_printf(w, err, "%s\n", text) : no_memory(d, err);
        free(text);
        json_decref(o);
    }
    if (s) {
        lpo_writer_abort(w);
        return s;
    }
    return lpo_writer_commit(w, err);
}

static lpo_status check_share(const lpo_dataset *d, lpo_error *err) {
    if (d->n_bad > 0 && (double)d->n_bad > d->opt.max_bad * (double)(d->n + d->n_bad))
        return lpo_fail(err, LPO_EFORMAT,
                        "%s: %lld of %lld lines are bad, over --max-bad %g; the first is line %lld: %s (mend "
                        "the file, or "
                        "raise --max-bad)",
                        d->path, (long long)d->n_bad, (long long)(d->n + d->n_bad), d->opt.max_bad,
                        (long long)d->bad[0].line, d->bad[0].reason);
    if (d->n == 0) return lpo_fail(err, LPO_EFORMAT, "%s: no usable line", d->path);
    return LPO_OK;
}

static lpo_status add_line(lpo_dataset *d, const lpo_line *l, int64_t line, lpo_error *err) {
    lpo_error why;
    json_t *obj = NULL;
    if (l->too_long) return add_bad(d, line, NULL, "the line is too long", err);
    if (lpo_json_parse(&obj, l->text, l->size_bytes, NULL, &why)) return add_bad(d, line, NULL, why.msg, err);
    lpo_record r = {.json = obj, .line = line, .index = d->n};
    const char *reason =
        lpo_record_parse(&r, obj, d->arena, d->dir, d->opt.need_pairs ? LPO_NEED_PAIR : LPO_NEED_ANSWER);
    if (reason) {
        lpo_status s = add_bad(d, line, json_string_value(json_object_get(obj, "video")), reason, err);
        json_decref(obj);
        return s;
    }
    if (d->n == d->cap) {
        int64_t cap = d->cap ? 2 * d->cap : 1024;
        lpo_record *p = realloc(d->rec, (size_t)cap * sizeof *p);
        if (!p) {
            json_decref(obj);
            return no_memory(d, err);
        }
        d->rec = p;
        d->cap = cap;
    }
    d->rec[d->n++] = r;
    return LPO_OK;
}

static lpo_status read_lines(lpo_dataset *d, lpo_error *err) {
    lpo_line_reader *f;
    lpo_line line;
    lpo_status s = lpo_line_reader_open(&f, d->path, (size_t)d->opt.max_line_bytes, err);
    if (s) return s;
    for (int64_t no = 1; !s && !(s = lpo_line_reader_next(&line, f, err)); no++) {
        if (lpo_text_blank(line.text) && strlen(line.text) == line.size_bytes) continue;
        s = add_line(d, &line, no, err);
        if (d->opt.limit > 0 && d->n >= d->opt.limit) break;
    }
    lpo_line_reader_close(f);
    return s == LPO_EEND ? LPO_OK : s;
}

lpo_status lpo_dataset_open(lpo_dataset **out, const char *path, const lpo_dataset_options *o,
                            lpo_error *err) {
    *out = NULL;
    lpo_dataset *d = calloc(1, sizeof *d);
    if (!d) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    d->opt = o ? *o : lpo_dataset_options_default();
    d->path = strdup(path);
    d->dir = lpo_path_dir(path);
    d->quarantine = d->opt.quarantine ? strdup(d->opt.quarantine) : NULL;
    d->arena = lpo_arena_create((size_t)256 << 10);
    lpo_status s = LPO_OK;
    if (!d->path || !d->dir || !d->arena || (d->opt.quarantine && !d->quarantine))
        s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    if (!s) s = read_lines(d, err);
    if (!s) s = write_quarantine(d, err);
    if (!s) s = check_share(d, err);
    if (s) {
        lpo_dataset_close(d);
        return s;
    }
    *out = d;
    return LPO_OK;
}

void lpo_dataset_close(lpo_dataset *d) {
    if (!d) return;
    for (int64_t i = 0; i < d->n; i++) json_decref((json_t *)(uintptr_t)d->rec[i].json);
    lpo_arena_destroy(d->arena);
    free(d->rejected);
    free(d->bad);
    free(d->rec);
    free(d->quarantine);
    free(d->dir);
    free(d->path);
    free(d);
}

int64_t lpo_dataset_count(const lpo_dataset *d) {
    return d->n;
}
int64_t lpo_dataset_bad(const lpo_dataset *d) {
    return d->n_bad;
}
const char *lpo_dataset_bad_at(const lpo_dataset *d, int64_t i, int64_t *line) {
    *line = d->bad[i].line;
    return d->bad[i].reason;
}
const lpo_record *lpo_dataset_at(const lpo_dataset *d, int64_t i) {
    return &d->rec[i];
}
const char *lpo_dataset_path(const lpo_dataset *d) {
    return d->path;
}

lpo_status lpo_dataset_reject(lpo_dataset *d, int64_t i, const char *reason, lpo_error *err) {
    if (!d->rejected && !(d->rejected = calloc((size_t)d->n, 1))) return no_memory(d, err);
    if (d->rejected[i]) return LPO_OK;
    d->rejected[i] = 1;
    return add_bad(d, d->rec[i].line, d->rec[i].video, reason, err);
}

lpo_status lpo_dataset_compact(lpo_dataset *d, lpo_error *err) {
    if (!d->rejected) return LPO_OK;
    int64_t k = 0;
    for (int64_t i = 0; i < d->n; i++) {
        if (d->rejected[i]) {
            json_decref((json_t *)(uintptr_t)d->rec[i].json);
        } else {
            d->rec[k] = d->rec[i];
            d->rec[k].index = k;
            k++;
        }
    }
    d->n = k;
    free(d->rejected);
    d->rejected = NULL;
    lpo_status s = write_quarantine(d, err);
    return s ? s : check_share(d, err);
}
