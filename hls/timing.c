/* SPDX-License-Identifier: Apache-2.0 */
/* timing.c -- the account behind timing.h, one a thread. Host code, never synthesised. */
#include "hls/timing.h"

static __thread lpo_hls_timing account;

static void close_stage(void) {
    if (account.stage < 0) return;
    int s = account.stage;
    account.cycles[s] += account.current;
    if (account.current > account.longest[s]) account.longest[s] = account.current;
    account.current = 0;
}

void lpo_hls_timing_begin(void) {
    const lpo_hls_timing zero = {{0}, {0}, {0}, 0, -1};
    account = zero;
}

void lpo_hls_timing_get(lpo_hls_timing *out) {
    close_stage();
    *out = account;
}

uint64_t lpo_hls_timing_region(const lpo_hls_timing *t) {
    int slowest = 0;
    uint64_t total = 0;
    for (int s = 1; s < HLS_MAX_STAGES; s++)
        if (t->cycles[s] > t->cycles[slowest]) slowest = s;
    for (int s = 0; s < HLS_MAX_STAGES; s++) total += s == slowest ? t->cycles[s] : t->longest[s];
    return total;
}

void lpo_hls_timing_stage(int id) {
    close_stage();
    account.stage = id;
}

void lpo_hls_timing_loop(uint64_t trip, uint64_t ii, uint64_t depth) {
    if (trip) account.current += ii * (trip - 1) + depth;
}

void lpo_hls_timing_burst(uint64_t bytes) {
    if (account.stage >= 0) account.bytes[account.stage] += bytes;
}
