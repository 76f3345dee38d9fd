/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: m-axi */
extern "C" void kernel(const int *in, int n) {
#pragma HLS INTERFACE m_axi port = in offset = slave bundle = gmem0 latency = 70 num_read_outstanding = 16 max_read_burst_length = 128 max_widen_bitwidth = 512
#pragma HLS INTERFACE s_axilite port = return
    (void)in;
    (void)n;
}
