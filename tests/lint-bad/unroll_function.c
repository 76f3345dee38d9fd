/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: unroll */
static int sum(const int *in, int n) {
#pragma HLS PIPELINE II = 4
    int total = 0;
    for (int i = 0; i < n; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 64
        total += in[i];
    }
    return total;
}
void kernel(const int *in, int *out, int n) {
    *out = sum(in, n);
}
