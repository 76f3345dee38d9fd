/* SPDX-License-Identifier: Apache-2.0 */
/* generate.c -- batched sampling with a KV cache.
 * Sequences are taken a chunk at a time (as many as the cache may hold). Their prompts are fed in packed
 * groups; then one recorded step is run over and over, one row per sequence, its inputs rewritten each time.
 * Finished sequences stay in the step as idle rows until a quarter of the rows are idle; then a smaller step
 * is recorded. */
#include "model/generate.h"

#include "model/pack.h"
#include "model/sample.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK_SEQS = 256, PREFILL_ROWS = 8192 };
static const size_t CACHE_BYTES = (size_t)4 << 30;

typedef struct live {
    int seq; /* index in the batch */
    int32_t slot, past, next_pos, last_id;
    lpo_rng rng;
    bool done;
} live;

typedef struct job {
    lpo_model *m;
    const lpo_model_batch *b;
    const lpo_gen_options *o;
    const uint64_t *streams;
    lpo_gen_seq *out;
    lpo_token_fn *fn;
    void *user;
    lpo_error *err;
    lpo_tape *tape;
    lpo_arena *arena;
    lpo_cache cache;
    int32_t n_valid;
    int *cap;            /* [n_seqs] room in out[].ids */
    float *logits;       /* [CHUNK_SEQS, vocab] */
    lpo_candidate *work; /* [vocab] */
    live *live;          /* [CHUNK_SEQS] */
    int n_live;
} job;

lpo_gen_options lpo_gen_options_default(void) {
    return (lpo_gen_options){.max_tokens = 128, .top_p = 1};
}

void lpo_gen_seq_clear(lpo_gen_seq *s) {
    free(s->ids);
    free(s->logps);
    memset(s, 0, sizeof *s);
}

static lpo_status grow(job *j, int seq) {
    lpo_gen_seq *s = &j->out[seq];
    if (s->n_ids + 1 < j->cap[seq]) return LPO_OK;
    const int cap = j->cap[seq] ? 2 * j->cap[seq] : 32;
    int32_t *ids = realloc(s->ids, (size_t)cap * sizeof *ids);
    if (ids) s->ids = ids;
    float *logps = realloc(s->logps, (size_t)cap * sizeof *logps);
    if (logps) s->logps = logps;
    if (!ids || !logps) return lpo_fail(j->err, LPO_ENOMEM, "no memory for an answer of %d tokens", cap);
    j->cap[seq] = cap;
    return LPO_OK;
}

static bool is_eos(const lpo_model *m, int32_t id) {
    for (int i = 0; i < m->config.n_eos; i++)
        if (m->config.eos_ids[i] == id) return true;
    return false;
}

/* Draw the next token of one sequence from its row of logits and book it. */
static lpo_status take_token(job *j, live *v, const float *logits) {
    lpo_gen_seq *s = &j->out[v->seq];
    lpo_status st = grow(j, v->seq);
    if (st) return st;
    int32_t id = lpo_sample_row(logits, j->n_valid, j->o, &v->rng, j->work);
    if (v->seq == 0 && j->o->forced && s->n_ids < j->o->n_forced) id = j->o->forced[s->n_ids];
    s->logps[s->n_ids] = (float)lpo_sample_logp(logits, j->m->config.vocab_size, id);
    if (is_eos(j->m, id)) {
        s->finished = v->done = true;
        return LPO_OK;
    }
    s->ids[s->n_ids++] = v->last_id = id;
    if (s->n_ids >= j->o->max_tokens || j->b->seqs[v->seq].n_ids + s->n_ids >= j->m->config.max_positions)
        v->done = true;
    if (j->fn && j->fn(j->user, v->seq, id)) return lpo_fail(j->err, LPO_ECANCELED, "generation canceled");
    return LPO_OK;
}

/* Record lm_head over x [S, d_model], plan. */
static lpo_status finish_step(job *j, lpo_val *logits, lpo_val x) {
    x = lpo_tape_linear(j->tape, x, lpo_tape_param(j->tape, j->m->layout.head_w), LPO_NONE);
    if (j->m->dtype != LPO_F32) x = lpo_tape_cast(j->tape, x, LPO_F32);
    lpo_tape_keep(j->tape, x);
    *logits = x;
    return lpo_tape_plan(j->tape, j->err);
}

