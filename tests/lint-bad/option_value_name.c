/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: option-value */
enum { FACTOR = 8 };
void kernel(const int *in, int *out) {
    for (int i = 0; i < 64; i++) {
#pragma HLS UNROLL factor = FACTOR
        out[i] = in[i];
    }
}
