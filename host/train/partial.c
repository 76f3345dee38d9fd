/* SPDX-License-Identifier: Apache-2.0 */
/* partial.c -- see partial.h. */
#include "train/partial.h"

#include "base/clock.h"
#include "base/file.h"
#include "train/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static const size_t MAX_STATE_BYTES = (size_t)16 << 20;
static const char BACKBONE[] = "backbone"; /* a key of identities */

struct lpo_partial {
    const lpo_partial_options *o;
    char *dir, *state_path, *summary;
    char *part[LPO_PARTIAL_FILES], *final[LPO_PARTIAL_FILES];
    FILE *file[LPO_PARTIAL_FILES];
    int64_t size[LPO_PARTIAL_FILES];
    bool new;                          /* begun by this process, and not one line is committed yet */
    int n_rejected;                    /* by this process */
    int lock_fd;                       /* of the folder; -1: not held */
    double committed_s, commit_cost_s; /* when the last commit ended, and how long it took */
};

static lpo_status no_memory(const lpo_partial *p, lpo_error *err) {
    return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", p->o->out);
}

/* OUT without .jsonl, and a suffix. */
static char *beside(const char *out, const char *suffix) {
    size_t n = strlen(out);
    if (n > 6 && !strcmp(out + n - 6, ".jsonl")) n -= 6;
    char *path = NULL;
    return asprintf(&path, "%.*s%s", (int)n, out, suffix) < 0 ? NULL : path;
}

static lpo_status name_files(lpo_partial *p, lpo_error *err) {
    const lpo_partial_options *o = p->o;
    if (asprintf(&p->dir, "%s.partial", o->out) < 0) p->dir = NULL;
    if (!p->dir) return no_memory(p, err);
    p->state_path = lpo_path_join(p->dir, "state.json");
    p->summary = beside(o->out, ".summary.json");
    bool ok = p->state_path && p->summary;
    for (int i = 0; i < o->n_files; i++) {
        const lpo_partial_file *f = &o->files[i];
        p->part[i] = lpo_path_join(p->dir, f->name);
        p->final[i] = f->suffix ? beside(o->out, f->suffix) : strdup(o->out);
        ok = ok && p->part[i] && p->final[i];
    }
    return ok ? LPO_OK : no_memory(p, err);
}

void lpo_partial_close(lpo_partial *p) {
    lpo_error ignored;
    if (!p) return;
    if (p->new) lpo_dir_remove(p->dir, &ignored);
    for (int i = 0; i < LPO_PARTIAL_FILES; i++) {
        if (p->file[i]) fclose(p->file[i]);
        free(p->part[i]);
        free(p->final[i]);
    }
    free(p->summary);
    free(p->state_path);
    free(p->dir);
    if (p->lock_fd >= 0) close(p->lock_fd);
    free(p);
}

static lpo_status compare(const json_t *then, const json_t *now, const char *where, lpo_error *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)now, key, value) {
        const json_t *old = json_object_get(then, key);
        if (old ? json_equal(old, value) : json_is_null(value)) continue; /* or no option yet then */
        if (!strcmp(key, BACKBONE)) { /* unknown of a run begun before this was noted */
            if (old)
                lpo_log(LPO_LOG_WARN,
                        "%s: begun with the backbone on %s, now on %s: answers drawn there may differ", where,
                        json_string_value(old), json_string_value(value));
            continue;
        }
        char *a = old ? json_dumps(old, JSON_ENCODE_ANY) : NULL, *b = json_dumps(value, JSON_ENCODE_ANY);
        lpo_status s =
            lpo_fail(err, LPO_EINVAL, "%s: begun with %s = %s, now %s: resume with the same, or remove it",
                     where, key, a ? a : "nothing", b ? b : "?");
        free(a);
        free(b);
        return s;
    }
    return LPO_OK;
}

