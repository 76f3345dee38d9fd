/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: variable */
void kernel(int *out) {
    int lanes[4] = {0, 0, 0, 0};
#pragma HLS ARRAY_PARTITION variable = lane complete
    *out = lanes[0];
}
