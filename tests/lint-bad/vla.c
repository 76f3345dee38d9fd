/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: vla */
void kernel(const int *in, int *out, int n) {
    int line[n];
    line[0] = in[0];
    *out = line[0];
}
