/* SPDX-License-Identifier: Apache-2.0 */
/* lora_parts.h -- adapters as the files of this folder see them. */
#ifndef LPO_MODEL_LORA_PARTS_H
#define LPO_MODEL_LORA_PARTS_H
#include "model/lora.h"
#include "model/parts.h"

/* The pair of one disk tensor. */
typedef struct lpo_adapter {
    lpo_param a, b; /* [r, in], [out, r] */
    lpo_slot *slot;
    const lpo_part *part;
    uint64_t number; /* of its part among all that can have one: names its random streams */
} lpo_adapter;

/* The index table of a row mix: where in a row of `chunks` those of a and of b stand. */
typedef struct lpo_lora_table {
    int64_t rows, chunks, first_a, n_a, first_b, n_b;
    bool scaled;
    lpo_val idx, w;
} lpo_lora_table;

enum { LPO_LORA_TABLES = 16 };

typedef struct lpo_lora {
    lpo_lora_options o;
    double scale;
    lpo_arena *arena;
    lpo_adapter *adapters;
    int n;
    uint64_t dropout_seed; /* of the pass being recorded; 0: none */
    lpo_lora_table tables[LPO_LORA_TABLES];
    int n_tables;
} lpo_lora;

/* Parts that may have an adapter are numbered; fn is called for each, in order. */
typedef lpo_status lpo_lora_part_fn(void *user, lpo_slot *s, const lpo_part *p, uint64_t number,
                                    lpo_error *err);
lpo_status lpo_lora_each_part(lpo_model *m, lpo_lora_part_fn *fn, void *user, lpo_error *err);
/* "layers.0.self_attn.q_proj" of "layers.0.self_attn.q_proj.weight". */
void lpo_lora_stem(char out[256], const lpo_part *p);
/* Adapters, without values, for the parts with chosen[number]. */
lpo_status lpo_lora_create(lpo_model *m, const lpo_lora_options *o, const bool *chosen, lpo_error *err);
void lpo_lora_destroy(lpo_model *m);

/* A new pass: forget the tables of the one before. */
void lpo_lora_begin(lpo_model *m);
/* y = x W^T, with what the adapters of w add. */
lpo_val lpo_lora_add(lpo_tape *t, lpo_model *m, lpo_val x, lpo_val y, const lpo_param *w);
#endif
