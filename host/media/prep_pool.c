/* SPDX-License-Identifier: Apache-2.0 */
/* prep_pool.c -- see prep_pool.h. One mutex guards the slots' states and `stop`; frames and workspaces are
 * touched only by whoever owns the slot: the caller while FILLING, a worker while BUSY. */
#include "media/prep_pool.h"

#include "base/trace.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef enum slot_state { FREE, FILLING, READY, BUSY } slot_state;

typedef struct slot {
    slot_state state;
    lpo_frame frame; /* planes point into data */
    int i;
    uint8_t *data;
    size_t size_bytes;
} slot;

struct lpo_prep_pool {
    lpo_prep_view *views;
    int n_views, n_workers, n_slots;
    int width, height; /* the views are planned for */
    const lpo_prep_engine *engine;
    void *batch;      /* the engine's, of the frames put since the views were planned */
    void **workspace; /* one a worker; [0] the caller's when there are none */
    pthread_t *threads;
    slot *slots;
    pthread_mutex_t lock;
    pthread_cond_t filled, freed;
    int next_in, next_out, stop;
};

/* Fails on an engine only. */
static lpo_status render(lpo_prep_pool *p, const lpo_frame *frame, int i, void *workspace, lpo_error *err) {
    lpo_status s = LPO_OK;
    for (int k = 0; !s && k < p->n_views; k++) {
        const lpo_prep_view *v = &p->views[k];
        const double t = lpo_trace_begin();
        s = lpo_prep_view_render(v, &p->batch, frame, i, workspace, err);
        const double pixels = (double)v->clip->height * v->clip->width;
        lpo_trace_end(t, v->engine ? "submit" : "preprocess", "cpu", NULL,
                      1.5 * (double)frame->width * frame->height + 3 * pixels, 0);
    }
    return s;
}

/* Frames between decoder and renderers, under the lock. */
static void count_queue(const lpo_prep_pool *p) {
    if (!lpo_trace_on()) return;
    int n = 0;
    for (int k = 0; k < p->n_slots; k++) n += p->slots[k].state != FREE;
    lpo_trace_count("queue:frames", n);
}

typedef struct worker_arg {
    lpo_prep_pool *pool;
    int index;
} worker_arg;

