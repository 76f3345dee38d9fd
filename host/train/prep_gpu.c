/* SPDX-License-Identifier: Apache-2.0 */
/* prep_gpu.c -- frames to a GPU and back; how one is rendered there is prep_gpu_frame.c.
 *
 * submit packs a frame's planes into one of FRAMES slots, so the decoder may go on at once, and waits when
 * all are taken. One thread owns the device: it takes what is there, up to ROUND frames, and keeps two rounds
 * under way, so that one moves while the other is computed:
 *
 *     upload n+1 | wait for n | start n+1 | download n
 *
 * Buffers of a round: the sources end to end; the results end to end, so that neighbours in a clip come down
 * in one piece. What lies between the kernels is shared, because the device runs them in order. Weight tables
 * go up once a size and stay, also from one video to the next. */
#include "train/prep_gpu.h"

#include "base/trace.h"
#include "train/prep_gpu_frame.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FRAMES = 16, ROUND = FRAMES / 2, PLANS = 16, ALIGN = 256 };
static const size_t ROUND_BYTES = (size_t)128 << 20; /* of sources; a frame may be larger */

/* The weight tables of a size, on the device. */
typedef struct plan {
    struct plan *next;
    lpo_gpu_tables *tables;
    int users;          /* batches */
    lpo_buffer *buffer; /* of the tables; NULL until the device's thread has seen them */
} plan;

typedef struct batch {
    int pending;
    lpo_error err; /* the first failure */
    struct known { /* which plan the caller's tables are */
        const int32_t *key[4];
        plan *plan;
    } * known;
    int n_known;
} batch;

typedef struct frame {
    struct frame *next;
    lpo_prep_frame_args a;
    batch *batch;
    plan *plan;
    uint8_t *out;
    uint8_t *pixels; /* planes without padding */
    size_t pixels_bytes, room_bytes;
} frame;

typedef struct round {
    frame *frame[ROUND];
    size_t from[ROUND], to[ROUND]; /* bytes into the buffers */
    int n;
    lpo_buffer *source, *result;
    lpo_status status;
    lpo_error err;
} round;

typedef struct prep_gpu {
    lpo_prep_engine engine;
    char name[64];
    pthread_t thread;
    pthread_mutex_t lock; /* of the lists, plans' users and batches */
    pthread_cond_t come, freed, done;
    frame frames[FRAMES];
    frame *unused, *first, *last; /* first to last: waiting for the device */
    plan *plans;                  /* the newest first */
    bool stop;
    /* The thread's own: */
    lpo_device *device;
    const lpo_driver *driver;
    round rounds[2];
    lpo_buffer *work; /* lpo_gpu_frame_work_bytes of the largest frame */
} prep_gpu;

static size_t aligned(size_t bytes) {
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}
static size_t result_bytes(const lpo_prep_frame_args *a) {
    return (size_t)a->out_w * (size_t)a->out_h * 3;
}

static const char *refuses(void *self, const lpo_prep_frame_args *a) {
    (void)self, (void)a;
    return NULL;
}

/* ---- weight tables ---- */

/* The plan of a frame, the batch one of its users. NULL: out of memory. Under the lock. */
static plan *plan_of(prep_gpu *g, batch *b, const lpo_prep_frame_args *a) {
    const int32_t *key[4] = {a->horz.start, a->vert.start, a->blur_horz.start, a->blur_vert.start};
    for (int i = 0; i < b->n_known; i++)
        if (!memcmp(b->known[i].key, key, sizeof key)) return b->known[i].plan;
    struct known *more = realloc(b->known, ((size_t)b->n_known + 1) * sizeof *more);
    if (!more) return NULL;
    b->known = more;
    lpo_gpu_tables *fresh = lpo_gpu_tables_create(a);
    if (!fresh) return NULL;
    plan *p = g->plans;
    while (p && !lpo_gpu_tables_same(p->tables, fresh)) p = p->next;
    if (p)
        free(fresh);
    else if (!(p = malloc(sizeof *p))) {
        free(fresh);
        return NULL;
    } else {
        *p = (plan){.next = g->plans, .tables = fresh};
        g->plans = p;
    }
    p->users++;
    memcpy(more[b->n_known].key, key, sizeof key);
    more[b->n_known++].plan = p;
    return p;
}

/* The device's thread: plans beyond the newest PLANS that nobody uses. */
static void plans_trim(prep_gpu *g, int keep) {
    int n = 0;
    pthread_mutex_lock(&g->lock);
    for (plan **at = &g->plans; *at;) {
        plan *p = *at;
        if (++n <= keep || p->users) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        g->driver->release(p->buffer);
        free(p->tables);
        free(p);
    }
    pthread_mutex_unlock(&g->lock);
}

/* ---- the callers' side ---- */

