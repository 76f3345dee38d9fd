/* SPDX-License-Identifier: Apache-2.0 */
/* generator.c -- who runs when, and where its keys and values lie.
 * A request waits in the queue until rows are free for all it may become; first come, first served. Then it
 * looks for another request of its clip that begins alike, running or just finished: rows they have in common
 * are copied as soon as they are computed, so that each is computed once and every answer keeps the bits it
 * would have alone. One pass of the model serves all that run (generator_pass.c); who is done leaves. */
#include "model/generator_state.h"

#include "kernels/cpu/cpu.h"
#include "model/parts.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* A shorter common beginning is not worth waiting a pass for. */
enum { LEAST_SHARED = 8, MAX_SEQS = 256 };
static const size_t CACHE_BYTES = (size_t)4 << 30;
static const int64_t WORTH_THREADS = 1 << 14; /* logits to draw from */

static void list_push(gen_list *l, gen_live *s) {
    s->next = NULL;
    if (l->last)
        l->last->next = s;
    else
        l->first = s;
    l->last = s;
    l->n++;
}

static gen_live *list_pop(gen_list *l) {
    gen_live *s = l->first;
    l->first = s->next;
    if (!l->first) l->last = NULL;
    l->n--;
    return s;
}

static void live_free(gen_live *s) {
    if (!s) return;
    lpo_gen_seq_clear(&s->out);
    free(s->p.ids);
    free(s->pos);
    free(s);
}

static gen_clip *clip_of(lpo_generator *g, const lpo_clip_input *clip) {
    gen_clip *c = g->clips;
    while (c && c->clip != clip) c = c->next;
    if (c || !(c = calloc(1, sizeof *c))) return c;
    c->clip = clip;
    c->next = g->clips;
    g->clips = c;
    return c;
}

static void drop_kept(lpo_generator *g, gen_clip *c) {
    if (!c->kept.ids) return;
    lpo_kv_shrink(&g->kv, c->kept.first, 0);
    free(c->kept.ids);
    c->kept = (gen_prefix){0};
}

/* The clip belongs to the caller again. */
static void clip_release(lpo_generator *g, gen_clip *c) {
    if (!c->n_queued && !c->n_held) drop_kept(g, c);
    if (c->n_queued || c->n_live || c->n_held) return;
    gen_clip **at = &g->clips;
    while (*at != c) at = &(*at)->next;
    *at = c->next;
    if (c->rows)
        g->rows_bytes -=
            (size_t)c->n_rows * (size_t)g->m->config.block.d_model * lpo_dtype_bytes(g->m->dtype);
    free(c->rows);
    free(c);
}

lpo_status lpo_generator_create(lpo_generator **out, lpo_model *m, const lpo_generator_options *o,
                                lpo_error *err) {
    *out = NULL;
    lpo_generator *g = calloc(1, sizeof *g);
    if (!g) return lpo_fail(err, LPO_ENOMEM, "no memory for a generator");
    g->m = m;
    if (o) g->o = *o;
    if (!g->o.max_seqs) g->o.max_seqs = MAX_SEQS;
    if (!g->o.cache_bytes) g->o.cache_bytes = CACHE_BYTES;
    lpo_status st = LPO_OK;
    if (g->o.max_seqs < 1 || g->o.max_seqs > 1 << 20)
        st = lpo_fail(err, LPO_EINVAL, "%d sequences at a time: expected 1 to %d", g->o.max_seqs, 1 << 20);
    const size_t n = st ? 0 : (size_t)g->o.max_seqs;
    if (!st) st = lpo_kv_init(&g->kv, m, g->o.cache_bytes, 2 * (int)n, err);
    g->live = calloc(n, sizeof *g->live);
    g->drawing = calloc(n, sizeof *g->drawing);
    g->n_work = lpo_cpu_threads();
    g->work = malloc((size_t)g->n_work * (size_t)m->config.vocab_size * sizeof *g->work);
    g->arena = lpo_arena_create(1 << 20);
    if (!st && (!g->live || !g->drawing || !g->work || !g->arena))
        st = lpo_fail(err, LPO_ENOMEM, "no memory for a generator of %zu sequences", n);
    if (!st) st = lpo_tape_create(&g->tape, lpo_model_placement(m), err);
    if (st)
        lpo_generator_destroy(g);
    else
        *out = g;
    return st;
}

void lpo_generator_destroy(lpo_generator *g) {
    if (!g) return;
    while (g->queue.n) live_free(list_pop(&g->queue));
    while (g->answered.n) live_free(list_pop(&g->answered));
    for (int i = 0; i < g->n_live; i++) live_free(g->live[i]);
    while (g->clips) {
        g->clips->n_queued = g->clips->n_live = g->clips->n_held = 0;
        clip_release(g, g->clips);
    }
    lpo_tape_destroy(g->tape);
    if (g->kv.m) lpo_kv_clear(&g->kv);
    lpo_arena_destroy(g->arena);
    free(g->logits);
    free(g->live);
    free(g->drawing);
    free(g->work);
    free(g);
}

