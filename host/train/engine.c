/* SPDX-License-Identifier: Apache-2.0 */
/* engine.c -- see engine.h. */
#include "train/engine.h"

#include "base/clock.h"
#include "base/trace.h"

#include <string.h>

lpo_status lpo_engine_open(lpo_engine *e, lpo_model *m, bool checkpoint, lpo_error *err) {
    *e = (lpo_engine){.model = m, .checkpoint = checkpoint};
    e->arena = lpo_arena_create((size_t)1 << 20);
    if (!e->arena) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    return lpo_tape_create(&e->tape, lpo_model_placement(m), err);
}

void lpo_engine_close(lpo_engine *e) {
    lpo_tape_destroy(e->tape);
    lpo_arena_destroy(e->arena);
    *e = (lpo_engine){0};
}

static int64_t response(const lpo_ids *ids, const lpo_sample *s) {
    return ids->n ? (int64_t)ids->n - s->n_prompt : 0;
}

/* The model's view of the slice: its sequences, and the clips they use, renumbered. */
static lpo_status slice(lpo_model_batch *out, lpo_arena *arena, const lpo_batch *b, int32_t first, int32_t n,
                        bool both, lpo_error *err) {
    lpo_clip_input *clips = lpo_arena_alloc(arena, (size_t)n, sizeof *clips);
    lpo_seq_input *seqs = lpo_arena_alloc(arena, 2 * (size_t)n, sizeof *seqs);
    int32_t *number = lpo_arena_alloc(arena, (size_t)b->n_clips, sizeof *number); /* +1; 0 = not used yet */
    if (!clips || !seqs || !number) return lpo_fail(err, LPO_ENOMEM, "out of memory for a batch");
    *out = (lpo_model_batch){.clips = clips, .seqs = seqs};
    for (int32_t i = 0; i < n; i++) {
        const lpo_sample *s = &b->samples[first + i];
        int32_t clip = -1;
        if (s->clip >= 0) {
            const lpo_batch_clip *c = &b->clips[s->clip];
            if (!number[s->clip]) {
                clips[out->n_clips] = (lpo_clip_input){c->patches, c->grid_t,          c->grid_h,
                                                       c->grid_w,  c->second_per_grid, c->levels};
                number[s->clip] = ++out->n_clips;
            }
            clip = number[s->clip] - 1;
        }
        seqs[out->n_seqs++] = (lpo_seq_input){s->chosen.ids, (int32_t)s->chosen.n, s->n_prompt, clip};
        if (both)
            seqs[out->n_seqs++] = (lpo_seq_input){s->rejected.ids, (int32_t)s->rejected.n, s->n_prompt, clip};
    }
    return LPO_OK;
}

static lpo_status lay_out_rows(lpo_rows *r, lpo_arena *arena, const lpo_batch *b, int32_t first, int32_t n,
                               bool both, lpo_error *err) {
    *r = (lpo_rows){.n = n, .samples = b->samples + first};
    r->start_w = lpo_arena_alloc(arena, (size_t)n + 1, sizeof *r->start_w);
    r->start_l = lpo_arena_alloc(arena, (size_t)n + 1, sizeof *r->start_l);
    if (!r->start_w || !r->start_l) return lpo_fail(err, LPO_ENOMEM, "out of memory for a batch");
    for (int32_t i = 0; i < n; i++) {
        const lpo_sample *s = &r->samples[i];
        r->start_w[i + 1] = r->start_w[i] + response(&s->chosen, s);
        r->start_l[i + 1] = r->start_l[i] + (both ? response(&s->rejected, s) : 0);
        r->n_input_tokens += (int64_t)s->chosen.n + (both ? (int64_t)s->rejected.n : 0);
    }
    r->t_w = lpo_arena_alloc(arena, (size_t)r->start_w[n], sizeof *r->t_w);
    r->t_l = lpo_arena_alloc(arena, (size_t)r->start_l[n], sizeof *r->t_l);
    return r->t_w && r->t_l ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "out of memory for a batch");
}