/* A file of an interrupted run, without what came after the last commit. */
static lpo_status cut(const lpo_partial *p, int i, bool complete, lpo_error *err) {
    struct stat st;
    const bool there = !stat(p->part[i], &st);
    if (!there && complete) return LPO_OK; /* it has moved */
    if (!there || st.st_size < p->size[i])
        return lpo_fail(err, LPO_EFORMAT,
                        "%s: shorter than the %lld bytes state.json counts; remove %s to begin anew",
                        p->part[i], (long long)p->size[i], p->dir);
    if (truncate(p->part[i], (off_t)p->size[i]))
        return lpo_fail(err, LPO_EIO, "%s: cannot shorten it: %s", p->part[i], strerror(errno));
    return LPO_OK;
}

static lpo_status read_state(lpo_partial *p, lpo_partial_state *state, lpo_error *err) {
    json_t *o = NULL;
    lpo_status s = lpo_json_load(&o, p->state_path, MAX_STATE_BYTES, err);
    if (!s) s = compare(json_object_get(o, "options"), p->o->identity, p->dir, err);
    if (!s) s = lpo_json_int(&state->offset, o, "offset", 0, p->o->data_bytes, p->state_path, err);
    if (!s) s = lpo_json_int(&state->line, o, "line", 0, INT64_MAX, p->state_path, err);
    state->complete = json_is_true(json_object_get(o, "complete"));
    for (int i = 0; i < p->o->n_files && !s; i++) {
        p->size[i] = json_integer_value(json_array_get(json_object_get(o, "sizes"), (size_t)i));
        s = cut(p, i, state->complete, err);
    }
    if (!s) state->counts = json_incref(json_object_get(o, "counts"));
    json_decref(o);
    return s;
}

static lpo_status read_summary(lpo_partial *p, lpo_partial_state *state, lpo_error *err) {
    json_t *o = NULL;
    lpo_status s = lpo_json_load(&o, p->summary, MAX_STATE_BYTES, err);
    if (!s) s = compare(json_object_get(o, "options"), p->o->identity, p->summary, err);
    if (!s) state->counts = json_incref(json_object_get(o, "counts"));
    state->complete = !s;
    json_decref(o);
    return s;
}

/* The folder, held by this process alone until it ends, however it ends. */
static lpo_status lock_folder(lpo_partial *p, lpo_error *err) {
    if (p->lock_fd >= 0) return LPO_OK;
    p->lock_fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->lock_fd < 0) return lpo_fail(err, LPO_EIO, "%s: cannot open it: %s", p->dir, strerror(errno));
    if (flock(p->lock_fd, LOCK_EX | LOCK_NB))
        return lpo_fail(err, LPO_EINVAL, "%s: another %s is at work there", p->dir, p->o->command);
    return LPO_OK;
}

static lpo_status open_files(lpo_partial *p, lpo_error *err) {
    const bool begun = lpo_path_exists(p->dir);
    lpo_status s = lpo_dir_create(p->dir, err);
    if (!s) s = lock_folder(p, err);
    p->new = !s && !begun;
    for (int i = 0; i < p->o->n_files && !s; i++) {
        /* Without a state nothing in the folder counts. */
        p->file[i] = fopen(p->part[i], p->size[i] ? "ae" : "we");
        if (!p->file[i]) s = lpo_fail(err, LPO_EIO, "%s: cannot open it: %s", p->part[i], strerror(errno));
    }
    return s;
}

/* An output that would replace the data, or cannot replace what is there, is refused while that is cheap. */
static lpo_status check_places(const lpo_partial *p, lpo_error *err) {
    struct stat data, st;
    const bool known = p->o->data && !stat(p->o->data, &data);
    for (int i = 0; i <= p->o->n_files; i++) {
        const char *path = i < p->o->n_files ? p->final[i] : p->summary;
        if (stat(path, &st)) continue;
        if (known && st.st_dev == data.st_dev && st.st_ino == data.st_ino)
            return lpo_fail(err, LPO_EINVAL, "--out %s: %s would replace the data file: name another output",
                            p->o->out, path);
        if (S_ISDIR(st.st_mode))
            return lpo_fail(err, LPO_EINVAL, "--out %s: %s is a folder: name a file", p->o->out, path);
    }
    return LPO_OK;
}

