/* SPDX-License-Identifier: Apache-2.0 */
/* loader.c -- see loader.h. Workers take step numbers in order and fill the ring slot step % queue_depth once
 * the caller has given that slot back; the caller takes slots in step order. One lock, two conditions; what a
 * worker does between taking a step and handing the batch over touches nothing shared but the recipe's cache.
 */
#include "data/loader.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/rng.h"
#include "base/trace.h"
#include "media/cut.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct lpo_batch_own {
    lpo_arena *arena;
    const lpo_clip **pins; /* [n_clips] */
    bool ready, taken;
    lpo_status status;
    lpo_error err;
} lpo_batch_own;

typedef struct slot {
    lpo_batch batch;
    lpo_batch_own own;
} slot;

typedef struct worker {
    lpo_loader *loader;
    pthread_t thread;
    uint32_t *order; /* the permutation of epoch `order_epoch` */
    int64_t order_epoch;
    bool started;
} worker;

struct lpo_loader {
    lpo_dataset *data;
    const lpo_recipe *recipe;
    lpo_loader_options opt;
    int64_t end_step;  /* exclusive */
    int64_t next_made; /* the step the next free worker takes */
    int64_t next_out;  /* the step the caller gets next */
    int64_t done_upto; /* steps below this have been released */
    slot *ring;
    worker *workers;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop;
};

lpo_loader_options lpo_loader_options_default(void) {
    return (lpo_loader_options){
        .batch_size = 1, .n_workers = 1, .queue_depth = 3, .cache_bytes = (size_t)1 << 30};
}

/* Record of item k of the endless sequence of epochs. */
static int64_t record_of(worker *w, int64_t k) {
    const lpo_loader *l = w->loader;
    int64_t n = lpo_dataset_count(l->data), epoch = k / n;
    if (!l->opt.shuffle) return k % n;
    if (epoch != w->order_epoch) {
        for (int64_t i = 0; i < n; i++) w->order[i] = (uint32_t)i;
        lpo_rng r = lpo_rng_init(l->opt.seed, (uint64_t)epoch);
        lpo_rng_shuffle(&r, w->order, (uint32_t)n);
        w->order_epoch = epoch;
    }
    return w->order[k % n];
}

static lpo_status add_clip(int32_t *index, slot *s, const lpo_loader *l, const char *video, lpo_error *err) {
    lpo_batch *b = &s->batch;
    const lpo_clip *clip;
    double decode_s;
    lpo_status st = lpo_frame_cache_get(&clip, l->recipe->cache, video, &l->recipe->prep, &decode_s, err);
    if (st) return st;
    b->decode_s += decode_s;
    for (int32_t c = 0; c < b->n_clips; c++)
        if (s->own.pins[c] == clip) { /* the same cache entry: the same video */
            lpo_frame_cache_put(l->recipe->cache, clip);
            *index = c;
            return LPO_OK;
        }
    const lpo_prep_options *p = &l->recipe->prep;
    const size_t size_bytes = lpo_cut_bytes(clip, p);
    lpo_cut *cut = lpo_arena_alloc(s->own.arena, 1, size_bytes);
    s->own.pins[b->n_clips] = clip;
    *index = b->n_clips++;
    if (!cut) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory for its patches", video);
    const double t0 = lpo_trace_begin();
    lpo_cut_fill(cut, clip, p);
    lpo_trace_end(t0, "patchify", "cpu", NULL, 2 * (double)size_bytes, 0);
    b->clips[*index] = (lpo_batch_clip){cut->patches, clip->grid_t,          clip->grid_h,
                                        clip->grid_w, clip->second_per_grid, cut->levels[0]};
    return LPO_OK;
}

/* chosen = prompt + response + eos, and the same for rejected. */
static lpo_status add_tokens(lpo_sample *sm, const lpo_recipe *r, const lpo_clip *clip, lpo_error *err) {
    const lpo_record *rec = sm->record;
    lpo_status st = lpo_recipe_prompt(&sm->chosen, r, rec->prompt, clip, err);
    sm->n_prompt = (int32_t)sm->chosen.n;
    for (size_t i = 0; i < sm->chosen.n && !st && rec->rejected; i++)
        st = lpo_ids_push(&sm->rejected, sm->chosen.ids[i], err);
    if (!st) st = lpo_recipe_response(&sm->chosen, r, rec->chosen, err);
    if (!st && rec->rejected) st = lpo_recipe_response(&sm->rejected, r, rec->rejected, err);
    size_t longest = sm->chosen.n > sm->rejected.n ? sm->chosen.n : sm->rejected.n;
    if (!st && longest > (size_t)r->max_positions)
        st = lpo_fail(err, LPO_ELIMIT,
                      "prompt and response are %zu tokens, over the model's context of %d (shorten the "
                      "response or use fewer frames)",
                      longest, r->max_positions);
    return st;
}

