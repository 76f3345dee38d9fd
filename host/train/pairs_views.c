/* SPDX-License-Identifier: Apache-2.0 */
/* pairs_views.c -- see pairs_views.h. A hash table of entries under one lock. An entry that is taken waits in
 * the queue for a worker, which decodes what is not in memory and cuts the patches; patches, a copy of the
 * frames in another order, go when the entry is dropped. */
#include "train/pairs_views.h"

#include "media/cut.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { BUCKETS = 4096, MAX_THREADS = 16 };
typedef enum entry_state { QUEUED, WORKING, READY, FAILED } entry_state;

typedef struct entry {
    lpo_views v;                         /* first: drop gets its address back */
    struct entry *chain, *newer, *older; /* in its bucket; among the idle */
    struct entry *next;                  /* in the queue */
    char *path;
    lpo_cut *cut[2]; /* v.input's patches */
    size_t frame_bytes, patch_bytes;
    int taken;
    bool decoded, wanted; /* wanted: somebody waits, whatever memory is left */
    entry_state state;
    lpo_error err;
} entry;

struct lpo_view_store {
    lpo_prep_options prep;
    lpo_view_choice aug;
    bool augmented, stop;
    uint64_t seed;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    pthread_t thread[MAX_THREADS];
    int n_threads;
    entry *bucket[BUCKETS];
    entry *newest, *oldest; /* idle */
    entry *first, *last;    /* waiting for a worker */
    size_t idle_bytes, taken_bytes, idle_cap, taken_cap;
    size_t largest_bytes; /* of one taken, so far */
    int n_working;
    int64_t n_decoded;
};

static entry **place_of(lpo_view_store *s, const char *path) {
    entry **e = &s->bucket[XXH64(path, strlen(path), 0) % BUCKETS];
    while (*e && strcmp((*e)->path, path)) e = &(*e)->chain;
    return e;
}

static void entry_free(entry *e) {
    for (int k = 0; k < 2; k++) {
        free(e->cut[k]);
        lpo_clip_clear(&e->v.clip[k]);
    }
    free(e->path);
    free(e);
}

static size_t frame_bytes(const lpo_clip *c) {
    return (size_t)c->n_frames * (size_t)c->height * (size_t)c->width * 3;
}

static lpo_status decode(const lpo_view_store *s, entry *e, lpo_error *err) {
    if (!s->augmented) return lpo_prep_video(&e->v.clip[0], e->path, &s->prep, NULL, err);
    return lpo_prep_video2(&e->v.clip[0], &e->v.clip[1], e->path, &s->prep, &e->v.augment, err);
}

static lpo_status cut(const lpo_view_store *s, entry *e, lpo_error *err) {
    e->patch_bytes = 0;
    for (int k = 0; k < 1 + s->augmented; k++) {
        const lpo_clip *c = &e->v.clip[k];
        const size_t size_bytes = lpo_cut_bytes(c, &s->prep);
        lpo_cut *cut = e->cut[k] = malloc(size_bytes);
        if (!cut) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory for its patches", e->path);
        lpo_cut_fill(cut, c, &s->prep);
        e->v.input[k] = (lpo_clip_input){cut->patches, c->grid_t,          c->grid_h,
                                         c->grid_w,    c->second_per_grid, cut->levels[0]};
        e->patch_bytes += size_bytes;
    }
    return LPO_OK;
}

static void enter_queue(lpo_view_store *s, entry *e) {
    e->state = QUEUED;
    e->wanted = false;
    e->patch_bytes = 0;
    e->next = NULL;
    *(s->last ? &s->last->next : &s->first) = e;
    s->last = e;
}

static void leave_queue(lpo_view_store *s, entry *e) {
    entry *before = NULL;
    for (entry *i = s->first; i != e; i = i->next) before = i;
    *(before ? &before->next : &s->first) = e->next;
    if (s->last == e) s->last = before;
}

/* The oldest in the queue while there is room, as far as one can tell before it is decoded; else one that
 * somebody waits for. */
static entry *next_to_do(const lpo_view_store *s) {
    entry *e = s->first;
    if (s->taken_bytes + (size_t)s->n_working * s->largest_bytes < s->taken_cap) return e;
    while (e && !e->wanted) e = e->next;
    return e;
}

