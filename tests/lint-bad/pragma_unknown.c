/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: pragma-unknown */
void kernel(const int *in, int *out) {
    for (int i = 0; i < 64; i++) {
#pragma HLS PIPLINE II = 1
        out[i] = in[i];
    }
}
