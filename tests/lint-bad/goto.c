/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: goto */
void kernel(int *out) {
    int i = 0;
again:
    if (++i < 4) goto again;
    *out = i;
}
