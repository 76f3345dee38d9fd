/* SPDX-License-Identifier: Apache-2.0 */
/* config.c -- config.json: the decoder, named tokens, and what the rest hangs on.
 * Traps this parser knows: re-saved configs leave out fields that equal the class default, so the defaults
 * are compiled in; decoder fields stand at the top level or under `text_config`; rope_scaling's type is
 * "mrope" or "default", and newer files say `rope_parameters`, which holds rope_theta too;
 * tie_word_embeddings may stand in either place, or in neither. */
#include "base/file.h"
#include "model/config_read.h"

#include <stdlib.h>
#include <string.h>

enum { CONFIG_MAX_BYTES = 4 << 20 };

/* Sections of M-RoPE: how many frequencies turn with t, h and w. */
static void parse_section(lpo_model_config *c, lpo_source *in) {
    static const int32_t public_section[3] = {16, 24, 24};
    memcpy(c->mrope_section, public_section, sizeof public_section);
    const json_t *a = json_object_get(in->inner, "mrope_section");
    if (a && json_array_size(a) != 3)
        lpo_source_refuse(in, "mrope_section", "expected a list of three integers");
    for (size_t i = 0; a && i < 3 && !in->status; i++) {
        const json_t *v = json_array_get(a, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > 4096)
            lpo_source_refuse(in, "mrope_section", "expected integers in 0..4096");
        else
            c->mrope_section[i] = (int32_t)json_integer_value(v);
    }
    const int32_t *k = c->mrope_section;
    if (!in->status && 2 * (k[0] + k[1] + k[2]) != c->block.d_head)
        in->status = lpo_fail(in->err, LPO_EFORMAT,
                              "%s: key \"mrope_section\": %d+%d+%d frequencies, but a head of %d has %d",
                              in->where, k[0], k[1], k[2], c->block.d_head, c->block.d_head / 2);
}

static void parse_rope(lpo_model_config *c, lpo_source *s, const lpo_text_defaults *d) {
    const json_t *r = json_object_get(s->inner, "rope_scaling");
    if (!json_is_object(r)) r = json_object_get(s->outer, "rope_scaling");
    if (!json_is_object(r)) r = json_object_get(s->inner, "rope_parameters");
    if (!json_is_object(r)) r = json_object_get(s->outer, "rope_parameters");
    c->mrope = d->mrope;
    c->rope_factor = 1;
    c->rope_theta = lpo_source_real(s, "rope_theta", d->theta, 1e-3, 1e12);
    lpo_source in = {r, r, s->where, s->err, s->status};
    const char *type = lpo_source_str(&in, "rope_type", NULL);
    if (!type) type = lpo_source_str(&in, "type", "default");
    const bool linear = !strcmp(type, "linear") && !c->mrope;
    if (!in.status && !linear && strcmp(type, "default") && (!c->mrope || strcmp(type, "mrope")))
        in.status = lpo_fail(s->err, LPO_EUNSUPPORTED,
                             "%s: key \"rope_scaling\": type \"%.40s\" is not supported (%s, default)",
                             s->where, type, c->mrope ? "mrope" : "linear");
    c->rope_theta = lpo_source_real(&in, "rope_theta", c->rope_theta, 1e-3, 1e12);
    if (linear) c->rope_factor = lpo_source_real(&in, "factor", 1, 1, 1e6);
    if (linear && !in.status) /* the positions a factor is there for */
        c->max_positions =
            (int32_t)(c->max_positions * c->rope_factor < 1 << 24 ? c->max_positions * c->rope_factor
                                                                  : 1 << 24);
    if (c->mrope)
        parse_section(c, &in);
    else
        c->mrope_section[0] = c->block.d_head / 2;
    s->status = in.status;
}

static void parse_tied(lpo_model_config *c, lpo_source *s) {
    const json_t *in = json_object_get(s->inner, "tie_word_embeddings");
    const json_t *out = json_object_get(s->outer, "tie_word_embeddings");
    if ((in && !json_is_boolean(in)) || (out && !json_is_boolean(out)))
        lpo_source_refuse(s, "tie_word_embeddings", "expected true or false");
    c->tied = in || out ? json_is_true(in) || json_is_true(out) : -1; /* true in either place counts */
}

