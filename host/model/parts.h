/* SPDX-License-Identifier: Apache-2.0 */
/* parts.h -- what the files of this folder share: the model struct, dtype names and conversion, file lists.
 */
#ifndef LPO_MODEL_PARTS_H
#define LPO_MODEL_PARTS_H
#include "model/layout.h"
#include "model/model.h"

/* Devices are shared by a model and its clones, so that one tape can run both. */
typedef struct lpo_devices {
    lpo_placement placement;
    int refs;
} lpo_devices;

struct lpo_model {
    lpo_model_config config;
    lpo_layout layout;
    lpo_param **own_params; /* of layout.slots, in order */
    lpo_param **params;     /* those, and the adapters' behind them */
    int n_params;
    struct lpo_lora *lora; /* NULL: no adapters */
    lpo_devices *devices;
    lpo_buffer *grads;       /* one for all trainable parameters, or NULL */
    size_t grads_count;      /* elements in it */
    int32_t dtype;           /* of parameters and activations */
    int style[LPO_N_WHERES]; /* of the disk names, see lpo_part_name */
    json_t *json;            /* config.json as read */
    char *dir;
    lpo_arena *scratch; /* of one lpo_model_record */
};

/* "f32", "bf16", "f16", "f64" -> dtype. */
lpo_status lpo_model_dtype(int32_t *out, const char *name, lpo_error *err);

/* Settle c->tied when config.json does not say: a folder without an lm_head tensor is tied. */
lpo_status lpo_config_tie(lpo_model_config *c, const char *dir, lpo_error *err);

/* A model without parameter memory: config, layout, devices. Takes a reference on json. */
lpo_status lpo_model_create(lpo_model **out, const lpo_model_config *c, json_t *json, const char *dir,
                            int32_t dtype, lpo_devices *devices, lpo_error *err);
lpo_status lpo_model_alloc_params(lpo_model *m, lpo_error *err);
lpo_status lpo_devices_open(lpo_devices **out, const char *place, lpo_error *err);
void lpo_devices_release(lpo_devices *d);

/* Disk tensors made by `fill` written as one model.safetensors or as shards of at most shard_bytes with an
 * index. fill writes p->rows rows of slot s into dst (dtype). One shard is in memory at a time. */
typedef lpo_status lpo_fill_fn(void *user, void *dst, const lpo_slot *s, const lpo_part *p, lpo_error *err);
lpo_status lpo_weights_write(const char *dir, const lpo_layout *l, const int style[LPO_N_WHERES],
                             int32_t dtype, size_t shard_bytes, lpo_fill_fn *fill, void *user,
                             lpo_error *err);
/* Copy the tokenizer's files, and the preprocessor's and generation's too unless tokenizer_only; what `from`
 * lacks is skipped. */
lpo_status lpo_side_files_copy(const char *to, const char *from, bool tokenizer_only, lpo_error *err);
/* config.json and, when absent, generation_config.json. */
lpo_status lpo_config_save(const char *dir, json_t *json, const lpo_model_config *c, int32_t dtype,
                           lpo_error *err);
#endif
