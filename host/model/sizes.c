/* SPDX-License-Identifier: Apache-2.0 */
/* sizes.c -- the configurations lpo_model_init knows, as config.json objects.
 * tiny is the moving-shapes world's model: rope_theta 10, because at 1e4 the spatial angles vanish on a 2x2
 * grid of video tokens. 2b and 7b have the public shapes (of the LLaVAs only 7b is public). */
#include "model/config.h"
#include "model/family.h"

#include <string.h>

/* vocab 0: the tokenizer's, 128 without one. init: initializer_range; .02 is right for widths in the
 * thousands; a narrow model starts too quiet with it (the tiny one's caption loss after 160 steps: .97 with
 * .02, .22 with .09 = 1/sqrt(width)). */
typedef struct size_row {
    const char *name;
    int hidden, ff, layers, heads, kv, vocab, tied, max_positions;
    double theta;
    int section[3];
    int v_dim, v_depth, v_heads, v_ff; /* Qwen's towers; those of 2b and 7b are the tower's own */
    int vit_dim, vit_image;            /* LLaVA's small towers: heads of 64, square frames */
    int min_pixels, max_pixels;
    double init;
} size_row;

// clang-format off
static const size_row sizes[] = {
    {"tiny",   128,   384,  3,  2, 1,      0, 1,  4096,  10, {8, 12, 12},   128,  2,  2,  384, 128,  56, 56 * 56,     56 * 56, .09},
    {"small",  512,  1408,  8,  8, 2,      0, 1,  8192, 100, {8, 12, 12},   320,  6,  5, 1280, 320, 112, 112 * 112, 224 * 224, .04},
    {"2b",    1536,  8960, 28, 12, 2, 151936, 1, 32768, 1e6, {16, 24, 24}, 1280, 32, 16, 5120,   0,   0, 56 * 56,    12845056, .02},
    {"7b",    3584, 18944, 28, 28, 4, 152064, 0, 32768, 1e6, {16, 24, 24}, 1280, 32, 16, 5120,   0,   0, 56 * 56,    12845056, .02},
};
static const size_row vicuna_7b =
    {"7b",    4096, 11008, 32, 32, 32, 32064, 0,  4096, 1e4, {0},             0,  0,  0,    0,   0,   0, 0,                 0, .02};
// clang-format on