static void *work(void *arg) {
    lpo_view_store *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        entry *e = NULL;
        while (!s->stop && !(e = next_to_do(s))) pthread_cond_wait(&s->work, &s->lock);
        if (s->stop) break;
        leave_queue(s, e);
        e->state = WORKING;
        s->n_working++;
        const bool decoded = e->decoded;
        pthread_mutex_unlock(&s->lock);
        lpo_status st = decoded ? LPO_OK : decode(s, e, &e->err);
        if (!st) e->frame_bytes = frame_bytes(&e->v.clip[0]) + frame_bytes(&e->v.clip[1]);
        if (!st) st = cut(s, e, &e->err);
        pthread_mutex_lock(&s->lock);
        if (!st) s->taken_bytes += e->patch_bytes;
        if (!st && !decoded) {
            s->taken_bytes += e->frame_bytes;
            s->n_decoded++;
        }
        if (!st && e->patch_bytes + e->frame_bytes > s->largest_bytes)
            s->largest_bytes = e->patch_bytes + e->frame_bytes;
        if (st && decoded) s->taken_bytes -= e->frame_bytes;
        s->n_working--;
        e->decoded = !st;
        e->state = st ? FAILED : READY;
        pthread_cond_broadcast(&s->done);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

lpo_status lpo_view_choice_parse(lpo_view_choice *out, const char *spec, lpo_error *err) {
    bool any = false;
    *out = (lpo_view_choice){.n = 0};
    for (const char *p = spec;; p++) {
        const size_t n = strcspn(p, "|");
        char one[256], canonical[256], nothing[256];
        if (n >= sizeof one || out->n == sizeof out->of / sizeof *out->of)
            return lpo_fail(err, LPO_ELIMIT, "--augment %.80s...: at most 8 alternatives of 255 characters",
                            spec);
        memcpy(one, p, n);
        one[n] = 0;
        lpo_augment *a = &out->of[out->n++];
        lpo_status s = lpo_augment_parse(a, one, err);
        if (s) return s;
        const lpo_augment plain = {.seed = a->seed};
        lpo_augment_format(canonical, sizeof canonical, a);
        lpo_augment_format(nothing, sizeof nothing, &plain);
        any |= strcmp(canonical, nothing) != 0;
        p += n;
        if (!*p) break;
    }
    if (!any) out->n = 0;
    return LPO_OK;
}

void lpo_view_choice_format(char out[512], const lpo_view_choice *c) {
    int at = snprintf(out, 512, "%s", c->n ? "" : "none");
    for (int i = 0; i < c->n && at < 500; i++) {
        if (i) at += snprintf(out + at, (size_t)(512 - at), "|");
        at += lpo_augment_format(out + at, (size_t)(512 - at), &c->of[i]);
    }
}

lpo_status lpo_view_store_create(lpo_view_store **out, const lpo_prep_options *prep,
                                 const lpo_view_choice *aug, uint64_t seed, int n_threads, size_t idle_bytes,
                                 size_t taken_bytes, lpo_error *err) {
    *out = NULL;
    lpo_view_store *s = calloc(1, sizeof *s);
    if (!s) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    s->prep = *prep;
    s->prep.n_threads = 1; /* the workers are the threads */
    s->augmented = aug->n > 0;
    s->aug = *aug;
    s->seed = seed;
    s->idle_cap = idle_bytes;
    s->taken_cap = taken_bytes;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->done, NULL);
    if (n_threads > MAX_THREADS) n_threads = MAX_THREADS;
    while (s->n_threads < n_threads && !pthread_create(&s->thread[s->n_threads], NULL, work, s))
        s->n_threads++;
    if (!s->n_threads) {
        lpo_view_store_destroy(s);
        return lpo_fail(err, LPO_ENOMEM, "cannot start a thread to decode videos");
    }
    *out = s;
    return LPO_OK;
}

void lpo_view_store_destroy(lpo_view_store *s) {
    if (!s) return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < s->n_threads; i++) pthread_join(s->thread[i], NULL);
    for (int i = 0; i < BUCKETS; i++)
        for (entry *e = s->bucket[i], *next; e; e = next) {
            next = e->chain;
            entry_free(e);
        }
    pthread_cond_destroy(&s->done);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void leave_idle(lpo_view_store *s, entry *e) {
    *(e->newer ? &e->newer->older : &s->newest) = e->older;
    *(e->older ? &e->older->newer : &s->oldest) = e->newer;
    e->newer = e->older = NULL;
    s->idle_bytes -= e->frame_bytes;
}

