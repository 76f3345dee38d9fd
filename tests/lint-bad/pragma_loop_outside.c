/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: pragma-place */
void kernel(const int *in, int *out) {
#pragma HLS UNROLL factor = 8
    for (int i = 0; i < 64; i++) out[i] = in[i];
}
