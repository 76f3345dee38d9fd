/* SPDX-License-Identifier: Apache-2.0 */
/* validate.c -- look at every record once before training: a video that cannot be read or a response that
 * does not fit stops nothing later. Records are grouped by video, so each is decoded once, and what fits
 * stays in the recipe's cache. */
#include "data/loader.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct job {
    lpo_dataset *data;
    const lpo_recipe *recipe;
    const int64_t *order; /* record indices sorted by video */
    int64_t n;
    atomic_llong next, done;
    atomic_int cancel;
    pthread_mutex_t lock; /* guards reject and the reasons */
    lpo_status status;
    lpo_error err;
} job;

static int by_video(const void *a, const void *b, void *data) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    int c = strcmp(lpo_dataset_at(data, x)->video, lpo_dataset_at(data, y)->video);
    return c ? c : (x > y) - (x < y);
}

static void reject(job *j, int64_t i, const char *reason) {
    pthread_mutex_lock(&j->lock);
    lpo_error err;
    lpo_status s = lpo_dataset_reject(j->data, i, reason, &err);
    if (s && !j->status) {
        j->status = s;
        j->err = err;
    }
    pthread_mutex_unlock(&j->lock);
}

static lpo_status check_text(const lpo_recipe *r, const lpo_record *rec, const lpo_clip *clip,
                             lpo_error *err) {
    lpo_ids ids = {0};
    lpo_status s = lpo_recipe_prompt(&ids, r, rec->prompt, clip, err);
    size_t n_prompt = ids.n;
    for (int k = 0; k < 2 && !s; k++) {
        const char *text = k ? rec->rejected : rec->chosen;
        if (!text) continue;
        ids.n = n_prompt;
        s = lpo_recipe_response(&ids, r, text, err);
        if (!s && ids.n > (size_t)r->max_positions)
            s = lpo_fail(err, LPO_ELIMIT,
                         "prompt and response are %zu tokens, over the model's context of %d", ids.n,
                         r->max_positions);
    }
    lpo_ids_clear(&ids);
    return s;
}

/* The run of records order[from..to) that share one video. */
static void check_run(job *j, int64_t from, int64_t to) {
    const char *video = lpo_dataset_at(j->data, j->order[from])->video;
    const lpo_clip *clip;
    lpo_error err;
    lpo_status bad = lpo_frame_cache_get(&clip, j->recipe->cache, video, &j->recipe->prep, NULL, &err);
    for (int64_t k = from; k < to; k++) {
        lpo_error text_err;
        if (bad)
            reject(j, j->order[k], err.msg);
        else if (check_text(j->recipe, lpo_dataset_at(j->data, j->order[k]), clip, &text_err))
            reject(j, j->order[k], text_err.msg);
    }
    if (!bad) lpo_frame_cache_put(j->recipe->cache, clip);
    atomic_fetch_add(&j->done, to - from);
}

static bool same_video(const job *j, int64_t a, int64_t b) {
    return !strcmp(lpo_dataset_at(j->data, j->order[a])->video, lpo_dataset_at(j->data, j->order[b])->video);
}

static void *work(void *arg) {
    job *j = arg;
    for (;;) {
        /* Take one run: the lock also orders the scans of `order`. */
        pthread_mutex_lock(&j->lock);
        int64_t from = atomic_load(&j->next), to = from;
        while (to < j->n && same_video(j, from, to)) to++;
        atomic_store(&j->next, to);
        pthread_mutex_unlock(&j->lock);
        if (from >= j->n || atomic_load(&j->cancel)) return NULL;
        check_run(j, from, to);
    }
}

lpo_status lpo_dataset_validate(lpo_dataset *d, const lpo_recipe *r, int n_threads, lpo_progress_fn *progress,
                                void *user, lpo_error *err) {
    int64_t n = lpo_dataset_count(d);
    int64_t *order = malloc((size_t)n * sizeof *order);
    if (!order) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", lpo_dataset_path(d));
    for (int64_t i = 0; i < n; i++) order[i] = i;
    qsort_r(order, (size_t)n, sizeof *order, by_video, d);
    job j = {.data = d, .recipe = r, .order = order, .n = n};
    pthread_mutex_init(&j.lock, NULL);
    enum { MAX_THREADS = 64 };
    pthread_t thread[MAX_THREADS];
    int started = 0;
    if (n_threads > MAX_THREADS) n_threads = MAX_THREADS;
    while (started < n_threads && !pthread_create(&thread[started], NULL, work, &j)) started++;
    if (started == 0) work(&j);
    struct timespec tick = {0, 50 * 1000 * 1000};
    while (started && atomic_load(&j.done) < n && !atomic_load(&j.cancel)) {
        if (progress && progress(user, "checking videos", atomic_load(&j.done), n))
            atomic_store(&j.cancel, 1);
        nanosleep(&tick, NULL);
    }
    for (int i = 0; i < started; i++) pthread_join(thread[i], NULL);
    if (progress && !atomic_load(&j.cancel)) progress(user, "checking videos", n, n);
    free(order);
    pthread_mutex_destroy(&j.lock);
    if (j.status) {
        if (err) *err = j.err;
        return j.status;
    }
    if (atomic_load(&j.cancel))
        return lpo_fail(err, LPO_ECANCELED, "%s: checking was interrupted", lpo_dataset_path(d));
    return lpo_dataset_compact(d, err);
}
