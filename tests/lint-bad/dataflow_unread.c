/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: dataflow-consumer */
static void load(int to[64], const int *in) {
    for (int k = 0; k < 64; k++) to[k] = in[k];
}
static void add(int to[64], const int from[64], int n) {
    for (int k = 0; k < 64; k++) to[k] = from[k] + n;
}
static void store(int *out, const int from[64]) {
    for (int k = 0; k < 64; k++) out[k] = from[k];
}
void kernel(const int *in, const int *more, int *out, int n) {
#pragma HLS DATAFLOW
    int a[64];
    int b[64];
    int c[64];
    load(a, in);
    add(b, a, n);
    load(c, more);
    store(out, b);
}
