/* SPDX-License-Identifier: Apache-2.0 */
/* pairs_files.c -- the output of a run that may be killed at any moment.
 * Everything is written into the folder OUT.partial: pairs.jsonl, candidates.jsonl and quarantine.jsonl grow
 * at their ends; state.json, replaced as a whole, says how many bytes of each count, which line comes next,
 * and what has been counted. A resumed run cuts the files to those sizes and goes on from that line; since a
 * line's answers depend on nothing before it, the bytes are those of an undisturbed run. When the last line
 * is in, state.json says so, and the files move to their places, OUT last: moving again what has moved
 * already is no harm. */
#include "base/clock.h"
#include "base/file.h"
#include "train/pairs_result.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAIRS, CANDIDATES, QUARANTINE, FILES };
static const char *const FILE_NAME[FILES] = {"pairs.jsonl", "candidates.jsonl", "quarantine.jsonl"};

struct pairs_files {
    char *dir, *state_path;
    char *part[FILES], *final[FILES], *summary;
    FILE *file[FILES];
    int64_t size[FILES];
    int lock_fd; /* of the folder; -1: not held */
    json_t *options;
    double committed_s, commit_cost_s; /* when the last commit ended, and how long it took */
};

static lpo_status no_memory(const pairs_run *r, lpo_error *err) {
    return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", r->o->out);
}

/* OUT without .jsonl, and a suffix. */
static char *beside(const char *out, const char *suffix) {
    size_t n = strlen(out);
    if (n > 6 && !strcmp(out + n - 6, ".jsonl")) n -= 6;
    char *path = NULL;
    return asprintf(&path, "%.*s%s", (int)n, out, suffix) < 0 ? NULL : path;
}

static lpo_status name_files(pairs_files *f, const pairs_run *r, lpo_error *err) {
    const char *out = r->o->out;
    if (asprintf(&f->dir, "%s.partial", out) < 0) f->dir = NULL;
    if (!f->dir) return no_memory(r, err);
    f->state_path = lpo_path_join(f->dir, "state.json");
    for (int i = 0; i < FILES; i++) f->part[i] = lpo_path_join(f->dir, FILE_NAME[i]);
    f->final[PAIRS] = strdup(out);
    f->final[CANDIDATES] = beside(out, ".candidates.jsonl");
    f->final[QUARANTINE] = beside(out, ".quarantine.jsonl");
    f->summary = beside(out, ".summary.json");
    bool ok = f->state_path && f->summary;
    for (int i = 0; i < FILES; i++) ok = ok && f->part[i] && f->final[i];
    return ok ? LPO_OK : no_memory(r, err);
}

void pairs_files_close(pairs_run *r) {
    pairs_files *f = r->files;
    if (!f) return;
    for (int i = 0; i < FILES; i++) {
        if (f->file[i]) fclose(f->file[i]);
        free(f->part[i]);
        free(f->final[i]);
    }
    free(f->summary);
    free(f->state_path);
    free(f->dir);
    if (f->lock_fd >= 0) close(f->lock_fd);
    json_decref(f->options);
    free(f);
    r->files = NULL;
}

lpo_status pairs_files_commit(pairs_run *r, lpo_error *err) {
    pairs_files *f = r->files;
    const double start_s = lpo_now_s();
    for (int i = 0; i < FILES; i++)
        if (f->file[i] && (fflush(f->file[i]) || fdatasync(fileno(f->file[i]))))
            return lpo_fail(err, LPO_EIO, "%s: cannot write it: %s", f->part[i], strerror(errno));
    json_t *o = json_pack("{sO so sI sI s[III] sb}", "options", f->options, "counts",
                          pairs_counts_to_json(&r->counts), "offset", (json_int_t)r->written_offset, "line",
                          (json_int_t)r->written_line, "sizes", (json_int_t)f->size[0],
                          (json_int_t)f->size[1], (json_int_t)f->size[2], "complete", r->complete);
    lpo_status s = o ? lpo_json_save(o, f->state_path, err) : no_memory(r, err);
    json_decref(o);
    f->committed_s = lpo_now_s();
    f->commit_cost_s = f->committed_s - start_s;
    return s;
}

