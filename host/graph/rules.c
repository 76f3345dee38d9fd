/* SPDX-License-Identifier: Apache-2.0 */
/* rules.c -- one line per op: what the tape must know to check it, differentiate it, place it in memory and
 * cost it. Bits of optional and diff number the arguments of kernels/op.h. An op without a shape rule is
 * recorded by backward only. */
#include "graph/ops.h"

const lpo_op_form lpo_op_forms[LPO_N_OPS] = {
#define LPO_X(id, name, n_args, out, inout) [LPO_OP_##id] = {name, n_args, out, inout},
    LPO_OP_LIST(LPO_X)
#undef LPO_X
};

/* clang-format off */
const lpo_rule lpo_rules[LPO_N_OPS] = {
    /*                        shape                  backward              flops                  optional  diff  alias */
    [LPO_OP_LINEAR]      = {lpo_linear_shape,      lpo_linear_backward,  lpo_linear_flops,      1u << 3,           1u << 1 | 1u << 2 | 1u << 3, 0},
    [LPO_OP_LINEAR_DX]   = {NULL,                  NULL,                 lpo_linear_dx_flops,   0,                 0,                           0},
    [LPO_OP_LINEAR_DW]   = {NULL,                  NULL,                 lpo_linear_dw_flops,   1u << 1,           0,                           0},
    [LPO_OP_NORM]        = {lpo_norm_shape,        lpo_norm_backward,    NULL,                  1u << 5,           1u << 3 | 1u << 4 | 1u << 5, 0},
    [LPO_OP_NORM_BWD]    = {NULL,                  NULL,                 NULL,                  1u << 1 | 1u << 2, 0,                           0},
    [LPO_OP_ROPE]        = {lpo_rope_shape,        lpo_rope_backward,    NULL,                  0,                 1u << 1,                     1},
    [LPO_OP_ATTN]        = {lpo_attn_shape,        lpo_attn_backward,    lpo_attn_flops,        1u << 4,           1u << 2,                     0},
    [LPO_OP_ATTN_BWD]    = {NULL,                  NULL,                 lpo_attn_bwd_flops,    1u << 6,           0,                           0},
    [LPO_OP_ATTN_CACHED] = {lpo_attn_cached_shape, NULL,                 NULL,                  0,                 1u << 2,                     0},
    [LPO_OP_ACT]         = {lpo_act_shape,         lpo_act_backward,     NULL,                  0,                 1u << 1,                     0},
    [LPO_OP_ADD]         = {lpo_add_shape,         lpo_add_backward,     NULL,                  0,                 1u << 1 | 1u << 2,           2},
    [LPO_OP_DROPOUT]     = {lpo_dropout_shape,     lpo_dropout_backward, NULL,                  0,                 1u << 1,                     0},
    [LPO_OP_EMBED]       = {lpo_embed_shape,       lpo_embed_backward,   NULL,                  0,                 1u << 1,                     0},
    [LPO_OP_ROWMIX]      = {lpo_rowmix_shape,      lpo_rowmix_backward,  NULL,                  1u << 2 | 1u << 4, 1u << 1 | 1u << 2,           0},
    [LPO_OP_ROWMIX_BWD]  = {NULL,                  NULL,                 NULL,                  1u << 1 | 1u << 4, 0,                           0},
    [LPO_OP_LOGPROB]     = {lpo_logprob_shape,     lpo_logprob_backward, lpo_logprob_flops,     1u << 2 | 1u << 3, 1u << 4 | 1u << 5,           0},
    [LPO_OP_LOGPROB_BWD] = {NULL,                  NULL,                 lpo_logprob_bwd_flops, 1u << 1,           0,                           0},
    [LPO_OP_LEVELS]      = {lpo_levels_shape,      NULL,                 NULL,                  0,                 0,                           0},
    [LPO_OP_CAST]        = {NULL,                  lpo_cast_backward,    NULL,                  0,                 1u << 1,                     0},
};
/* clang-format on */
