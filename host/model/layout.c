/* SPDX-License-Identifier: Apache-2.0 */
/* layout.c -- Qwen2-VL's parameters in their fixed order: patch embedding, tower, merger, embeddings,
 * decoder, norm, head. A block of either stack is laid out by the same function; only the disk names differ.
 */
#include "model/layout.h"

#include <stdio.h>
#include <string.h>

typedef struct block_names {
    const char *norm1, *qkv[3], *out, *norm2, *up[2], *down; /* unused entries NULL */
} block_names;

static const block_names vision_names = {.norm1 = "norm1",
                                         .qkv = {"attn.qkv"},
                                         .out = "attn.proj",
                                         .norm2 = "norm2",
                                         .up = {"mlp.fc1"},
                                         .down = "mlp.fc2"};
static const block_names text_names = {.norm1 = "input_layernorm",
                                       .qkv = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
                                       .out = "self_attn.o_proj",
                                       .norm2 = "post_attention_layernorm",
                                       .up = {"mlp.gate_proj", "mlp.up_proj"},
                                       .down = "mlp.down_proj"};

typedef struct builder {
    lpo_layout *l;
    lpo_where where;
    lpo_group group;
    const char *prefix; /* of the names, "blocks.3." */
    bool failed;
} builder;

/* The next parameter [rows, cols] (cols 0: a vector [rows]) of n disk tensors, with `rows_of` rows each. */
static lpo_param *add(builder *b, lpo_init init, const char *const *names, const int64_t *rows_of, int n,
                      int64_t cols, const char *kind) {
    lpo_layout *l = b->l;
    lpo_slot *s = &l->slots[l->n_slots++];
    s->where = b->where;
    s->group = b->group;
    s->init = init;
    s->n_parts = n;
    int64_t row = 0;
    for (int i = 0; i < n; i++) {
        lpo_part *p = &s->part[i];
        p->name = lpo_arena_printf(l->arena, "%s%s%s", b->prefix, names[i], kind);
        if (!p->name) b->failed = true;
        p->row = row;
        p->rows = p->shape[0] = rows_of[i];
        p->shape[1] = cols;
        p->ndim = cols ? 2 : 1;
        row += rows_of[i];
    }
    static const char *const root[LPO_N_WHERES] = {"visual.", "model.", ""};
    s->p.name = lpo_arena_printf(l->arena, "%s%s%s", root[s->where], s->part[0].name, n > 1 ? "+" : "");
    if (!s->p.name) b->failed = true;
    s->p.ndim = cols ? 2 : 1;
    s->p.shape[0] = row;
    s->p.shape[1] = cols;
    return &s->p;
}

static lpo_param *add1(builder *b, lpo_init init, const char *name, int64_t rows, int64_t cols,
                       const char *kind) {
    return add(b, init, &name, &rows, 1, cols, kind);
}

static void add_block(lpo_block *o, builder *b, const lpo_block_config *c, const block_names *n) {
    const int64_t D = c->d_model, dq = (int64_t)c->n_q * c->d_head, dkv = (int64_t)c->n_kv * c->d_head;
    const int64_t qkv_split[3] = {dq, dkv, dkv}, qkv_fused = dq + 2 * dkv;
    const int64_t up_split[2] = {c->d_ff, c->d_ff};
    const int n_qkv = n->qkv[1] ? 3 : 1, n_up = n->up[1] ? 2 : 1;
    const int64_t *qkv = n_qkv == 3 ? qkv_split : &qkv_fused;
    o->norm1_w = add1(b, LPO_INIT_ONE, n->norm1, D, 0, ".weight");
    if (!c->rms) o->norm1_b = add1(b, LPO_INIT_ZERO, n->norm1, D, 0, ".bias");
    o->qkv_w = add(b, LPO_INIT_NORMAL, n->qkv, qkv, n_qkv, D, ".weight");
    if (c->qkv_bias) o->qkv_b = add(b, LPO_INIT_ZERO, n->qkv, qkv, n_qkv, 0, ".bias");
    o->out_w = add1(b, LPO_INIT_NORMAL, n->out, D, dq, ".weight");
    if (c->out_bias) o->out_b = add1(b, LPO_INIT_ZERO, n->out, D, 0, ".bias");
    o->norm2_w = add1(b, LPO_INIT_ONE, n->norm2, D, 0, ".weight");
    if (!c->rms) o->norm2_b = add1(b, LPO_INIT_ZERO, n->norm2, D, 0, ".bias");
    o->up_w = add(b, LPO_INIT_NORMAL, n->up, up_split, n_up, D, ".weight");
    if (c->mlp_bias) o->up_b = add(b, LPO_INIT_ZERO, n->up, up_split, n_up, 0, ".bias");
    o->down_w = add1(b, LPO_INIT_NORMAL, n->down, D, c->d_ff, ".weight");
    if (c->mlp_bias) o->down_b = add1(b, LPO_INIT_ZERO, n->down, D, 0, ".bias");
}

