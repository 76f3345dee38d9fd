/* SPDX-License-Identifier: Apache-2.0 */
/* ops.h -- opcodes of reward_reduce and the rows it writes.
 * An opcode is an objective of docs/objectives.md whose gradient is one number a response. The scalars beta,
 * gamma and eps mean what they mean there; `extra` and the last two columns of pair_in depend on the opcode.
 */
#ifndef LPO_HLS_REWARD_REDUCE_OPS_H
#define LPO_HLS_REWARD_REDUCE_OPS_H

/* X(opcode, objective) */
#define HLS_OP_LIST(X)                                                                                       \
    X(LEANPO, "leanpo")        /* eps of each pair in pair_in[2] */                                          \
    X(LEANPO_MARGIN, "leanpo") /* eps_max in eps, tau in extra: smoothing=margin */                          \
    X(SIMPO, "simpo")                                                                                        \
    X(DPO, "dpo") /* and cdpo, sapo_dpo */                                                                   \
    X(RDPO, "rdpo")                                                                                          \
    X(IPO, "ipo")                                                                                            \
    X(IPO_SUM, "ipo_sum")                                                                                    \
    X(SIGMOID_NORM, "sigmoid_norm")                                                                          \
    X(HINGE, "hinge")                                                                                        \
    X(RPO, "rpo")                 /* extra: eta */                                                           \
    X(RPO_AVERAGE, "rpo_average") /* extra: nll */                                                           \
    X(UPO, "upo")                 /* eps of each pair (BALD/(2 ln 2)) in pair_in[2]; extra: lambda */        \
    X(SPPO, "sppo")               /* p_w, p_l in pair_in[2], pair_in[3] */                                   \
    X(SPPO_HARD, "sppo_hard")                                                                                \
    X(NCA_PAIR, "nca_pair")                                                                                  \
    X(BCO_PAIR, "bco_pair")                                                                                  \
    X(APO_ZERO, "apo_zero")                                                                                  \
    X(APO_DOWN, "apo_down")                                                                                  \
    X(SFT, "sft")

enum {
#define HLS_X(op, name) HLS_OP_##op,
    HLS_OP_LIST(HLS_X)
#undef HLS_X
        HLS_N_OPS
};

/* Columns of pair_out, one row a pair: sums of log-probabilities, the pair's loss, derivatives of the batch's
 * loss by the sums, rewards, smoothing. */
enum {
    HLS_PAIR_S_W,
    HLS_PAIR_S_L,
    HLS_PAIR_LOSS,
    HLS_PAIR_G_W,
    HLS_PAIR_G_L,
    HLS_PAIR_REWARD_W,
    HLS_PAIR_REWARD_L,
    HLS_PAIR_EPS,
    HLS_PAIR_COLUMNS
};

/* batch_out: means over the pairs, the share of pairs with reward chosen > rejected, tokens. */
enum {
    HLS_BATCH_LOSS,
    HLS_BATCH_REWARD_W,
    HLS_BATCH_REWARD_L,
    HLS_BATCH_ACCURACY,
    HLS_BATCH_MARGIN,
    HLS_BATCH_EPS,
    HLS_BATCH_TOKENS_W,
    HLS_BATCH_TOKENS_L,
    HLS_BATCH_COLUMNS
};
#endif
