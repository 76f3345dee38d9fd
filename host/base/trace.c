/* SPDX-License-Identifier: Apache-2.0 */
/* trace.c -- see trace.h.
 * A track is a chain of chunks with its own lock, held by one living thread: the lock is free but for the
 * moments somebody reads, so recording never waits for recording. A thread that ends hands its track, events
 * and all, to the next thread that comes: a pool of short-lived workers stays a few lines of the chart.
 * Names stand in an insert-only table: looking one up takes no lock. Tracks and names live as long as the
 * process (a late thread may still hold them); lpo_trace_start gives back the chunks. */
#include "base/trace.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { CHUNK = 512, BUCKETS = 1024, MAX_NAMES = 1 << 16 };

typedef struct event {
    lpo_span span; /* a counter: stage NULL, its name, start_s, and the value in `bytes` */
} event;

typedef struct chunk {
    struct chunk *older;
    int n;
    event e[CHUNK];
} chunk;

typedef struct track {
    pthread_mutex_t lock;
    struct track *next; /* of all tracks */
    const char *name;
    chunk *newest;
    int index;
    bool used; /* by a living thread; under tracks_lock */
} track;

typedef struct name {
    struct name *next;
    char text[];
} name;

static atomic_bool on;
static atomic_uint_fast64_t n_events, n_dropped;
static pthread_mutex_t tracks_lock = PTHREAD_MUTEX_INITIALIZER, names_lock = PTHREAD_MUTEX_INITIALIZER;
static track *tracks;
static int n_tracks;
static _Atomic(name *) names[BUCKETS];
static int n_names;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static _Thread_local track *mine;

/* ---- names ---- */

static const char *find(const name *from, const char *text) {
    for (; from; from = from->next)
        if (!strcmp(from->text, text)) return from->text;
    return NULL;
}

const char *lpo_trace_intern(const char *text) {
    if (!text) return NULL;
    const size_t size = strlen(text);
    _Atomic(name *) *bucket = &names[XXH64(text, size, 0) % BUCKETS];
    const char *known = find(atomic_load_explicit(bucket, memory_order_acquire), text);
    if (known) return known;
    pthread_mutex_lock(&names_lock);
    name *first = atomic_load_explicit(bucket, memory_order_relaxed), *n = NULL;
    known = find(first, text);
    if (!known && n_names < MAX_NAMES) n = malloc(sizeof *n + size + 1);
    if (n) {
        n->next = first;
        memcpy(n->text, text, size + 1);
        atomic_store_explicit(bucket, n, memory_order_release);
        n_names++;
        known = n->text;
    }
    pthread_mutex_unlock(&names_lock);
    return known ? known : "(other names)";
}

/* ---- tracks ---- */

static void let_go(void *t) {
    pthread_mutex_lock(&tracks_lock);
    ((track *)t)->used = false;
    pthread_mutex_unlock(&tracks_lock);
}

static void make_key(void) {
    pthread_key_create(&key, let_go);
}

/* The calling thread's track; NULL when out of memory. */
static track *my_track(void) {
    if (mine) return mine;
    pthread_once(&once, make_key);
    pthread_mutex_lock(&tracks_lock);
    track *t = tracks;
    while (t && t->used) t = t->next;
    if (!t && (t = calloc(1, sizeof *t))) {
        pthread_mutex_init(&t->lock, NULL);
        t->index = n_tracks++;
        t->next = tracks;
        tracks = t;
    }
    if (t) t->used = true;
    pthread_mutex_unlock(&tracks_lock);
    if (t) pthread_setspecific(key, t);
    return mine = t;
}

void lpo_trace_thread(const char *text) {
    track *t = lpo_trace_on() ? my_track() : NULL;
    if (!t) return;
    pthread_mutex_lock(&t->lock);
    t->name = lpo_trace_intern(text);
    pthread_mutex_unlock(&t->lock);
}

static void keep(const event *e) {
    track *t = my_track();
    bool kept = false;
    if (t && atomic_fetch_add_explicit(&n_events, 1, memory_order_relaxed) < LPO_TRACE_MAX_EVENTS) {
        pthread_mutex_lock(&t->lock);
        if (!t->newest || t->newest->n == CHUNK) {
            chunk *c = malloc(sizeof *c);
            if (c) {
                c->n = 0;
                c->older = t->newest;
                t->newest = c;
            }
        }
        kept = t->newest && t->newest->n < CHUNK;
        if (kept) t->newest->e[t->newest->n++] = *e;
        pthread_mutex_unlock(&t->lock);
    }
    if (!kept) atomic_fetch_add_explicit(&n_dropped, 1, memory_order_relaxed);
}

/* ---- recording ---- */

bool lpo_trace_on(void) {
    return atomic_load_explicit(&on, memory_order_relaxed);
}

