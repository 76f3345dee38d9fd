/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: unroll */
void kernel(const int *in, int *out, int n) {
    for (int i = 0; i < 64; i++) {
#pragma HLS PIPELINE II = 1
        int sum = 0;
        for (int k = 0; k < n; k++) {
#pragma HLS LOOP_TRIPCOUNT max = 8
            sum += in[i + k];
        }
        out[i] = sum;
    }
}
