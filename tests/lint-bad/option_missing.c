/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: option-missing */
void kernel(int *out) {
    int lanes[4] = {0, 0, 0, 0};
#pragma HLS ARRAY_PARTITION complete dim = 1
    *out = lanes[0];
}
