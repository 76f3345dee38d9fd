/* SPDX-License-Identifier: Apache-2.0 */
/* config_vision.c -- the vision tower of a config.json.
 * Qwen's towers describe themselves in vision_config. LLaVA's are CLIP's or SigLIP's with the classes' own
 * defaults; LLaVA-NeXT's code names the tower (mm_vision_tower) instead of describing it. */
#include "model/config_read.h"

#include <string.h>

static void parse_full(lpo_vision_config *o, lpo_source *s, const json_t *v) {
    static const int public_full[] = {7, 15, 23, 31};
    const json_t *list = json_object_get(v, "fullatt_block_indexes");
    if (!list || json_is_null(list)) {
        for (int i = 0; i < 4; i++) o->full[public_full[i]] = 1;
        return;
    }
    if (!json_is_array(list)) lpo_source_refuse(s, "fullatt_block_indexes", "expected a list of layers");
    for (size_t i = 0; i < json_array_size(list) && !s->status; i++) {
        const json_t *at = json_array_get(list, i);
        if (!json_is_integer(at) || json_integer_value(at) < 0 || json_integer_value(at) >= 1024)
            lpo_source_refuse(s, "fullatt_block_indexes", "expected layers in 0..1023");
        else
            o->full[json_integer_value(at)] = 1;
    }
}

static void parse_qwen2(lpo_vision_config *o, lpo_source *s, int32_t d_model) {
    lpo_block_config *b = &o->block;
    b->d_model = (int32_t)lpo_source_int(s, "embed_dim", 1280, 4, 65536);
    int64_t out = lpo_source_int(s, "hidden_size", s->status ? 1 : d_model, 1, 65536);
    double ratio = lpo_source_real(s, "mlp_ratio", 4, 1e-3, 64);
    b->act = lpo_source_act(s, "hidden_act", "quick_gelu");
    if (s->status) return;
    b->d_ff = (int32_t)(b->d_model * ratio);
    if (b->d_ff < 1) lpo_source_refuse(s, "mlp_ratio", "leaves no hidden features");
    if (b->act == LPO_ACT_SILU_MUL) lpo_source_refuse(s, "hidden_act", "a gated MLP is not of this family");
    if (out != d_model)
        lpo_source_refuse(s, "hidden_size", "vision_config's must equal the decoder's hidden_size");
}

static void parse_qwen2_5(lpo_model_config *c, lpo_source *s, const json_t *v, int32_t d_model) {
    lpo_vision_config *o = &c->vision;
    lpo_block_config *b = &o->block;
    b->rms = true;
    b->d_model = (int32_t)lpo_source_int(s, "hidden_size", 3584, 4, 65536);
    b->d_ff = (int32_t)lpo_source_int(s, "intermediate_size", 3420, 1, 1 << 20);
    int64_t out = lpo_source_int(s, "out_hidden_size", 3584, 1, 65536);
    int64_t window = lpo_source_int(s, "window_size", 112, 1, 1 << 16);
    c->tokens_per_second = lpo_source_real(s, "tokens_per_second", 4, 0, 1e6);
    b->act = lpo_source_act(s, "hidden_act", "silu");
    if (s->status) return;
    if (b->act != LPO_ACT_SILU_MUL) lpo_source_refuse(s, "hidden_act", "this family's must be \"silu\"");
    o->window = (int32_t)window / o->merge_size / o->patch_size;
    if (o->window < 1) lpo_source_refuse(s, "window_size", "is smaller than one merged patch");
    if (out != d_model)
        lpo_source_refuse(s, "out_hidden_size", "vision_config's must equal the decoder's hidden_size");
    parse_full(o, s, v);
}

/* What both of Qwen's towers have. */
static void parse_qwen(lpo_model_config *c, lpo_source *s, const json_t *v) {
    lpo_vision_config *o = &c->vision;
    lpo_block_config *b = &o->block;
    o->depth = o->n_run = (int32_t)lpo_source_int(s, "depth", 32, 1, 1024);
    b->n_q = b->n_kv = (int32_t)lpo_source_int(s, "num_heads", 16, 1, 1024);
    o->in_channels = (int32_t)lpo_source_int(s, "in_chans", 3, 1, 16);
    o->in_channels = (int32_t)lpo_source_int(s, "in_channels", o->in_channels, 1, 16);
    o->patch_size = (int32_t)lpo_source_int(s, "patch_size", 14, 1, 256);
    o->merge_size = (int32_t)lpo_source_int(s, "spatial_merge_size", 2, 1, 16);
    o->temporal_patch = (int32_t)lpo_source_int(s, "temporal_patch_size", 2, 1, 16);
    b->eps = 1e-6;
    b->qkv_bias = b->out_bias = b->mlp_bias = true;
    const json_t *r = json_object_get(v, "rope_parameters");
    lpo_source rope = {r, r, s->where, s->err, s->status};
    o->rope_theta = json_is_object(r) ? lpo_source_real(&rope, "rope_theta", 1e4, 1e-3, 1e12) : 1e4;
    s->status = rope.status;
    if (s->status) return;
    if (c->family->tower == LPO_TOWER_QWEN2_5)
        parse_qwen2_5(c, s, v, c->block.d_model);
    else
        parse_qwen2(o, s, c->block.d_model);
    b->d_head = b->d_model / b->n_q;
    if (b->d_model % b->n_q || b->d_head % 4)
        lpo_source_refuse(s, "num_heads",
                          "the tower's width must be this many heads of a size divisible by 4");
    c->projector_act = LPO_ACT_GELU;
    c->projector_bias = true;
}

