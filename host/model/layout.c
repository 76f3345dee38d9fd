/* SPDX-License-Identifier: Apache-2.0 */
/* layout.c -- the parameters in their fixed order: patch embedding, tower, merger or projector, embeddings,
 * decoder, norm, head. A block of any stack is laid out by the same function; only the disk names differ. */
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
static const block_names gated_names = {.norm1 = "norm1",
                                        .qkv = {"attn.qkv"},
                                        .out = "attn.proj",
                                        .norm2 = "norm2",
                                        .up = {"mlp.gate_proj", "mlp.up_proj"},
                                        .down = "mlp.down_proj"};
static const block_names vit_names = {.norm1 = "layer_norm1",
                                      .qkv = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
                                      .out = "self_attn.out_proj",
                                      .norm2 = "layer_norm2",
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
    bool unused, failed;
} builder;

/* The next parameter [rows, cols] (cols 0: a vector [rows]) of n disk tensors, with `rows_of` rows each. */
static lpo_param *add(builder *b, lpo_init init, const char *const *names, const int64_t *rows_of, int n,
                      int64_t cols, const char *kind) {
    lpo_layout *l = b->l;
    lpo_slot *s = &l->slots[l->n_slots++];
    s->where = b->where;
    s->group = b->group;
    s->init = init;
    s->unused = b->unused;
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
    s->p.name = lpo_arena_printf(l->arena, "%s%s%s", l->family->prefix[0][s->where], s->part[0].name,
                                 n > 1 ? "+" : "");
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

/* Blocks from n_run on are kept only. */
static void add_blocks(lpo_block *o, builder *b, int n, int n_run, const char *stem,
                       const lpo_block_config *c, const block_names *names) {
    for (int i = 0; i < n; i++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "%s%d.", stem, i);
        b->prefix = prefix;
        b->unused = i >= n_run;
        add_block(&o[i], b, c, names);
    }
    b->prefix = "";
    b->unused = false;
}

/* The last slot's one part as the disk has it. */
static void set_disk_shape(lpo_layout *l, int ndim, const int64_t *shape) {
    lpo_part *p = &l->slots[l->n_slots - 1].part[0];
    p->ndim = ndim;
    memcpy(p->shape, shape, (size_t)ndim * sizeof *shape);
}

static void add_qwen_tower(builder *b, const lpo_model_config *c) {
    lpo_layout *l = b->l;
    const lpo_vision_config *v = &c->vision;
    const int64_t D = v->block.d_model, H = c->block.d_model, M = D * v->merge_size * v->merge_size;
    const int64_t conv[5] = {D, v->in_channels, v->temporal_patch, v->patch_size, v->patch_size};
    l->patch_w =
        add1(b, LPO_INIT_NORMAL, "patch_embed.proj", D, conv[1] * conv[2] * conv[3] * conv[4], ".weight");
    set_disk_shape(l, 5, conv);
    add_blocks(l->vision, b, v->depth, v->n_run, "blocks.", &v->block,
               v->block.rms ? &gated_names : &vision_names);
    b->group = LPO_GROUP_PROJECTOR;
    l->merge_norm_w = add1(b, LPO_INIT_ONE, "merger.ln_q", D, 0, ".weight");
    if (!v->block.rms) l->merge_norm_b = add1(b, LPO_INIT_ZERO, "merger.ln_q", D, 0, ".bias");
    l->merge1_w = add1(b, LPO_INIT_NORMAL, "merger.mlp.0", M, M, ".weight");
    l->merge1_b = add1(b, LPO_INIT_ZERO, "merger.mlp.0", M, 0, ".bias");
    l->merge2_w = add1(b, LPO_INIT_NORMAL, "merger.mlp.2", H, M, ".weight");
    l->merge2_b = add1(b, LPO_INIT_ZERO, "merger.mlp.2", H, 0, ".bias");
}

/* CLIP's tower has its misspelt pre_layrnorm. Layers behind the one whose rows are used, and the norm behind
 * all of them, are on disk and nowhere else. */
