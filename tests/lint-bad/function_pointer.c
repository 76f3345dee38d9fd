/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: function-pointer */
static int twice(int x) {
    return 2 * x;
}
void kernel(int *out) {
    int (*f)(int);
    f = twice;
    *out = (f != 0);
}
