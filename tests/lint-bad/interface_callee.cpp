/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: interface-place */
extern "C" void inner(int n) {
#pragma HLS INTERFACE s_axilite port = n
    (void)n;
}
extern "C" void kernel(int n) {
#pragma HLS INTERFACE s_axilite port = return
    inner(n);
}
