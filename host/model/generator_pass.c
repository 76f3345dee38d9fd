/* SPDX-License-Identifier: Apache-2.0 */
/* generator_pass.c -- one pass of the model over the rows that are due, new prompts and running answers side
 * by side: all are rows that attend to what their own sequence has in the cache. Clips are encoded when the
 * first of their rows is due; encodings wait in host memory for the next prompt on that clip. */
#include "model/generator_state.h"

#include "base/trace.h"
#include "model/parts.h"

#include <stdlib.h>
#include <string.h>

/* Rows of prompts in a pass: enough to keep a product busy, few enough that activations stay small (a 7B
 * layer has 38,000 columns). Patches of one run of the tower, likewise. */
enum { PROMPT_ROWS = 2048, PATCH_ROWS = 8192 };

static size_t video_row_bytes(const lpo_generator *g) {
    return (size_t)g->m->config.block.d_model * lpo_dtype_bytes(g->m->dtype);
}

static bool is_due_video(const lpo_generator *g, const gen_live *s) {
    return s->n_feed && s->run >= 0 && s->p.done < s->run + lpo_clip_rows(g->m, s->clip->clip) &&
           s->p.done + s->n_feed > s->run;
}

/* Keep the encodings not used in this pass within a quarter of the cache's bound: the least recently used
 * goes first, and is computed again should it be wanted. */
static void bound_encodings(lpo_generator *g) {
    for (;;) {
        gen_clip *oldest = NULL;
        if (g->rows_bytes <= g->o.cache_bytes / 4) return;
        for (gen_clip *c = g->clips; c; c = c->next)
            if (c->rows && c->used < g->pass && (!oldest || c->used < oldest->used)) oldest = c;
        if (!oldest) return;
        g->rows_bytes -= (size_t)oldest->n_rows * video_row_bytes(g);
        free(oldest->rows);
        oldest->rows = NULL;
    }
}

/* The tape's run as a span of the trace. */
static void account(const lpo_generator *g, double begin_s, const char *stage, const char *what) {
    double flops, bytes;
    if (!lpo_trace_on()) return;
    lpo_tape_work(&flops, &bytes, g->tape, 0, -1);
    lpo_trace_end(begin_s, stage, lpo_device_driver(lpo_model_placement(g->m)->device[0])->name, what, bytes,
                  flops);
}

/* Encode n clips in one run of the tower. */
static lpo_status encode_some(lpo_generator *g, gen_clip **some, int n, lpo_error *err) {
    lpo_packed p = {0};
    lpo_arena_reset(g->arena);
    const lpo_clip_input **clips = lpo_arena_alloc(g->arena, (size_t)n, sizeof *clips);
    int64_t *base = lpo_arena_alloc(g->arena, (size_t)n, sizeof *base);
    if (!clips || !base) return lpo_fail(err, LPO_ENOMEM, "no memory for %d clips", n);
    for (int i = 0; i < n; i++) clips[i] = some[i]->clip;
    lpo_status st = lpo_pack_clips(&p, g->arena, g->m, clips, n, base, err);
    if (st) return st;
    int64_t n_rows = 0;
    for (int i = 0; i < n; i++) n_rows += lpo_clip_rows(g->m, clips[i]);
    char *all = lpo_arena_alloc(g->arena, (size_t)n_rows, video_row_bytes(g));
    if (!all) return lpo_fail(err, LPO_ENOMEM, "no memory for the rows of %d clips", n);
    g->step.n = 0;
    lpo_tape_reset(g->tape);
    const double t = lpo_trace_begin();
    lpo_val x = lpo_record_vision(g->tape, g->m, &p, false);
    lpo_tape_keep(g->tape, x);
    if ((st = lpo_tape_plan(g->tape, err)) || (st = lpo_tape_run(g->tape, 0, -1, err)) ||
        (st = lpo_tape_read(all, g->tape, x, err)))
        return lpo_fail_in(err, st, "encoding %d clips", n);
    account(g, t, "encode", NULL);
    for (int i = 0; i < n; i++) {
        gen_clip *c = some[i];
        c->n_rows = lpo_clip_rows(g->m, c->clip);
        const size_t bytes = (size_t)c->n_rows * video_row_bytes(g);
        if (!(c->rows = malloc(bytes)))
            return lpo_fail(err, LPO_ENOMEM, "no memory for the %zu bytes of an encoded clip", bytes);
        memcpy(c->rows, all + (size_t)base[i] * video_row_bytes(g), bytes);
        g->rows_bytes += bytes;
        g->stats.clips++;
    }
    return LPO_OK;
}

