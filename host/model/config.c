/* SPDX-License-Identifier: Apache-2.0 */
/* config.c -- config.json of the Qwen2-VL family.
 * Traps this parser knows: re-saved configs leave out fields that equal the class default, so the defaults
 * are compiled in; decoder fields stand at the top level or under `text_config`; rope_scaling's type is
 * "mrope" or "default", and newer files say `rope_parameters`, which holds rope_theta too;
 * tie_word_embeddings may stand in either place, or in neither. */
#include "model/config.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

enum { CONFIG_MAX_BYTES = 4 << 20 };

typedef struct source {
    const json_t *inner, *outer; /* text_config (or the top level again), top level */
    const char *where;
    lpo_error *err;
    lpo_status status; /* the first failure; later reads do nothing */
} source;

static int64_t get_int(source *s, const char *key, int64_t fallback, int64_t min, int64_t max) {
    int64_t v = fallback;
    if (s->status) return v;
    const json_t *at =
        json_is_null(json_object_get(s->inner, key)) || !json_object_get(s->inner, key) ? s->outer : s->inner;
    s->status = lpo_json_int_or(&v, at, key, min, max, s->where, s->err);
    return v;
}

static double get_real(source *s, const char *key, double fallback, double min, double max) {
    double v = fallback;
    if (s->status) return v;
    const json_t *at = json_is_number(json_object_get(s->inner, key)) ? s->inner : s->outer;
    s->status = lpo_json_real_or(&v, at, key, min, max, s->where, s->err);
    return v;
}

/* A string key that only has a few values we can compute. */
static const char *get_str(source *s, const char *key, const char *fallback) {
    if (s->status) return fallback;
    const json_t *v = json_object_get(s->inner, key);
    if (!v || json_is_null(v)) v = json_object_get(s->outer, key);
    if (!v || json_is_null(v)) return fallback;
    if (json_is_string(v)) return json_string_value(v);
    s->status = lpo_fail(s->err, LPO_EFORMAT, "%s: key \"%s\": expected a string", s->where, key);
    return fallback;
}

static void refuse(source *s, const char *key, const char *what) {
    if (!s->status) s->status = lpo_fail(s->err, LPO_EFORMAT, "%s: key \"%s\": %s", s->where, key, what);
}

static int32_t get_act(source *s, const char *key, const char *fallback) {
    const char *a = get_str(s, key, fallback);
    if (!strcmp(a, "quick_gelu")) return LPO_ACT_QUICK_GELU;
    if (!strcmp(a, "gelu_pytorch_tanh") || !strcmp(a, "gelu_new")) return LPO_ACT_GELU_TANH;
    if (!strcmp(a, "gelu")) return LPO_ACT_GELU;
    if (!strcmp(a, "silu") || !strcmp(a, "swish")) return LPO_ACT_SILU_MUL;
    if (!s->status)
        s->status = lpo_fail(s->err, LPO_EUNSUPPORTED, "%s: key \"%s\": activation \"%.40s\" is not known",
                             s->where, key, a);
    return 0;
}

static void parse_rope(lpo_model_config *c, source *s) {
    const json_t *r = json_object_get(s->inner, "rope_scaling");
    if (!json_is_object(r)) r = json_object_get(s->outer, "rope_scaling");
    if (!json_is_object(r)) r = json_object_get(s->inner, "rope_parameters");
    if (!json_is_object(r)) r = json_object_get(s->outer, "rope_parameters");
    c->rope_theta = get_real(s, "rope_theta", 1e6, 1e-3, 1e12);
    static const int32_t public_section[3] = {16, 24, 24};
    memcpy(c->mrope_section, public_section, sizeof public_section);
    if (json_is_object(r)) {
        source in = {r, r, s->where, s->err, s->status};
        const char *type = get_str(&in, "rope_type", NULL);
        if (!type) type = get_str(&in, "type", "mrope");
        if (strcmp(type, "mrope") && strcmp(type, "default") && !in.status)
            in.status = lpo_fail(s->err, LPO_EUNSUPPORTED,
                                 "%s: key \"rope_scaling\": type \"%.40s\" is not supported (mrope, default)",
                                 s->where, type);
        c->rope_theta = get_real(&in, "rope_theta", c->rope_theta, 1e-3, 1e12);
        const json_t *a = json_object_get(r, "mrope_section");
        if (a && json_array_size(a) != 3) refuse(&in, "mrope_section", "expected a list of three integers");
        for (size_t i = 0; a && i < 3 && !in.status; i++) {
            const json_t *v = json_array_get(a, i);
            if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > 4096)
                refuse(&in, "mrope_section", "expected integers in 0..4096");
            else
                c->mrope_section[i] = (int32_t)json_integer_value(v);
        }
        s->status = in.status;
    }
    if (!s->status &&
        2 * (c->mrope_section[0] + c->mrope_section[1] + c->mrope_section[2]) != c->block.d_head)
        s->status = lpo_fail(s->err, LPO_EFORMAT,
                             "%s: key \"mrope_section\": %d+%d+%d frequencies, but a head of %d has %d",
                             s->where, c->mrope_section[0], c->mrope_section[1], c->mrope_section[2],
                             c->block.d_head, c->block.d_head / 2);
}