static lpo_status make_batch(worker *w, slot *s, int64_t step, lpo_error *err) {
    const lpo_loader *l = w->loader;
    lpo_batch *b = &s->batch;
    int64_t n = lpo_dataset_count(l->data), first = step * l->opt.batch_size, count = l->opt.batch_size;
    if (l->opt.n_steps == 0 && first + count > n) count = n - first;
    b->samples = lpo_arena_alloc(s->own.arena, (size_t)count, sizeof *b->samples);
    b->clips = lpo_arena_alloc(s->own.arena, (size_t)count, sizeof *b->clips);
    s->own.pins = lpo_arena_alloc(s->own.arena, (size_t)count, sizeof *s->own.pins);
    if (!b->samples || !b->clips || !s->own.pins)
        return lpo_fail(err, LPO_ENOMEM, "out of memory for a batch of %lld", (long long)count);
    b->step = step;
    b->epoch = (double)first / (double)n;
    double t0 = lpo_now_s();
    for (int64_t i = 0; i < count; i++) {
        lpo_sample *sm = &b->samples[b->n_samples++];
        sm->record = lpo_dataset_at(l->data, record_of(w, first + i));
        sm->clip = -1;
        lpo_status st = LPO_OK;
        if (sm->record->video) st = add_clip(&sm->clip, s, l, sm->record->video, err);
        const double t = lpo_trace_begin();
        if (!st) st = add_tokens(sm, l->recipe, sm->clip < 0 ? NULL : s->own.pins[sm->clip], err);
        lpo_trace_end(t, "tokenize", "cpu", NULL, 0, 0);
        if (st)
            return lpo_fail_in(err, st, "%s:%lld", lpo_dataset_path(l->data), (long long)sm->record->line);
    }
    b->prep_s = lpo_now_s() - t0 - b->decode_s;
    return LPO_OK;
}

static void empty_slot(lpo_loader *l, slot *s) {
    for (int32_t i = 0; i < s->batch.n_samples; i++) {
        lpo_ids_clear(&s->batch.samples[i].chosen);
        lpo_ids_clear(&s->batch.samples[i].rejected);
    }
    for (int32_t i = 0; i < s->batch.n_clips; i++) lpo_frame_cache_put(l->recipe->cache, s->own.pins[i]);
    lpo_arena_reset(s->own.arena);
    s->batch = (lpo_batch){.own = &s->own};
    s->own.pins = NULL;
}

/* How many batches stand ready for the caller: 0 most of the time, and the step starves. Under the lock. */
static void count_ready(const lpo_loader *l) {
    if (!lpo_trace_on()) return;
    int n = 0;
    for (int i = 0; i < l->opt.queue_depth; i++) n += l->ring[i].own.ready && !l->ring[i].own.taken;
    lpo_trace_count("queue:batches", n);
}

