/* SPDX-License-Identifier: Apache-2.0 */
/* plain.c -- kernels in C: the same sum without streams, every kind of scalar, state kept in a static, and
 * one that misbehaves on request. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

void sum(const int *a, const int *b, int *out, int n) {
    for (int i = 0; i < n; i++) out[i] = a[i] + b[i];
}

void scalars(double *out, float f, double d, uint64_t u, int64_t i, uint8_t small, int16_t minus, bool yes,
             unsigned n) {
    const double all[] = {(double)f, d, (double)u, (double)i, small, minus, yes, n};
    for (int k = 0; k < 8; k++) out[k] = all[k];
}

void counter(int *out) {
    static int runs;
    *out = ++runs;
}

void mood(int what) {
    if (what == 1) abort();
    if (what == 2) exit(3);
    if (what == 3) *(volatile int *)8 = 1;
    while (what == 4) pause();
    for (volatile int turning = what == 5; turning;) continue;
}