static void parse_tied(lpo_model_config *c, source *s) {
    const json_t *in = json_object_get(s->inner, "tie_word_embeddings");
    const json_t *out = json_object_get(s->outer, "tie_word_embeddings");
    if ((in && !json_is_boolean(in)) || (out && !json_is_boolean(out)))
        refuse(s, "tie_word_embeddings", "expected true or false");
    c->tied = in || out ? json_is_true(in) || json_is_true(out) : -1; /* true in either place counts */
}

static void parse_text(lpo_model_config *c, source *s) {
    lpo_block_config *b = &c->block;
    b->d_model = (int32_t)get_int(s, "hidden_size", 8192, 2, 65536);
    b->d_ff = (int32_t)get_int(s, "intermediate_size", 29568, 1, 1 << 20);
    c->n_layers = (int32_t)get_int(s, "num_hidden_layers", 80, 1, 1024);
    b->n_q = (int32_t)get_int(s, "num_attention_heads", 64, 1, 1024);
    b->n_kv = (int32_t)get_int(s, "num_key_value_heads", s->status ? 1 : b->n_q < 8 ? b->n_q : 8, 1, 1024);
    c->vocab_size = (int32_t)get_int(s, "vocab_size", 152064, 2, 1 << 22);
    c->max_positions = (int32_t)get_int(s, "max_position_embeddings", 32768, 1, 1 << 24);
    b->eps = get_real(s, "rms_norm_eps", 1e-5, 1e-12, 1.0);
    c->init_range = get_real(s, "initializer_range", 0.02, 0.0, 10.0);
    b->act = get_act(s, "hidden_act", "silu");
    if (s->status) return;
    b->rms = b->causal = b->qkv_bias = true;
    b->d_head = b->d_model / b->n_q;
    if (b->act != LPO_ACT_SILU_MUL) refuse(s, "hidden_act", "the decoder's must be \"silu\"");
    if (b->d_model % b->n_q || b->d_head % 2)
        refuse(s, "num_attention_heads", "hidden_size must be this many heads of an even size");
    if (b->n_q % b->n_kv) refuse(s, "num_key_value_heads", "must divide num_attention_heads");
    if (get_int(s, "head_dim", b->d_head, 1, 65536) != b->d_head && !s->status)
        refuse(s, "head_dim", "must be hidden_size / num_attention_heads in this family");
    const json_t *slide = json_object_get(s->inner, "use_sliding_window");
    if (!slide) slide = json_object_get(s->outer, "use_sliding_window");
    if (json_is_true(slide)) refuse(s, "use_sliding_window", "sliding-window attention is not supported");
    parse_rope(c, s);
    parse_tied(c, s);
}

static void parse_vision(lpo_model_config *c, source *text, const json_t *json) {
    const json_t *v = json_object_get(json, "vision_config");
    json_t *empty = NULL;
    if (!v || json_is_null(v)) v = empty = json_object();
    source s = {v, v, text->where, text->err, text->status};
    lpo_vision_config *o = &c->vision;
    lpo_block_config *b = &o->block;
    if (!json_is_object(v)) refuse(&s, "vision_config", "expected an object");
    o->depth = (int32_t)get_int(&s, "depth", 32, 1, 1024);
    b->d_model = (int32_t)get_int(&s, "embed_dim", 1280, 4, 65536);
    int64_t out = get_int(&s, "hidden_size", s.status ? 1 : c->block.d_model, 1, 65536);
    b->n_q = b->n_kv = (int32_t)get_int(&s, "num_heads", 16, 1, 1024);
    double ratio = get_real(&s, "mlp_ratio", 4, 1e-3, 64);
    o->in_channels = (int32_t)get_int(&s, "in_channels", 3, 1, 16);
    o->patch_size = (int32_t)get_int(&s, "patch_size", 14, 1, 256);
    o->merge_size = (int32_t)get_int(&s, "spatial_merge_size", 2, 1, 16);
    o->temporal_patch = (int32_t)get_int(&s, "temporal_patch_size", 2, 1, 16);
    b->act = get_act(&s, "hidden_act", "quick_gelu");
    const json_t *r = json_object_get(v, "rope_parameters");
    source rope = {r, r, s.where, s.err, s.status};
    o->rope_theta = json_is_object(r) ? get_real(&rope, "rope_theta", 1e4, 1e-3, 1e12) : 1e4;
    s.status = rope.status;
    if (!s.status) {
        b->d_ff = (int32_t)(b->d_model * ratio);
        b->d_head = b->d_model / b->n_q;
        b->qkv_bias = b->out_bias = b->mlp_bias = true;
        b->eps = 1e-6;
        if (b->d_ff < 1) refuse(&s, "mlp_ratio", "leaves no hidden features");
        if (b->act == LPO_ACT_SILU_MUL) refuse(&s, "hidden_act", "a gated MLP is not of this family");
        if (b->d_model % b->n_q || b->d_head % 4)
            refuse(&s, "num_heads", "embed_dim must be this many heads of a size divisible by 4");
        if (out != c->block.d_model)
            refuse(&s, "hidden_size", "vision_config's must equal the decoder's hidden_size");
    }
    json_decref(empty);
    text->status = s.status;
}

