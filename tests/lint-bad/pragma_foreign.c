/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: pragma-unknown */
void kernel(const int *in, int *out) {
#pragma omp parallel for
    for (int i = 0; i < 64; i++) out[i] = in[i];
}
