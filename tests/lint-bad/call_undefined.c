/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: undefined-call */
int elsewhere(int x);
void kernel(int *out) {
    *out = elsewhere(1);
}
