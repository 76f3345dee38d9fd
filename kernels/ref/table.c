/* SPDX-License-Identifier: Apache-2.0 */
/* table.c -- the reference set: every op there is. */
#include "kernels/ref/ref.h"

const lpo_kernel lpo_kernels_ref[LPO_N_OPS] = {
    [LPO_OP_LINEAR] = {lpo_ref_linear, NULL},
    [LPO_OP_LINEAR_DX] = {lpo_ref_linear_dx, NULL},
    [LPO_OP_LINEAR_DW] = {lpo_ref_linear_dw, NULL},
    [LPO_OP_NORM] = {lpo_ref_norm, NULL},
    [LPO_OP_NORM_BWD] = {lpo_ref_norm_bwd, NULL},
    [LPO_OP_ROPE] = {lpo_ref_rope, NULL},
    [LPO_OP_ATTN] = {lpo_ref_attn, lpo_ref_attn_scratch},
    [LPO_OP_ATTN_BWD] = {lpo_ref_attn_bwd, lpo_ref_attn_bwd_scratch},
    [LPO_OP_ATTN_CACHED] = {lpo_ref_attn_cached, lpo_ref_attn_cached_scratch},
    [LPO_OP_ACT] = {lpo_ref_act, NULL},
    [LPO_OP_ACT_BWD] = {lpo_ref_act_bwd, NULL},
    [LPO_OP_ADD] = {lpo_ref_add, NULL},
    [LPO_OP_EMBED] = {lpo_ref_embed, NULL},
    [LPO_OP_EMBED_BWD] = {lpo_ref_embed_bwd, NULL},
    [LPO_OP_ROWMIX] = {lpo_ref_rowmix, NULL},
    [LPO_OP_ROWMIX_BWD] = {lpo_ref_rowmix_bwd, NULL},
    [LPO_OP_LOGPROB] = {lpo_ref_logprob, lpo_ref_logprob_scratch},
    [LPO_OP_LOGPROB_BWD] = {lpo_ref_logprob_bwd, lpo_ref_logprob_bwd_scratch},
    [LPO_OP_ADAMW] = {lpo_ref_adamw, NULL},
    [LPO_OP_SQNORM] = {lpo_ref_sqnorm, NULL},
    [LPO_OP_FILL] = {lpo_ref_fill, NULL},
    [LPO_OP_CAST] = {lpo_ref_cast, NULL},
    [LPO_OP_DROPOUT] = {lpo_ref_dropout, NULL},
    [LPO_OP_LEVELS] = {lpo_ref_levels, NULL},
};
