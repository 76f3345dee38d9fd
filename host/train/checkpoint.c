/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint.c -- see checkpoint.h. Doubles in state.json are hexadecimal text: exact, and NaN can be
 * written. */
#include "train/checkpoint.h"

#include "base/file.h"
#include "base/json.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { FORMAT = 1, MAX_STATE = 1 << 20 };
static const char STATE[] = "state.json";

/* Members of lpo_run_state that are one integer, and one double. */
#define INT_FIELDS(X) X(step) X(metrics_bytes) X(num_tokens)
#define REAL_FIELDS(X)                                                                                       \
    X(base_chosen)                                                                                           \
    X(base_rejected)                                                                                         \
    X(loss) X(eval_loss) X(reward_accuracy) X(reward_margin) X(displacement_chosen) X(displacement_rejected)

static lpo_status step_path(char *out, const char *run_dir, int64_t step, const char *suffix,
                            lpo_error *err) {
    int n = snprintf(out, LPO_PATH_BYTES, "%s/checkpoints/step-%" PRId64 "%s", run_dir, step, suffix);
    if (n > 0 && n < LPO_PATH_BYTES) return LPO_OK;
    return lpo_fail(err, LPO_ELIMIT, "%s: path of the run folder is too long", run_dir);
}

static lpo_status join(char *out, const char *dir, const char *name, lpo_error *err) {
    int n = snprintf(out, LPO_PATH_BYTES, "%s/%s", dir, name);
    return n > 0 && n < LPO_PATH_BYTES ? LPO_OK
                                       : lpo_fail(err, LPO_ELIMIT, "%s/%s: path too long", dir, name);
}

static lpo_status hash_file(char hex[17], int64_t *bytes, const char *path, lpo_error *err) {
    lpo_mapping m;
    lpo_status s = lpo_file_map(&m, path, err);
    if (s) return s;
    snprintf(hex, 17, "%016" PRIx64, (uint64_t)XXH64(m.data, m.size_bytes, 0));
    *bytes = (int64_t)m.size_bytes;
    lpo_file_unmap(&m);
    return LPO_OK;
}

