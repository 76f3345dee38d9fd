/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: pointer-cast */
void kernel(int *out) {
    *out = (int)(unsigned long)out;
}
