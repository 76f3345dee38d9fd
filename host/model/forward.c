/* SPDX-License-Identifier: Apache-2.0 */
/* forward.c -- the forward pass: one block for tower and decoder, recorded step by step.
 * Vision: patch GEMM, blocks (attention within a frame or a window of it), merger or projector and pool.
 * Text: embeddings with the video rows mixed in, blocks, then final norm and log-probabilities of the rows
 * that predict a response token only. */
#include "model/lora_parts.h"
#include "model/pack.h"

#include <math.h>

/* What a block's attention needs besides its weights. */
typedef struct attention {
    lpo_val cos, sin, cu, prefix;
    const lpo_cache *cache;
    int layer;
} attention;

static lpo_val param(lpo_tape *t, lpo_param *p) {
    return p ? lpo_tape_param(t, p) : LPO_NONE;
}

static lpo_val linear(lpo_tape *t, lpo_model *m, lpo_val x, lpo_param *w, lpo_param *b) {
    return lpo_lora_add(t, m, x, lpo_tape_linear(t, x, param(t, w), param(t, b)), w);
}

static lpo_val norm(lpo_tape *t, lpo_val x, lpo_param *w, lpo_param *b, const lpo_block_config *c) {
    return lpo_tape_norm(t, x, param(t, w), param(t, b), c->rms, c->eps);
}

static lpo_val attend(lpo_tape *t, lpo_val qkv, int32_t dtype, const lpo_block_config *c,
                      const attention *a) {
    const float scale = (float)(1.0 / sqrt((double)c->d_head));
    if (!a->cache)
        return lpo_tape_attn(t, qkv, a->cu, a->prefix, c->n_q, c->n_kv, c->d_head, scale, c->causal);
    lpo_val cache = lpo_tape_extern(t, a->cache->layer[a->layer], dtype, 4, a->cache->shape);
    return lpo_tape_attn_cached(t, qkv, cache, a->cu, a->cache->slot, a->cache->past, c->n_q, c->n_kv,
                                c->d_head, scale);
}

static lpo_val block(lpo_tape *t, lpo_model *m, lpo_val x, const lpo_block *w, const lpo_block_config *c,
                     const attention *a) {
    lpo_val h = norm(t, x, w->norm1_w, w->norm1_b, c);
    h = linear(t, m, h, w->qkv_w, w->qkv_b);
    if (a->cos != LPO_NONE) h = lpo_tape_rope(t, h, a->cos, a->sin, c->n_q + c->n_kv, c->d_head);
    h = attend(t, h, m->dtype, c, a);
    x = lpo_tape_add(t, x, linear(t, m, h, w->out_w, w->out_b));
    h = norm(t, x, w->norm2_w, w->norm2_b, c);
    h = lpo_tape_act(t, linear(t, m, h, w->up_w, w->up_b), c->act);
    return lpo_tape_add(t, x, linear(t, m, h, w->down_w, w->down_b));
}

static bool any_trainable(const lpo_model *m, lpo_group last) {
    for (int i = 0; i < m->layout.n_slots; i++)
        if (m->layout.slots[i].group <= last && m->layout.slots[i].p.trainable) return true;
    for (int i = m->layout.n_slots; last == LPO_GROUP_LLM && i < m->n_params; i++)
        if (m->params[i]->trainable) return true;
    return false;
}

static lpo_val table(lpo_tape *t, int64_t rows, int64_t cols, const int32_t *data) {
    const int64_t shape[2] = {rows, cols};
    return lpo_tape_input(t, LPO_I32, cols ? 2 : 1, shape, data);
}

/* Patches in front of the first block: embedded, with a class row and positions where the tower learned them.
 */
static lpo_val record_patches(lpo_tape *t, lpo_model *m, const lpo_packed *p) {
    const lpo_layout *l = &m->layout;
    const int64_t shape[2] = {p->n_patches, l->patch_w->shape[1]};
    const int64_t of_levels[2] = {3, 256};
    lpo_val x = lpo_tape_input(t, p->levels ? LPO_U8 : LPO_F32, 2, shape, p->patches);
    if (p->levels) x = lpo_tape_levels(t, x, lpo_tape_input(t, LPO_F32, 2, of_levels, p->levels));
    if (m->dtype != LPO_F32) x = lpo_tape_cast(t, x, m->dtype);
    x = linear(t, m, x, l->patch_w, l->patch_b);
    if (p->class_mix)
        x = lpo_tape_rowmix(t, x, param(t, l->class_w), table(t, p->n_vision, 1, p->class_mix), LPO_NONE);
    if (p->position_mix)
        x = lpo_tape_rowmix(t, x, param(t, l->position_w), table(t, p->n_vision, 2, p->position_mix),
                            LPO_NONE);
    return l->pre_norm_w ? norm(t, x, l->pre_norm_w, l->pre_norm_b, &m->config.vision.block) : x;
}

