/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: pointer-to-pointer */
void kernel(const int *const *rows, int *out) {
    *out = rows[0][0];
}