/* A value of n numbers, read as doubles. */
static lpo_status read_real(double *out, lpo_engine *e, lpo_val v, int64_t n, lpo_error *err) {
    if (lpo_val_dtype(e->tape, v) == LPO_F64) return lpo_tape_read(out, e->tape, v, err);
    float *f = lpo_arena_alloc(e->arena, (size_t)n, sizeof *f);
    lpo_status s =
        f ? lpo_tape_read(f, e->tape, v, err) : lpo_fail(err, LPO_ENOMEM, "out of memory for a batch");
    for (int64_t i = 0; i < n && !s; i++) out[i] = (double)f[i];
    return s;
}

/* Split the tape's order (chosen 0, rejected 0, chosen 1, ...) into the two sides. */
static lpo_status read_back(lpo_rows *r, lpo_engine *e, const lpo_forward_out *f, lpo_error *err) {
    const int64_t n = f->n_tokens;
    double *logp = lpo_arena_alloc(e->arena, (size_t)n, sizeof *logp);
    double *entropy = lpo_arena_alloc(e->arena, (size_t)n, sizeof *entropy);
    int32_t *hit = lpo_arena_alloc(e->arena, (size_t)n, sizeof *hit);
    if (!logp || !entropy || !hit) return lpo_fail(err, LPO_ENOMEM, "out of memory for a batch");
    lpo_status s = read_real(logp, e, f->logp, n, err);
    if (!s) s = read_real(entropy, e, f->entropy, n, err);
    if (!s) s = lpo_tape_read(hit, e->tape, f->hit, err);
    if (s) return s;
    const double *at = logp;
    for (int64_t i = 0; i < n; i++) r->entropy_sum += entropy[i];
    for (int32_t i = 0; i < r->n; i++) {
        const int64_t n_w = r->start_w[i + 1] - r->start_w[i], n_l = r->start_l[i + 1] - r->start_l[i];
        memcpy(r->t_w + r->start_w[i], at, (size_t)n_w * sizeof *at);
        memcpy(r->t_l + r->start_l[i], at + n_w, (size_t)n_l * sizeof *at);
        for (int64_t k = 0; k < n_w; k++) r->hit_w += hit[at - logp + k];
        at += n_w + n_l;
    }
    return LPO_OK;
}

static const char *device_name(const lpo_engine *e, int device) {
    const lpo_placement *p = lpo_model_placement(e->model);
    return device < 0 || device >= p->n_devices ? "cpu" : lpo_device_driver(p->device[device])->name;
}

const char *lpo_engine_device(const lpo_engine *e) {
    return device_name(e, 0);
}

/* A range of steps as a span with the work it stands for; returns its seconds. */
static double account(const lpo_engine *e, double begin_s, const char *stage, int first, int last) {
    double flops, bytes;
    if (lpo_trace_on()) {
        lpo_tape_work(&flops, &bytes, e->tape, first, last);
        lpo_trace_end(begin_s, stage, device_name(e, 0), NULL, bytes, flops);
        lpo_trace_count("bytes:tape", (double)lpo_tape_arena_bytes(e->tape));
    }
    return lpo_now_s() - begin_s;
}

static void on_op(void *user, lpo_op op, int device, double start_s, double seconds, double flops,
                  double bytes) {
    static const char *const names[] = {
#define LPO_X(id, name, n_args, out, inout) name,
        LPO_OP_LIST(LPO_X)
#undef LPO_X
            "copy"};
    lpo_trace_put(
        &(lpo_span){"op", device_name(user, device), names[op], start_s, seconds, bytes, flops, false});
}

void lpo_engine_trace_ops(lpo_engine *e) {
    lpo_tape_trace(e->tape, on_op, e);
}

