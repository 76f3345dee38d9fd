/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: recursion */
static int odd(int n);
static int even(int n) {
    return n ? odd(n - 1) : 1;
}
static int odd(int n) {
    return n ? even(n - 1) : 0;
}
void kernel(int *out) {
    *out = even(4);
}
