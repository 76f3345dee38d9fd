/* SPDX-License-Identifier: Apache-2.0 */
/* accepted: a kernel's top, its ports and two that share a bundle because they take turns */
static void load(int to[64], const int *in) {
    for (int k = 0; k < 64; k++) to[k] = in[k];
}
static void store(int *out, const int from[64]) {
    for (int k = 0; k < 64; k++) out[k] = from[k];
}
static void core(const int *table, const int *in, int *out, int n) {
    int offset[64];
    load(offset, table);
    for (int i = 0; i < n; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 1024
#pragma HLS DATAFLOW
        int a[64];
        load(a, in);
        store(out, a);
    }
}
extern "C" void kernel(const int *table, const int *in, int *out, int n) {
#pragma HLS INTERFACE m_axi port = table offset = slave bundle = gmem0 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = in offset = slave bundle = gmem0 latency = 70 num_read_outstanding = 16 max_read_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE m_axi port = out offset = slave bundle = gmem1 latency = 70 num_write_outstanding = 16 max_write_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE s_axilite port = n
#pragma HLS INTERFACE s_axilite port = return
    core(table, in, out, n);
}
