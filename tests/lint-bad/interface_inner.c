/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: interface-place */
void kernel(int *out) {
#pragma HLS INTERFACE s_axilite port = return
    *out = 0;
}
