/* SPDX-License-Identifier: Apache-2.0 */
/* world.c -- the files of the moving-shapes world.
 * Videos are made in parallel, each from its own random stream, so neither their bytes nor the texts depend
 * on threads. Streams of seed: index = scene, index + 2^32 = noise, index + 2^33 = phrasings. world.json is
 * written last: a folder that has it is whole. */
#include "leanpo/world.h"

#include "base/file.h"
#include "base/json.h"
#include "data/world_scene.h"
#include "leanpo/media.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

lpo_world_options lpo_world_options_default(void) {
    lpo_world_options o = {
        .n_videos = 1000, .seed = 1, .size_px = 224, .fps = 8, .n_frames = 8, .heldout = 0.1};
    return o;
}

static lpo_status complete_options(lpo_world_options *o, lpo_error *err) {
    lpo_world_options d = lpo_world_options_default();
    if (!o->size_px) o->size_px = d.size_px;
    if (!(o->fps != 0)) o->fps = d.fps;
    if (!o->n_frames) o->n_frames = d.n_frames;
    if (o->n_threads <= 0) o->n_threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (o->n_threads < 1) o->n_threads = 1;
    if (o->n_threads > 64) o->n_threads = 64;
    if (o->n_videos < 1 || o->n_videos > 1000000)
        return lpo_fail(err, LPO_EINVAL, "%d videos; give 1 to 1000000", o->n_videos);
    if (o->size_px < WORLD_SIDE || o->size_px > 1024 || o->size_px % 2)
        return lpo_fail(err, LPO_EINVAL, "videos of %d pixels; give an even size of %d to 1024", o->size_px,
                        WORLD_SIDE);
    if (o->n_frames < 8 || o->n_frames > 256)
        return lpo_fail(err, LPO_EINVAL, "videos of %d frames; give 8 to 256", o->n_frames);
    if (!(o->fps >= 0.1 && o->fps <= 240))
        return lpo_fail(err, LPO_EINVAL, "%g frames a second; give 0.1 to 240", o->fps);
    if (o->heldout > 0.9)
        return lpo_fail(err, LPO_EINVAL, "held-out fraction %g; give at most 0.9", o->heldout);
    return LPO_OK;
}

/* ---- videos ---- */

typedef struct work {
    const char *dir;
    const lpo_world_options *o;
    pthread_mutex_t lock; /* guards what follows, and progress is called under it */
    int next, done;
    lpo_status status; /* the first failure ends the work */
    lpo_error err;
} work;

static lpo_status write_video(const work *w, int index, uint8_t *rgb, lpo_error *err) {
    const lpo_world_options *o = w->o;
    lpo_encode_options enc = {
        .width = o->size_px, .height = o->size_px, .fps = o->fps, .crf = 20, .preset = "veryfast"};
    char name[32];
    snprintf(name, sizeof name, "videos/%06d.mp4", index);
    char *path = lpo_path_join(w->dir, name);
    if (!path) return lpo_fail(err, LPO_ENOMEM, "%s/%s: out of memory", w->dir, name);
    lpo_encoder *e = NULL;
    lpo_status s = lpo_encoder_open(&e, path, &enc, err);
    free(path);
    if (s) return s;
    world_scene scene;
    world_scene_make(&scene, o->seed, index);
    lpo_rng noise = lpo_rng_init(o->seed, (uint64_t)index + ((uint64_t)1 << 32));
    for (int f = 0; !s && f < o->n_frames; f++) {
        world_scene_draw(rgb, &scene, f, o->n_frames, o->size_px, &noise);
        s = lpo_encoder_put(e, rgb, err);
    }
    if (!s) return lpo_encoder_finish(e, err);
    lpo_encoder_abort(e);
    return s;
}

static void *worker(void *arg) {
    work *w = arg;
    lpo_error err = {0};
    uint8_t *rgb = malloc((size_t)w->o->size_px * (size_t)w->o->size_px * 3);
    lpo_status s = rgb ? LPO_OK : lpo_fail(&err, LPO_ENOMEM, "%s: out of memory", w->dir);
    pthread_mutex_lock(&w->lock);
    while (!w->status && !s && w->next < w->o->n_videos) {
        int index = w->next++;
        pthread_mutex_unlock(&w->lock);
        s = write_video(w, index, rgb, &err);
        pthread_mutex_lock(&w->lock);
        w->done += !s;
        if (!s && !w->status && w->o->progress &&
            w->o->progress(w->o->user, "videos", w->done, w->o->n_videos))
            s = lpo_fail(&err, LPO_ECANCELED, "%s: canceled after %d of %d videos", w->dir, w->done,
                         w->o->n_videos);
    }
    if (s && !w->status) w->status = s, w->err = err;
    pthread_mutex_unlock(&w->lock);
    free(rgb);
    return NULL;
}

static lpo_status write_videos(const char *dir, const lpo_world_options *o, lpo_error *err) {
    work w = {.dir = dir, .o = o};
    pthread_t thread[64];
    int started = 0;
    pthread_mutex_init(&w.lock, NULL);
    while (started < o->n_threads - 1 && pthread_create(&thread[started], NULL, worker, &w) == 0) started++;
    worker(&w); /* this thread works too: no thread more is needed for the work to be done */
    for (int i = 0; i < started; i++) pthread_join(thread[i], NULL);
    pthread_mutex_destroy(&w.lock);
    if (w.status && err) *err = w.err;
    return w.status;
}

/* ---- texts: letters, digits, spaces, commas and question marks only, so JSON needs no escapes ---- */

typedef struct texts {
    lpo_writer *captions, *train, *heldout;
    int n_captions, n_train, n_heldout, n_two;
    int n_type[WORLD_TYPES];
} texts;