static lpo_status run_step(job *j, lpo_val logits) {
    lpo_status st = lpo_tape_run(j->tape, 0, -1, j->err);
    return st ? st : lpo_tape_read(j->logits, j->tape, logits, j->err);
}

/* Feed the prompts of live[first, last) in one packed pass and draw their first tokens. */
static lpo_status prefill(job *j, int first, int last) {
    const int n = last - first;
    const int64_t shape[1] = {n};
    lpo_packed p;
    lpo_arena_reset(j->arena);
    int32_t *take = lpo_arena_alloc(j->arena, (size_t)j->b->n_seqs, sizeof *take);
    int32_t *slot = lpo_arena_alloc(j->arena, (size_t)n, sizeof *slot);
    int32_t *past = lpo_arena_alloc(j->arena, (size_t)n, sizeof *past);
    int32_t *row = lpo_arena_alloc(j->arena, (size_t)n, sizeof *row);
    if (!take || !slot || !past || !row) return lpo_fail(j->err, LPO_ENOMEM, "no memory for %d prompts", n);
    for (int i = first; i < last; i++) take[j->live[i].seq] = j->b->seqs[j->live[i].seq].n_ids;
    lpo_status st = lpo_pack(&p, j->arena, j->m, j->b, take, j->err);
    if (st) return st;
    for (int i = 0; i < n; i++) {
        slot[i] = j->live[first + i].slot;
        row[i] = p.cu[i + 1] - 1;
    }
    lpo_tape_reset(j->tape);
    j->cache.slot = lpo_tape_input(j->tape, LPO_I32, 1, shape, slot);
    j->cache.past = lpo_tape_input(j->tape, LPO_I32, 1, shape, past);
    lpo_val logits, x = lpo_record_trunk(j->tape, j->m, &p, false, &j->cache);
    st = finish_step(j, &logits, lpo_record_rows(j->tape, j->m, x, row, n));
    if (!st) st = run_step(j, logits);
    for (int i = 0; i < n && !st; i++) {
        live *v = &j->live[first + i];
        v->past = p.cu[i + 1] - p.cu[i];
        v->next_pos = p.next_pos[i];
        st = take_token(j, v, j->logits + (size_t)i * (size_t)j->m->config.vocab_size);
    }
    return st;
}

/* The recorded one-row-per-sequence step and the host's side of its inputs. */
typedef struct step {
    lpo_val ids, cos, sin, cu, slot, past, logits;
    int32_t *h_ids, *h_pos, *h_cu, *h_slot, *h_past;
    float *h_cos, *h_sin;
} step;

static lpo_status record_step(job *j, step *s) {
    const int64_t n = j->n_live, half = j->m->config.block.d_head / 2;
    const int64_t rows[1] = {n}, borders[1] = {n + 1}, rope[2] = {n, half};
    lpo_arena_reset(j->arena);
    s->h_ids = lpo_arena_alloc(j->arena, (size_t)n, sizeof(int32_t));
    s->h_pos = lpo_arena_alloc(j->arena, (size_t)n, 3 * sizeof(int32_t));
    s->h_cu = lpo_arena_alloc(j->arena, (size_t)n + 1, sizeof(int32_t));
    s->h_slot = lpo_arena_alloc(j->arena, (size_t)n, sizeof(int32_t));
    s->h_past = lpo_arena_alloc(j->arena, (size_t)n, sizeof(int32_t));
    s->h_cos = lpo_arena_alloc(j->arena, (size_t)(n * half), sizeof(float));
    s->h_sin = lpo_arena_alloc(j->arena, (size_t)(n * half), sizeof(float));
    if (!s->h_ids || !s->h_pos || !s->h_cu || !s->h_slot || !s->h_past || !s->h_cos || !s->h_sin)
        return lpo_fail(j->err, LPO_ENOMEM, "no memory for a step of %lld sequences", (long long)n);
    lpo_tape *t = j->tape;
    lpo_tape_reset(t);
    s->ids = lpo_tape_input(t, LPO_I32, 1, rows, NULL);
    s->cos = lpo_tape_input(t, LPO_F32, 2, rope, NULL);
    s->sin = lpo_tape_input(t, LPO_F32, 2, rope, NULL);
    s->cu = lpo_tape_input(t, LPO_I32, 1, borders, NULL);
    s->slot = j->cache.slot = lpo_tape_input(t, LPO_I32, 1, rows, NULL);
    s->past = j->cache.past = lpo_tape_input(t, LPO_I32, 1, rows, NULL);
    lpo_val x = lpo_tape_embed(t, lpo_tape_param(t, j->m->layout.embed_w), s->ids);
    x = lpo_record_decoder(t, j->m, x, s->cos, s->sin, s->cu, false, &j->cache);
    return finish_step(j, &s->logits, lpo_record_rows(t, j->m, x, NULL, n));
}

