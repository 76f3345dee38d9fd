/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: recursion */
static int sum(int n) {
    return n ? n + sum(n - 1) : 0;
}
void kernel(int *out) {
    *out = sum(4);
}
