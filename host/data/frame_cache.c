/* SPDX-License-Identifier: Apache-2.0 */
/* frame_cache.c -- a chained hash table of entries; entries nobody has pinned stand in a list, the least
 * recently used first, and leave from its head while the total is over the cap. An entry being decoded is in
 * the table, pinned, with state LOADING: others wait. */
#include "data/frame_cache.h"

#include "base/clock.h"
#include "base/trace.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { BUCKETS = 4096 };
typedef enum { LOADING, READY } entry_state;

typedef struct entry {
    lpo_clip clip; /* first: put() gets its address back */
    struct entry *chain, *prev, *next;
    char *video;
    size_t size_bytes;
    int pins;
    entry_state state;
} entry;

struct lpo_frame_cache {
    pthread_mutex_t lock;
    pthread_cond_t loaded;
    entry *bucket[BUCKETS];
    entry idle; /* list head: idle.next is the least recently used */
    size_t used_bytes, cap_bytes;
};

lpo_frame_cache *lpo_frame_cache_create(size_t cap_bytes) {
    lpo_frame_cache *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->loaded, NULL);
    c->idle.prev = c->idle.next = &c->idle;
    c->cap_bytes = cap_bytes;
    return c;
}

static size_t slot_of(const char *video) {
    return XXH64(video, strlen(video), 0) % BUCKETS;
}

static void entry_free(entry *e) {
    lpo_clip_clear(&e->clip);
    free(e->video);
    free(e);
}

void lpo_frame_cache_destroy(lpo_frame_cache *c) {
    if (!c) return;
    for (int i = 0; i < BUCKETS; i++)
        for (entry *e = c->bucket[i], *next; e; e = next) {
            next = e->chain;
            entry_free(e);
        }
    pthread_cond_destroy(&c->loaded);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static void unchain(lpo_frame_cache *c, entry *e) {
    entry **p = &c->bucket[slot_of(e->video)];
    while (*p != e) p = &(*p)->chain;
    *p = e->chain;
}

static void leave_idle(entry *e) {
    if (!e->next) return;
    e->prev->next = e->next;
    e->next->prev = e->prev;
    e->prev = e->next = NULL;
}

static void evict(lpo_frame_cache *c) {
    while (c->used_bytes > c->cap_bytes && c->idle.next != &c->idle) {
        entry *e = c->idle.next;
        leave_idle(e);
        unchain(c, e);
        c->used_bytes -= e->size_bytes;
        entry_free(e);
    }
}

void lpo_frame_cache_set_cap(lpo_frame_cache *c, size_t cap_bytes) {
    pthread_mutex_lock(&c->lock);
    c->cap_bytes = cap_bytes;
    evict(c);
    pthread_mutex_unlock(&c->lock);
}

static entry *find(lpo_frame_cache *c, const char *video) {
    entry *e = c->bucket[slot_of(video)];
    while (e && strcmp(e->video, video)) e = e->chain;
    return e;
}

/* Decode e's video outside the lock (held on entry and on exit). On failure e is gone. */
static lpo_status load(lpo_frame_cache *c, entry *e, const lpo_prep_options *prep, double *decode_s,
                       lpo_error *err) {
    lpo_prep_options one = *prep;
    one.n_threads = 1; /* callers are workers already */
    pthread_mutex_unlock(&c->lock);
    double t0 = lpo_now_s();
    lpo_clip clip = {0};
    lpo_status s = lpo_prep_video(&clip, e->video, &one, NULL, err);
    *decode_s = lpo_now_s() - t0;
    pthread_mutex_lock(&c->lock);
    if (s) {
        unchain(c, e);
        pthread_cond_broadcast(&c->loaded);
        entry_free(e);
        return s;
    }
    e->clip = clip;
    e->size_bytes = (size_t)clip.n_frames * (size_t)clip.height * (size_t)clip.width * 3;
    e->state = READY;
    c->used_bytes += e->size_bytes;
    evict(c);
    lpo_trace_count("bytes:frame_cache", (double)c->used_bytes);
    pthread_cond_broadcast(&c->loaded);
    return LPO_OK;
}

lpo_status lpo_frame_cache_get(const lpo_clip **out, lpo_frame_cache *c, const char *video,
                               const lpo_prep_options *prep, double *decode_s, lpo_error *err) {
    double spent = 0;
    lpo_status s = LPO_OK;
    *out = NULL;
    pthread_mutex_lock(&c->lock);
    entry *e;
    /* A failed load vanishes, so look it up anew after every wait. */
    while ((e = find(c, video)) && e->state == LOADING) pthread_cond_wait(&c->loaded, &c->lock);
    if (e) {
        leave_idle(e);
        e->pins++;
    } else {
        e = calloc(1, sizeof *e);
        if (e) e->video = strdup(video);
        if (!e || !e->video) {
            free(e);
            s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", video);
        } else {
            size_t b = slot_of(video);
            e->chain = c->bucket[b];
            c->bucket[b] = e;
            e->pins = 1;
            s = load(c, e, prep, &spent, err);
        }
    }
    if (!s) *out = &e->clip;
    pthread_mutex_unlock(&c->lock);
    if (decode_s) *decode_s = spent;
    return s;
}

void lpo_frame_cache_put(lpo_frame_cache *c, const lpo_clip *clip) {
    entry *e = (entry *)(uintptr_t)clip;
    pthread_mutex_lock(&c->lock);
    if (--e->pins == 0) {
        e->next = &c->idle;
        e->prev = c->idle.prev;
        e->prev->next = e;
        c->idle.prev = e;
        evict(c);
    }
    pthread_mutex_unlock(&c->lock);
}
