/* SPDX-License-Identifier: Apache-2.0 */
/* config.h -- what config.json says, checked and with every default filled in.
 * Both stacks of a model are the same transformer block; lpo_block_config says which variant. Sizes are
 * capped while parsing, so that products of them cannot overflow and a hostile file cannot ask for absurd
 * memory. */
#ifndef LPO_MODEL_CONFIG_H
#define LPO_MODEL_CONFIG_H
#include "base/clip_rule.h"
#include "base/json.h"
#include "kernels/op.h"

#include <stdbool.h>

typedef struct lpo_block_config {
    int32_t d_model, d_ff, n_q, n_kv, d_head;
    int32_t act; /* lpo_act; SILU_MUL has a gate|up matrix of 2*d_ff rows */
    bool rms, causal, qkv_bias, out_bias, mlp_bias;
    double eps;
} lpo_block_config;

/* A tower with 2-D rotary positions (Qwen), or one with a learned row for each of side x side patches. */
typedef struct lpo_vision_config {
    lpo_block_config block;
    int32_t depth, n_run; /* layers on disk; layers run: the rest, and a norm after them, is only kept */
    int32_t in_channels, patch_size, temporal_patch, merge_size;
    bool patch_bias;
    double rope_theta;  /* rotary towers */
    int32_t window;     /* side of a local attention window in merged rows; 0: a frame sees all of itself */
    uint8_t full[1024]; /* per layer, with a window: attends to the whole frame */
    int32_t side;       /* learned positions: side x side patches a frame; 0: rotary */
    bool class_token, pre_norm;
} lpo_vision_config;

typedef struct lpo_model_config {
    const struct lpo_family *family;
    lpo_block_config block;
    int32_t n_layers, vocab_size, max_positions;
    bool mrope;               /* positions have three axes; else one */
    int32_t mrope_section[3]; /* frequencies turned by the t, h and w position; they sum to d_head/2 */
    double rope_theta, init_range;
    double rope_factor;       /* linear scaling: positions are divided by it; 1: none */
    double tokens_per_second; /* of the t position of a clip; 0: it counts temporal patches */
    bool whole_seconds;       /* second_per_grid is cut to an integer first, as older transformers did */
    int32_t tied;             /* lm_head is embed_tokens: 0, 1, or -1 when the file does not say */
    lpo_vision_config vision;
    lpo_clip_rule clip;
    int32_t projector_act; /* lpo_act */
    bool projector_bias;
    int32_t video_pad_id, vision_start_id, vision_end_id; /* -1: the vocabulary has none */
    int32_t eos_ids[8], n_eos;
} lpo_model_config;

/* `where` names the file in errors; they name the key too. */
lpo_status lpo_config_parse(lpo_model_config *out, const json_t *json, const char *where, lpo_error *err);
/* dir/config.json, with the end-of-sequence ids of dir/generation_config.json when it has any. *json (may be
 * NULL to not want it) is the parsed config.json, owned by the caller. */
lpo_status lpo_config_load(lpo_model_config *out, json_t **json, const char *dir, lpo_error *err);

/* The config.json of a family's size ("tiny", "small", "2b", "7b"); tokenizer is a parsed tokenizer.json or
 * NULL. */
lpo_status lpo_config_of_size(json_t **out, const struct lpo_family *f, const char *size,
                              const json_t *tokenizer, lpo_error *err);
/* preprocessor_config.json of a size. */
json_t *lpo_preprocessor_of_size(const struct lpo_family *f, const char *size);
#endif
