/* SPDX-License-Identifier: Apache-2.0 */
/* config.h -- what config.json says, checked and with every default filled in.
 * Both stacks of a model are the same transformer block; lpo_block_config says which variant. Sizes are
 * capped while parsing, so that products of them cannot overflow and a hostile file cannot ask for absurd
 * memory. */
#ifndef LPO_MODEL_CONFIG_H
#define LPO_MODEL_CONFIG_H
#include "base/json.h"
#include "kernels/op.h"

#include <stdbool.h>

typedef struct lpo_block_config {
    int32_t d_model, d_ff, n_q, n_kv, d_head;
    int32_t act; /* lpo_act; SILU_MUL has a gate|up matrix of 2*d_ff rows */
    bool rms, causal, qkv_bias, out_bias, mlp_bias;
    double eps;
} lpo_block_config;

typedef struct lpo_vision_config {
    lpo_block_config block;
    int32_t depth, in_channels, patch_size, temporal_patch, merge_size;
    double rope_theta;
} lpo_vision_config;

typedef struct lpo_model_config {
    const char *family; /* config.json's model_type; static storage */
    lpo_block_config block;
    int32_t n_layers, vocab_size, max_positions;
    int32_t mrope_section[3]; /* frequencies turned by the t, h and w position; they sum to d_head/2 */
    double rope_theta, init_range;
    int32_t tied; /* lm_head is embed_tokens: 0, 1, or -1 when the file does not say */
    lpo_vision_config vision;
    int32_t video_pad_id, vision_start_id, vision_end_id; /* -1: the vocabulary has none */
    int32_t eos_ids[8], n_eos;
} lpo_model_config;

/* `where` names the file in errors; they name the key too. */
lpo_status lpo_config_parse(lpo_model_config *out, const json_t *json, const char *where, lpo_error *err);
/* dir/config.json, with the end-of-sequence ids of dir/generation_config.json when it has any. *json (may be
 * NULL to not want it) is the parsed config.json, owned by the caller. */
lpo_status lpo_config_load(lpo_model_config *out, json_t **json, const char *dir, lpo_error *err);

/* The config.json of a size ("tiny", "small", "2b", "7b"); tokenizer is a parsed tokenizer.json or NULL. */
lpo_status lpo_config_of_size(json_t **out, const char *size, const json_t *tokenizer, lpo_error *err);
/* preprocessor_config.json of a size. */
json_t *lpo_preprocessor_of_size(const char *size);
#endif