/* The row mix behind the tower: pooling, newlines, or the way back from windows. */
static lpo_val mix_video(lpo_tape *t, lpo_val x, lpo_param *newline, const lpo_packed *p) {
    const int64_t shape[2] = {p->n_video, p->n_taps};
    const lpo_val w = p->video_w ? lpo_tape_input(t, LPO_F32, 2, shape, p->video_w) : LPO_NONE;
    return lpo_tape_rowmix(t, x, param(t, newline), table(t, p->n_video, p->n_taps, p->video_mix), w);
}

/* Tower rows to rows as wide as the decoder: merged (Qwen) or pooled (LLaVA) and projected. */
static lpo_val record_projector(lpo_tape *t, lpo_model *m, const lpo_packed *p, lpo_val x) {
    const lpo_vision_config *v = &m->config.vision;
    const lpo_layout *l = &m->layout;
    const int64_t group = v->merge_size * v->merge_size;
    const int64_t merged[2] = {p->n_vision / group, group * v->block.d_model};
    const bool pool_first = m->config.family->pool_first;
    if (l->merge_norm_w) x = norm(t, x, l->merge_norm_w, l->merge_norm_b, &v->block);
    if (group > 1) x = lpo_tape_reshape(t, x, 2, merged);
    if (p->video_mix && pool_first) x = mix_video(t, x, NULL, p);
    x = lpo_tape_act(t, linear(t, m, x, l->merge1_w, l->merge1_b), m->config.projector_act);
    x = linear(t, m, x, l->merge2_w, l->merge2_b);
    return p->video_mix && !pool_first ? mix_video(t, x, l->newline_w, p) : x;
}

lpo_val lpo_record_vision(lpo_tape *t, lpo_model *m, const lpo_packed *p, bool checkpoint) {
    const lpo_vision_config *v = &m->config.vision;
    const int64_t rope[2] = {p->n_vision, v->block.d_head / 2};
    lpo_val x = record_patches(t, m, p);
    attention a = {.cos = LPO_NONE, .sin = LPO_NONE, .prefix = LPO_NONE};
    if (p->vision_cos) {
        a.cos = lpo_tape_input(t, LPO_F32, 2, rope, p->vision_cos);
        a.sin = lpo_tape_input(t, LPO_F32, 2, rope, p->vision_sin);
    }
    const lpo_val frames = table(t, p->n_vision_cu, 0, p->vision_cu);
    const lpo_val windows = p->window_cu ? table(t, p->n_window_cu, 0, p->window_cu) : LPO_NONE;
    /* A frozen tower has no backward pass, so nothing of it is kept anyway. */
    checkpoint = checkpoint && any_trainable(m, LPO_GROUP_VISION);
    for (int i = 0; i < v->n_run; i++) {
        a.cu = p->window_cu && !v->full[i] ? windows : frames;
        if (checkpoint) lpo_tape_segment_begin(t);
        x = block(t, m, x, &m->layout.vision[i], &v->block, &a);
        if (checkpoint) lpo_tape_segment_end(t, &x, 1);
    }
    return record_projector(t, m, p, x);
}

lpo_val lpo_record_decoder(lpo_tape *t, lpo_model *m, lpo_val x, lpo_val cos, lpo_val sin, lpo_val cu,
                           lpo_val prefix, bool checkpoint, const lpo_cache *cache) {
    attention a = {.cos = cos, .sin = sin, .cu = cu, .prefix = prefix, .cache = cache};
    checkpoint = checkpoint && any_trainable(m, LPO_GROUP_LLM);
    lpo_lora_begin(m);
    for (a.layer = 0; a.layer < m->config.n_layers; a.layer++) {
        if (checkpoint) lpo_tape_segment_begin(t);
        x = block(t, m, x, &m->layout.text[a.layer], &m->config.block, &a);
        if (checkpoint) lpo_tape_segment_end(t, &x, 1);
    }
    return x;
}