/* Encodings of the clips whose rows are due; *n_video is how many rows they have. */
static lpo_status encode_due(lpo_generator *g, int64_t *n_video, lpo_error *err) {
    *n_video = 0;
    gen_clip **missing = malloc((size_t)g->n_live * sizeof *missing);
    if (!missing) return lpo_fail(err, LPO_ENOMEM, "no memory for %d clips", g->n_live);
    int n = 0;
    for (int i = 0; i < g->n_live; i++) {
        gen_clip *c = g->live[i]->clip;
        if (!is_due_video(g, g->live[i]) || c->used == g->pass) continue;
        c->used = g->pass;
        c->base = *n_video;
        *n_video += lpo_clip_rows(g->m, c->clip);
        if (!c->rows) missing[n++] = c;
    }
    lpo_status st = LPO_OK;
    for (int i = 0, k; i < n && !st; i = k) {
        int64_t patches = 0;
        for (k = i; k < n; k++) {
            const lpo_clip_input *c = missing[k]->clip;
            patches += (int64_t)c->grid_t * c->grid_h * c->grid_w;
            if (k > i && patches > PATCH_ROWS) break;
        }
        st = encode_some(g, missing + i, k - i, err);
    }
    free(missing);
    if (!st) bound_encodings(g);
    return st;
}

/* Who takes part, with how many rows. */
static void choose_rows(lpo_generator *g, gen_inputs *in) {
    int32_t prompt = PROMPT_ROWS;
    for (int i = 0; i < g->n_live; i++) {
        gen_live *s = g->live[i];
        const int32_t left = s->p.n_ids - s->p.done;
        s->n_feed = 0;
        if (s->donor) continue;
        if (left <= 0)
            s->n_feed = 1;
        else
            prompt -= s->n_feed = left < prompt ? left : prompt;
        in->n_rows += s->n_feed;
        in->n_seqs += s->n_feed > 0;
        in->n_out += s->n_feed > 0 && s->n_feed >= left;
    }
}

static lpo_status alloc_inputs(lpo_generator *g, gen_inputs *in, lpo_error *err) {
    const size_t n = (size_t)in->n_rows, s = (size_t)in->n_seqs, i32 = sizeof(int32_t),
                 half = (size_t)g->m->config.block.d_head / 2;
    lpo_arena *a = g->arena;
    lpo_arena_reset(a);
    in->ids = lpo_arena_alloc(a, n, i32);
    in->pos = lpo_arena_alloc(a, n, 3 * i32);
    in->cu = lpo_arena_alloc(a, s + 1, i32);
    in->slot = lpo_arena_alloc(a, s, i32);
    in->past = lpo_arena_alloc(a, s, i32);
    in->row = lpo_arena_alloc(a, (size_t)in->n_out + 1, i32);
    in->mix = lpo_arena_alloc(a, n, i32);
    in->cos = lpo_arena_alloc(a, n * half, sizeof(float));
    in->sin = lpo_arena_alloc(a, n * half, sizeof(float));
    in->video = lpo_arena_alloc(a, (size_t)in->n_video + 1, video_row_bytes(g));
    if (in->n_out > g->cap_logits) {
        free(g->logits);
        g->cap_logits = in->n_out;
        g->logits = malloc((size_t)in->n_out * (size_t)g->m->config.vocab_size * sizeof *g->logits);
        if (!g->logits) g->cap_logits = 0;
    }
    if (!in->ids || !in->pos || !in->cu || !in->slot || !in->past || !in->row || !in->mix || !in->cos ||
        !in->sin || !in->video || (in->n_out && !g->logits))
        return lpo_fail(err, LPO_ENOMEM, "no memory for a pass of %zu tokens", n);
    return LPO_OK;
}

static void fill_seq(const lpo_generator *g, const gen_live *s, gen_inputs *in, int32_t seq, int32_t row) {
    const int64_t n_pads = s->run >= 0 ? lpo_clip_rows(g->m, s->clip->clip) : 0;
    in->slot[seq] = s->p.first;
    in->past[seq] = s->p.done;
    in->cu[seq + 1] = row + s->n_feed;
    if (s->p.done >= s->p.n_ids) {
        in->ids[row] = s->last_id;
        in->mix[row] = row;
        for (int k = 0; k < 3; k++) in->pos[3 * row + k] = s->next_pos;
        return;
    }
    memcpy(in->ids + row, s->p.ids + s->p.done, (size_t)s->n_feed * sizeof *in->ids);
    memcpy(in->pos + 3 * row, s->pos + 3 * (size_t)s->p.done, (size_t)s->n_feed * 3 * sizeof *in->pos);
    for (int32_t i = 0; i < s->n_feed; i++) {
        const int32_t at = s->p.done + i - s->run;
        const bool pad = s->run >= 0 && at >= 0 && at < n_pads;
        in->mix[row + i] = pad ? (int32_t)(in->n_rows + s->clip->base + at) : row + i;
    }
}

