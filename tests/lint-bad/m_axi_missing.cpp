/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: m-axi */
extern "C" void kernel(int *out, int n) {
#pragma HLS INTERFACE s_axilite port = return
    *out = n;
}
