/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: function-pointer */
typedef struct op {
    int (*run)(int);
} op;
static int apply(op o) {
    return o.run(1);
}
void kernel(op o, int *out) {
    *out = apply(o);
}
