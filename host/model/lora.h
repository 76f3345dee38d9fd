/* SPDX-License-Identifier: Apache-2.0 */
/* lora.h -- low-rank adapters: y = x W^T + scale * (dropout(x) A^T) B^T with W frozen, A [r,in] and B
 * [out,r]. There is one pair for each Linear of the checkpoint (q_proj, k_proj and v_proj apart), though in
 * memory the three are one matrix: each pair's product is added to its own columns. Names, initial values and
 * files are PEFT's. Only the decoder's Linears can have adapters: not lm_head, projector or tower. */
#ifndef LPO_MODEL_LORA_H
#define LPO_MODEL_LORA_H
#include "model/model.h"

typedef struct lpo_lora_options {
    int32_t r;
    double alpha, dropout;
    bool rslora;         /* scale alpha/sqrt(r) instead of alpha/r */
    const char *targets; /* NULL or "": all. Else a comma list; an entry names a Linear by its last words
                            ("q_proj", "layers.3.mlp.up_proj") or by a pattern with * and ? */
} lpo_lora_options;

/* Give m new adapters (A uniform within 1/sqrt(in), B zero). LPO_EINVAL: m has some, or a target is not
 * there. */
lpo_status lpo_lora_attach(lpo_model *m, const lpo_lora_options *o, uint64_t seed, lpo_error *err);
/* What m's adapters are, targets NULL; NULL when it has none. Which they are: named by lpo_model_params,
 * "layers.0.self_attn.q_proj.lora_A" and so on, behind the model's own. */
const lpo_lora_options *lpo_lora_of(const lpo_model *m);
/* W += scale B A; m has no adapters afterwards. */
lpo_status lpo_lora_merge(lpo_model *m, lpo_error *err);

/* adapter_model.safetensors and adapter_config.json. Loading gives m the adapters of the folder; anything of
 * PEFT that would change the numbers and is not supported here is refused by name. */
lpo_status lpo_lora_save(lpo_model *m, const char *dir, lpo_error *err);
lpo_status lpo_lora_load(lpo_model *m, const char *dir, lpo_error *err);
/* The folder's base_model_name_or_path, malloc'd. LPO_ENOTFOUND: dir has no adapter_config.json. */
lpo_status lpo_lora_base(char **base, const char *dir, lpo_error *err);
#endif
