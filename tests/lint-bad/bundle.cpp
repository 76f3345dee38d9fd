/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: bundle */
static void load(int to[64], const int *in) {
    for (int k = 0; k < 64; k++) to[k] = in[k];
}
static void store(int *out, const int from[64]) {
    for (int k = 0; k < 64; k++) out[k] = from[k];
}
static void core(const int *in, int *out) {
#pragma HLS DATAFLOW
    int a[64];
    load(a, in);
    store(out, a);
}
extern "C" void kernel(const int *in, int *out) {
#pragma HLS INTERFACE m_axi port = in offset = slave bundle = gmem0 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = out offset = slave bundle = gmem0 latency = 70 num_write_outstanding = 16 max_write_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE s_axilite port = return
    core(in, out);
}
