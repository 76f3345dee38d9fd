// SPDX-License-Identifier: Apache-2.0
// preprocess_top.cpp -- what v++ sees: the kernel's name and ports around the C core, in the order and bundles of abi.def
// (tests/emu/hls_abi.c compares). Never synthesised: no Vitis was run.
#include "hls/abi.h"

extern "C" void preprocess(const uint8_t *plane0, const uint8_t *plane1, const uint8_t *plane2,
    const int32_t *horz_taps, const int32_t *vert_taps, const int32_t *blur_horz_taps,
    const int32_t *blur_vert_taps, const int32_t *schedule, const uint32_t *levels, uint8_t *rgb,
    uint32_t *patches_f32, uint16_t *patches_bf16, int32_t pixfmt, int32_t matrix, int32_t full_range,
    int32_t width, int32_t height, int32_t pitch0, int32_t pitch1, int32_t pitch2, int32_t crop_x,
    int32_t crop_y, int32_t crop_w, int32_t crop_h, int32_t out_w, int32_t out_h, int32_t mode,
    int32_t horz_stride, int32_t vert_stride, int32_t blur_horz_stride, int32_t blur_vert_stride,
    int32_t grey, int32_t hflip, int32_t noise_scale, uint32_t noise_key0, uint32_t noise_key1,
    int32_t n_steps, int32_t want_rgb, int32_t patch_type, int32_t patch, int32_t merge, int32_t temporal,
    int32_t grid_t, int32_t slot, int32_t n_slots) {
#pragma HLS INTERFACE m_axi port = plane0 offset = slave bundle = gmem0 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = plane1 offset = slave bundle = gmem1 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = plane2 offset = slave bundle = gmem2 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = horz_taps offset = slave bundle = gmem3 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = vert_taps offset = slave bundle = gmem4 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = blur_horz_taps offset = slave bundle = gmem5 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = blur_vert_taps offset = slave bundle = gmem6 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = schedule offset = slave bundle = gmem7 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = levels offset = slave bundle = gmem7 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = rgb offset = slave bundle = gmem8 latency = 70 num_write_outstanding = 16 max_write_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = patches_f32 offset = slave bundle = gmem9 latency = 70 num_write_outstanding = 16 max_write_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = patches_bf16 offset = slave bundle = gmem10 latency = 70 num_write_outstanding = 16 max_write_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE s_axilite port = return
    lpo_hls_preprocess(plane0, plane1, plane2, horz_taps, vert_taps, blur_horz_taps, blur_vert_taps,
        schedule, levels, rgb, patches_f32, patches_bf16, pixfmt, matrix, full_range, width, height, pitch0,
        pitch1, pitch2, crop_x, crop_y, crop_w, crop_h, out_w, out_h, mode, horz_stride, vert_stride,
        blur_horz_stride, blur_vert_stride, grey, hflip, noise_scale, noise_key0, noise_key1, n_steps,
        want_rgb, patch_type, patch, merge, temporal, grid_t, slot, n_slots);
}
