/* SPDX-License-Identifier: Apache-2.0 */
/* timed.c -- a kernel that models itself: n clocks and 9 more, 8 bytes a turn. */
#include "hls/timing.h"

void timed(const int *a, int *out, int n) {
    HLS_STAGE(0);
    HLS_LOOP(n, 1, 10);
    HLS_BURST(8 * n);
    for (int i = 0; i < n; i++) out[i] = a[i];
}
