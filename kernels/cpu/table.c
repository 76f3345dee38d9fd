/* SPDX-License-Identifier: Apache-2.0 */
/* table.c -- the fast set: every op there is. */
#include "kernels/cpu/cpu.h"

const lpo_kernel lpo_kernels_cpu[LPO_N_OPS] = {
    [LPO_OP_LINEAR] = {lpo_cpu_linear, lpo_cpu_linear_scratch},
    [LPO_OP_LINEAR_DX] = {lpo_cpu_linear_dx, lpo_cpu_linear_dx_scratch},
    [LPO_OP_LINEAR_DW] = {lpo_cpu_linear_dw, lpo_cpu_linear_dw_scratch},
    [LPO_OP_NORM] = {lpo_cpu_norm, lpo_cpu_norm_scratch},
    [LPO_OP_NORM_BWD] = {lpo_cpu_norm_bwd, lpo_cpu_norm_bwd_scratch},
    [LPO_OP_ROPE] = {lpo_cpu_rope, NULL},
    [LPO_OP_ATTN] = {lpo_cpu_attn, lpo_cpu_attn_scratch},
    [LPO_OP_ATTN_BWD] = {lpo_cpu_attn_bwd, lpo_cpu_attn_bwd_scratch},
    [LPO_OP_ATTN_CACHED] = {lpo_cpu_attn_cached, lpo_cpu_attn_cached_scratch},
    [LPO_OP_ACT] = {lpo_cpu_act, NULL},
    [LPO_OP_ACT_BWD] = {lpo_cpu_act_bwd, NULL},
    [LPO_OP_ADD] = {lpo_cpu_add, NULL},
    [LPO_OP_EMBED] = {lpo_cpu_embed, NULL},
    [LPO_OP_EMBED_BWD] = {lpo_cpu_embed_bwd, NULL},
    [LPO_OP_ROWMIX] = {lpo_cpu_rowmix, NULL},
    [LPO_OP_ROWMIX_BWD] = {lpo_cpu_rowmix_bwd, lpo_cpu_rowmix_bwd_scratch},
    [LPO_OP_LOGPROB] = {lpo_cpu_logprob, lpo_cpu_logprob_scratch},
    [LPO_OP_LOGPROB_BWD] = {lpo_cpu_logprob_bwd, lpo_cpu_logprob_bwd_scratch},
    [LPO_OP_ADAMW] = {lpo_cpu_adamw, NULL},
    [LPO_OP_SQNORM] = {lpo_cpu_sqnorm, lpo_cpu_sqnorm_scratch},
    [LPO_OP_FILL] = {lpo_cpu_fill, NULL},
    [LPO_OP_CAST] = {lpo_cpu_cast, NULL},
    [LPO_OP_DROPOUT] = {lpo_cpu_dropout, NULL},
    [LPO_OP_LEVELS] = {lpo_cpu_levels, NULL},
};
