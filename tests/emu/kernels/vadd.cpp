/* SPDX-License-Identifier: Apache-2.0 */
/* vadd.cpp -- as in the vendor's examples: two loads, an adder and a store joined by streams. */
#include <hls_stream.h>

static void load(const int *from, hls::stream<int> &to, int n) {
    for (int i = 0; i < n; i++) {
#pragma HLS PIPELINE II = 1
        to << from[i];
    }
}

static void add(hls::stream<int> &a, hls::stream<int> &b, hls::stream<int> &sum, int n) {
    for (int i = 0; i < n; i++) sum << a.read() + b.read();
}

static void store(hls::stream<int> &from, int *to, int n) {
    for (int i = 0; i < n; i++) to[i] = from.read();
}

extern "C" void vadd(const int *a, const int *b, int *out, int n) {
#pragma HLS INTERFACE m_axi port = a bundle = gmem0
#pragma HLS INTERFACE m_axi port = b bundle = gmem1
#pragma HLS INTERFACE m_axi port = out bundle = gmem0
    hls::stream<int> sa("a"), sb("b"), sum("sum");
#pragma HLS DATAFLOW
    load(a, sa, n);
    load(b, sb, n);
    add(sa, sb, sum, n);
    store(sum, out, n);
}