static void *work(void *arg) {
    worker *w = arg;
    lpo_loader *l = w->loader;
    lpo_trace_thread("data worker");
    pthread_mutex_lock(&l->lock);
    while (!l->stop && l->next_made < l->end_step) {
        int64_t step = l->next_made;
        if (step >= l->done_upto + l->opt.queue_depth) {
            const double t = lpo_trace_begin();
            pthread_cond_wait(&l->changed, &l->lock);
            lpo_trace_end(t, "wait:step", "cpu", "the queue of batches is full", 0, 0);
            continue;
        }
        l->next_made++;
        slot *s = &l->ring[step % l->opt.queue_depth];
        pthread_mutex_unlock(&l->lock);
        s->own.status = make_batch(w, s, step, &s->own.err);
        pthread_mutex_lock(&l->lock);
        s->own.ready = true;
        count_ready(l);
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static lpo_status check_options(const lpo_loader_options *o, const lpo_dataset *d, lpo_error *err) {
    if (o->batch_size < 1 || o->batch_size > 1 << 20)
        return lpo_fail(err, LPO_EINVAL, "batch size %d is outside 1..%d", o->batch_size, 1 << 20);
    if (o->n_workers < 1 || o->n_workers > 256)
        return lpo_fail(err, LPO_EINVAL, "%d data workers: give 1..256", o->n_workers);
    if (o->queue_depth < 1 || o->queue_depth > 1024)
        return lpo_fail(err, LPO_EINVAL, "queue depth %d is outside 1..1024", o->queue_depth);
    int64_t n = lpo_dataset_count(d);
    if (n < 1 || n > UINT32_MAX)
        return lpo_fail(err, LPO_ELIMIT, "%s: %lld records", lpo_dataset_path(d), (long long)n);
    return LPO_OK;
}

lpo_status lpo_loader_create(lpo_loader **out, lpo_dataset *d, const lpo_recipe *r,
                             const lpo_loader_options *o, lpo_error *err) {
    *out = NULL;
    lpo_status s = check_options(o, d, err);
    if (s) return s;
    lpo_loader *l = calloc(1, sizeof *l);
    if (!l) return lpo_fail(err, LPO_ENOMEM, "out of memory for the data loader");
    l->data = d;
    l->recipe = r;
    l->opt = *o;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    int64_t n = lpo_dataset_count(d);
    l->next_made = l->next_out = l->done_upto = o->first_step;
    l->end_step = o->n_steps ? o->first_step + o->n_steps : (n + o->batch_size - 1) / o->batch_size;
    lpo_frame_cache_set_cap(r->cache, o->cache_bytes);
    l->ring = calloc((size_t)o->queue_depth, sizeof *l->ring);
    l->workers = calloc((size_t)o->n_workers, sizeof *l->workers);
    bool ok = l->ring && l->workers;
    for (int i = 0; ok && i < o->queue_depth; i++) {
        l->ring[i].batch.own = &l->ring[i].own;
        ok = (l->ring[i].own.arena = lpo_arena_create((size_t)1 << 20)) != NULL;
    }
    for (int i = 0; ok && i < o->n_workers; i++) {
        worker *w = &l->workers[i];
        w->loader = l;
        w->order_epoch = -1;
        ok = (w->order = malloc((size_t)n * sizeof *w->order)) != NULL;
        ok = ok && (w->started = pthread_create(&w->thread, NULL, work, w) == 0);
    }
    if (!ok) {
        lpo_loader_destroy(l);
        return lpo_fail(err, LPO_ENOMEM, "cannot start %d data workers", o->n_workers);
    }
    *out = l;
    return LPO_OK;
}

void lpo_loader_destroy(lpo_loader *l) {
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; l->workers && i < l->opt.n_workers; i++) {
        if (l->workers[i].started) pthread_join(l->workers[i].thread, NULL);
        free(l->workers[i].order);
    }
    for (int i = 0; l->ring && i < l->opt.queue_depth; i++) {
        if (l->ring[i].own.arena) empty_slot(l, &l->ring[i]);
        lpo_arena_destroy(l->ring[i].own.arena);
    }
    free(l->workers);
    free(l->ring);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

lpo_status lpo_loader_next(lpo_batch **out, lpo_loader *l, double *wait_s, lpo_error *err) {
    *out = NULL;
    if (wait_s) *wait_s = 0;
    if (l->next_out >= l->end_step) return LPO_EEND;
    slot *s = &l->ring[l->next_out % l->opt.queue_depth];
    double t0 = lpo_now_s();
    pthread_mutex_lock(&l->lock);
    if (s->own.taken) { /* the caller sits on a whole ring of batches */
        pthread_mutex_unlock(&l->lock);
        return lpo_fail(err, LPO_EINVAL, "the data queue is %d deep and nothing was released",
                        l->opt.queue_depth);
    }
    while (!s->own.ready) pthread_cond_wait(&l->changed, &l->lock);
    s->own.taken = true;
    l->next_out++;
    count_ready(l);
    pthread_mutex_unlock(&l->lock);
    if (wait_s) *wait_s = lpo_now_s() - t0;
    lpo_trace_end(t0, "wait:data", "cpu", NULL, 0, 0);
    if (s->own.status) {
        if (err) *err = s->own.err;
        return s->own.status;
    }
    *out = &s->batch;
    return LPO_OK;
}

void lpo_loader_release(lpo_loader *l, lpo_batch *b) {
    slot *s = &l->ring[b->step % l->opt.queue_depth];
    empty_slot(l, s);
    pthread_mutex_lock(&l->lock);
    s->own.ready = s->own.taken = false;
    /* Slots come back in any order; workers may go as far as the oldest one still out. */
    while (l->done_upto < l->next_out && !l->ring[l->done_upto % l->opt.queue_depth].own.taken)
        l->done_upto++;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}