static void add_blocks(lpo_block *o, builder *b, int n, const char *stem, const lpo_block_config *c,
                       const block_names *names) {
    for (int i = 0; i < n; i++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "%s%d.", stem, i);
        b->prefix = prefix;
        add_block(&o[i], b, c, names);
    }
    b->prefix = "";
}

static void add_all(builder *b, const lpo_model_config *c) {
    lpo_layout *l = b->l;
    const lpo_vision_config *v = &c->vision;
    const int64_t D = v->block.d_model, H = c->block.d_model, M = D * v->merge_size * v->merge_size;
    const int64_t K = (int64_t)v->in_channels * v->temporal_patch * v->patch_size * v->patch_size;
    *b = (builder){l, LPO_WHERE_VISION, LPO_GROUP_VISION, "", b->failed};
    l->patch_w = add1(b, LPO_INIT_NORMAL, "patch_embed.proj", D, K, ".weight");
    const int64_t conv[5] = {D, v->in_channels, v->temporal_patch, v->patch_size, v->patch_size};
    l->slots[l->n_slots - 1].part[0].ndim = 5;
    memcpy(l->slots[l->n_slots - 1].part[0].shape, conv, sizeof conv);
    add_blocks(l->vision, b, v->depth, "blocks.", &v->block, &vision_names);
    b->group = LPO_GROUP_PROJECTOR;
    l->merge_norm_w = add1(b, LPO_INIT_ONE, "merger.ln_q", D, 0, ".weight");
    l->merge_norm_b = add1(b, LPO_INIT_ZERO, "merger.ln_q", D, 0, ".bias");
    l->merge1_w = add1(b, LPO_INIT_NORMAL, "merger.mlp.0", M, M, ".weight");
    l->merge1_b = add1(b, LPO_INIT_ZERO, "merger.mlp.0", M, 0, ".bias");
    l->merge2_w = add1(b, LPO_INIT_NORMAL, "merger.mlp.2", H, M, ".weight");
    l->merge2_b = add1(b, LPO_INIT_ZERO, "merger.mlp.2", H, 0, ".bias");
    b->where = LPO_WHERE_TEXT;
    b->group = LPO_GROUP_LLM;
    l->embed_w = add1(b, LPO_INIT_NORMAL, "embed_tokens", c->vocab_size, H, ".weight");
    add_blocks(l->text, b, c->n_layers, "layers.", &c->block, &text_names);
    l->norm_w = add1(b, LPO_INIT_ONE, "norm", H, 0, ".weight");
    b->where = LPO_WHERE_HEAD;
    l->head_w = c->tied ? l->embed_w : add1(b, LPO_INIT_NORMAL, "lm_head", c->vocab_size, H, ".weight");
}

lpo_status lpo_layout_create(lpo_layout *l, const lpo_model_config *c, lpo_error *err) {
    memset(l, 0, sizeof *l);
    l->arena = lpo_arena_create(64 << 10);
    if (!l->arena) return lpo_fail(err, LPO_ENOMEM, "no memory for a parameter table");
    l->cap = 16 + 12 * (c->vision.depth + c->n_layers);
    l->slots = lpo_arena_alloc(l->arena, (size_t)l->cap, sizeof *l->slots);
    l->vision = lpo_arena_alloc(l->arena, (size_t)c->vision.depth, sizeof *l->vision);
    l->text = lpo_arena_alloc(l->arena, (size_t)c->n_layers, sizeof *l->text);
    builder b = {.l = l};
    if (l->slots && l->vision && l->text)
        add_all(&b, c);
    else
        b.failed = true;
    if (b.failed) {
        lpo_layout_clear(l);
        return lpo_fail(err, LPO_ENOMEM, "no memory for a parameter table");
    }
    if (lpo_layout_count(l, false) > INT64_C(1) << 40) {
        lpo_layout_clear(l);
        return lpo_fail(err, LPO_ELIMIT, "the configuration asks for more than 2^40 parameters");
    }
    return LPO_OK;
}

void lpo_layout_clear(lpo_layout *l) {
    lpo_arena_destroy(l->arena);
    memset(l, 0, sizeof *l);
}

int64_t lpo_layout_count(const lpo_layout *l, bool vision_only) {
    int64_t n = 0;
    for (int i = 0; i < l->n_slots; i++) {
        const lpo_param *p = &l->slots[i].p;
        if (!vision_only || l->slots[i].group != LPO_GROUP_LLM)
            n += p->shape[0] * (p->ndim == 2 ? p->shape[1] : 1);
    }
    return n;
}

void lpo_part_name(char out[256], const lpo_slot *s, const lpo_part *p, int style) {
    static const char *const prefix[2][LPO_N_WHERES] = {{"visual.", "model.", ""},
                                                        {"model.visual.", "model.language_model.", ""}};
    snprintf(out, 256, "%s%s", prefix[style][s->where], p->name);
}
