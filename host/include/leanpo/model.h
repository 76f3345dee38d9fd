/* SPDX-License-Identifier: Apache-2.0 */
/* model.h -- models from and to Hugging Face folders. */
#ifndef LEANPO_MODEL_H
#define LEANPO_MODEL_H
#include "leanpo/status.h"

#include <stdint.h>

typedef struct lpo_model lpo_model;

typedef struct lpo_model_options {
    const char *place;   /* backbone devices in order of preference, e.g. "cpu" or "ref" (default "cpu") */
    const char *dtype;   /* storage of the parameters: "f32" (default), "bf16", "f64" (ref only) */
    const char *adapter; /* folder of LoRA adapters in PEFT's format for this model, or NULL */
} lpo_model_options;
LPO_API lpo_model_options lpo_model_options_default(void);

/* config.json + *.safetensors. dir may be a folder of adapters alone: then its base_model_name_or_path is
 * loaded with them. Errors name the file, the key or the missing / misshapen tensor. */
LPO_API lpo_status lpo_model_load(lpo_model **out, const char *dir, const lpo_model_options *o,
                                  lpo_error *err);
LPO_API void lpo_model_destroy(lpo_model *m); /* NULL accepted */

/* Write config.json, model.safetensors (sharded over 5 GB with an index), generation_config.json, and copies
 * of the tokenizer and preprocessor files of the folder the model came from. Each file atomic; dtype NULL =
 * as stored. A model with adapters: adapter_config.json, adapter_model.safetensors and the tokenizer files.
 */
LPO_API lpo_status lpo_model_save(lpo_model *m, const char *dir, const char *dtype, lpo_error *err);

/* The model of `dir` with the adapters of `adapter` (NULL: dir is a folder of adapters) added to its weights,
 * as a model folder. dtype of the sums and of the file: "bf16", "f32"; NULL: "f32". */
LPO_API lpo_status lpo_model_merge(const char *out, const char *dir, const char *adapter, const char *dtype,
                                   lpo_error *err);

typedef struct lpo_init_options {
    const char *family;    /* "qwen2_vl", "qwen2_5_vl", "llava_next_video", "llava_video" */
    const char *size;      /* "tiny", "small", "2b", "7b" */
    const char *tokenizer; /* tokenizer.json (copied into the folder; sets the vocabulary of tiny and small),
                              or NULL */
    const char *config;    /* a JSON object of config.json keys that override the size's, or NULL */
    const char *dtype;     /* "f32" (tiny, small) or "bf16" (2b, 7b) when NULL */
    uint64_t seed;
} lpo_init_options;
/* A seeded random model as a Hugging Face folder. */
LPO_API lpo_status lpo_model_init(const char *dir, const lpo_init_options *o, lpo_error *err);

typedef struct lpo_model_info {
    const char *family;
    int64_t n_params, n_vision_params;
    int32_t vocab_size, hidden_size, n_layers, max_positions;
    int32_t video_pad_id, vision_start_id, vision_end_id, eos_ids[8], n_eos;
    int32_t patch_size, temporal_patch, merge_size;
    const char *dir; /* where it was loaded from */
} lpo_model_info;
LPO_API void lpo_model_get_info(lpo_model_info *out, const lpo_model *m); /* strings live as long as m */
/* The same from the headers alone: nothing is loaded, and the weights may be missing. */
LPO_API lpo_status lpo_model_peek(lpo_model_info *out, const char *dir, lpo_error *err);

/* A batch of preference pairs, each over a clip of its own. */
typedef struct lpo_memory_options {
    const char *dtype;           /* of the parameters in memory, "bf16" */
    int n_frames, height, width; /* 16 of 448x448; LLaVA's frames have their own size */
    int n_prompt, n_response;    /* text tokens: 64, and 512 for either response */
    int n_pairs;                 /* 1 */
    int lora_rank;               /* 64 */
    int gradient_checkpointing; /* 1: layers are recomputed in the backward pass; 0, as train does unless told
                                 */
} lpo_memory_options;
LPO_API lpo_memory_options lpo_memory_options_default(void);

/* Bytes. host is not the device's: the process, its input, the CPU kernels' working memory,
 * and the shard being saved; total has it too. */
typedef struct lpo_memory_part {
    int64_t weights, grads, optimizer, activations, cache, host, total;
} lpo_memory_part;
typedef struct lpo_model_memory {
    int64_t n_video, n_sequence;            /* tokens of a clip; of a sequence */
    int64_t lora_values;                    /* of adapters on every Linear of the decoder but lm_head */
    lpo_memory_part train, lora, inference; /* all parameters; adapters; one sequence, cached */
} lpo_model_memory;
/* What training and inference would take, from config.json alone: the step is planned, not run. */
LPO_API lpo_status lpo_model_get_memory(lpo_model_memory *out, const char *dir, const lpo_memory_options *o,
                                        lpo_error *err);
#endif