static void add_vit_tower(builder *b, const lpo_model_config *c) {
    lpo_layout *l = b->l;
    const lpo_vision_config *v = &c->vision;
    const int64_t D = v->block.d_model;
    const int64_t conv[4] = {D, v->in_channels, v->patch_size, v->patch_size};
    if (v->class_token) {
        l->class_w = add1(b, LPO_INIT_NORMAL, "embeddings.class_embedding", 1, D, "");
        set_disk_shape(l, 1, &D);
    }
    l->patch_w =
        add1(b, LPO_INIT_NORMAL, "embeddings.patch_embedding", D, conv[1] * conv[2] * conv[3], ".weight");
    set_disk_shape(l, 4, conv);
    if (v->patch_bias) l->patch_b = add1(b, LPO_INIT_ZERO, "embeddings.patch_embedding", D, 0, ".bias");
    l->position_w = add1(b, LPO_INIT_NORMAL, "embeddings.position_embedding",
                         (int64_t)v->side * v->side + v->class_token, D, ".weight");
    if (v->pre_norm) {
        l->pre_norm_w = add1(b, LPO_INIT_ONE, "pre_layrnorm", D, 0, ".weight");
        l->pre_norm_b = add1(b, LPO_INIT_ZERO, "pre_layrnorm", D, 0, ".bias");
    }
    add_blocks(l->vision, b, v->depth, v->n_run, "encoder.layers.", &v->block, &vit_names);
    b->unused = true;
    add1(b, LPO_INIT_ONE, "post_layernorm", D, 0, ".weight");
    add1(b, LPO_INIT_ZERO, "post_layernorm", D, 0, ".bias");
    b->unused = false;
}

static void add_projector(builder *b, const lpo_model_config *c) {
    lpo_layout *l = b->l;
    const int64_t D = c->vision.block.d_model, H = c->block.d_model;
    b->group = LPO_GROUP_PROJECTOR;
    b->where = LPO_WHERE_PROJECT1;
    l->merge1_w = add1(b, LPO_INIT_NORMAL, "", H, D, ".weight");
    if (c->projector_bias) l->merge1_b = add1(b, LPO_INIT_ZERO, "", H, 0, ".bias");
    b->where = LPO_WHERE_PROJECT2;
    l->merge2_w = add1(b, LPO_INIT_NORMAL, "", H, H, ".weight");
    if (c->projector_bias) l->merge2_b = add1(b, LPO_INIT_ZERO, "", H, 0, ".bias");
    b->where = LPO_WHERE_NEWLINE;
    b->unused = c->clip.newline == LPO_NEWLINE_NONE;
    lpo_param *row = add1(b, LPO_INIT_NORMAL, "", 1, H, "");
    set_disk_shape(l, 1, &H);
    if (!b->unused) l->newline_w = row;
    b->unused = false;
}

static void add_all(builder *b, const lpo_model_config *c) {
    lpo_layout *l = b->l;
    const int64_t H = c->block.d_model;
    *b = (builder){
        .l = l, .where = LPO_WHERE_VISION, .group = LPO_GROUP_VISION, .prefix = "", .failed = b->failed};
    if (l->family->tower == LPO_TOWER_VIT) {
        add_vit_tower(b, c);
        add_projector(b, c);
    } else {
        add_qwen_tower(b, c);
    }
    b->where = LPO_WHERE_TEXT;
    b->group = LPO_GROUP_LLM;
    l->embed_w = add1(b, LPO_INIT_NORMAL, "embed_tokens", c->vocab_size, H, ".weight");
    add_blocks(l->text, b, c->n_layers, c->n_layers, "layers.", &c->block, &text_names);
    l->norm_w = add1(b, LPO_INIT_ONE, "norm", H, 0, ".weight");
    b->where = LPO_WHERE_HEAD;
    l->head_w = c->tied ? l->embed_w : add1(b, LPO_INIT_NORMAL, "lm_head", c->vocab_size, H, ".weight");
}

lpo_status lpo_layout_create(lpo_layout *l, const lpo_model_config *c, lpo_error *err) {
    memset(l, 0, sizeof *l);
    l->family = c->family;
    l->arena = lpo_arena_create(64 << 10);
    if (!l->arena) return lpo_fail(err, LPO_ENOMEM, "no memory for a parameter table");
    l->cap = 24 + 12 * (c->vision.depth + c->n_layers);
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

bool lpo_part_name(char out[256], const lpo_layout *l, const lpo_slot *s, const lpo_part *p, int style) {
    const char *prefix = style < l->family->n_styles ? l->family->prefix[style][s->where] : NULL;
    if (prefix) snprintf(out, 256, "%s%s", prefix, p->name);
    return prefix != NULL;
}
