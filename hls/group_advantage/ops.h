/* SPDX-License-Identifier: Apache-2.0 */
/* ops.h -- opcodes of group_advantage. */
#ifndef LPO_HLS_GROUP_ADVANTAGE_OPS_H
#define LPO_HLS_GROUP_ADVANTAGE_OPS_H
enum {
    HLS_ADV_GRPO,    /* (r - mean)/(deviation + eps), deviation of n-1; a group of one has none */
    HLS_ADV_DR_GRPO, /* r - mean */
    HLS_ADV_RLOO,    /* r - mean of the others */
    HLS_ADV_GAE,     /* sum of (gamma lambda)^k (r + gamma V' - V) over later tokens */
    HLS_ADV_MAX_GROUP = 16384
};
#endif
