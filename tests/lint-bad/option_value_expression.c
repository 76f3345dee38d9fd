/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: option-value */
void kernel(const int *in, int *out) {
    for (int i = 0; i < 64; i++) {
#pragma HLS UNROLL factor = 2 * 4
        out[i] = in[i];
    }
}