static lpo_status write_inputs(job *j, step *s) {
    for (int i = 0; i < j->n_live; i++) {
        const live *v = &j->live[i];
        s->h_ids[i] = v->last_id;
        s->h_pos[3 * i] = s->h_pos[3 * i + 1] = s->h_pos[3 * i + 2] = v->next_pos;
        s->h_cu[i + 1] = i + 1;
        s->h_slot[i] = v->slot;
        s->h_past[i] = v->past;
    }
    lpo_rope_text(s->h_cos, s->h_sin, s->h_pos, j->n_live, j->m);
    const struct {
        lpo_val to;
        const void *from;
    } all[] = {{s->ids, s->h_ids}, {s->cos, s->h_cos},   {s->sin, s->h_sin},
               {s->cu, s->h_cu},   {s->slot, s->h_slot}, {s->past, s->h_past}};
    lpo_status st = LPO_OK;
    for (size_t i = 0; i < sizeof all / sizeof *all && !st; i++)
        st = lpo_tape_write(j->tape, all[i].to, all[i].from, j->err);
    return st;
}

static int drop_done(job *j) {
    int n = 0;
    for (int i = 0; i < j->n_live; i++)
        if (!j->live[i].done) j->live[n++] = j->live[i];
    return n;
}

static int count_running(const job *j) {
    int n = 0;
    for (int i = 0; i < j->n_live; i++) n += !j->live[i].done;
    return n;
}

static lpo_status decode(job *j) {
    step s = {0};
    lpo_status st = LPO_OK;
    int recorded = 0; /* rows of the recorded step */
    for (int running = count_running(j); running && !st; running = count_running(j)) {
        if (!recorded || 4 * running <= 3 * recorded) {
            recorded = j->n_live = drop_done(j);
            if ((st = record_step(j, &s))) return st;
        }
        if ((st = write_inputs(j, &s)) || (st = run_step(j, s.logits))) return st;
        for (int i = 0; i < j->n_live && !st; i++) {
            live *v = &j->live[i];
            if (v->done) continue;
            v->past++;
            v->next_pos++;
            st = take_token(j, v, j->logits + (size_t)i * (size_t)j->m->config.vocab_size);
        }
    }
    return st;
}

static int32_t room_of(const job *j, int seq) {
    const int64_t want = (int64_t)j->b->seqs[seq].n_ids + j->o->max_tokens, most = j->m->config.max_positions;
    return (int32_t)(want < most ? want : most);
}

static size_t row_bytes(const job *j) {
    const lpo_block_config *c = &j->m->config.block;
    return 2 * (size_t)c->n_kv * (size_t)c->d_head * lpo_dtype_bytes(j->m->dtype);
}

/* How many sequences from `first` on fit the cache together; *len is the slot length. At least one. */
static int chunk_size(const job *j, int first, int32_t *len) {
    int n = 0;
    *len = 0;
    while (first + n < j->b->n_seqs && n < CHUNK_SEQS) {
        const int32_t room = room_of(j, first + n), longest = room > *len ? room : *len;
        if (n &&
            (size_t)(n + 1) * (size_t)longest * row_bytes(j) * (size_t)j->m->config.n_layers > CACHE_BYTES)
            break;
        *len = longest;
        n++;
    }
    return n;
}

static void release_cache(job *j) {
    const lpo_driver *d = lpo_device_driver(j->m->devices->placement.device[0]);
    for (int i = 0; i < j->m->config.n_layers; i++) {
        d->release(j->cache.layer[i]);
        j->cache.layer[i] = NULL;
    }
}

