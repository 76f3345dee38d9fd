/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: pragma-place */
#pragma HLS INLINE off
void kernel(int *out) {
    *out = 0;
}
