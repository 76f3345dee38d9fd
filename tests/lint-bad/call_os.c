/* SPDX-License-Identifier: Apache-2.0 */
/* rejects: os-call */
#include <stdio.h>
void kernel(int *out) {
    *out = puts("here");
}