static lpo_status pack(frame *f, lpo_error *err) {
    const lpo_prep_frame *src = &f->a.src;
    int32_t rows, row_bytes;
    size_t need = 0;
    for (int k = 0; k < 3; k++)
        if (lpo_prep_plane(&rows, &row_bytes, src->pixfmt, src->width, src->height, k))
            need += (size_t)rows * (size_t)row_bytes;
    if (need > f->room_bytes) {
        free(f->pixels);
        f->pixels = malloc(need);
        f->room_bytes = f->pixels ? need : 0;
        if (!f->pixels)
            return lpo_fail(err, LPO_ENOMEM, "out of memory for a %dx%d frame", src->width, src->height);
    }
    f->pixels_bytes = need;
    uint8_t *to = f->pixels;
    for (int k = 0; k < 3; k++) {
        if (!lpo_prep_plane(&rows, &row_bytes, src->pixfmt, src->width, src->height, k)) continue;
        for (int32_t y = 0; y < rows; y++, to += row_bytes)
            memcpy(to, src->plane[k] + (ptrdiff_t)y * src->pitch_bytes[k], (size_t)row_bytes);
    }
    return LPO_OK;
}

static lpo_status submit(void *self, void **state, uint8_t *out_rgb, const lpo_prep_frame_args *a,
                         lpo_error *err) {
    prep_gpu *g = self;
    batch *b = *state;
    if (!b) *state = b = calloc(1, sizeof *b);
    if (!b) return lpo_fail(err, LPO_ENOMEM, "out of memory for a frame");
    pthread_mutex_lock(&g->lock);
    while (!g->unused) pthread_cond_wait(&g->freed, &g->lock);
    frame *f = g->unused;
    g->unused = f->next;
    f->plan = plan_of(g, b, a);
    pthread_mutex_unlock(&g->lock);
    f->a = *a;
    f->batch = b;
    f->out = out_rgb;
    f->next = NULL;
    lpo_status s = f->plan ? pack(f, err) : lpo_fail(err, LPO_ENOMEM, "out of memory for a frame's weights");
    pthread_mutex_lock(&g->lock);
    if (s) {
        f->next = g->unused;
        g->unused = f;
        pthread_cond_signal(&g->freed);
    } else {
        if (g->last)
            g->last->next = f;
        else
            g->first = f;
        g->last = f;
        b->pending++;
        pthread_cond_signal(&g->come);
    }
    pthread_mutex_unlock(&g->lock);
    return s;
}

static lpo_status finish(void *self, void *state, lpo_error *err) {
    prep_gpu *g = self;
    batch *b = state;
    if (!b) return LPO_OK;
    pthread_mutex_lock(&g->lock);
    while (b->pending) pthread_cond_wait(&g->done, &g->lock);
    for (int i = 0; i < b->n_known; i++) b->known[i].plan->users--;
    pthread_mutex_unlock(&g->lock);
    const lpo_status s = b->err.code;
    if (s && err) *err = b->err;
    free(b->known);
    free(b);
    return s;
}

/* ---- the device's side ---- */

static lpo_status grow(lpo_buffer **b, prep_gpu *g, size_t size_bytes, lpo_error *err) {
    if (*b && lpo_buffer_bytes(*b) >= size_bytes) return LPO_OK;
    g->driver->release(*b);
    *b = NULL;
    return g->driver->alloc(b, g->device, size_bytes, err);
}

/* Sources, and tables the device does not have. */
static lpo_status round_upload(prep_gpu *g, round *r) {
    size_t from = 0, to = 0, work = 0;
    for (int i = 0; i < r->n; i++) {
        const frame *f = r->frame[i];
        const size_t end = lpo_gpu_frame_work_bytes(&f->a);
        r->from[i] = from, r->to[i] = to;
        from += aligned(f->pixels_bytes);
        to += result_bytes(&f->a);
        work = end > work ? end : work;
    }
    const double t = lpo_trace_begin();
    lpo_status s = grow(&r->source, g, from, &r->err);
    if (!s) s = grow(&r->result, g, to, &r->err);
    if (!s) s = grow(&g->work, g, work, &r->err);
    for (int i = 0; i < r->n && !s; i++) {
        const frame *f = r->frame[i];
        plan *p = f->plan;
        if (!p->buffer) {
            plans_trim(g, PLANS);
            s = g->driver->alloc(&p->buffer, g->device, p->tables->size_bytes, &r->err);
            if (!s) s = g->driver->upload(p->buffer, 0, p->tables->data, p->tables->size_bytes, &r->err);
            if (s) g->driver->release(p->buffer), p->buffer = NULL;
        }
        if (!s) s = g->driver->upload(r->source, r->from[i], f->pixels, f->pixels_bytes, &r->err);
    }
    lpo_trace_end(t, "copy", g->name, "frames up", (double)from, 0);
    return s;
}

static lpo_status round_start(prep_gpu *g, round *r) {
    lpo_status s = LPO_OK;
    for (int i = 0; i < r->n && !s; i++)
        s = lpo_gpu_frame_start(g->device, &r->frame[i]->a, r->frame[i]->plan->tables,
                                r->frame[i]->plan->buffer, (lpo_gpu_tensor){r->result, r->to[i], LPO_U8},
                                (lpo_gpu_tensor){r->source, r->from[i], LPO_U8}, g->work, &r->err);
    return s;
}