static const size_row *row_of(const lpo_family *f, const char *size) {
    if (!strcmp(f->text_type, "llama") && !strcmp(size, "7b")) return &vicuna_7b;
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

/* instead: what will do where the tokenizer lacks `content`. */
typedef struct named_token {
    const char *key, *content;
    int public_id;
    bool needed;
    const char *instead;
} named_token;

static const named_token qwen_tokens[] = {{"bos_token_id", "<|endoftext|>", 151643, false, NULL},
                                          {"eos_token_id", "<|im_end|>", 151645, true, NULL},
                                          {"vision_start_token_id", "<|vision_start|>", 151652, false, NULL},
                                          {"vision_end_token_id", "<|vision_end|>", 151653, false, NULL},
                                          {"image_token_id", "<|image_pad|>", 151655, false, NULL},
                                          {"video_token_id", "<|video_pad|>", 151656, true, NULL},
                                          {0}};
/* LLaVA-NeXT's code cuts prompts at "<image>", so any id that no text has can stand for a clip's rows. */
static const named_token llava_qwen_tokens[] = {
    {"bos_token_id", "<|endoftext|>", 151643, false, NULL},
    {"eos_token_id", "<|im_end|>", 151645, true, NULL},
    {"image_token_index", "<image>", 151646, true, "<|video_pad|>"},
    {0}};
static const named_token vicuna_tokens[] = {{"bos_token_id", "<s>", 1, false, NULL},
                                            {"eos_token_id", "</s>", 2, true, NULL},
                                            {"image_token_index", "<image>", 32001, false, NULL},
                                            {"video_token_index", "<video>", 32000, true, NULL},
                                            {0}};

static const named_token *tokens_of(const lpo_family *f) {
    if (f->tower != LPO_TOWER_VIT) return qwen_tokens;
    return !strcmp(f->text_type, "llama") ? vicuna_tokens : llava_qwen_tokens;
}

/* The named tokens: the tokenizer's, else the public ids, else (a small vocabulary) its last ones. */
static lpo_status set_tokens(json_t *config, const named_token *named, json_int_t vocab,
                             const json_t *tokenizer, lpo_error *err) {
    int n = 0, top = 0;
    for (; named[n].key; n++)
        if (named[n].public_id > top) top = named[n].public_id;
    for (int i = 0; i < n; i++) {
        json_int_t id = vocab > top ? named[i].public_id : vocab - n + i;
        if (tokenizer) id = tokenizer_id(tokenizer, named[i].content);
        if (tokenizer && id < 0 && named[i].instead) id = tokenizer_id(tokenizer, named[i].instead);
        if (tokenizer && id < 0 && named[i].needed)
            return lpo_fail(err, LPO_EFORMAT, "tokenizer: the token \"%s\" is missing", named[i].content);
        if (id >= vocab)
            return lpo_fail(err, LPO_EFORMAT,
                            "tokenizer: \"%s\" is id %lld, outside the model's vocabulary of %lld",
                            named[i].content, (long long)id, (long long)vocab);
        if (id >= 0) json_object_set_new(config, named[i].key, json_integer(id));
    }
    return LPO_OK;
}

static json_t *text_of(const lpo_family *f, const size_row *r, json_int_t vocab) {
    const lpo_text_defaults *d = lpo_text_defaults_of(f->text_type);
    json_t *c = json_pack("{s:i, s:i, s:i, s:i, s:i, s:I, s:b, s:i, s:f, s:f, s:s, s:f, s:f, s:b, s:b}",
                          "hidden_size", r->hidden, "intermediate_size", r->ff, "num_hidden_layers",
                          r->layers, "num_attention_heads", r->heads, "num_key_value_heads", r->kv,
                          "vocab_size", vocab, "tie_word_embeddings", r->tied, "max_position_embeddings",
                          r->max_positions, "rms_norm_eps", r == &vicuna_7b ? 1e-5 : 1e-6, "rope_theta",
                          r->theta, "hidden_act", "silu", "initializer_range", r->init, "attention_dropout",
                          0.0, "use_cache", 1, "use_sliding_window", 0);
    if (c && d->mrope)
        json_object_set_new(c, "rope_scaling",
                            json_pack("{s:s, s:[iii]}", "type", "mrope", "mrope_section", r->section[0],
                                      r->section[1], r->section[2]));
    return c;
}

static json_t *tower_of(const lpo_family *f, const size_row *r) {
    const lpo_vit_defaults *w = &f->whole_vit;
    const int dim = r->vit_dim ? r->vit_dim : w->hidden;
    json_t *v, *full = json_array();
    switch (f->tower) {
    case LPO_TOWER_QWEN2:
        v = json_pack("{s:i, s:i, s:i, s:s, s:i, s:i, s:i, s:i, s:i, s:i}", "depth", r->v_depth, "embed_dim",
                      r->v_dim, "hidden_size", r->hidden, "hidden_act", "quick_gelu", "mlp_ratio",
                      r->v_ff / r->v_dim, "num_heads", r->v_heads, "in_channels", 3, "patch_size", 14,
                      "spatial_merge_size", 2, "temporal_patch_size", 2);
        break;
    case LPO_TOWER_QWEN2_5:
        for (int i = 0; i < 4; i++) json_array_append_new(full, json_integer((i + 1) * r->v_depth / 4 - 1));
        if (r->v_depth < 4) json_array_clear(full);
        if (r->v_depth < 4) json_array_append_new(full, json_integer(r->v_depth - 1));
        v = json_pack("{s:i, s:i, s:i, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:O}", "depth",
                      r->v_depth, "hidden_size", r->v_dim, "out_hidden_size", r->hidden, "hidden_act", "silu",
                      "intermediate_size", r->v_dim == 1280 ? 3420 : r->v_ff, "num_heads", r->v_heads,
                      "in_channels", 3, "patch_size", 14, "spatial_merge_size", 2, "temporal_patch_size", 2,
                      "window_size", 112, "tokens_per_second", 2, "fullatt_block_indexes", full);
        break;
    default:
        v = json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:f, s:b}", "model_type", w->type,
                      "hidden_size", dim, "intermediate_size", r->vit_dim ? r->v_ff : w->ff,
                      "num_hidden_layers", r->vit_dim ? r->v_depth + 1 : w->layers, "num_attention_heads",
                      r->vit_dim ? dim / 64 : w->heads, "patch_size", 14, "image_size",
                      r->vit_dim ? r->vit_image : w->image, "hidden_act", w->act, "layer_norm_eps", w->eps,
                      "vision_use_head", 0);
    }
    json_decref(full);
    return v;
}