static lpo_status check_options(const lpo_generator *g, const lpo_gen_options *o, lpo_error *err) {
    const int32_t V = g->m->config.vocab_size;
    if (o->max_tokens < 1)
        return lpo_fail(err, LPO_EINVAL, "max_tokens is %d: expected at least 1", o->max_tokens);
    if (!(o->temperature >= 0) || !(o->top_p > 0 && o->top_p <= 1) || o->top_k < 0)
        return lpo_fail(err, LPO_EINVAL, "temperature %g, top_p %g, top_k %d: expected >= 0, in (0, 1], >= 0",
                        o->temperature, o->top_p, o->top_k);
    for (int i = 0; i < o->n_forced; i++)
        if (o->forced[i] < 0 || o->forced[i] >= V)
            return lpo_fail(err, LPO_EINVAL, "forced token %d is id %d, outside the vocabulary of %d", i,
                            o->forced[i], V);
    return LPO_OK;
}

/* Whether the prompt can be run at all; *run and *room of it. */
static lpo_status check_prompt(const lpo_generator *g, const lpo_gen_request *r, int32_t *run, int32_t *room,
                               lpo_error *err) {
    const lpo_seq_input q = {r->ids, r->n_ids, r->n_ids, r->clip ? 0 : -1};
    const int32_t context = g->m->config.max_positions;
    if (r->n_ids >= context)
        return lpo_fail(err, LPO_EINVAL,
                        "a prompt of %d tokens leaves no room for an answer in the context of %d; fewer "
                        "frames or smaller ones make it shorter",
                        r->n_ids, context);
    lpo_status st = lpo_seq_check(run, g->m, &q, r->clip, err);
    if (st) return st;
    const int64_t want = (int64_t)r->n_ids + r->options.max_tokens;
    *room = (int32_t)(want < context ? want : context);
    if (*room > g->kv.max_rows)
        return lpo_fail(err, LPO_ELIMIT,
                        "keys and values of %d prompt and %d answer tokens x %zu bytes (%d layers) = %.1f "
                        "MiB, but the cache may have %.1f MiB; raise cache_bytes or lower max_tokens",
                        r->n_ids, *room - r->n_ids, g->kv.row_bytes, g->m->config.n_layers,
                        (double)*room * (double)g->kv.row_bytes / 1048576.0,
                        (double)g->o.cache_bytes / 1048576.0);
    return LPO_OK;
}

lpo_status lpo_generator_add(lpo_generator *g, const lpo_gen_request *r, lpo_error *err) {
    int32_t run = -1, room = 0;
    lpo_status st = check_options(g, &r->options, err);
    if (!st) st = check_prompt(g, r, &run, &room, err);
    if (st) return st;
    gen_live *s = calloc(1, sizeof *s);
    int32_t *ids = malloc((size_t)r->n_ids * sizeof *ids);
    gen_clip *c = s && ids ? clip_of(g, r->clip) : NULL;
    if (!c) {
        free(s);
        free(ids);
        return lpo_fail(err, LPO_ENOMEM, "no memory for a prompt of %d tokens", r->n_ids);
    }
    memcpy(ids, r->ids, (size_t)r->n_ids * sizeof *ids);
    *s = (gen_live){.user = r->user,
                    .clip = c,
                    .more = r->more,
                    .o = r->options,
                    .fn = r->fn,
                    .fn_user = r->fn_user,
                    .rng = lpo_rng_init(r->options.seed, r->stream),
                    .p = {.ids = ids, .n_ids = r->n_ids},
                    .run = run,
                    .room = room};
    const int32_t V = g->m->config.vocab_size;
    if (s->o.n_valid <= 0 || s->o.n_valid > V) s->o.n_valid = V;
    c->n_queued++;
    list_push(&g->queue, s);
    return LPO_OK;
}

/* How many leading rows of p a prompt may take over: its last row is computed, for what it predicts. */
static int32_t common(const gen_prefix *p, const gen_prefix *mine) {
    const int32_t most = p->n_ids < mine->n_ids - 1 ? p->n_ids : mine->n_ids - 1;
    int32_t n = 0;
    while (n < most && p->ids[n] == mine->ids[n]) n++;
    return n;
}

