/* SPDX-License-Identifier: Apache-2.0 */
/* sizes.c -- the configurations lpo_model_init knows, as config.json objects.
 * tiny is the moving-shapes world's model: rope_theta 10, because at 1e4 the spatial angles vanish on a 2x2
 * grid of video tokens. 2b and 7b are the public ones. */
#include "model/config.h"

#include <string.h>

typedef struct size_row {
    const char *name;
    int hidden, ff, layers, heads, kv, vocab, tied,
        max_positions; /* vocab 0: the tokenizer's, 128 without one */
    double theta;
    int section[3];
    int v_dim, v_depth, v_heads, v_ratio;
    int min_pixels, max_pixels;
    double init; /* initializer_range: .02 is right for widths in the thousands; a narrow model starts too
                  * quiet with it (the tiny one's caption loss after 160 steps: .97 with .02, .22 with .09 =
                  * 1/sqrt(width)) */
} size_row;

static const size_row sizes[] = {
    {"tiny", 128, 384, 3, 2, 1, 0, 1, 4096, 10, {8, 12, 12}, 128, 2, 2, 3, 56 * 56, 56 * 56, .09},
    {"small", 512, 1408, 8, 8, 2, 0, 1, 8192, 100, {8, 12, 12}, 320, 6, 5, 4, 112 * 112, 224 * 224, .04},
    {"2b",
     1536,
     8960,
     28,
     12,
     2,
     151936,
     1,
     32768,
     1e6,
     {16, 24, 24},
     1280,
     32,
     16,
     4,
     56 * 56,
     12845056,
     .02},
    {"7b",
     3584,
     18944,
     28,
     28,
     4,
     152064,
     0,
     32768,
     1e6,
     {16, 24, 24},
     1280,
     32,
     16,
     4,
     56 * 56,
     12845056,
     .02},
};

static const size_row *row_of(const char *size) {
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (!strcmp(sizes[i].name, size)) return &sizes[i];
    return NULL;
}

/* Highest id + 1 of a tokenizer.json. */
static json_int_t tokenizer_vocab(const json_t *tokenizer) {
    json_int_t top = -1;
    const char *key;
    json_t *v;
    size_t i;
    json_object_foreach(json_object_get(json_object_get(tokenizer, "model"), "vocab"), key, v) {
        if (json_is_integer(v) && json_integer_value(v) > top) top = json_integer_value(v);
    }
    json_array_foreach(json_object_get(tokenizer, "added_tokens"), i, v) {
        json_int_t id = json_integer_value(json_object_get(v, "id"));
        if (id > top) top = id;
    }
    return top + 1;
}

static json_int_t tokenizer_id(const json_t *tokenizer, const char *content) {
    json_t *v;
    size_t i;
    json_array_foreach(json_object_get(tokenizer, "added_tokens"), i, v) {
        const char *c = json_string_value(json_object_get(v, "content"));
        if (c && !strcmp(c, content)) return json_integer_value(json_object_get(v, "id"));
    }
    v = json_object_get(json_object_get(json_object_get(tokenizer, "model"), "vocab"), content);
    return json_is_integer(v) ? json_integer_value(v) : -1;
}

/* The named tokens: the tokenizer's, else the public ids, else (a small vocabulary) its last ones. */
static lpo_status set_tokens(json_t *config, json_int_t vocab, const json_t *tokenizer, lpo_error *err) {
    static const struct {
        const char *key, *content;
        int public_id;
    } named[] = {{"bos_token_id", "<|endoftext|>", 151643},
                 {"eos_token_id", "<|im_end|>", 151645},
                 {"vision_start_token_id", "<|vision_start|>", 151652},
                 {"vision_end_token_id", "<|vision_end|>", 151653},
                 {"image_token_id", "<|image_pad|>", 151655},
                 {"video_token_id", "<|video_pad|>", 151656}};
    const int n = sizeof named / sizeof *named;
    for (int i = 0; i < n; i++) {
        json_int_t id = vocab > 151656 ? named[i].public_id : vocab - n + i;
        if (tokenizer) id = tokenizer_id(tokenizer, named[i].content);
        if (tokenizer && id < 0 &&
            (!strcmp(named[i].key, "eos_token_id") || !strcmp(named[i].key, "video_token_id")))
            return lpo_fail(err, LPO_EFORMAT, "tokenizer: the token \"%s\" is missing", named[i].content);
        if (id >= vocab)
            return lpo_fail(err, LPO_EFORMAT,
                            "tokenizer: \"%s\" is id %lld, outside the model's vocabulary of %lld",
                            named[i].content, (long long)id, (long long)vocab);
        if (id >= 0) json_object_set_new(config, named[i].key, json_integer(id));
    }
    return LPO_OK;
}