/* Hash of an object as canonical text: what state.json says of itself. */
static lpo_status hash_json(char hex[17], const json_t *obj, lpo_error *err) {
    char *text = json_dumps(obj, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    snprintf(hex, 17, "%016" PRIx64, (uint64_t)XXH64(text, strlen(text), 0));
    free(text);
    return LPO_OK;
}

static int is_file(const struct dirent *e) {
    return e->d_name[0] != '.' && strcmp(e->d_name, STATE) != 0;
}

/* {"name": {"bytes": n, "xxh64": hex}, ...} of every file in dir but state.json. */
static lpo_status hash_folder(json_t **out, const char *dir, lpo_error *err) {
    struct dirent **entry;
    lpo_status s = LPO_OK;
    int n = scandir(dir, &entry, is_file, alphasort);
    if (n < 0) return lpo_fail(err, LPO_EIO, "%s: cannot list it: %s", dir, strerror(errno));
    *out = json_object();
    for (int i = 0; i < n; i++) {
        char path[LPO_PATH_BYTES], hex[17];
        int64_t bytes;
        if (!s) s = join(path, dir, entry[i]->d_name, err);
        if (!s) s = hash_file(hex, &bytes, path, err);
        if (!s && json_object_set_new(*out, entry[i]->d_name,
                                      json_pack("{s:I,s:s}", "bytes", (json_int_t)bytes, "xxh64", hex)))
            s = lpo_fail(err, LPO_ENOMEM, "out of memory");
        free(entry[i]);
    }
    free(entry);
    if (s) {
        json_decref(*out);
        *out = NULL;
    }
    return s;
}

static json_t *hex_real(double x) {
    char buf[40];
    snprintf(buf, sizeof buf, "%a", x);
    return json_string(buf);
}

static json_t *state_json(const lpo_run_state *st) {
    json_t *o = json_object(), *list = json_array();
    int bad = json_object_set_new(o, "format", json_integer(FORMAT));
    char seed[24];
    snprintf(seed, sizeof seed, "%" PRIu64, st->seed); /* JSON's integers stop at 2^63 */
    bad |= json_object_set_new(o, "seed", json_string(seed));
    bad |= json_object_set_new(o, "has_base", json_boolean(st->has_base));
#define LPO_X(name) bad |= json_object_set_new(o, #name, json_integer(st->name));
    INT_FIELDS(LPO_X)
#undef LPO_X
#define LPO_X(name) bad |= json_object_set_new(o, #name, hex_real(st->name));
    REAL_FIELDS(LPO_X)
#undef LPO_X
    for (int i = 0; i < st->n_objective; i++) bad |= json_array_append_new(list, hex_real(st->objective[i]));
    bad |= json_object_set_new(o, "objective", list);
    if (!bad) return o;
    json_decref(o);
    return NULL;
}

lpo_status lpo_checkpoint_begin(char *tmp_path, const char *run_dir, int64_t step, lpo_error *err) {
    lpo_status s = step_path(tmp_path, run_dir, step, ".tmp", err);
    if (!s) s = lpo_dir_remove(tmp_path, err);
    if (!s) s = lpo_dir_create(tmp_path, err);
    return s;
}

void lpo_checkpoint_abort(const char *run_dir, int64_t step) {
    char tmp[LPO_PATH_BYTES];
    if (!step_path(tmp, run_dir, step, ".tmp", NULL)) lpo_dir_remove(tmp, NULL);
}

static lpo_status write_state(const char *dir, const lpo_run_state *st, lpo_error *err) {
    char path[LPO_PATH_BYTES], self[17];
    json_t *files = NULL, *o = NULL;
    lpo_status s = join(path, dir, STATE, err);
    if (!s) s = hash_folder(&files, dir, err);
    if (s) return s;
    o = state_json(st);
    if (!o || json_object_set(o, "files", files)) s = lpo_fail(err, LPO_ENOMEM, "out of memory");
    if (!s) s = hash_json(self, o, err);
    if (!s && json_object_set_new(o, "xxh64", json_string(self)))
        s = lpo_fail(err, LPO_ENOMEM, "out of memory");
    if (!s) s = lpo_json_save(o, path, err);
    json_decref(files);
    json_decref(o);
    return s;
}

lpo_status lpo_checkpoint_commit(char *path, const char *run_dir, const lpo_run_state *state,
                                 lpo_error *err) {
    char tmp[LPO_PATH_BYTES], parent[LPO_PATH_BYTES];
    lpo_status s = step_path(tmp, run_dir, state->step, ".tmp", err);
    if (!s) s = step_path(path, run_dir, state->step, "", err);
    if (!s) s = join(parent, run_dir, "checkpoints", err);
    if (!s) s = write_state(tmp, state, err);
    if (!s) s = lpo_dir_sync(tmp, err);
    if (!s) s = lpo_dir_remove(path, err);
    if (!s && rename(tmp, path)) s = lpo_fail(err, LPO_EIO, "%s: cannot rename it: %s", tmp, strerror(errno));
    if (!s) s = lpo_dir_sync(parent, err);
    if (s) lpo_checkpoint_abort(run_dir, state->step);
    return s;
}

static lpo_status read_real(double *out, const json_t *v, const char *where, lpo_error *err) {
    const char *text = json_string_value(v);
    char *end;
    *out = text ? strtod(text, &end) : 0;
    return text && end != text && !*end
               ? LPO_OK
               : lpo_fail(err, LPO_EFORMAT, "%s: a number is missing or malformed", where);
}

static lpo_status parse_state(lpo_run_state *st, const json_t *o, const char *where, lpo_error *err) {
    const char *seed;
    const json_t *list = json_object_get(o, "objective");
    lpo_status s = lpo_json_str(&seed, o, "seed", where, err);
    if (!s) st->seed = strtoull(seed, NULL, 10);
    st->has_base = json_is_true(json_object_get(o, "has_base"));
#define LPO_X(name)                                                                                          \
    if (!s) s = lpo_json_int(&st->name, o, #name, 0, INT64_MAX, where, err);
    INT_FIELDS(LPO_X)
#undef LPO_X
#define LPO_X(name)                                                                                          \
    if (!s) s = read_real(&st->name, json_object_get(o, #name), where, err);
    REAL_FIELDS(LPO_X)
#undef LPO_X
    if (json_array_size(list) > LPO_MAX_OBJECTIVE_STATE)
        return lpo_fail(err, LPO_ELIMIT, "%s: over %d numbers of objective state", where,
                        LPO_MAX_OBJECTIVE_STATE);
    st->n_objective = (int)json_array_size(list);
    for (int i = 0; i < st->n_objective && !s; i++)
        s = read_real(&st->objective[i], json_array_get(list, (size_t)i), where, err);
    return s;
}

static lpo_status check_files(const char *dir, const json_t *files, const char *where, lpo_error *err) {
    const char *name;
    json_t *v;
    if (!json_is_object(files)) return lpo_fail(err, LPO_EFORMAT, "%s: \"files\" is missing", where);
    json_object_foreach((json_t *)(uintptr_t)files, name, v) {
        char path[LPO_PATH_BYTES], hex[17];
        const char *want;
        int64_t bytes, want_bytes;
        lpo_status s =
            strchr(name, '/') ? lpo_fail(err, LPO_EFORMAT, "%s: file name \"%s\"", where, name) : LPO_OK;
        if (!s) s = join(path, dir, name, err);
        if (!s) s = lpo_json_int(&want_bytes, v, "bytes", 0, INT64_MAX, where, err);
        if (!s) s = lpo_json_str(&want, v, "xxh64", where, err);
        if (!s) s = hash_file(hex, &bytes, path, err);
        if (s) return s;
        if (bytes != want_bytes || strcmp(hex, want) != 0)
            return lpo_fail(err, LPO_EFORMAT,
                            "%s: damaged (%" PRId64 " bytes with checksum %s, written were %" PRId64
                            " with %s)",
                            path, bytes, hex, want_bytes, want);
    }
    return LPO_OK;
}

lpo_status lpo_checkpoint_read(lpo_run_state *state, const char *path, lpo_error *err) {
    char file[LPO_PATH_BYTES], self[17] = "";
    json_t *o = NULL, *was = NULL;
    int64_t format;
    *state = (lpo_run_state){0};
    lpo_status s = join(file, path, STATE, err);
    if (!s) s = lpo_json_load(&o, file, MAX_STATE, err);
    if (s) return s;
    s = lpo_json_int(&format, o, "format", FORMAT, FORMAT, file, err);
    if (!s) {
        was = json_incref(json_object_get(o, "xxh64"));
        json_object_del(o, "xxh64");
        s = hash_json(self, o, err);
    }
    if (!s && (!json_is_string(was) || strcmp(json_string_value(was), self) != 0))
        s = lpo_fail(err, LPO_EFORMAT, "%s: damaged (its own checksum does not hold)", file);
    if (!s) s = parse_state(state, o, file, err);
    if (!s) s = check_files(path, json_object_get(o, "files"), file, err);
    json_decref(was);
    json_decref(o);
    return s;
}

/* Steps of the folders step-N, ascending, malloc'd; -1 when the folder cannot be listed. */
static int list_steps(int64_t **out, const char *run_dir) {
    char dir[LPO_PATH_BYTES];
    struct dirent **entry;
    *out = NULL;
    if (join(dir, run_dir, "checkpoints", NULL)) return -1;
    int n = scandir(dir, &entry, NULL, NULL), k = 0;
    if (n < 0) return -1;
    *out = malloc(((size_t)n + 1) * sizeof **out);
    for (int i = 0; i < n; i++) {
        char *end;
        const char *name = entry[i]->d_name;
        long long step = strncmp(name, "step-", 5) ? -1 : strtoll(name + 5, &end, 10);
        if (*out && step >= 0 && end != name + 5 && !*end) {
            int at = k++;
            for (; at > 0 && (*out)[at - 1] > step; at--) (*out)[at] = (*out)[at - 1];
            (*out)[at] = step;
        }
        free(entry[i]);
    }
    free(entry);
    return *out ? k : -1;
}

static void remove_leftovers(const char *run_dir) {
    char dir[LPO_PATH_BYTES], path[LPO_PATH_BYTES];
    if (join(dir, run_dir, "checkpoints", NULL)) return;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n > 4 && !strncmp(e->d_name, "step-", 5) && !strcmp(e->d_name + n - 4, ".tmp") &&
            !join(path, dir, e->d_name, NULL))
            lpo_dir_remove(path, NULL);
    }
    if (d) closedir(d);
}

lpo_status lpo_checkpoint_latest(char *path, lpo_run_state *state, const char *run_dir, lpo_error *err) {
    int64_t *step;
    lpo_status s = LPO_ENOTFOUND;
    remove_leftovers(run_dir);
    int n = list_steps(&step, run_dir);
    while (s && n-- > 0) {
        char aside[LPO_PATH_BYTES];
        lpo_error why;
        if (step_path(path, run_dir, step[n], "", err) || step_path(aside, run_dir, step[n], ".damaged", err))
            break;
        s = lpo_checkpoint_read(state, path, &why);
        if (!s) break;
        lpo_log(LPO_LOG_WARN, "%s; trying the checkpoint before it", why.msg);
        lpo_dir_remove(aside, NULL);
        if (rename(path, aside)) lpo_log(LPO_LOG_WARN, "%s: cannot rename it: %s", path, strerror(errno));
    }
    free(step);
    return s ? lpo_fail(err, LPO_ENOTFOUND, "%s/checkpoints: no whole checkpoint", run_dir) : LPO_OK;
}

lpo_status lpo_checkpoint_prune(const char *run_dir, int keep, const char *in_use, lpo_error *err) {
    int64_t *step;
    lpo_status s = LPO_OK;
    if (keep <= 0) return LPO_OK;
    int n = list_steps(&step, run_dir);
    for (int i = 0; i < n - keep && !s; i++) {
        char path[LPO_PATH_BYTES];
        s = step_path(path, run_dir, step[i], "", err);
        if (!s && !(in_use && !strcmp(path, in_use))) s = lpo_dir_remove(path, err);
    }
    free(step);
    return s;
}
