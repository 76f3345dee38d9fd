// SPDX-License-Identifier: Apache-2.0
// frame_score_top.cpp -- what v++ sees: the kernel's name and ports around the C core, in the order and bundles of abi.def
// (tests/emu/hls_abi.c compares). Never synthesised: no Vitis was run.
#include "hls/abi.h"

extern "C" void frame_score(const uint8_t *rgb, const uint8_t *previous, uint32_t *histogram, double *score,
    uint32_t n_pixels, uint32_t has_previous) {
#pragma HLS INTERFACE m_axi port = rgb offset = slave bundle = gmem0 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = previous offset = slave bundle = gmem1 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = histogram offset = slave bundle = gmem2 latency = 70 num_write_outstanding = 16 max_write_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = score offset = slave bundle = gmem3 latency = 70 num_write_outstanding = 16 max_write_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE s_axilite port = return
    lpo_hls_frame_score(rgb, previous, histogram, score, n_pixels, has_previous);
}