/* Who has, or will have, the longest beginning of s; of equals, who has it first. */
static void find_donor(const lpo_generator *g, gen_live *s) {
    s->donor = NULL;
    s->shared = LEAST_SHARED - 1;
    if (g->o.no_prefix_cache) return;
    if (s->clip->kept.ids) {
        const int32_t n = common(&s->clip->kept, &s->p);
        if (n > s->shared) s->donor = &s->clip->kept, s->shared = n;
    }
    for (int i = 0; i < g->n_live && s->clip->n_live; i++) {
        if (g->live[i]->clip != s->clip) continue;
        const int32_t n = common(&g->live[i]->p, &s->p);
        if (n > s->shared) s->donor = &g->live[i]->p, s->shared = n;
    }
}

/* Copy what s waits for, once it is there. */
static lpo_status take_shared(lpo_generator *g, gen_live *s, lpo_error *err) {
    if (!s->donor || s->donor->done < s->shared) return LPO_OK;
    lpo_status st = lpo_kv_copy(&g->kv, s->p.first, s->donor->first, s->shared, err);
    s->p.done = s->shared;
    s->donor = NULL;
    g->stats.shared_tokens += s->shared;
    return st;
}

static bool evict_oldest(lpo_generator *g) {
    gen_clip *oldest = NULL;
    for (gen_clip *c = g->clips; c; c = c->next)
        if (c->kept.ids && (!oldest || c->used < oldest->used)) oldest = c;
    if (oldest) drop_kept(g, oldest);
    return oldest != NULL;
}

/* Rows for s: free ones, new ones, or those of a beginning kept for others. -1 in p.first: it has to wait. */
static lpo_status find_rows(lpo_generator *g, gen_live *s, lpo_error *err) {
    while ((s->p.first = lpo_kv_take(&g->kv, s->room)) < 0) {
        int64_t want = g->kv.cache.shape[0];
        if (g->kv.n_spans < g->kv.max_spans && want < g->kv.max_rows) {
            int n = g->n_live;
            for (const gen_live *q = s; q && n < g->o.max_seqs; q = q->next, n++) want += q->room;
            if (want > g->kv.max_rows) want = g->kv.max_rows;
            g->step.n = 0; /* it was recorded over the tensors that go */
            lpo_status st = lpo_kv_grow(&g->kv, want, err);
            if (st) return st;
        } else if (!evict_oldest(g))
            return LPO_OK;
    }
    return LPO_OK;
}

static lpo_status start(lpo_generator *g, gen_live *s, lpo_error *err) {
    gen_clip *c = s->clip;
    s->pos = malloc((size_t)s->p.n_ids * 3 * sizeof *s->pos);
    if (!s->pos) return lpo_fail(err, LPO_ENOMEM, "no memory for a prompt of %d tokens", s->p.n_ids);
    s->next_pos = lpo_positions(s->pos, g->m, s->p.n_ids, s->run, c->clip);
    find_donor(g, s);
    g->live[g->n_live++] = s;
    c->n_live++;
    c->n_queued--;
    g->stats.prompt_tokens += s->p.n_ids;
    lpo_status st = take_shared(g, s, err);
    if (c->kept.ids) c->used = g->pass;
    if (!c->n_queued && !c->n_held) drop_kept(g, c);
    return st;
}

static lpo_status admit(lpo_generator *g, lpo_error *err) {
    while (g->queue.n && g->n_live < g->o.max_seqs) {
        gen_live *s = g->queue.first;
        lpo_status st = find_rows(g, s, err);
        if (st || s->p.first < 0) return st;
        list_pop(&g->queue);
        if ((st = start(g, s, err))) return st;
    }
    return LPO_OK;
}

static lpo_status grow(gen_live *s, lpo_error *err) {
    if (s->out.n_ids + 1 < s->cap) return LPO_OK;
    const int cap = s->cap ? 2 * s->cap : 32;
    int32_t *ids = realloc(s->out.ids, (size_t)cap * sizeof *ids);
    if (ids) s->out.ids = ids;
    float *logps = realloc(s->out.logps, (size_t)cap * sizeof *logps);
    if (logps) s->out.logps = logps;
    if (!ids || !logps) return lpo_fail(err, LPO_ENOMEM, "no memory for an answer of %d tokens", cap);
    s->cap = cap;
    return LPO_OK;
}

static bool is_eos(const lpo_model *m, int32_t id) {
    for (int i = 0; i < m->config.n_eos; i++)
        if (m->config.eos_ids[i] == id) return true;
    return false;
}

/* The next token of a sequence, from its row of logits. */
static void draw(lpo_generator *g, gen_live *s, const float *logits, lpo_candidate *work) {
    const int k = s->out.n_ids;
    s->drawn = lpo_sample_row(logits, s->o.n_valid, &s->o, &s->rng, work);
    if (s->o.forced && k < s->o.n_forced) s->drawn = s->o.forced[k];
    s->drawn_logp = (float)lpo_sample_logp(logits, g->m->config.vocab_size, s->drawn);
}