static void enter_idle(lpo_view_store *s, entry *e) {
    e->newer = NULL;
    e->older = s->newest;
    *(s->newest ? &s->newest->newer : &s->oldest) = e;
    s->newest = e;
    s->idle_bytes += e->frame_bytes;
}

static void forget(lpo_view_store *s, entry *e) {
    entry **at = place_of(s, e->path);
    *at = e->chain;
    entry_free(e);
}

static entry *entry_new(const lpo_view_store *s, const char *path, const char *written) {
    entry *e = calloc(1, sizeof *e);
    if (e && !(e->path = strdup(path))) {
        free(e);
        return NULL;
    }
    if (!e) return NULL;
    if (!s->aug.n) return e;
    const uint64_t drawn = XXH64(written, strlen(written), s->seed + (s->aug.of[0].seed << 32));
    e->v.augment = s->aug.of[(drawn >> 32) % (uint64_t)s->aug.n];
    e->v.augment.seed = drawn & 0x7fffffff; /* 31 bits: readable in the augment key of a pair */
    return e;
}

lpo_status lpo_views_take(lpo_views **out, lpo_view_store *s, const char *path, const char *written,
                          lpo_error *err) {
    lpo_status st = LPO_OK;
    pthread_mutex_lock(&s->lock);
    entry **at = place_of(s, path), *e = *at;
    if (!e) {
        if (!(e = *at = entry_new(s, path, written)))
            st = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    } else if (!e->taken) {
        leave_idle(s, e);
        s->taken_bytes += e->frame_bytes;
    }
    if (e && !e->taken++) {
        enter_queue(s, e);
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->lock);
    *out = e ? &e->v : NULL;
    return st;
}

void lpo_views_drop(lpo_view_store *s, lpo_views *v) {
    if (!v) return;
    entry *e = (entry *)v;
    pthread_mutex_lock(&s->lock);
    if (--e->taken == 0) {
        if (e->state == QUEUED) leave_queue(s, e);
        while (e->state == WORKING) pthread_cond_wait(&s->done, &s->lock);
        for (int k = 0; k < 2; k++) {
            free(e->cut[k]);
            e->cut[k] = NULL;
            e->v.input[k] = (lpo_clip_input){0};
        }
        if (e->decoded) {
            s->taken_bytes -= e->patch_bytes + e->frame_bytes;
            enter_idle(s, e);
        } else {
            forget(s, e);
        }
        while (s->idle_bytes > s->idle_cap && s->oldest) {
            entry *old = s->oldest;
            leave_idle(s, old);
            forget(s, old);
        }
        pthread_cond_broadcast(&s->work); /* there may be room again */
    }
    pthread_mutex_unlock(&s->lock);
}

void lpo_views_want(lpo_view_store *s, lpo_views *v) {
    entry *e = (entry *)v;
    pthread_mutex_lock(&s->lock);
    if (e->state == QUEUED && !e->wanted) {
        e->wanted = true;
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->lock);
}

bool lpo_views_ready(lpo_view_store *s, const lpo_views *v) {
    pthread_mutex_lock(&s->lock);
    const entry_state state = ((const entry *)v)->state;
    const bool ready = state == READY || state == FAILED;
    pthread_mutex_unlock(&s->lock);
    return ready;
}

lpo_status lpo_views_wait(lpo_view_store *s, const lpo_views *v, lpo_error *err) {
    entry *e = (entry *)(uintptr_t)v;
    pthread_mutex_lock(&s->lock);
    e->wanted = true;
    pthread_cond_broadcast(&s->work);
    while (e->state == QUEUED || e->state == WORKING) pthread_cond_wait(&s->done, &s->lock);
    const bool failed = e->state == FAILED;
    if (failed && err) *err = e->err;
    pthread_mutex_unlock(&s->lock);
    return failed ? e->err.code : LPO_OK;
}

size_t lpo_view_store_taken_bytes(lpo_view_store *s) {
    pthread_mutex_lock(&s->lock);
    const size_t n = s->taken_bytes;
    pthread_mutex_unlock(&s->lock);
    return n;
}

int64_t lpo_view_store_decoded(lpo_view_store *s) {
    pthread_mutex_lock(&s->lock);
    const int64_t n = s->n_decoded;
    pthread_mutex_unlock(&s->lock);
    return n;
}