/* eos_token_id: one id or a list. Ids outside the vocabulary cannot be produced and are dropped. */
static void parse_eos(lpo_model_config *c, const json_t *v) {
    if (!v || (!json_is_integer(v) && !json_array_size(v))) return;
    c->n_eos = 0;
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    for (size_t i = 0; i < n && c->n_eos < 8; i++) {
        const json_t *e = json_is_array(v) ? json_array_get(v, i) : v;
        json_int_t id = json_is_integer(e) ? json_integer_value(e) : -1;
        if (id >= 0 && id < c->vocab_size) c->eos_ids[c->n_eos++] = (int32_t)id;
    }
}

/* A named token: an explicit id must be in the vocabulary, the family's default may lie outside a small one.
 */
static int32_t get_token(source *s, const char *key, int32_t fallback, int32_t vocab) {
    return (int32_t)get_int(s, key, fallback < vocab ? fallback : -1, 0, vocab - 1);
}

lpo_status lpo_config_parse(lpo_model_config *c, const json_t *json, const char *where, lpo_error *err) {
    memset(c, 0, sizeof *c);
    const char *type;
    lpo_status st = lpo_json_str(&type, json, "model_type", where, err);
    if (st) return st;
    if (strcmp(type, "qwen2_vl"))
        return lpo_fail(err, LPO_EUNSUPPORTED,
                        "%s: key \"model_type\": \"%.40s\" is not supported (qwen2_vl)", where, type);
    c->family = "qwen2_vl";
    const json_t *text = json_object_get(json, "text_config");
    if (text && !json_is_null(text) && !json_is_object(text))
        return lpo_fail(err, LPO_EFORMAT, "%s: key \"text_config\": expected an object", where);
    source s = {json_is_object(text) ? text : json, json, where, err, LPO_OK};
    parse_text(c, &s);
    parse_vision(c, &s, json);
    if (s.status) return s.status;
    source top = {json, s.inner, where, err, LPO_OK};
    c->video_pad_id = get_token(&top, "video_token_id", 151656, c->vocab_size);
    c->vision_start_id = get_token(&top, "vision_start_token_id", 151652, c->vocab_size);
    c->vision_end_id = get_token(&top, "vision_end_token_id", 151653, c->vocab_size);
    parse_eos(c, json_object_get(s.inner, "eos_token_id"));
    parse_eos(c, json_object_get(json, "eos_token_id"));
    return top.status;
}

lpo_status lpo_config_load(lpo_model_config *c, json_t **json, const char *dir, lpo_error *err) {
    lpo_status st;
    json_t *j = NULL, *gen = NULL;
    char *path = lpo_path_join(dir, "config.json"), *gen_path = lpo_path_join(dir, "generation_config.json");
    if (!path || !gen_path) {
        st = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", dir);
        goto out;
    }
    if ((st = lpo_json_load(&j, path, CONFIG_MAX_BYTES, err))) goto out;
    if ((st = lpo_config_parse(c, j, path, err))) goto out;
    if (lpo_path_exists(gen_path)) {
        if ((st = lpo_json_load(&gen, gen_path, CONFIG_MAX_BYTES, err))) goto out;
        parse_eos(c, json_object_get(gen, "eos_token_id"));
    }
    if (json) *json = json_incref(j);
out:
    json_decref(gen);
    json_decref(j);
    free(gen_path);
    free(path);
    return st;
}
