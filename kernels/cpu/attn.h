/* SPDX-License-Identifier: Apache-2.0 */
/* attn.h -- what attention over a batch and attention over a cache share: one block of queries against a run
 * of keys. */
#ifndef LPO_KERNELS_CPU_ATTN_H
#define LPO_KERNELS_CPU_ATTN_H
#include "kernels/cpu/gemm.h"

enum { LPO_ATTN_ROWS = 252 /* query rows of a block: tokens x heads of a group */, LPO_ATTN_KEYS = 256 };

typedef struct lpo_heads {
    int64_t n_q, n_kv, d, group, W; /* W: a row of qkv */
    int64_t tokens;                 /* query tokens of a block */
    float scale;
} lpo_heads;

/* One kv head: its keys and values, and the tokens whose query heads read it. */
typedef struct lpo_attn_block {
    const lpo_karg *qkv, *o;
    lpo_mat k, v;               /* rows are keys n_prefix.. */
    lpo_mat prefix_k, prefix_v; /* keys 0..n_prefix-1 */
    int64_t n_prefix;
    int64_t kv_head;
    int64_t t0, n; /* query tokens, rows of qkv */
    int64_t limit; /* keys the first token sees; each next one sees `step` more */
    int64_t step;
    float *lse; /* [n_q][lse_row], at token 0; or NULL */
    int64_t lse_row;
} lpo_attn_block;

bool lpo_heads_of(lpo_heads *h, const lpo_attrs *a);
size_t lpo_attn_block_scratch(const lpo_heads *h);
int64_t lpo_attn_owner(const lpo_karg *cu, int64_t last, int64_t row);
/* Absent, or for each sequence n rows within one earlier sequence. */
bool lpo_cpu_prefix_ok(const lpo_karg *prefix, const lpo_karg *cu);
void lpo_attn_block_run(const lpo_heads *h, const lpo_attn_block *b, void *scratch);
/* Rows of one group, token-major: dst[token*group + head][d] from column `first` of src. */
void lpo_attn_gather(const lpo_heads *h, float *dst, const lpo_karg *src, int64_t first, int64_t row,
                     int64_t t0, int64_t n);
size_t lpo_attn_gemm_scratch(const lpo_heads *h);
#endif