static void parse_vit(lpo_model_config *c, lpo_source *s, const lpo_vit_defaults *d) {
    lpo_vision_config *o = &c->vision;
    lpo_block_config *b = &o->block;
    b->d_model = (int32_t)lpo_source_int(s, "hidden_size", d->hidden, 4, 65536);
    b->d_ff = (int32_t)lpo_source_int(s, "intermediate_size", d->ff, 1, 1 << 20);
    b->n_q = b->n_kv = (int32_t)lpo_source_int(s, "num_attention_heads", d->heads, 1, 1024);
    o->depth = (int32_t)lpo_source_int(s, "num_hidden_layers", d->layers, 1, 1024);
    o->in_channels = (int32_t)lpo_source_int(s, "num_channels", 3, 1, 16);
    o->patch_size = (int32_t)lpo_source_int(s, "patch_size", d->patch, 1, 256);
    int64_t image = lpo_source_int(s, "image_size", d->image, 1, 1 << 14);
    b->eps = lpo_source_real(s, "layer_norm_eps", d->eps, 1e-12, 1.0);
    b->act = lpo_source_act(s, "hidden_act", d->act);
    if (s->status) return;
    if (lpo_source_flag(s, "vision_use_head", false))
        lpo_source_refuse(s, "vision_use_head", "a tower with a pooling head is not supported");
    if (b->act == LPO_ACT_SILU_MUL) lpo_source_refuse(s, "hidden_act", "a gated MLP is not of this tower");
    b->qkv_bias = b->out_bias = b->mlp_bias = true;
    b->d_head = b->d_model / b->n_q;
    o->merge_size = o->temporal_patch = 1;
    o->side = (int32_t)image / o->patch_size;
    o->class_token = o->pre_norm = d->clip;
    o->patch_bias = !d->clip;
    if (b->d_model % b->n_q || b->d_head % 2)
        lpo_source_refuse(s, "num_attention_heads", "hidden_size must be this many heads of an even size");
    if (o->side < 1) lpo_source_refuse(s, "image_size", "is smaller than one patch");
}

/* The keys beside vision_config: which layer's rows are used, and the projector. */
static void parse_llava(lpo_model_config *c, lpo_source *s) {
    const bool drop = c->vision.class_token;
    const char *take = lpo_source_str(s, "vision_feature_select_strategy", drop ? "default" : "full");
    if (!s->status && strcmp(take, drop ? "default" : "full"))
        lpo_source_refuse(s, "vision_feature_select_strategy",
                          drop ? "must be \"default\" for a tower with a class token"
                               : "must be \"full\" for a tower without a class token");
    int64_t layer = lpo_source_int(s, "vision_feature_layer", c->family->feature_layer, -1024, 1024);
    if (s->status) return;
    layer = layer < 0 ? c->vision.depth + 1 + layer : layer; /* hidden state 0 is before the first layer */
    if (layer < 1 || layer > c->vision.depth)
        lpo_source_refuse(s, "vision_feature_layer", "names no layer of the tower");
    c->vision.n_run = (int32_t)layer;
    c->projector_act = lpo_source_act(s, "projector_hidden_act", "gelu");
    c->projector_bias = lpo_source_flag(s, "multimodal_projector_bias", true);
    if (!s->status && c->projector_act == LPO_ACT_SILU_MUL)
        lpo_source_refuse(s, "projector_hidden_act", "a gated projector is not supported");
    const char *kind = lpo_source_str(s, "mm_projector_type", "mlp2x_gelu");
    if (!s->status && strcmp(kind, "mlp2x_gelu"))
        lpo_source_refuse(s, "mm_projector_type", "only \"mlp2x_gelu\" is supported");
    if (lpo_source_flag(s, "add_faster_video", false))
        lpo_source_refuse(s, "add_faster_video", "two rates of frames are not supported");
}

void lpo_config_parse_vision(lpo_model_config *c, lpo_source *text, const json_t *json) {
    const json_t *v = json_object_get(json, "vision_config");
    json_t *empty = NULL;
    const bool none = !v || json_is_null(v);
    if (none) v = empty = json_object();
    lpo_source s = {v, v, text->where, text->err, text->status};
    if (!json_is_object(v)) lpo_source_refuse(&s, "vision_config", "expected an object");
    if (c->family->tower != LPO_TOWER_VIT) {
        if (!s.status) parse_qwen(c, &s, v);
    } else {
        const char *type = lpo_source_str(&s, "model_type", c->family->vit_type);
        const lpo_vit_defaults *d = none ? &c->family->whole_vit : lpo_vit_defaults_of(type);
        lpo_source top = {json, json, s.where, s.err, LPO_OK};
        const char *named = none ? lpo_source_str(&top, "mm_vision_tower", NULL) : NULL;
        if (named && !strstr(named, "so400m-patch14-384"))
            lpo_source_refuse(&s, "mm_vision_tower",
                              "only SigLIP so400m-patch14-384 is known by name: describe others in "
                              "vision_config");
        if (!d)
            lpo_source_refuse(&s, "vision_config", "its model_type is not CLIP's or SigLIP's vision model");
        if (!s.status) parse_vit(c, &s, d);
        top.status = s.status;
        if (!s.status) parse_llava(c, &top);
        s.status = top.status;
    }
    json_decref(empty);
    text->status = s.status;
}