static lpo_status round_download(prep_gpu *g, round *r) {
    const double t = lpo_trace_begin();
    double moved = 0;
    lpo_status s = LPO_OK;
    for (int i = 0, k; i < r->n && !s; i = k) {
        size_t n = result_bytes(&r->frame[i]->a);
        for (k = i + 1; k < r->n && r->frame[k]->out == r->frame[i]->out + n; k++)
            n += result_bytes(&r->frame[k]->a);
        s = g->driver->download(r->frame[i]->out, r->result, r->to[i], n, &r->err);
        moved += (double)n;
    }
    lpo_trace_end(t, "copy", g->name, "frames down", moved, 0);
    return s;
}

static void round_end(prep_gpu *g, round *r) {
    pthread_mutex_lock(&g->lock);
    for (int i = 0; i < r->n; i++) {
        frame *f = r->frame[i];
        if (r->status && !f->batch->err.code) f->batch->err = r->err;
        f->batch->pending--;
        f->next = g->unused;
        g->unused = f;
    }
    pthread_cond_broadcast(&g->freed);
    pthread_cond_broadcast(&g->done);
    pthread_mutex_unlock(&g->lock);
    r->n = 0;
}

/* Frames for a round; waits for one unless there is other work. */
static void round_take(prep_gpu *g, round *r, bool wait) {
    size_t bytes = 0;
    r->status = LPO_OK;
    pthread_mutex_lock(&g->lock);
    while (wait && !g->first && !g->stop) pthread_cond_wait(&g->come, &g->lock);
    for (frame *f; (f = g->first) && r->n < ROUND; r->frame[r->n++] = f) {
        bytes += f->pixels_bytes;
        if (r->n && bytes > ROUND_BYTES) break;
        g->first = f->next;
        if (!g->first) g->last = NULL;
    }
    pthread_mutex_unlock(&g->lock);
}

static void *work(void *self) {
    prep_gpu *g = self;
    round *now = &g->rounds[0], *next = &g->rounds[1]; /* now: started */
    lpo_trace_thread("frames");
    for (;;) {
        round_take(g, next, !now->n);
        if (!now->n && !next->n) break; /* told to stop */
        if (next->n) next->status = round_upload(g, next);
        const double t = lpo_trace_begin();
        /* Also when the round failed: some of its frames may have been started. */
        if (now->n && !now->status)
            now->status = g->driver->wait(g->device, &now->err);
        else if (now->n)
            g->driver->wait(g->device, NULL);
        if (next->n && !next->status) next->status = round_start(g, next);
        if (now->n) lpo_trace_end(t, "preprocess", g->name, NULL, 0, 0);
        if (now->n && !now->status) now->status = round_download(g, now);
        if (now->n) round_end(g, now);
        round *swap = now;
        now = next, next = swap;
    }
    return NULL;
}

/* ---- the engine ---- */

static void close_engine(void *self) {
    prep_gpu *g = self;
    pthread_mutex_lock(&g->lock);
    g->stop = true;
    pthread_cond_signal(&g->come);
    pthread_mutex_unlock(&g->lock);
    pthread_join(g->thread, NULL);
    plans_trim(g, 0);
    for (int i = 0; i < 2; i++)
        g->driver->release(g->rounds[i].source), g->driver->release(g->rounds[i].result);
    g->driver->release(g->work);
    lpo_device_close(g->device);
    for (int i = 0; i < FRAMES; i++) free(g->frames[i].pixels);
    pthread_cond_destroy(&g->come);
    pthread_cond_destroy(&g->freed);
    pthread_cond_destroy(&g->done);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

lpo_status lpo_prep_gpu_create(lpo_prep_engine **out, const char *device, lpo_error *err) {
    *out = NULL;
    prep_gpu *g = calloc(1, sizeof *g);
    if (!g) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    lpo_status s = lpo_device_open(&g->device, device, err);
    if (!s && !lpo_gpu_is(g->device))
        s = lpo_fail(err, LPO_EUNSUPPORTED, "%s: preprocessing has no kernels for it", device);
    if (s) goto fail;
    g->driver = lpo_device_driver(g->device);
    g->engine = (lpo_prep_engine){g, refuses, submit, finish, close_engine};
    snprintf(g->name, sizeof g->name, "%s", device);
    for (int i = 0; i < FRAMES; i++) {
        g->frames[i].next = g->unused;
        g->unused = &g->frames[i];
    }
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->come, NULL);
    pthread_cond_init(&g->freed, NULL);
    pthread_cond_init(&g->done, NULL);
    if (pthread_create(&g->thread, NULL, work, g)) {
        s = lpo_fail(err, LPO_ENOMEM, "%s: cannot start a thread", device);
        goto fail;
    }
    *out = &g->engine;
    return LPO_OK;
fail:
    lpo_device_close(g->device);
    free(g);
    return s;
}
