/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: port */
extern "C" void kernel(int n) {
#pragma HLS INTERFACE s_axilite port = m
#pragma HLS INTERFACE s_axilite port = return
    (void)n;
}