lpo_status lpo_config_of_size(json_t **out, const char *size, const json_t *tokenizer, lpo_error *err) {
    *out = NULL;
    const size_row *r = row_of(size);
    if (!r) return lpo_fail(err, LPO_EINVAL, "size \"%.40s\" is not known (tiny, small, 2b, 7b)", size);
    json_int_t vocab = r->vocab ? r->vocab : tokenizer ? tokenizer_vocab(tokenizer) : 128;
    json_t *c =
        json_pack("{s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:I, s:b, s:i, s:f, s:f, s:s, s:f, s:f, s:b, s:b, "
                  "s:{s:s, s:[iii]}}",
                  "architectures", "Qwen2VLForConditionalGeneration", "model_type", "qwen2_vl", "hidden_size",
                  r->hidden, "intermediate_size", r->ff, "num_hidden_layers", r->layers,
                  "num_attention_heads", r->heads, "num_key_value_heads", r->kv, "vocab_size", vocab,
                  "tie_word_embeddings", r->tied, "max_position_embeddings", r->max_positions, "rms_norm_eps",
                  1e-6, "rope_theta", r->theta, "hidden_act", "silu", "initializer_range", r->init,
                  "attention_dropout", 0.0, "use_cache", 1, "use_sliding_window", 0, "rope_scaling", "type",
                  "mrope", "mrope_section", r->section[0], r->section[1], r->section[2]);
    json_t *v = json_pack("{s:i, s:i, s:i, s:s, s:i, s:i, s:i, s:i, s:i, s:i}", "depth", r->v_depth,
                          "embed_dim", r->v_dim, "hidden_size", r->hidden, "hidden_act", "quick_gelu",
                          "mlp_ratio", r->v_ratio, "num_heads", r->v_heads, "in_channels", 3, "patch_size",
                          14, "spatial_merge_size", 2, "temporal_patch_size", 2);
    if (!c || !v) {
        json_decref(c);
        json_decref(v);
        return lpo_fail(err, LPO_ENOMEM, "no memory for a configuration");
    }
    json_object_set_new(c, "vision_config", v);
    lpo_status st = set_tokens(c, vocab, tokenizer, err);
    if (st)
        json_decref(c);
    else
        *out = c;
    return st;
}

json_t *lpo_preprocessor_of_size(const char *size) {
    const size_row *r = row_of(size);
    json_t *o =
        json_pack("{s:s, s:s, s:b, s:b, s:b, s:f, s:i, s:[fff], s:[fff], s:i, s:i, s:i, s:i, s:i}",
                  "image_processor_type", "Qwen2VLImageProcessor", "processor_class", "Qwen2VLProcessor",
                  "do_resize", 1, "do_rescale", 1, "do_normalize", 1, "rescale_factor", 1.0 / 255, "resample",
                  3, "image_mean", 0.48145466, 0.4578275, 0.40821073, "image_std", 0.26862954, 0.26130258,
                  0.27577711, "min_pixels", r->min_pixels, "max_pixels", r->max_pixels, "patch_size", 14,
                  "temporal_patch_size", 2, "merge_size", 2);
    /* The tiny model is for the moving-shapes world: all eight frames of its one-second clips. */
    if (o && !strcmp(size, "tiny")) json_object_set_new(o, "num_frames", json_integer(8));
    return o;
}
