// SPDX-License-Identifier: Apache-2.0
// reward_reduce_top.cpp -- what v++ sees: the kernel's name and ports around the C core, in the order and bundles of abi.def
// (tests/emu/hls_abi.c compares). Never synthesised: no Vitis was run.
#include "hls/abi.h"

extern "C" void reward_reduce(const float *logp, const float *shards, const double *weight, const double *coef_weight,
    const uint32_t *seg_start, const double *pair_in, float *coef, double *pair_out, double *batch_out, uint32_t opcode,
    uint32_t score, uint32_t flags, uint32_t n_pairs, uint32_t n_shards, uint32_t weighted, uint32_t want_coef, double beta,
    double tau, double alpha) {
#pragma HLS INTERFACE m_axi port = logp offset = slave bundle = gmem0 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = shards offset = slave bundle = gmem1 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = weight offset = slave bundle = gmem2 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = coef_weight offset = slave bundle = gmem3 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = seg_start offset = slave bundle = gmem4 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = pair_in offset = slave bundle = gmem5 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = coef offset = slave bundle = gmem6 latency = 70 num_write_outstanding = 16 max_write_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = pair_out offset = slave bundle = gmem7 latency = 70 num_write_outstanding = 16 max_write_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = batch_out offset = slave bundle = gmem8 latency = 70 num_write_outstanding = 16 max_write_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE s_axilite port = return
    lpo_hls_reward_reduce(logp, shards, weight, coef_weight, seg_start, pair_in, coef, pair_out, batch_out, opcode, score, flags,
        n_pairs, n_shards, weighted, want_coef, beta, tau, alpha);
}
