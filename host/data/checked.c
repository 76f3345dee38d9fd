/* SPDX-License-Identifier: Apache-2.0 */
/* checked.c -- see checked.h. {"checked": {identity, recipe, videos: {path: [bytes, seconds, nanoseconds]},
 * refused: [[line, reason]]}, "xxh64": of "checked" as compact JSON with sorted keys}. A video that is not
 * there is null. Videos are looked at before they are decoded: one that changes meanwhile is seen to. */
#include "data/checked.h"

#include "base/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

static const size_t MAX_BYTES = (size_t)1 << 30;

static lpo_status no_memory(const lpo_dataset *d, lpo_error *err) {
    return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", lpo_dataset_path(d));
}

static json_t *hex(uint64_t x) {
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, x);
    return json_string(text);
}

static uint64_t hash_of(const json_t *checked) {
    char *text = json_dumps(checked, JSON_COMPACT | JSON_SORT_KEYS);
    const uint64_t h = text ? XXH64(text, strlen(text), 0) : 0;
    free(text);
    return h;
}

/* What a recipe makes of any record follows from the tokenizer's file, the preprocessing, how one prompt with
 * a clip comes out, and the context. Devices and threads change no bit and are left out. */
static lpo_status recipe_to_json(json_t **out, const lpo_recipe *r, const char *model_dir, lpo_error *err) {
    const lpo_prep_options *p = &r->prep;
    lpo_clip clip = {.n_frames = 2, .grid_t = 2, .grid_h = 4 * p->merge_size, .grid_w = 6 * p->merge_size};
    lpo_ids ids = {0};
    lpo_mapping m = {0};
    char prep[1024];
    snprintf(
        prep, sizeof prep,
        "%s patch %d,%d,%d pixels %lld..%lld of %lld mean %a,%a,%a std %a,%a,%a frames %d fps %a sampler "
        "%d,%d,%d resize %d color %d target %d,%d side %d,%d to %d,%d",
        p->family, p->patch_size, p->temporal_patch, p->merge_size, (long long)p->min_pixels,
        (long long)p->max_pixels, (long long)p->total_pixels, p->mean[0], p->mean[1], p->mean[2], p->std[0],
        p->std[1], p->std[2], p->n_frames, p->fps, p->hf_sampler, p->uniform, p->max_frames, p->resize_pillow,
        p->color_force601, p->target_h, p->target_w, p->short_side, p->cut, p->resize_h, p->resize_w);
    char *path = lpo_path_join(model_dir, "tokenizer.json");
    lpo_status s = path ? lpo_file_map(&m, path, err) : lpo_fail(err, LPO_ENOMEM, "out of memory");
    const uint64_t tokenizer = s ? 0 : XXH64(m.data, m.size_bytes, 0);
    if (!s) lpo_file_unmap(&m);
    if (!s) s = lpo_recipe_prompt(&ids, r, "What happens?", &clip, err);
    if (!s) s = lpo_recipe_response(&ids, r, "Nothing.", err);
    if (!s)
        *out = json_pack("{so so ss si si}", "tokenizer", hex(tokenizer), "prompt",
                         hex(XXH64(ids.ids, ids.n * sizeof *ids.ids, 0)), "preprocessing", prep,
                         "max_positions", r->max_positions, "time", r->time_instruction);
    if (!s && !*out) s = lpo_fail(err, LPO_ENOMEM, "out of memory");
    lpo_ids_clear(&ids);
    free(path);
    return s;
}

static json_t *look_at(const char *video) {
    struct stat st;
    if (stat(video, &st)) return json_null();
    return json_pack("[I,I,I]", (json_int_t)st.st_size, (json_int_t)st.st_mtim.tv_sec,
                     (json_int_t)st.st_mtim.tv_nsec);
}

static lpo_status look_at_videos(json_t **out, const lpo_dataset *d, lpo_error *err) {
    json_t *o = *out = json_object();
    for (int64_t i = 0; i < lpo_dataset_count(d); i++) {
        const char *video = lpo_dataset_at(d, i)->video;
        if (o && json_object_get(o, video)) continue;
        if (json_object_set_new(o, video, look_at(video)))
            return lpo_fail(err, LPO_EFORMAT, "%s: the path is not UTF-8", video);
    }
    return LPO_OK;
}

/* The first thing that is not as it was, in words; "" when nothing is. */
static void difference(char why[256], const json_t *then, const json_t *now) {
    const char *key;
    json_t *value;
    const json_t *was = json_object_get(then, "videos");
    why[0] = 0;
    json_object_foreach(json_object_get(now, "videos"), key, value) {
        const json_t *old = json_object_get(was, key);
        if (old && json_equal(old, value)) continue;
        snprintf(why, 256, "%s %s", key, json_is_null(value) ? "is not there" : old ? "changed" : "is new");
        return;
    }
    if (!json_equal(json_object_get(then, "recipe"), json_object_get(now, "recipe")))
        snprintf(why, 256, "the tokenizer, the preprocessing or the context is another");
    else if (!json_equal(json_object_get(then, "identity"), json_object_get(now, "identity")))
        snprintf(why, 256, "the data, an option or this program is another");
    else if (json_object_size(was) != json_object_size(json_object_get(now, "videos")))
        snprintf(why, 256, "the list of videos is another");
}

