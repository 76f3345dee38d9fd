/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: dataflow-shared */
static void load(int to[64], const int *in) {
    for (int k = 0; k < 64; k++) to[k] = in[k];
}
static void add(int to[64], const int from[64], int n) {
    for (int k = 0; k < 64; k++) to[k] = from[k] + n;
}
static void store(int *out, const int from[64]) {
    for (int k = 0; k < 64; k++) out[k] = from[k];
}
void kernel(const int *in, int *out, int n) {
    int total[64];
    for (int i = 0; i < n; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 64
#pragma HLS DATAFLOW
        int a[64];
        load(a, in);
        add(total, a, i);
        store(out, total);
    }
}
