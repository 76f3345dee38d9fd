/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: option-unknown */
void kernel(const int *in, int *out) {
    for (int i = 0; i < 64; i++) {
#pragma HLS PIPELINE interval = 1
        out[i] = in[i];
    }
}