static void parse_text(lpo_model_config *c, lpo_source *s, const lpo_text_defaults *d) {
    lpo_block_config *b = &c->block;
    b->d_model = (int32_t)lpo_source_int(s, "hidden_size", d->hidden, 2, 65536);
    b->d_ff = (int32_t)lpo_source_int(s, "intermediate_size", d->ff, 1, 1 << 20);
    c->n_layers = (int32_t)lpo_source_int(s, "num_hidden_layers", d->layers, 1, 1024);
    b->n_q = (int32_t)lpo_source_int(s, "num_attention_heads", d->heads, 1, 1024);
    const int64_t kv = s->status ? 1 : !d->kv || b->n_q < d->kv ? b->n_q : d->kv;
    b->n_kv = (int32_t)lpo_source_int(s, "num_key_value_heads", kv, 1, 1024);
    c->vocab_size = (int32_t)lpo_source_int(s, "vocab_size", d->vocab, 2, 1 << 22);
    c->max_positions = (int32_t)lpo_source_int(s, "max_position_embeddings", d->max_positions, 1, 1 << 24);
    b->eps = lpo_source_real(s, "rms_norm_eps", d->eps, 1e-12, 1.0);
    c->init_range = lpo_source_real(s, "initializer_range", 0.02, 0.0, 10.0);
    b->act = lpo_source_act(s, "hidden_act", "silu");
    b->qkv_bias = b->out_bias = lpo_source_flag(s, "attention_bias", false);
    b->qkv_bias |= d->qkv_bias;
    b->mlp_bias = lpo_source_flag(s, "mlp_bias", false);
    if (s->status) return;
    b->rms = b->causal = true;
    b->d_head = (int32_t)lpo_source_int(s, "head_dim", b->d_model / b->n_q, 1, 65536);
    if (b->act != LPO_ACT_SILU_MUL) lpo_source_refuse(s, "hidden_act", "the decoder's must be \"silu\"");
    if ((b->d_model % b->n_q && b->d_head == b->d_model / b->n_q) || b->d_head % 2)
        lpo_source_refuse(s, "num_attention_heads", "hidden_size must be this many heads of an even size");
    if (b->n_q % b->n_kv) lpo_source_refuse(s, "num_key_value_heads", "must divide num_attention_heads");
    if (d->mrope && b->d_head != b->d_model / b->n_q)
        lpo_source_refuse(s, "head_dim", "must be hidden_size / num_attention_heads in this family");
    if (lpo_source_flag(s, "use_sliding_window", false))
        lpo_source_refuse(s, "use_sliding_window", "sliding-window attention is not supported");
    parse_rope(c, s, d);
    parse_tied(c, s);
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
static int32_t get_token(lpo_source *s, const char *key, int32_t fallback, int32_t vocab) {
    return (int32_t)lpo_source_int(s, key, fallback < vocab ? fallback : -1, 0, vocab - 1);
}

lpo_status lpo_config_parse(lpo_model_config *c, const json_t *json, const char *where, lpo_error *err) {
    memset(c, 0, sizeof *c);
    const char *type;
    lpo_status st = lpo_json_str(&type, json, "model_type", where, err);
    if (st) return st;
    if (!(c->family = lpo_family_of_type(type)))
        return lpo_fail(err, LPO_EUNSUPPORTED, "%s: key \"model_type\": \"%.40s\" is not supported (%s)",
                        where, type, lpo_family_names());
    const json_t *text = json_object_get(json, "text_config");
    if (text && !json_is_null(text) && !json_is_object(text))
        return lpo_fail(err, LPO_EFORMAT, "%s: key \"text_config\": expected an object", where);
    lpo_source s = {json_is_object(text) ? text : json, json, where, err, LPO_OK};
    lpo_source own = {text, NULL, where, err, LPO_OK}; /* the top level's model_type is another thing */
    const char *text_type = c->family->tower == LPO_TOWER_VIT
                                ? lpo_source_str(&own, "model_type", c->family->text_type)
                                : c->family->text_type;
    const lpo_text_defaults *d = lpo_text_defaults_of(text_type);
    if (!d)
        return lpo_fail(err, LPO_EUNSUPPORTED,
                        "%s: key \"text_config\": model_type \"%.40s\" is not supported (llama, qwen2)",
                        where, text_type);
    parse_text(c, &s, d);
    lpo_config_parse_vision(c, &s, json);
    if (s.status) return s.status;
    if ((st = lpo_clip_rule_parse(&c->clip, json, where, err))) return st;
    lpo_source top = {json, s.inner, where, err, LPO_OK};
    int32_t pad = c->family->video_pad_id; /* LLaVA-NeXT's own configs know images only */
    if (!strcmp(type, "llava_qwen")) pad = get_token(&top, "image_token_index", pad, c->vocab_size);
    pad = get_token(&top, "video_token_index", pad < 0 ? c->vocab_size : pad, c->vocab_size);
    c->video_pad_id = get_token(&top, "video_token_id", pad < 0 ? c->vocab_size : pad, c->vocab_size);
    if (c->family->tower != LPO_TOWER_VIT) {
        c->vision_start_id = get_token(&top, "vision_start_token_id", 151652, c->vocab_size);
        c->vision_end_id = get_token(&top, "vision_end_token_id", 151653, c->vocab_size);
    } else {
        c->vision_start_id = c->vision_end_id = -1;
    }
    c->whole_seconds = lpo_source_flag(&top, "second_per_grid_as_integer", false);
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