/* Every sequence has its own random numbers: they are drawn at once, each by one thread. */
static void draw_all(lpo_generator *g, gen_live *const *some, int n) {
    const int64_t V = g->m->config.vocab_size;
    const int want = lpo_cpu_threads_for(n * V, WORTH_THREADS),
              n_threads = want < g->n_work ? want : g->n_work;
#pragma omp parallel for schedule(dynamic) num_threads(n_threads)
    for (int i = 0; i < n; i++) draw(g, some[i], g->logits + i * V, g->work + omp_get_thread_num() * V);
}

static lpo_status take_token(lpo_generator *g, gen_live *s, lpo_error *err) {
    lpo_gen_seq *o = &s->out;
    lpo_status st = grow(s, err);
    if (st) return st;
    const int32_t id = s->drawn;
    o->logps[o->n_ids] = s->drawn_logp;
    g->stats.new_tokens++;
    if (is_eos(g->m, id)) {
        o->finished = s->over = true;
        return LPO_OK;
    }
    o->ids[o->n_ids++] = s->last_id = id;
    s->over = o->n_ids >= s->o.max_tokens || s->p.n_ids + o->n_ids >= g->m->config.max_positions;
    const int said = s->fn ? s->fn(s->fn_user, (int)s->user, id) : LPO_TOKEN_NEXT;
    if (said == LPO_TOKEN_LAST)
        o->stopped = s->over = true;
    else if (said)
        return lpo_fail(err, LPO_ECANCELED, "generation canceled");
    return LPO_OK;
}

/* s leaves. The last of its clip to run leaves its prompt's rows behind for those that wait. */
static void leave(lpo_generator *g, gen_live *s) {
    gen_clip *c = s->clip;
    c->n_live--;
    c->n_held += s->more;
    if (!g->o.no_prefix_cache && (c->n_queued || c->n_held) && !c->n_live && !c->kept.ids) {
        lpo_kv_shrink(&g->kv, s->p.first, s->p.n_ids);
        c->kept = s->p;
        c->used = g->pass;
        s->p.ids = NULL;
    } else
        lpo_kv_shrink(&g->kv, s->p.first, 0);
    clip_release(g, c);
    if (!s->more) s->clip = NULL;
    list_push(&g->answered, s);
}

/* Book the pass: rows computed, tokens drawn, beginnings handed on, places freed. */
static lpo_status book(lpo_generator *g, lpo_error *err) {
    int n = 0;
    lpo_status st = LPO_OK;
    for (int i = 0; i < g->n_live; i++) {
        gen_live *s = g->live[i];
        if (s->p.done >= s->p.n_ids) s->next_pos += s->n_feed;
        s->p.done += s->n_feed;
    }
    for (int i = 0; i < g->n_live && !st; i++) st = take_shared(g, g->live[i], err);
    for (int i = 0; i < g->n_live; i++) {
        gen_live *s = g->live[i];
        if (!s->n_feed || s->p.done < s->p.n_ids) continue;
        free(s->pos);
        s->pos = NULL;
        g->drawing[n++] = s;
    }
    draw_all(g, g->drawing, n);
    for (int i = 0; i < n && !st; i++) st = take_token(g, g->drawing[i], err);
    if (st) return st;
    n = 0;
    for (int i = 0; i < g->n_live; i++) {
        gen_live *s = g->live[i];
        if (s->over)
            leave(g, s);
        else
            g->live[n++] = s;
    }
    g->n_live = n;
    return LPO_OK;
}

void lpo_generator_let_go(lpo_generator *g) {
    if (!g || !g->held) return;
    g->held->n_held--;
    clip_release(g, g->held);
    g->held = NULL;
}

lpo_status lpo_generator_next(lpo_gen_seq *out, uint64_t *user, lpo_generator *g, lpo_error *err) {
    memset(out, 0, sizeof *out);
    lpo_generator_let_go(g);
    while (!g->answered.n) {
        if (!g->queue.n && !g->n_live) return LPO_EEND;
        lpo_status st = admit(g, err);
        if (!st) st = gen_pass(g, err);
        if (!st) st = book(g, err);
        if (st) return st;
    }
    gen_live *s = list_pop(&g->answered);
    *out = s->out;
    s->out = (lpo_gen_seq){0};
    *user = s->user;
    g->held = s->clip;
    live_free(s);
    return LPO_OK;
}

int lpo_generator_pending(const lpo_generator *g) {
    return g->queue.n + g->n_live + g->answered.n;
}

void lpo_generator_get_stats(lpo_generator_stats *out, const lpo_generator *g) {
    *out = g->stats;
}