static void *work(void *user) {
    worker_arg arg = *(worker_arg *)user;
    lpo_prep_pool *p = arg.pool;
    free(user);
    pthread_mutex_lock(&p->lock);
    for (;;) {
        slot *s = &p->slots[p->next_out];
        if (s->state == READY) {
            s->state = BUSY;
            p->next_out = (p->next_out + 1) % p->n_slots;
            pthread_mutex_unlock(&p->lock);
            render(p, &s->frame, s->i, p->workspace[arg.index], NULL);
            pthread_mutex_lock(&p->lock);
            s->state = FREE;
            count_queue(p);
            pthread_cond_broadcast(&p->freed);
        } else if (p->stop) {
            break;
        } else {
            pthread_cond_wait(&p->filled, &p->lock);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

lpo_status lpo_prep_pool_create(lpo_prep_pool **out, lpo_prep_view *views, int n_views, int n_threads,
                                const lpo_prep_engine *engine, lpo_error *err) {
    *out = NULL;
    int wanted = n_threads > 1 && !engine ? n_threads : 0;
    lpo_prep_pool *p = calloc(1, sizeof *p);
    if (!p) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    p->views = views, p->n_views = n_views, p->n_slots = 2 * wanted, p->engine = engine;
    p->workspace = calloc((size_t)wanted + 1, sizeof *p->workspace);
    p->threads = calloc((size_t)wanted + 1, sizeof *p->threads);
    p->slots = calloc((size_t)p->n_slots + 1, sizeof *p->slots);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->filled, NULL);
    pthread_cond_init(&p->freed, NULL);
    lpo_status s =
        p->workspace && p->threads && p->slots ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "out of memory");
    for (int k = 0; !s && k < wanted; k++) {
        worker_arg *arg = malloc(sizeof *arg);
        if (arg) *arg = (worker_arg){p, k};
        if (!arg || pthread_create(&p->threads[k], NULL, work, arg)) {
            free(arg);
            if (k == 0) s = lpo_fail(err, LPO_ENOMEM, "cannot start %d threads (ask for one)", wanted);
            break; /* fewer workers do the same work */
        }
        p->n_workers++;
    }
    if (s) {
        lpo_prep_pool_destroy(p);
        return s;
    }
    *out = p;
    return LPO_OK;
}

lpo_status lpo_prep_pool_finish(lpo_prep_pool *p, lpo_error *err) {
    void *batch = p->batch;
    const double t = lpo_trace_begin();
    pthread_mutex_lock(&p->lock);
    for (int k = 0; k < p->n_slots; k++)
        while (p->slots[k].state != FREE) pthread_cond_wait(&p->freed, &p->lock);
    pthread_mutex_unlock(&p->lock);
    p->batch = NULL;
    lpo_status s = batch ? p->engine->finish(p->engine->self, batch, err) : LPO_OK;
    if (batch || p->n_slots) lpo_trace_end(t, "wait:preprocess", "cpu", NULL, 0, 0);
    return s;
}

static lpo_status plan(lpo_prep_pool *p, int width, int height, lpo_error *err) {
    lpo_status s = lpo_prep_pool_finish(p, err);
    if (s) return s;
    size_t most = 64;
    for (int k = 0; k < p->n_views; k++) {
        s = lpo_prep_view_plan(&p->views[k], width, height, p->engine, err);
        if (s) return s;
        size_t bytes = lpo_prep_view_workspace(&p->views[k]);
        if (bytes > most) most = bytes;
    }
    for (int k = 0; k < (p->n_workers ? p->n_workers : 1); k++) {
        free(p->workspace[k]);
        p->workspace[k] = aligned_alloc(64, (most + 63) & ~(size_t)63);
        if (!p->workspace[k])
            return lpo_fail(err, LPO_ENOMEM, "out of memory for %dx%d frames", width, height);
    }
    p->width = width, p->height = height;
    return LPO_OK;
}

static int plane(int32_t *rows, int32_t *row_bytes, const lpo_frame *f, int k) {
    return lpo_prep_plane(rows, row_bytes, (int32_t)f->pixfmt, f->width, f->height, k);
}

static lpo_status copy_frame(slot *s, const lpo_frame *f, lpo_error *err) {
    int32_t rows, row_bytes;
    size_t need = 0;
    for (int k = 0; k < 3; k++)
        if (plane(&rows, &row_bytes, f, k)) need += (size_t)rows * (size_t)row_bytes;
    if (need > s->size_bytes) {
        free(s->data);
        s->data = malloc(need);
        s->size_bytes = s->data ? need : 0;
        if (!s->data)
            return lpo_fail(err, LPO_ENOMEM, "out of memory for a %dx%d frame", f->width, f->height);
    }
    s->frame = *f;
    uint8_t *to = s->data;
    for (int k = 0; k < 3; k++) {
        s->frame.plane[k] = NULL;
        if (!plane(&rows, &row_bytes, f, k)) continue;
        s->frame.plane[k] = to;
        s->frame.pitch_bytes[k] = row_bytes;
        for (int y = 0; y < rows; y++, to += row_bytes)
            memcpy(to, f->plane[k] + (ptrdiff_t)y * f->pitch_bytes[k], (size_t)row_bytes);
    }
    return LPO_OK;
}

lpo_status lpo_prep_pool_put(lpo_prep_pool *p, const lpo_frame *frame, int i, lpo_error *err) {
    if (frame->width != p->width || frame->height != p->height) {
        lpo_status s = plan(p, frame->width, frame->height, err);
        if (s) return s;
    }
    if (!p->n_workers) return render(p, frame, i, p->workspace[0], err);
    slot *s = &p->slots[p->next_in];
    pthread_mutex_lock(&p->lock);
    if (s->state != FREE) {
        const double t = lpo_trace_begin();
        while (s->state != FREE) pthread_cond_wait(&p->freed, &p->lock);
        lpo_trace_end(t, "wait:preprocess", "cpu", "the queue of frames is full", 0, 0);
    }
    s->state = FILLING;
    count_queue(p);
    pthread_mutex_unlock(&p->lock);

    lpo_status status = copy_frame(s, frame, err);
    s->i = i;

    pthread_mutex_lock(&p->lock);
    s->state = status ? FREE : READY;
    if (!status) {
        p->next_in = (p->next_in + 1) % p->n_slots;
        pthread_cond_signal(&p->filled);
    }
    pthread_mutex_unlock(&p->lock);
    return status;
}

void lpo_prep_pool_destroy(lpo_prep_pool *p) {
    if (!p) return;
    lpo_prep_pool_finish(p, NULL);
    pthread_mutex_lock(&p->lock);
    p->stop = 1;
    pthread_cond_broadcast(&p->filled);
    pthread_mutex_unlock(&p->lock);
    for (int k = 0; k < p->n_workers; k++) pthread_join(p->threads[k], NULL);
    for (int k = 0; p->workspace && k < (p->n_workers ? p->n_workers : 1); k++) free(p->workspace[k]);
    for (int k = 0; p->slots && k < p->n_slots; k++) free(p->slots[k].data);
    pthread_cond_destroy(&p->freed);
    pthread_cond_destroy(&p->filled);
    pthread_mutex_destroy(&p->lock);
    free(p->slots);
    free(p->threads);
    free(p->workspace);
    free(p);
}