void lpo_trace_put(const lpo_span *s) {
    if (!lpo_trace_on()) return;
    event e = {*s};
    e.span.stage = lpo_trace_intern(s->stage ? s->stage : "other");
    e.span.device = lpo_trace_intern(s->device ? s->device : "cpu");
    e.span.name = lpo_trace_intern(s->name);
    if (!(e.span.seconds >= 0)) e.span.seconds = 0;
    keep(&e);
}

void lpo_trace_count(const char *text, double value) {
    if (!lpo_trace_on()) return;
    const event e = {{.name = lpo_trace_intern(text), .start_s = lpo_now_s(), .bytes = value}};
    keep(&e);
}

double lpo_trace_begin(void) {
    return lpo_trace_on() ? lpo_now_s() : 0;
}

void lpo_trace_end(double begin, const char *stage, const char *device, const char *text, double bytes,
                   double flops) {
    if (!(begin > 0) || !lpo_trace_on()) return;
    lpo_trace_put(&(lpo_span){stage, device, text, begin, lpo_now_s() - begin, bytes, flops, false});
}

/* ---- reading ---- */

void lpo_trace_start(void) {
    atomic_store(&on, false);
    pthread_mutex_lock(&tracks_lock);
    for (track *t = tracks; t; t = t->next) {
        pthread_mutex_lock(&t->lock);
        for (chunk *c = t->newest, *older; c; c = older) {
            older = c->older;
            free(c);
        }
        t->newest = NULL;
        t->name = NULL;
        pthread_mutex_unlock(&t->lock);
    }
    atomic_store(&n_events, 0);
    atomic_store(&n_dropped, 0);
    pthread_mutex_unlock(&tracks_lock);
    atomic_store(&on, true);
}

void lpo_trace_stop(void) {
    atomic_store(&on, false);
}

static int by_start(const void *a, const void *b) {
    const lpo_trace_span *x = a, *y = b;
    if (x->span.start_s != y->span.start_s) return x->span.start_s < y->span.start_s ? -1 : 1;
    if (x->span.seconds != y->span.seconds) return x->span.seconds > y->span.seconds ? -1 : 1;
    return (x->thread > y->thread) - (x->thread < y->thread);
}

static int by_time(const void *a, const void *b) {
    const lpo_trace_value *x = a, *y = b;
    return (x->at_s > y->at_s) - (x->at_s < y->at_s);
}

void lpo_trace_log_sort(lpo_trace_log *l) {
    if (l->n_spans) qsort(l->span, l->n_spans, sizeof *l->span, by_start);
    if (l->n_values) qsort(l->value, l->n_values, sizeof *l->value, by_time);
}

void lpo_trace_log_clear(lpo_trace_log *l) {
    free(l->span);
    free(l->value);
    free(l->thread);
    *l = (lpo_trace_log){0};
}

/* All tracks stand still while their events are counted and copied. */
static lpo_status copy(lpo_trace_log *l, lpo_error *err) {
    size_t spans = 0, values = 0;
    for (const track *t = tracks; t; t = t->next)
        for (const chunk *c = t->newest; c; c = c->older)
            for (int i = 0; i < c->n; i++) *(c->e[i].span.stage ? &spans : &values) += 1;
    l->span = malloc((spans + 1) * sizeof *l->span);
    l->value = malloc((values + 1) * sizeof *l->value);
    l->thread = calloc((size_t)n_tracks + 1, sizeof *l->thread);
    if (!l->span || !l->value || !l->thread)
        return lpo_fail(err, LPO_ENOMEM, "out of memory for a trace of %zu events", spans + values);
    l->n_threads = n_tracks;
    for (const track *t = tracks; t; t = t->next) {
        l->thread[t->index] = t->name;
        for (const chunk *c = t->newest; c; c = c->older)
            for (int i = 0; i < c->n; i++) {
                const lpo_span *s = &c->e[i].span;
                if (s->stage)
                    l->span[l->n_spans++] = (lpo_trace_span){*s, t->index};
                else
                    l->value[l->n_values++] = (lpo_trace_value){s->name, s->start_s, s->bytes};
            }
    }
    return LPO_OK;
}

lpo_status lpo_trace_read(lpo_trace_log *out, lpo_error *err) {
    *out = (lpo_trace_log){0};
    pthread_mutex_lock(&tracks_lock);
    for (track *t = tracks; t; t = t->next) pthread_mutex_lock(&t->lock);
    lpo_status s = copy(out, err);
    for (track *t = tracks; t; t = t->next) pthread_mutex_unlock(&t->lock);
    pthread_mutex_unlock(&tracks_lock);
    out->n_dropped = atomic_load(&n_dropped);
    if (s) {
        lpo_trace_log_clear(out);
        return s;
    }
    lpo_trace_log_sort(out);
    return LPO_OK;
}
