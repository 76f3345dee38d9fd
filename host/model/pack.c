/* SPDX-License-Identifier: Apache-2.0 */
/* pack.c -- validation, positions and rotary tables of a batch; its clips are pack_vision.c's.
 * Angles are computed in float as the reference implementation does (inverse frequency, product, cosine): at
 * position 30,000 a double would differ from what a checkpoint was trained with by 1e-3 rad. Decoder tables
 * are rounded to bf16 when the model is stored in bf16, the tower's never: also as the reference. */
#include "model/pack.h"

#include "kernels/number.h"

#include <math.h>
#include <string.h>

static lpo_status check_lengths(const lpo_model *m, const lpo_seq_input *q, const lpo_clip_input *c,
                                lpo_error *err) {
    if (q->n_prompt < 1 || q->n_ids < q->n_prompt)
        return lpo_fail(err, LPO_EINVAL, "a prompt of %d of %d tokens", q->n_prompt, q->n_ids);
    if (q->n_ids > m->config.max_positions)
        return lpo_fail(err, LPO_ELIMIT, "%d tokens exceed max_position_embeddings %d", q->n_ids,
                        m->config.max_positions);
    if (c && m->config.video_pad_id < 0)
        return lpo_fail(err, LPO_EINVAL, "a clip, but the model has no video pad token");
    return LPO_OK;
}

static lpo_status find_run(int32_t *run, const lpo_model *m, const lpo_seq_input *q, const lpo_clip_input *c,
                           int32_t take, lpo_error *err) {
    const int32_t pad = m->config.video_pad_id, vocab = m->config.vocab_size;
    int32_t first = -1, last = -1, n_pads = 0;
    for (int32_t i = 0; i < q->n_ids; i++) {
        if (q->ids[i] < 0 || q->ids[i] >= vocab)
            return lpo_fail(err, LPO_EINVAL, "token %d is id %d, outside the vocabulary of %d", i, q->ids[i],
                            vocab);
        if (q->ids[i] != pad || i >= take) continue;
        if (first < 0) first = i;
        last = i;
        n_pads++;
    }
    *run = first;
    if (!c) {
        if (n_pads) return lpo_fail(err, LPO_EINVAL, "%d video pads but no clip", n_pads);
        return LPO_OK;
    }
    const int64_t want = lpo_clip_rows(m, c);
    if (n_pads != want || last - first + 1 != n_pads || last >= q->n_prompt)
        return lpo_fail(
            err, LPO_EINVAL,
            "%d video pads, but its clip's grid %d x %d x %d makes %lld tokens in one run within the prompt",
            n_pads, c->grid_t, c->grid_h, c->grid_w, (long long)want);
    return LPO_OK;
}

lpo_status lpo_seq_check(int32_t *run, const lpo_model *m, const lpo_seq_input *q, const lpo_clip_input *c,
                         lpo_error *err) {
    lpo_status st = check_lengths(m, q, c, err);
    if (!st && c) st = lpo_clip_check(m, c, err);
    return st ? st : find_run(run, m, q, c, q->n_ids, err);
}

/* t position of temporal patch t. Qwen2.5-VL counts time; in float, as the reference does. */
static int32_t time_position(const lpo_model_config *m, const lpo_clip_input *c, int32_t t) {
    if (m->tokens_per_second <= 0) return t;
    const float seconds = m->whole_seconds ? truncf((float)c->second_per_grid) : (float)c->second_per_grid;
    const float at = (float)t * ((float)m->tokens_per_second * seconds);
    return at > 1 << 28 ? 1 << 28 : (int32_t)at;
}

/* Video rows (t,h,w) from `at` on; returns the position behind the farthest. */
static int32_t clip_positions(int32_t *pos, int32_t at, const lpo_clip_input *c, const lpo_model_config *m) {
    const int32_t H = c->grid_h / m->clip.merge, W = c->grid_w / m->clip.merge;
    int32_t far = H > W ? H : W;
    for (int32_t t = 0; t < c->grid_t; t++) {
        const int32_t when = time_position(m, c, t);
        if (when + 1 > far) far = when + 1;
        for (int32_t h = 0; h < H; h++)
            for (int32_t w = 0; w < W; w++, pos += 3) {
                pos[0] = at + when;
                pos[1] = at + h;
                pos[2] = at + w;
            }
    }
    return at + far;
}

/* (transformers 5 goes on after the larger of height and width even when the clip is longer than that;
 * version 4 and the public checkpoints' training do as here.) Families with one axis just count. */