static void fill_inputs(lpo_generator *g, gen_inputs *in) {
    int32_t row = 0, seq = 0, out = 0;
    for (int i = 0; i < g->n_live; i++) {
        const gen_live *s = g->live[i];
        if (!s->n_feed) continue;
        fill_seq(g, s, in, seq++, row);
        row += s->n_feed;
        if (s->p.done + s->n_feed >= s->p.n_ids) in->row[out++] = row - 1;
    }
    for (const gen_clip *c = g->clips; c && in->n_video; c = c->next)
        if (c->used == g->pass)
            memcpy((char *)in->video + (size_t)c->base * video_row_bytes(g), c->rows,
                   (size_t)c->n_rows * video_row_bytes(g));
    lpo_rope_text(in->cos, in->sin, in->pos, in->n_rows, g->m);
}

static lpo_status record_pass(lpo_generator *g, const gen_inputs *in, lpo_error *err) {
    const int64_t n = in->n_rows, s = in->n_seqs, half = g->m->config.block.d_head / 2;
    const int64_t rows[1] = {n}, seqs[1] = {s}, borders[1] = {s + 1}, rope[2] = {n, half}, mix[2] = {n, 1},
                  video[2] = {in->n_video, g->m->config.block.d_model};
    lpo_tape *t = g->tape;
    gen_step *p = &g->step;
    lpo_tape_reset(t);
    p->ids = lpo_tape_input(t, LPO_I32, 1, rows, in->ids);
    p->cos = lpo_tape_input(t, LPO_F32, 2, rope, in->cos);
    p->sin = lpo_tape_input(t, LPO_F32, 2, rope, in->sin);
    p->slot = g->kv.cache.slot = lpo_tape_input(t, LPO_I32, 1, seqs, in->slot);
    p->past = g->kv.cache.past = lpo_tape_input(t, LPO_I32, 1, seqs, in->past);
    lpo_val cu = lpo_tape_input(t, LPO_I32, 1, borders, in->cu);
    lpo_val x = lpo_tape_embed(t, lpo_tape_param(t, g->m->layout.embed_w), p->ids);
    if (in->n_video)
        x = lpo_tape_rowmix(t, x, lpo_tape_input(t, g->m->dtype, 2, video, in->video),
                            lpo_tape_input(t, LPO_I32, 2, mix, in->mix), LPO_NONE);
    x = lpo_record_decoder(t, g->m, x, p->cos, p->sin, cu, LPO_NONE, false, &g->kv.cache);
    if (in->n_out) {
        x = lpo_record_rows(t, g->m, x, in->n_out == n ? NULL : in->row, in->n_out);
        x = lpo_tape_linear(t, x, lpo_tape_param(t, g->m->layout.head_w), LPO_NONE);
        if (g->m->dtype != LPO_F32) x = lpo_tape_cast(t, x, LPO_F32);
    }
    lpo_tape_keep(t, x);
    p->logits = x;
    p->n = in->n_out == n && !in->n_video ? in->n_out : 0;
    return lpo_tape_plan(t, err);
}

static lpo_status rewrite_inputs(lpo_generator *g, const gen_inputs *in, lpo_error *err) {
    const gen_step *p = &g->step;
    const struct {
        lpo_val to;
        const void *from;
    } all[] = {
        {p->ids, in->ids}, {p->cos, in->cos}, {p->sin, in->sin}, {p->slot, in->slot}, {p->past, in->past}};
    lpo_status st = LPO_OK;
    for (size_t i = 0; i < sizeof all / sizeof *all && !st; i++)
        st = lpo_tape_write(g->tape, all[i].to, all[i].from, err);
    return st;
}

lpo_status gen_pass(lpo_generator *g, lpo_error *err) {
    gen_inputs in = {0};
    g->pass++;
    choose_rows(g, &in);
    lpo_status st = encode_due(g, &in.n_video, err);
    if (!st) st = alloc_inputs(g, &in, err);
    if (st) return st;
    fill_inputs(g, &in);
    const bool steady = in.n_out == in.n_rows && !in.n_video && g->step.n == in.n_out;
    const double t = lpo_trace_begin();
    st = steady ? rewrite_inputs(g, &in, err) : record_pass(g, &in, err);
    if (!st) st = lpo_tape_run(g->tape, 0, -1, err);
    if (!st && in.n_out) st = lpo_tape_read(g->logits, g->tape, g->step.logits, err);
    account(g, t, "generate", in.n_rows > in.n_out ? "prompts" : "next tokens");
    lpo_trace_count("queue:sequences", in.n_seqs);
    g->stats.steps++;
    return st ? lpo_fail_in(err, st, "generating for %d sequences", in.n_seqs) : LPO_OK;
}
