/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: tripcount */
void kernel(const int *in, int *out, int n) {
    for (int i = 0; i < n; i++) out[i] = in[i];
}