/* The keys only one family has, and where the decoder's stand. */
static json_t *assemble(const lpo_family *f, json_t *text, json_t *vision) {
    json_t *c = NULL;
    if (!strcmp(f->name, "llava_next_video"))
        c = json_pack("{s:s, s:i, s:s, s:s, s:i, s:O}", "projector_hidden_act", "gelu",
                      "vision_feature_layer", -2, "vision_feature_select_strategy", "default",
                      "spatial_pool_mode", "average", "spatial_pool_stride", 2, "text_config", text);
    else
        c = json_copy(text);
    if (c && !strcmp(f->name, "llava_video")) {
        json_t *own = json_pack(
            "{s:s, s:s, s:i, s:s, s:s, s:s, s:i}", "mm_vision_tower", "google/siglip-so400m-patch14-384",
            "mm_projector_type", "mlp2x_gelu", "mm_spatial_pool_stride", 2, "mm_spatial_pool_mode",
            "bilinear", "mm_newline_position", "grid", "mm_patch_merge_type", "spatial_unpad",
            "mm_hidden_size", (int)json_integer_value(json_object_get(vision, "hidden_size")));
        json_object_update(c, own);
        json_decref(own);
    }
    if (c && json_object_get(c, "text_config")) {
        json_object_set(c, "tie_word_embeddings", json_object_get(text, "tie_word_embeddings"));
        json_object_set_new(text, "model_type", json_string(f->text_type));
        json_object_set(c, "initializer_range", json_object_get(text, "initializer_range"));
    }
    if (c) json_object_set(c, "vision_config", vision);
    return c;
}

lpo_status lpo_config_of_size(json_t **out, const lpo_family *f, const char *size, const json_t *tokenizer,
                              lpo_error *err) {
    *out = NULL;
    const size_row *r = row_of(f, size);
    if (!r) return lpo_fail(err, LPO_EINVAL, "size \"%.40s\" is not known (tiny, small, 2b, 7b)", size);
    json_int_t vocab = r->vocab ? r->vocab : tokenizer ? tokenizer_vocab(tokenizer) : 128;
    json_t *text = text_of(f, r, vocab), *vision = tower_of(f, r);
    json_t *c = text && vision ? assemble(f, text, vision) : NULL;
    lpo_status st = c ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "no memory for a configuration");
    if (!st) {
        json_object_set_new(c, "architectures", json_pack("[s]", f->architecture));
        json_object_set_new(c, "model_type", json_string(f->types[0]));
        st = set_tokens(c, tokens_of(f), vocab, tokenizer, err);
    }
    json_decref(text);
    json_decref(vision);
    if (st)
        json_decref(c);
    else
        *out = c;
    return st;
}

static json_t *qwen_preprocessor(const size_row *r) {
    return json_pack("{s:s, s:s, s:b, s:b, s:b, s:f, s:i, s:[fff], s:[fff], s:i, s:i, s:i, s:i, s:i}",
                     "image_processor_type", "Qwen2VLImageProcessor", "processor_class", "Qwen2VLProcessor",
                     "do_resize", 1, "do_rescale", 1, "do_normalize", 1, "rescale_factor", 1.0 / 255,
                     "resample", 3, "image_mean", 0.48145466, 0.4578275, 0.40821073, "image_std", 0.26862954,
                     0.26130258, 0.27577711, "min_pixels", r->min_pixels, "max_pixels", r->max_pixels,
                     "patch_size", 14, "temporal_patch_size", 2, "merge_size", 2);
}

static json_t *llava_preprocessor(const lpo_family *f, int image) {
    const bool clip = f->whole_vit.clip;
    json_t *o = json_pack("{s:s, s:b, s:b, s:b, s:f, s:i}", "image_processor_type",
                          clip ? "LlavaNextVideoImageProcessor" : "SiglipImageProcessor", "do_resize", 1,
                          "do_rescale", 1, "do_normalize", 1, "rescale_factor", 1.0 / 255, "resample", 3);
    json_t *more =
        clip ? json_pack("{s:b, s:{s:i}, s:{s:i,s:i}, s:[fff], s:[fff]}", "do_center_crop", 1, "size",
                         "shortest_edge", image, "crop_size", "height", image, "width", image, "image_mean",
                         0.48145466, 0.4578275, 0.40821073, "image_std", 0.26862954, 0.26130258, 0.27577711)
             : json_pack("{s:{s:i,s:i}, s:[fff], s:[fff]}", "size", "height", image, "width", image,
                         "image_mean", .5, .5, .5, "image_std", .5, .5, .5);
    if (o) json_object_update(o, more);
    json_decref(more);
    return o;
}

json_t *lpo_preprocessor_of_size(const lpo_family *f, const char *size) {
    const size_row *r = row_of(f, size);
    json_t *o = f->tower == LPO_TOWER_VIT
                    ? llava_preprocessor(f, r->vit_image ? r->vit_image : f->whole_vit.image)
                    : qwen_preprocessor(r);
    /* The tiny model is for the moving-shapes world: all eight frames of its one-second clips. */
    if (o && !strcmp(size, "tiny")) json_object_set_new(o, "num_frames", json_integer(8));
    return o;
}