int32_t lpo_positions(int32_t *pos, const lpo_model *m, int32_t n, int32_t run, const lpo_clip_input *c) {
    int32_t at = 0, i = 0;
    while (i < n) {
        if (i == run && m->config.mrope) {
            at = clip_positions(pos + 3 * (int64_t)i, at, c, &m->config);
            i += (int32_t)lpo_clip_rows(m, c);
        } else {
            pos[3 * i] = pos[3 * i + 1] = pos[3 * i + 2] = at++;
            i++;
        }
    }
    return at;
}

void lpo_rope_text(float *cos_out, float *sin_out, const int32_t *pos, int64_t n, const lpo_model *m) {
    const lpo_model_config *c = &m->config;
    const int32_t half = c->block.d_head / 2, *sec = c->mrope_section;
    for (int32_t j = 0; j < half; j++) {
        const int axis = j < sec[0] ? 0 : j < sec[0] + sec[1] ? 1 : 2;
        const float inv = 1.0f / powf((float)c->rope_theta, (float)(2 * j) / (float)c->block.d_head) /
                          (float)c->rope_factor;
        for (int64_t i = 0; i < n; i++) {
            const float angle = (float)pos[3 * i + axis] * inv;
            float co = cosf(angle), si = sinf(angle);
            if (m->dtype == LPO_BF16) {
                co = lpo_bf16_to_f32(lpo_f32_to_bf16(co));
                si = lpo_bf16_to_f32(lpo_f32_to_bf16(si));
            }
            cos_out[i * half + j] = co;
            sin_out[i * half + j] = si;
        }
    }
}

int32_t lpo_packed_row(const lpo_packed *p, int s, int32_t i) {
    const lpo_packed_seq *q = &p->seqs[s];
    return i < q->n_shared ? q->shared + i : q->own + i - q->n_shared;
}

/* A batch being packed. */
typedef struct packer {
    lpo_packed *o;
    const lpo_model *m;
    const lpo_model_batch *b;
    const int32_t *take;
    const int64_t *base; /* of the clips' video rows */
    int32_t *pos, *all;  /* positions of the rows, and of the sequence at hand from its start */
} packer;

static bool same_prompt(const lpo_seq_input *a, const lpo_seq_input *b) {
    return a->clip == b->clip && a->n_prompt == b->n_prompt &&
           !memcmp(a->ids, b->ids, (size_t)a->n_prompt * sizeof *a->ids);
}

/* How many sequences from s on have its clip and prompt, and rows for all of it. */
static int group_size(const packer *k, int s) {
    const lpo_seq_input *q = k->b->seqs;
    int n = 0;
    while (s + n < k->b->n_seqs && k->take[s + n] >= q[s].n_prompt && same_prompt(&q[s], &q[s + n])) n++;
    return n ? n : 1;
}

/* Tokens first..end of sequence s as the next run, behind the tokens before them, which are in rows `prefix`
 * on. pads: where its video pads begin, or -1. */
static void pack_run(packer *k, int s, int32_t pads, int32_t first, int32_t end, int32_t prefix) {
    lpo_packed *o = k->o;
    const lpo_seq_input *q = &k->b->seqs[s];
    const lpo_clip_input *c = q->clip >= 0 ? &k->b->clips[q->clip] : NULL;
    const int32_t row = o->cu[o->n_runs] - first; /* of token 0, were it here */
    const int64_t n_pads = c ? lpo_clip_rows(k->m, c) : 0;
    lpo_positions(k->all, k->m, end, pads, c);
    for (int32_t i = first; i < end; i++) {
        const bool pad = c && i >= pads && i < pads + n_pads;
        o->ids[row + i] = q->ids[i];
        o->mix[row + i] = pad ? (int32_t)(o->n_rows + k->base[q->clip] + i - pads) : row + i;
        memcpy(k->pos + 3 * (int64_t)(row + i), k->all + 3 * (int64_t)i, 3 * sizeof *k->pos);
    }
    if (o->prefix) {
        o->prefix[2 * o->n_runs] = prefix;
        o->prefix[2 * o->n_runs + 1] = first;
    }
    o->cu[++o->n_runs] = row + end;
}

/* Sequences s..s+n, whose first n_shared tokens are the same. */
static lpo_status pack_group(packer *k, int s, int n, int32_t n_shared, lpo_error *err) {
    lpo_packed *o = k->o;
    const int32_t shared = o->cu[o->n_runs];
    for (int i = s; i < s + n; i++) {
        const lpo_seq_input *q = &k->b->seqs[i];
        int32_t pads = -1;
        lpo_status st =
            find_run(&pads, k->m, q, q->clip >= 0 ? &k->b->clips[q->clip] : NULL, k->take[i], err);
        if (st) return lpo_fail_in(err, st, "sequence %d", i);
        if (i == s && n_shared) pack_run(k, s, pads, 0, n_shared, 0);
        o->seqs[i] = (lpo_packed_seq){shared, n_shared, o->cu[o->n_runs]};
        if (k->take[i] > n_shared) pack_run(k, i, pads, n_shared, k->take[i], shared);
    }
    return LPO_OK;
}