/* The tape's steps from first to last, some at a time where the clock is to be looked at in between. */
static lpo_status run_steps(lpo_engine *e, int first, int last, lpo_error *err) {
    enum { AT_ONCE = 8 };
    if (!(e->until_s > 0)) return lpo_tape_run(e->tape, first, last, err);
    if (last < 0) last = lpo_tape_n_steps(e->tape);
    lpo_status s = LPO_OK;
    for (int i = first; i < last && !s; i += AT_ONCE) {
        s = lpo_tape_run(e->tape, i, i + AT_ONCE < last ? i + AT_ONCE : last, err);
        if (!s && lpo_now_s() > e->until_s) s = lpo_fail(err, LPO_ECANCELED, "the pass took too long");
    }
    return s;
}

lpo_status lpo_engine_forward(lpo_rows *out, lpo_engine *e, const lpo_batch *b, int32_t first, int32_t n,
                              bool both, bool train, lpo_error *err) {
    lpo_model_batch mb;
    lpo_forward_out f;
    const lpo_forward_options fo = {.checkpoint = train && e->checkpoint,
                                    .want_stats = true,
                                    .separate = e->separate,
                                    .dropout_seed = train ? e->dropout_seed : 0};
    const double t0 = lpo_now_s();
    lpo_arena_reset(e->arena);
    lpo_tape_reset(e->tape);
    lpo_status s = lay_out_rows(out, e->arena, b, first, n, both, err);
    if (!s) s = slice(&mb, e->arena, b, first, n, both, err);
    if (!s) s = lpo_model_record(&f, e->tape, e->model, &mb, &fo, err);
    if (s) return s;
    lpo_tape_keep(e->tape, f.logp);
    lpo_tape_keep(e->tape, f.entropy);
    lpo_tape_keep(e->tape, f.hit);
    e->logp = f.logp;
    e->n_forward = lpo_tape_n_steps(e->tape);
    if (train) {
        e->dlogp = lpo_tape_input(e->tape, lpo_val_dtype(e->tape, f.logp), 1, &f.n_tokens, NULL);
        lpo_tape_backward(e->tape, f.logp, e->dlogp);
    }
    s = lpo_tape_plan(e->tape, err);
    if (s) return s;
    lpo_trace_end(t0, "record", "cpu", NULL, 0, 0);
    const double t1 = lpo_now_s();
    s = run_steps(e, 0, e->n_forward, err);
    if (!s) s = read_back(out, e, &f, err);
    e->record_s += t1 - t0;
    e->forward_s += account(e, t1, "forward", 0, e->n_forward);
    return s;
}

lpo_status lpo_engine_backward(lpo_engine *e, const lpo_rows *r, const double *g_w, const double *g_l,
                               lpo_error *err) {
    const int64_t n = r->start_w[r->n] + r->start_l[r->n];
    const bool f64 = lpo_val_dtype(e->tape, e->logp) == LPO_F64;
    double *g = lpo_arena_alloc(e->arena, (size_t)n, sizeof *g);
    float *g32 = lpo_arena_alloc(e->arena, (size_t)n, sizeof *g32);
    if (!g || !g32) return lpo_fail(err, LPO_ENOMEM, "out of memory for a batch");
    const double t0 = lpo_now_s();
    double *at = g;
    for (int32_t i = 0; i < r->n; i++) {
        for (int64_t k = r->start_w[i]; k < r->start_w[i + 1]; k++) *at++ = g_w[k];
        for (int64_t k = r->start_l[i]; k < r->start_l[i + 1]; k++) *at++ = g_l[k];
    }
    for (int64_t i = 0; i < n; i++) g32[i] = (float)g[i];
    lpo_status s = lpo_tape_write(e->tape, e->dlogp, f64 ? (const void *)g : g32, err);
    if (!s) s = run_steps(e, e->n_forward, -1, err);
    e->backward_s += account(e, t0, "backward", e->n_forward, -1);
    return s;
}