static lpo_status find(lpo_partial *p, lpo_partial_state *state, lpo_error *err) {
    const bool begun = lpo_path_exists(p->dir);
    lpo_status s = check_places(p, err);
    if (s) return s;
    if (begun && !p->o->resume)
        return lpo_fail(
            err, LPO_EINVAL,
            "%s: an interrupted run is here: --resume goes on with it; remove the folder to begin anew",
            p->dir);
    if (begun) s = lock_folder(p, err);
    if (!s && lpo_path_exists(p->state_path)) s = read_state(p, state, err);
    if (!s && !begun && p->o->resume && lpo_path_exists(p->final[0])) s = read_summary(p, state, err);
    return s || state->complete ? s : open_files(p, err);
}

lpo_status lpo_partial_open(lpo_partial **out, lpo_partial_state *state, const lpo_partial_options *o,
                            lpo_error *err) {
    *state = (lpo_partial_state){0};
    lpo_partial *p = *out = calloc(1, sizeof *p);
    if (!p) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", o->out);
    p->o = o;
    p->lock_fd = -1;
    lpo_status s = name_files(p, err);
    if (!s) s = find(p, state, err);
    if (!s) return LPO_OK;
    json_decref(state->counts);
    state->counts = NULL;
    lpo_partial_close(p);
    *out = NULL;
    return s;
}

lpo_status lpo_partial_put(lpo_partial *p, int file, json_t *o, lpo_error *err) {
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION((size_t)p->o->digits)) : NULL;
    json_decref(o);
    if (!text) return no_memory(p, err);
    const size_t n = strlen(text);
    text[n] = '\n'; /* in place of the final zero */
    const bool ok = fwrite(text, 1, n + 1, p->file[file]) == n + 1;
    free(text);
    p->size[file] += (int64_t)n + 1;
    return ok ? LPO_OK : lpo_fail(err, LPO_EIO, "%s: cannot write it: %s", p->part[file], strerror(errno));
}

lpo_status lpo_partial_reject(lpo_partial *p, int file, const char *data, const lpo_record *rec,
                              const char *reason, lpo_error *err) {
    enum { MOST = 20 }; /* in the log; all are in the file */
    if (p->n_rejected < MOST)
        lpo_log(LPO_LOG_WARN, "%s:%lld: skipped: %s", data, (long long)rec->line, reason);
    else if (p->n_rejected == MOST)
        lpo_log(LPO_LOG_WARN, "%s: more lines are skipped; all are listed in %s", data, p->part[file]);
    p->n_rejected++;
    return lpo_partial_put(p, file,
                           json_pack("{ss sI ss ss*}", "file", data, "line", (json_int_t)rec->line, "reason",
                                     reason, "video", rec->video),
                           err);
}

lpo_status lpo_partial_commit(lpo_partial *p, json_t *counts, int64_t offset, int64_t line, bool complete,
                              lpo_error *err) {
    const double start_s = lpo_now_s();
    json_t *sizes = json_array();
    for (int i = 0; i < p->o->n_files; i++) {
        json_array_append_new(sizes, json_integer((json_int_t)p->size[i]));
        if (p->file[i] && (fflush(p->file[i]) || fdatasync(fileno(p->file[i])))) {
            json_decref(counts);
            json_decref(sizes);
            return lpo_fail(err, LPO_EIO, "%s: cannot write it: %s", p->part[i], strerror(errno));
        }
    }
    json_t *o = json_pack("{sO so sI sI so sb}", "options", p->o->identity, "counts", counts, "offset",
                          (json_int_t)offset, "line", (json_int_t)line, "sizes", sizes, "complete", complete);
    lpo_status s = o ? lpo_json_save(o, p->state_path, err) : no_memory(p, err);
    json_decref(o);
    if (!s && line > 0) p->new = false;
    p->committed_s = lpo_now_s();
    p->commit_cost_s = p->committed_s - start_s;
    return s;
}

/* Waiting for the disk may take a fiftieth of the time. */
bool lpo_partial_due(const lpo_partial *p) {
    return lpo_now_s() - p->committed_s > 50 * p->commit_cost_s;
}

bool lpo_partial_gone(const lpo_partial *p) {
    return !lpo_path_exists(p->dir);
}

const char *lpo_partial_path(const lpo_partial *p, int file) {
    return lpo_path_exists(p->part[file]) ? p->part[file] : p->final[file];
}