/* The state of an interrupted run, if there is one that got as far as having a state. */
static lpo_status read_state(pairs_run *r, bool *complete, lpo_error *err) {
    pairs_files *f = r->files;
    json_t *o = NULL;
    int64_t offset, line;
    lpo_status s = lpo_json_load(&o, f->state_path, (size_t)16 << 20, err);
    if (!s) s = pairs_options_compare(json_object_get(o, "options"), f->options, f->dir, err);
    if (!s) s = lpo_json_int(&offset, o, "offset", 0, r->census.size_bytes, f->state_path, err);
    if (!s) s = lpo_json_int(&line, o, "line", 0, INT64_MAX, f->state_path, err);
    if (!s) s = pairs_counts_from_json(&r->counts, json_object_get(o, "counts"), f->state_path, err);
    for (int i = 0; i < FILES && !s; i++) {
        f->size[i] = json_integer_value(json_array_get(json_object_get(o, "sizes"), (size_t)i));
        struct stat st;
        const bool moved = json_is_true(json_object_get(o, "complete")) && stat(f->part[i], &st);
        if (!moved && (stat(f->part[i], &st) || st.st_size < f->size[i]))
            s = lpo_fail(err, LPO_EFORMAT,
                         "%s: shorter than the %lld bytes state.json counts; remove %s to begin anew",
                         f->part[i], (long long)f->size[i], f->dir);
        else if (!moved && truncate(f->part[i], (off_t)f->size[i]))
            s = lpo_fail(err, LPO_EIO, "%s: cannot shorten it: %s", f->part[i], strerror(errno));
    }
    *complete = json_is_true(json_object_get(o, "complete"));
    json_decref(o);
    if (!s) s = lpo_record_reader_seek(r->reader, offset, line, err);
    r->n_read = r->counts.n_parsed;
    return s;
}

/* The folder, held by this process alone until it ends, however it ends. */
static lpo_status lock_folder(pairs_files *f, lpo_error *err) {
    if (f->lock_fd >= 0) return LPO_OK;
    f->lock_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->lock_fd < 0) return lpo_fail(err, LPO_EIO, "%s: cannot open it: %s", f->dir, strerror(errno));
    if (flock(f->lock_fd, LOCK_EX | LOCK_NB))
        return lpo_fail(err, LPO_EINVAL, "%s: another leanpo pairs is at work there", f->dir);
    return LPO_OK;
}

lpo_status pairs_files_open(pairs_run *r, bool *finished, lpo_error *err) {
    pairs_files *f = r->files = calloc(1, sizeof *f);
    if (!f) return no_memory(r, err);
    f->lock_fd = -1;
    lpo_status s = name_files(f, r, err);
    if (!s) s = pairs_options_to_json(&f->options, r, err);
    if (s) return s;
    *finished = false;
    if (lpo_path_exists(f->dir) && !r->o->resume)
        return lpo_fail(
            err, LPO_EINVAL,
            "%s: an interrupted run is here: --resume goes on with it; remove the folder to begin anew",
            f->dir);
    if (lpo_path_exists(f->dir) && (s = lock_folder(f, err))) return s;
    if (lpo_path_exists(f->state_path)) {
        s = read_state(r, finished, err);
        if (s || *finished) return s;
    } else if (r->o->resume && lpo_path_exists(f->final[PAIRS]) && !lpo_path_exists(f->dir)) {
        *finished = true;
        return pairs_summary_read(r, f->summary, f->options, err);
    }
    s = lpo_dir_create(f->dir, err);
    if (!s) s = lock_folder(f, err);
    for (int i = 0; i < FILES && !s; i++) {
        /* Without a state nothing in the folder counts. */
        f->file[i] = fopen(f->part[i], f->size[i] ? "ae" : "we");
        if (!f->file[i]) s = lpo_fail(err, LPO_EIO, "%s: cannot open it: %s", f->part[i], strerror(errno));
    }
    if (s) return s;
    lpo_record_reader_tell(r->reader, &r->written_offset, &r->written_line);
    return pairs_files_commit(r, err);
}