static lpo_status write_line(lpo_writer *out, int index, const char *question, const char *answer,
                             const char *type, const char *more, lpo_error *err) {
    return lpo_writer_printf(
        out, err,
        "{\"id\": \"%06d-%s\", \"video\": \"videos/%06d.mp4\", \"question\": \"%s\", \"answer\": \"%s\", "
        "\"type\": \"%s\"%s}\n",
        index, type, index, question, answer, type, more);
}

static lpo_status write_video_texts(texts *t, const lpo_world_options *o, int index, int heldout,
                                    lpo_error *err) {
    char question[WORLD_TEXT], answer[WORLD_TEXT];
    lpo_rng r = lpo_rng_init(o->seed, (uint64_t)index + ((uint64_t)1 << 33));
    lpo_status s = LPO_OK;
    world_scene scene;
    world_scene_make(&scene, o->seed, index);
    t->n_two += scene.n_things == 2;
    if (!heldout) {
        world_caption(answer, &scene);
        const char *more = scene.n_things == 2 ? ", \"n_objects\": 2" : ", \"n_objects\": 1";
        s = write_line(t->captions, index, world_caption_question, answer, "caption", more, err);
        t->n_captions++;
    }
    for (int type = 0; !s && type < WORLD_TYPES; type++) {
        if (!world_qa(question, answer, &scene, (world_type)type, &r)) continue;
        s = write_line(heldout ? t->heldout : t->train, index, question, answer,
                       world_type_name((world_type)type), "", err);
        t->n_type[type]++;
        *(heldout ? &t->n_heldout : &t->n_train) += 1;
    }
    return s;
}

static lpo_status open_text(lpo_writer **out, const char *dir, const char *name, lpo_error *err) {
    char *path = lpo_path_join(dir, name);
    if (!path) return lpo_fail(err, LPO_ENOMEM, "%s/%s: out of memory", dir, name);
    lpo_status s = lpo_writer_open(out, path, err);
    free(path);
    return s;
}

/* Commit clears the pointer first: commit frees the writer whatever comes of it. */
static lpo_status close_text(lpo_writer **w, lpo_error *err) {
    lpo_writer *mine = *w;
    *w = NULL;
    return lpo_writer_commit(mine, err);
}

static lpo_status write_texts(texts *t, const char *dir, const lpo_world_options *o, int n_train_videos,
                              lpo_error *err) {
    lpo_status s = open_text(&t->captions, dir, "captions.jsonl", err);
    if (!s) s = open_text(&t->train, dir, "qa.train.jsonl", err);
    if (!s) s = open_text(&t->heldout, dir, "qa.heldout.jsonl", err);
    for (int i = 0; !s && i < o->n_videos; i++) s = write_video_texts(t, o, i, i >= n_train_videos, err);
    if (!s) s = close_text(&t->captions, err);
    if (!s) s = close_text(&t->train, err);
    if (!s) s = close_text(&t->heldout, err);
    lpo_writer_abort(t->captions);
    lpo_writer_abort(t->train);
    lpo_writer_abort(t->heldout);
    return s;
}

static lpo_status write_meta(const char *dir, const lpo_world_options *o, const texts *t, int n_train_videos,
                             int vocabulary, lpo_error *err) {
    json_t *types = json_object(), *words = json_array(), *content = json_array();
    for (int k = 0; k < WORLD_TYPES; k++) {
        int n = world_type_answers((world_type)k);
        json_object_set_new(
            types, world_type_name((world_type)k),
            json_pack("{s:i, s:i, s:f}", "questions", t->n_type[k], "answers", n, "chance", 1.0 / n));
    }
    for (const char *const *w = world_words; *w; w++) {
        json_array_append_new(words, json_string(*w));
        if (lpo_world_is_content_word(*w)) json_array_append_new(content, json_string(*w));
    }
    json_t *meta = json_pack("{s:I, s:i, s:i, s:i, s:i, s:f, s:i, s:i, s:i, s:i, s:i, s:o, s:o, s:o}", "seed",
                             (json_int_t)o->seed, "n_videos", o->n_videos, "n_train_videos", n_train_videos,
                             "n_two_shapes", t->n_two, "size_px", o->size_px, "fps", o->fps, "n_frames",
                             o->n_frames, "n_captions", t->n_captions, "n_qa_train", t->n_train,
                             "n_qa_heldout", t->n_heldout, "tokenizer_vocabulary", vocabulary, "types", types,
                             "words", words, "content_words", content);
    char *path = lpo_path_join(dir, "world.json");
    lpo_status s =
        meta && path ? lpo_json_save(meta, path, err) : lpo_fail(err, LPO_ENOMEM, "%s: out of memory", dir);
    free(path);
    json_decref(meta);
    return s;
}

lpo_status lpo_world_write(const char *dir, const lpo_world_options *options, lpo_error *err) {
    lpo_world_options o = *options;
    lpo_status s = complete_options(&o, err);
    if (s) return s;
    char *videos = lpo_path_join(dir, "videos");
    s = videos ? lpo_dir_create(videos, err) : lpo_fail(err, LPO_ENOMEM, "%s: out of memory", dir);
    int n_heldout = (int)(o.heldout * o.n_videos + 0.5), n_train = o.n_videos - n_heldout, vocabulary = 0;
    texts t = {0};
    if (!s) s = write_videos(dir, &o, err);
    if (!s) s = lpo_dir_sync(videos, err);
    if (!s) s = write_texts(&t, dir, &o, n_train, err);
    if (!s) s = world_tokenizer_write(dir, &vocabulary, err);
    if (!s) s = write_meta(dir, &o, &t, n_train, vocabulary, err);
    free(videos);
    return s;
}
