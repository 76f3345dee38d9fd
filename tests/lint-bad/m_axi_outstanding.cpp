/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: m-axi */
extern "C" void kernel(int *out, int n) {
#pragma HLS INTERFACE m_axi port = out offset = slave bundle = gmem0 latency = 70 num_read_outstanding = 16 max_write_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE s_axilite port = return
    *out = n;
}
