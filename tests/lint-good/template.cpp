/* SPDX-License-Identifier: Apache-2.0 */
/* accepted: a template and a method, which C++ kernels of others use */
struct pair {
    int a, b;
    int sum() const {
        return a + b;
    }
};
template <class T> static T twice(T x) {
    return x + x;
}
extern "C" void kernel(int *out) {
#pragma HLS INTERFACE m_axi port = out offset = slave bundle = gmem0 latency = 70 num_write_outstanding = 16 max_write_burst_length = 32 max_widen_bitwidth = 512
#pragma HLS INTERFACE s_axilite port = return
    pair p = {1, 2};
    *out = twice(p.sum());
}
