/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: option-value */
void kernel(int *out) {
    int lines[64] = {0};
#pragma HLS BIND_STORAGE variable = lines type = ram_2p impl = ultraram
    *out = lines[3];
}