static lpo_status check_seqs(const lpo_model *m, const lpo_model_batch *b, const int32_t *take,
                             int64_t *n_rows, lpo_error *err) {
    *n_rows = 0;
    for (int s = 0; s < b->n_seqs; s++) {
        const lpo_seq_input *q = &b->seqs[s];
        if (q->clip >= b->n_clips)
            return lpo_fail(err, LPO_EINVAL, "sequence %d: clip %d of %d", s, q->clip, b->n_clips);
        lpo_status st = check_lengths(m, q, q->clip >= 0 ? &b->clips[q->clip] : NULL, err);
        if (st) return lpo_fail_in(err, st, "sequence %d", s);
        *n_rows += take[s];
    }
    if (*n_rows > INT32_MAX / 4) return lpo_fail(err, LPO_ELIMIT, "a batch of more than 2^29 tokens");
    return LPO_OK;
}

/* Group sizes into `group` (0: within the one before, or left out) and what each shares; counts rows and
 * runs. */
static void plan_groups(packer *k, int32_t *group, int32_t *n_shared, bool share) {
    int64_t rows = 0;
    for (int s = 0; s < k->b->n_seqs; s += group[s] ? group[s] : 1) {
        if (!k->take[s]) continue;
        group[s] = share ? group_size(k, s) : 1;
        n_shared[s] = group[s] > 1 ? k->b->seqs[s].n_prompt : 0;
        rows += n_shared[s];
        for (int i = s; i < s + group[s]; i++) rows += k->take[i] - n_shared[s];
    }
    k->o->n_rows = (int32_t)rows;
}

lpo_status lpo_pack(lpo_packed *o, lpo_arena *a, const lpo_model *m, const lpo_model_batch *b,
                    const int32_t *take, bool share, lpo_error *err) {
    memset(o, 0, sizeof *o);
    int64_t n;
    lpo_status st = check_seqs(m, b, take, &n, err);
    if (st) return st;
    const size_t most = (size_t)n, S = (size_t)b->n_seqs, half = (size_t)m->config.block.d_head / 2;
    int64_t *base = lpo_arena_alloc(a, (size_t)b->n_clips + 1, sizeof *base);
    const lpo_clip_input **clips = lpo_arena_alloc(a, (size_t)b->n_clips + 1, sizeof *clips);
    int32_t *group = lpo_arena_alloc(a, S + 1, sizeof *group),
            *n_shared = lpo_arena_alloc(a, S + 1, sizeof *n_shared);
    packer k = {.o = o, .m = m, .b = b, .take = take, .base = base};
    k.all = lpo_arena_alloc(a, most + 1, 3 * sizeof *k.all);
    o->seqs = lpo_arena_alloc(a, S + 1, sizeof *o->seqs);
    o->cu = lpo_arena_alloc(a, 2 * S + 1, sizeof(int32_t));
    if (share) o->prefix = lpo_arena_alloc(a, 2 * S + 1, 2 * sizeof(int32_t));
    if (!base || !clips || !group || !n_shared || !k.all || !o->seqs || !o->cu || (share && !o->prefix))
        return lpo_fail(err, LPO_ENOMEM, "no memory for a batch of %zu tokens", most);
    plan_groups(&k, group, n_shared, share);
    const size_t rows = (size_t)o->n_rows;
    k.pos = lpo_arena_alloc(a, rows + 1, 3 * sizeof *k.pos);
    o->ids = lpo_arena_alloc(a, rows + 1, sizeof(int32_t));
    o->mix = lpo_arena_alloc(a, rows + 1, sizeof(int32_t));
    o->cos = lpo_arena_alloc(a, rows + 1, half * sizeof(float));
    o->sin = lpo_arena_alloc(a, rows + 1, half * sizeof(float));
    if (!k.pos || !o->ids || !o->mix || !o->cos || !o->sin)
        return lpo_fail(err, LPO_ENOMEM, "no memory for a batch of %zu tokens", rows);
    for (int s = 0; s < b->n_seqs; s++)
        if (take[s] && b->seqs[s].clip >= 0) clips[b->seqs[s].clip] = &b->clips[b->seqs[s].clip];
    if ((st = lpo_pack_clips(o, a, m, clips, b->n_clips, base, err))) return st;
    bool any = false;
    for (int s = 0; s < b->n_seqs && !st; s++) {
        if (group[s]) st = pack_group(&k, s, group[s], n_shared[s], err);
        any |= n_shared[s] > 0;
    }
    if (!any) o->prefix = NULL;
    if (!st) lpo_rope_text(o->cos, o->sin, k.pos, o->n_rows, m);
    return st;
}