/* The whole model up to the last block: hidden rows [n_rows, d_model]. */
static lpo_val record_trunk(lpo_tape *t, lpo_model *m, const lpo_packed *p, bool checkpoint) {
    const int64_t rows[1] = {p->n_rows}, mix[2] = {p->n_rows, 1},
                  rope[2] = {p->n_rows, m->config.block.d_head / 2}, cu[1] = {p->n_runs + 1};
    lpo_val video = p->n_patches ? lpo_record_vision(t, m, p, checkpoint) : LPO_NONE;
    lpo_val x = lpo_tape_embed(t, param(t, m->layout.embed_w), lpo_tape_input(t, LPO_I32, 1, rows, p->ids));
    if (p->n_patches) x = lpo_tape_rowmix(t, x, video, lpo_tape_input(t, LPO_I32, 2, mix, p->mix), LPO_NONE);
    return lpo_record_decoder(t, m, x, lpo_tape_input(t, LPO_F32, 2, rope, p->cos),
                              lpo_tape_input(t, LPO_F32, 2, rope, p->sin),
                              lpo_tape_input(t, LPO_I32, 1, cu, p->cu),
                              p->prefix ? table(t, p->n_runs, 2, p->prefix) : LPO_NONE, checkpoint, NULL);
}

lpo_val lpo_record_rows(lpo_tape *t, lpo_model *m, lpo_val x, const int32_t *row, int64_t n) {
    const int64_t shape[2] = {n, 1};
    if (row) x = lpo_tape_rowmix(t, x, LPO_NONE, lpo_tape_input(t, LPO_I32, 2, shape, row), LPO_NONE);
    return norm(t, x, m->layout.norm_w, NULL, &m->config.block);
}

lpo_status lpo_model_record(lpo_forward_out *out, lpo_tape *t, lpo_model *m, const lpo_model_batch *b,
                            const lpo_forward_options *o, lpo_error *err) {
    *out = (lpo_forward_out){LPO_NONE, LPO_NONE, LPO_NONE, 0};
    lpo_arena_reset(m->scratch);
    int32_t *take = lpo_arena_alloc(m->scratch, (size_t)b->n_seqs + 1, sizeof *take);
    if (!take) return lpo_fail(err, LPO_ENOMEM, "no memory for a batch of %d sequences", b->n_seqs);
    int64_t N = 0;
    for (int s = 0; s < b->n_seqs; s++) { /* the last token predicts nothing that is asked for */
        const int32_t n_response = b->seqs[s].n_ids - b->seqs[s].n_prompt;
        take[s] = n_response > 0 ? b->seqs[s].n_ids - 1 : 0;
        N += n_response > 0 ? n_response : 0;
    }
    if (!N) return lpo_fail(err, LPO_EINVAL, "a batch without any response token");
    lpo_packed p;
    lpo_status st = lpo_pack(&p, m->scratch, m, b, take, !(o && o->separate), err);
    if (st) return st;
    int32_t *row = lpo_arena_alloc(m->scratch, (size_t)N, sizeof *row);
    int32_t *target = lpo_arena_alloc(m->scratch, (size_t)N, sizeof *target);
    if (!row || !target) return lpo_fail(err, LPO_ENOMEM, "no memory for %lld targets", (long long)N);
    int64_t n = 0;
    for (int s = 0; s < b->n_seqs; s++) {
        const lpo_seq_input *q = &b->seqs[s];
        for (int32_t i = q->n_prompt; i < q->n_ids; i++, n++) {
            row[n] = lpo_packed_row(&p, s, i - 1);
            target[n] = q->ids[i];
        }
    }
    const int64_t shape[1] = {N};
    if (m->lora) m->lora->dropout_seed = o ? o->dropout_seed : 0;
    lpo_val h = lpo_record_rows(t, m, record_trunk(t, m, &p, o && o->checkpoint), row, N);
    if (m->lora) m->lora->dropout_seed = 0;
    lpo_val goal = lpo_tape_input(t, LPO_I32, 1, shape, target);
    const bool stats = o && o->want_stats;
    out->logp = lpo_tape_logprob(t, h, param(t, m->layout.head_w), goal, 0, stats ? &out->entropy : NULL,
                                 stats ? &out->hit : NULL);
    lpo_tape_keep(t, out->logp);
    if (stats) {
        lpo_tape_keep(t, out->entropy);
        lpo_tape_keep(t, out->hit);
    }
    out->n_tokens = N;
    return LPO_OK;
}
