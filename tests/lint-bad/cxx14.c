/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: compile */
/* C alone: in C++ this is a keyword. */
void kernel(int *out) {
    int class = 1;
    *out = class;
}