/* Records are in the order of their lines. */
static int64_t record_of_line(const lpo_dataset *d, int64_t line) {
    int64_t lo = 0, hi = lpo_dataset_count(d);
    while (lo < hi) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (lpo_dataset_at(d, mid)->line < line)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < lpo_dataset_count(d) && lpo_dataset_at(d, lo)->line == line ? lo : -1;
}

/* LPO_ENOTFOUND: nothing usable is remembered, and why was said. */
static lpo_status recall(lpo_dataset *d, const lpo_checked *c, const json_t *now, lpo_error *err) {
    json_t *file = NULL, *entry;
    size_t k;
    char why[256];
    lpo_error damage;
    if (!lpo_path_exists(c->path)) return LPO_ENOTFOUND;
    lpo_status s = lpo_json_load(&file, c->path, MAX_BYTES, &damage);
    const json_t *then = json_object_get(file, "checked"), *refused = json_object_get(then, "refused");
    json_t *sum = then ? hex(hash_of(then)) : NULL;
    if (s || !sum || !json_equal(sum, json_object_get(file, "xxh64"))) {
        lpo_log(LPO_LOG_WARN, "%s: damaged; the videos of %s are checked again", c->path,
                lpo_dataset_path(d));
        s = LPO_ENOTFOUND;
    }
    if (!s) difference(why, then, now);
    if (!s && why[0]) {
        lpo_log(LPO_LOG_INFO, "%s: the videos are checked again: %s", lpo_dataset_path(d), why);
        s = LPO_ENOTFOUND;
    }
    json_array_foreach((json_t *)(uintptr_t)refused, k, entry) {
        if (s) break;
        const int64_t i = record_of_line(d, json_integer_value(json_array_get(entry, 0)));
        const char *reason = json_string_value(json_array_get(entry, 1));
        if (i >= 0 && reason) s = lpo_dataset_reject(d, i, reason, err);
    }
    json_decref(sum);
    json_decref(file);
    return s;
}

/* now, with what was refused after the first n_before bad lines. */
static lpo_status keep(const lpo_dataset *d, const lpo_checked *c, json_t *now, int64_t n_before,
                       lpo_error *err) {
    json_t *refused = json_array();
    lpo_status s = LPO_OK;
    for (int64_t i = n_before; i < lpo_dataset_bad(d) && !s; i++) {
        int64_t line;
        const char *reason = lpo_dataset_bad_at(d, i, &line);
        if (json_array_append_new(refused, json_pack("[I,s]", (json_int_t)line, reason)))
            s = no_memory(d, err);
    }
    if (json_object_set_new(now, "refused", refused)) s = no_memory(d, err);
    json_t *file = json_pack("{sO so}", "checked", now, "xxh64", hex(hash_of(now)));
    char *text = s || !file ? NULL : json_dumps(file, JSON_COMPACT);
    if (!s) s = text ? lpo_file_write(c->path, text, strlen(text), err) : no_memory(d, err);
    free(text);
    json_decref(file);
    return s;
}

lpo_status lpo_dataset_check(lpo_dataset *d, const lpo_recipe *r, const lpo_checked *c, int n_threads,
                             lpo_progress_fn *progress, void *user, lpo_error *err) {
    json_t *recipe = NULL, *videos = NULL;
    const int64_t n_before = lpo_dataset_bad(d);
    lpo_error why;
    lpo_status unknown = recipe_to_json(&recipe, r, c->model_dir, &why);
    if (!unknown) unknown = look_at_videos(&videos, d, &why);
    json_t *now = json_object();
    json_object_set(now, "identity", (json_t *)(uintptr_t)c->identity);
    json_object_set_new(now, "recipe", recipe);
    json_object_set_new(now, "videos", videos);
    lpo_status s = c->recall && !unknown ? recall(d, c, now, err) : LPO_ENOTFOUND;
    if (!s) {
        s = lpo_dataset_compact(d, err);
    } else if (s == LPO_ENOTFOUND) {
        s = lpo_dataset_validate(d, r, n_threads, progress, user, err);
        if (!s && !unknown) unknown = keep(d, c, now, n_before, &why);
        if (!s && unknown)
            lpo_log(LPO_LOG_WARN, "%s: that its videos were checked is not remembered: %s",
                    lpo_dataset_path(d), why.msg);
    }
    json_decref(now);
    return s;
}