/* Takes o. */
static lpo_status put_line(pairs_run *r, int file, json_t *o, lpo_error *err) {
    pairs_files *f = r->files;
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(o);
    if (!text) return no_memory(r, err);
    const size_t n = strlen(text);
    text[n] = '\n'; /* in place of the final zero */
    const bool ok = fwrite(text, 1, n + 1, f->file[file]) == n + 1;
    free(text);
    f->size[file] += (int64_t)n + 1;
    return ok ? LPO_OK : lpo_fail(err, LPO_EIO, "%s: cannot write it: %s", f->part[file], strerror(errno));
}

static json_t *real_or_null(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static void set_scores(json_t *o, const pairs_item *it) {
    json_object_set_new(o, "reward_chosen", json_real(it->reward[PAIRS_WINNER]));
    json_object_set_new(o, "reward_rejected", json_real(it->reward[PAIRS_LOSER]));
    json_object_set_new(o, "trust_chosen", real_or_null(it->trust[PAIRS_WINNER]));
    json_object_set_new(o, "trust_rejected", real_or_null(it->trust[PAIRS_LOSER]));
}

/* A path that means the same from the folder of the output. */
static json_t *video_path(const pairs_run *r, const pairs_item *it) {
    const json_t *written = json_object_get(it->rec.json, "video");
    if (r->same_folder) return json_incref((json_t *)(uintptr_t)written);
    char *real = realpath(it->rec.video, NULL);
    json_t *o = json_string(real ? real : it->rec.video);
    free(real);
    return o;
}

static lpo_status put_pair(pairs_run *r, const pairs_item *it, lpo_error *err) {
    json_t *o = json_copy((json_t *)(uintptr_t)it->rec.json);
    char spec[256] = "none";
    if (!o) return no_memory(r, err);
    if (r->augmented) lpo_augment_format(spec, sizeof spec, &it->views->augment);
    json_object_del(o, "question");
    if (!json_object_get(o, "id")) json_object_set_new(o, "id", json_string(it->rec.id));
    json_object_set_new(o, "video", video_path(r, it));
    json_object_set_new(o, "prompt", json_string(it->rec.prompt));
    json_object_set_new(o, "chosen", json_string(it->text[PAIRS_WINNER]));
    json_object_set_new(o, "rejected", json_string(it->text[PAIRS_LOSER]));
    set_scores(o, it);
    json_object_set_new(o, "augment", json_string(spec));
    if (r->augmented) json_object_set_new(o, "grounding", json_real(it->grounding));
    r->counts.n_pairs++;
    for (int k = PAIRS_WINNER; k <= PAIRS_LOSER; k++) {
        r->counts.trust[k] += it->trust[k];
        r->counts.reward[k] += it->reward[k];
    }
    r->counts.grounding += it->grounding;
    return put_line(r, PAIRS, o, err);
}

static lpo_status put_candidates(pairs_run *r, const pairs_item *it, lpo_error *err) {
    json_t *o = json_pack("{sI ss ss}", "line", (json_int_t)it->rec.line, "id", it->rec.id, "fate",
                          PAIRS_FATE_NAME[it->fate]);
    if (!o) return no_memory(r, err);
    static const char *const key[PAIRS_ROLES] = {"draft", "chosen", "rejected"};
    for (int k = 0; k < PAIRS_ROLES; k++)
        if (it->text[k]) json_object_set_new(o, key[k], json_string(it->text[k]));
    if (it->fate != PAIRS_EMPTY) set_scores(o, it);
    return put_line(r, CANDIDATES, o, err);
}

static lpo_status put_item(pairs_run *r, const pairs_item *it, lpo_error *err) {
    r->counts.n_lines++;
    r->counts.n_parsed += it->rec.json != NULL;
    if (it->fate == PAIRS_BAD) {
        r->counts.n_bad++;
        lpo_log(LPO_LOG_WARN, "%s:%lld: skipped: %s", r->o->data, (long long)it->rec.line, it->reason);
        return put_line(r, QUARANTINE,
                        json_pack("{ss sI ss ss*}", "file", r->o->data, "line", (json_int_t)it->rec.line,
                                  "reason", it->reason, "video", it->rec.video),
                        err);
    }
    r->counts.n_questions++;
    if (it->fate != PAIRS_KEPT) r->counts.n_dropped[it->fate]++;
    lpo_status s = put_candidates(r, it, err);
    return s || it->fate != PAIRS_KEPT ? s : put_pair(r, it, err);
}

lpo_status pairs_files_put(pairs_run *r, const pairs_block *b, lpo_error *err) {
    lpo_status s = LPO_OK;
    for (int i = 0; i < b->n && !s; i++) s = put_item(r, &b->item[i], err);
    if (s) return s;
    r->written_offset = b->end_offset;
    r->written_line = b->end_line;
    pairs_judge_counts(r);
    return LPO_OK;
}

/* Waiting for the disk may take a fiftieth of the time. */
lpo_status pairs_files_commit_due(pairs_run *r, lpo_error *err) {
    const pairs_files *f = r->files;
    return lpo_now_s() - f->committed_s > 50 * f->commit_cost_s ? pairs_files_commit(r, err) : LPO_OK;
}

static lpo_status nothing_kept(pairs_run *r, lpo_error *err) {
    const int64_t *d = r->counts.n_dropped;
    lpo_error ignored;
    lpo_dir_remove(r->files->dir, &ignored);
    return lpo_fail(
        err, LPO_EFORMAT,
        "%s: no pair is left of %lld questions: %lld with a trust gap of at most %g, %lld with winner and "
        "loser alike, %lld with an empty answer, %lld without the judge's score",
        r->o->data, (long long)r->counts.n_questions, (long long)d[PAIRS_GAP], r->o->min_gap,
        (long long)d[PAIRS_IDENTICAL], (long long)d[PAIRS_EMPTY], (long long)d[PAIRS_JUDGE]);
}

static lpo_status move(pairs_files *f, int i, lpo_error *err) {
    if (i == QUARANTINE && !f->size[i]) {
        unlink(f->final[i]);
        unlink(f->part[i]);
    }
    if (!lpo_path_exists(f->part[i])) return LPO_OK;
    if (rename(f->part[i], f->final[i]))
        return lpo_fail(err, LPO_EIO, "%s: cannot rename it to %s: %s", f->part[i], f->final[i],
                        strerror(errno));
    return LPO_OK;
}

lpo_status pairs_files_finish(lpo_pairs_result *out, pairs_run *r, lpo_error *err) {
    pairs_files *f = r->files;
    if (!r->counts.n_pairs) return nothing_kept(r, err);
    if (!lpo_path_exists(f->dir)) return pairs_result_fill(out, r, f->final[CANDIDATES], err);
    const char *candidates = f->part[CANDIDATES];
    if (!lpo_path_exists(candidates)) candidates = f->final[CANDIDATES];
    lpo_status s = pairs_result_fill(out, r, candidates, err);
    if (!s) s = pairs_summary_write(out, r, f->summary, f->options, err);
    static const int order[FILES] = {CANDIDATES, QUARANTINE, PAIRS};
    for (int i = 0; i < FILES && !s; i++) s = move(f, order[i], err);
    char *folder = lpo_path_dir(r->o->out);
    if (!s) s = folder ? lpo_dir_sync(folder, err) : no_memory(r, err);
    free(folder);
    return s ? s : lpo_dir_remove(f->dir, err);
}
