// SPDX-License-Identifier: Apache-2.0
// vocab_logprob_top.cpp -- what v++ sees: the kernel's name and ports around the C core, in the order and bundles of abi.def
// (tests/emu/hls_abi.c compares). Never synthesised: no Vitis was run.
#include "hls/abi.h"

extern "C" void vocab_logprob(const uint16_t *logits, const int32_t *target, float *logp, float *shard,
    uint32_t n_tokens, uint32_t n_valid, uint32_t stride) {
#pragma HLS INTERFACE m_axi port = logits offset = slave bundle = gmem0 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = target offset = slave bundle = gmem1 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = logp offset = slave bundle = gmem2 latency = 70 num_write_outstanding = 16 max_write_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = shard offset = slave bundle = gmem3 latency = 70 num_write_outstanding = 16 max_write_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE s_axilite port = return
    lpo_hls_vocab_logprob(logits, target, logp, shard, n_tokens, n_valid, stride);
}
