/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: pointer-cast */
typedef struct pixel {
    int r, g;
} pixel;
void kernel(const int *in, int *out) {
    *out = ((const pixel *)in)->g;
}