static lpo_status run_chunk(job *j, int first, int n, int32_t len) {
    lpo_device *device = j->m->devices->placement.device[0];
    const lpo_block_config *c = &j->m->config.block;
    const int64_t shape[4] = {n, len, 2, (int64_t)c->n_kv * c->d_head};
    memcpy(j->cache.shape, shape, sizeof shape);
    lpo_status st = LPO_OK;
    for (int i = 0; i < j->m->config.n_layers && !st; i++)
        st = lpo_device_driver(device)->alloc(&j->cache.layer[i], device,
                                              (size_t)n * (size_t)len * row_bytes(j), j->err);
    if (st) lpo_fail_in(j->err, st, "key/value cache of %d sequences", n);
    j->n_live = n;
    for (int i = 0; i < n; i++) {
        const uint64_t stream = j->streams ? j->streams[first + i] : (uint64_t)(first + i);
        j->live[i] = (live){.seq = first + i, .slot = i, .rng = lpo_rng_init(j->o->seed, stream)};
    }
    for (int i = 0; i < n && !st;) {
        int k = i;
        for (int64_t rows = 0; k < n; k++) {
            rows += j->b->seqs[first + k].n_ids;
            if (k > i && rows > PREFILL_ROWS) break;
        }
        st = prefill(j, i, k);
        i = k;
    }
    if (!st) st = decode(j);
    release_cache(j);
    return st;
}

static lpo_status check(const job *j) {
    const lpo_gen_options *o = j->o;
    if (o->max_tokens < 1)
        return lpo_fail(j->err, LPO_EINVAL, "max_tokens is %d: expected at least 1", o->max_tokens);
    if (!(o->temperature >= 0) || !(o->top_p > 0 && o->top_p <= 1) || o->top_k < 0)
        return lpo_fail(j->err, LPO_EINVAL,
                        "temperature %g, top_p %g, top_k %d: expected >= 0, in (0, 1], >= 0", o->temperature,
                        o->top_p, o->top_k);
    for (int i = 0; i < o->n_forced; i++)
        if (o->forced[i] < 0 || o->forced[i] >= j->m->config.vocab_size)
            return lpo_fail(j->err, LPO_EINVAL, "forced token %d is id %d, outside the vocabulary of %d", i,
                            o->forced[i], j->m->config.vocab_size);
    for (int s = 0; s < j->b->n_seqs; s++)
        if (j->b->seqs[s].n_ids != j->b->seqs[s].n_prompt ||
            j->b->seqs[s].n_ids >= j->m->config.max_positions)
            return lpo_fail(j->err, LPO_EINVAL,
                            "sequence %d: expected a prompt alone, shorter than the context of %d", s,
                            j->m->config.max_positions);
    return LPO_OK;
}

lpo_status lpo_generate(lpo_gen_seq *out, lpo_model *m, const lpo_model_batch *prompts,
                        const uint64_t *streams, const lpo_gen_options *o, lpo_token_fn *fn, void *user,
                        lpo_error *err) {
    const lpo_gen_options given = o ? *o : lpo_gen_options_default();
    const int32_t V = m->config.vocab_size;
    const size_t S = (size_t)prompts->n_seqs, rows = S < CHUNK_SEQS ? S : CHUNK_SEQS;
    job j = {.m = m,
             .b = prompts,
             .o = &given,
             .streams = streams,
             .out = out,
             .fn = fn,
             .user = user,
             .err = err};
    memset(out, 0, S * sizeof *out);
    lpo_status st = check(&j);
    if (st || !S) return st;
    j.n_valid = given.n_valid > 0 && given.n_valid < V ? given.n_valid : V;
    j.cap = calloc(S, sizeof *j.cap);
    j.logits = malloc(rows * (size_t)V * sizeof *j.logits);
    j.work = malloc((size_t)V * sizeof *j.work);
    j.live = calloc(rows, sizeof *j.live);
    j.cache.layer = calloc((size_t)m->config.n_layers, sizeof *j.cache.layer);
    j.arena = lpo_arena_create(1 << 20);
    if (!j.cap || !j.logits || !j.work || !j.live || !j.cache.layer || !j.arena)
        st = lpo_fail(err, LPO_ENOMEM, "no memory to generate for %zu sequences", S);
    if (!st) st = lpo_tape_create(&j.tape, lpo_model_placement(m), err);
    for (int first = 0; first < prompts->n_seqs && !st;) {
        int32_t len;
        const int n = chunk_size(&j, first, &len);
        st = run_chunk(&j, first, n, len);
        first += n;
    }
    lpo_tape_destroy(j.tape);
    lpo_arena_destroy(j.arena);
    free(j.cache.layer);
    free(j.live);
    free(j.work);
    free(j.logits);
    free(j.cap);
    return st;
}
