// SPDX-License-Identifier: Apache-2.0
// group_advantage_top.cpp -- what v++ sees: the kernel's name and ports around the C core, in the order and bundles of abi.def
// (tests/emu/hls_abi.c compares). Never synthesised: no Vitis was run.
#include "hls/abi.h"

extern "C" void group_advantage(const float *reward, const float *value, const uint32_t *seg_start, float *advantage,
    double *group_out, uint32_t opcode, uint32_t n_groups, double eps, double gamma, double lambda) {
#pragma HLS INTERFACE m_axi port = reward offset = slave bundle = gmem0 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = value offset = slave bundle = gmem1 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = seg_start offset = slave bundle = gmem2 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = advantage offset = slave bundle = gmem3 latency = 70 num_write_outstanding = 16 max_write_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = group_out offset = slave bundle = gmem4 latency = 70 num_write_outstanding = 16 max_write_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE s_axilite port = return
    lpo_hls_group_advantage(reward, value, seg_start, advantage, group_out, opcode, n_groups, eps, gamma,
        lambda);
}
