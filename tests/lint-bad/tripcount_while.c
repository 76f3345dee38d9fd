/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: tripcount */
void kernel(const int *in, int *out) {
    int n = 0;
    while (in[n]) n++;
    *out = n;
}