static lpo_status move(lpo_partial *p, int i, lpo_error *err) {
    if (p->o->files[i].may_lack && !p->size[i]) {
        unlink(p->final[i]);
        unlink(p->part[i]);
    }
    if (!lpo_path_exists(p->part[i])) return LPO_OK;
    if (rename(p->part[i], p->final[i]))
        return lpo_fail(err, LPO_EIO, "%s: cannot rename it to %s: %s", p->part[i], p->final[i],
                        strerror(errno));
    return LPO_OK;
}

lpo_status lpo_partial_finish(lpo_partial *p, const json_t *summary, lpo_error *err) {
    lpo_status s = summary ? lpo_json_save(summary, p->summary, err) : no_memory(p, err);
    for (int i = p->o->n_files - 1; i >= 0 && !s; i--) s = move(p, i, err);
    char *folder = lpo_path_dir(p->o->out);
    if (!s) s = folder ? lpo_dir_sync(folder, err) : no_memory(p, err);
    free(folder);
    return s ? s : lpo_dir_remove(p->dir, err);
}

lpo_status lpo_partial_fail(lpo_partial *p, lpo_error *err) {
    lpo_status s = LPO_OK;
    for (int i = p->o->n_files - 1; i > 0 && !s; i--) s = move(p, i, err);
    return s ? s : lpo_dir_remove(p->dir, err);
}

/* ---- identity ---- */

static int is_weights(const struct dirent *d) {
    const size_t n = strlen(d->d_name);
    return n > 12 && !strcmp(d->d_name + n - 12, ".safetensors");
}

/* A fingerprint of a model folder that takes no time: names, sizes and times of its weights. */
static uint64_t weights_of(const char *dir) {
    struct dirent **list = NULL;
    const int n = scandir(dir, &list, is_weights, alphasort);
    uint64_t h = 0;
    for (int i = 0; i < n; i++) {
        struct stat st;
        char *path = lpo_path_join(dir, list[i]->d_name);
        if (path && !stat(path, &st)) {
            const int64_t v[3] = {st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec};
            h = XXH64(list[i]->d_name, strlen(list[i]->d_name), h);
            h = XXH64(v, sizeof v, h);
        }
        free(path);
        free(list[i]);
    }
    free(list);
    return h;
}

static json_t *hex(uint64_t h) {
    return json_sprintf("%016llx", (unsigned long long)h);
}

static json_t *text_or_null(const char *s) {
    return s && s[0] ? json_string(s) : json_null();
}

/* Of the frames, null where the model's folder decides. */
static json_t *clips_asked(const lpo_clip_options *c) {
    json_t *o = json_object();
    const struct {
        const char *name;
        int64_t value;
    } whole[] = {{"frames", c->n_frames}, {"min_pixels", c->min_pixels}, {"max_pixels", c->max_pixels}};
    for (int i = 0; i < 3; i++)
        json_object_set_new(o, whole[i].name, whole[i].value ? json_integer(whole[i].value) : json_null());
    json_object_set_new(o, "fps", c->fps > 0 ? json_real(c->fps) : json_null());
    return o;
}

lpo_status lpo_partial_identity(json_t **out, const char *model, const char *adapter, const char *place,
                                const char *chat_template, const char *dtype, const lpo_clip_options *clips,
                                const lpo_record_census *data, lpo_error *err) {
    lpo_place p;
    *out = NULL;
    lpo_status s = lpo_place_parse(&p, place, err);
    if (s) return s;
    const char *backbone = p.device[LPO_STAGE_backbone];
    char *real = realpath(model, NULL);
    json_t *j = json_pack("{so so sI so so so ss}", "model", text_or_null(real), "weights",
                          hex(weights_of(model)), "data_bytes", (json_int_t)data->size_bytes, "data_xxh64",
                          hex(data->hash), "chat_template", text_or_null(chat_template), "dtype",
                          text_or_null(dtype), BACKBONE, strcmp(backbone, "auto") ? backbone : "cpu");
    free(real);
    *out = j;
    json_t *asked = clips_asked(clips);
    if (j && asked) json_object_update_missing(j, asked);
    json_decref(asked);
    if (!j || !asked) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    if (adapter) json_object_set_new(j, "adapter", hex(weights_of(adapter)));
    return LPO_OK;
}
