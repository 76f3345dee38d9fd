/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: dependence */
void kernel(const int *in, int *out) {
    int bins[16] = {0};
    for (int i = 0; i < 64; i++) {
#pragma HLS PIPELINE II = 1
#pragma HLS DEPENDENCE variable = bins type = inter distance = 4
        bins[in[i] & 15]++;
    }
    *out = bins[0];
}
