/* SPDX-License-Identifier: Apache-2.0 */
/* timing.h -- what a kernel tells the timing model, nothing under synthesis.
 * A kernel is one DATAFLOW region of stages. HLS_STAGE(id) opens a stage; HLS_LOOP(trip, ii, depth) adds
 * ii*(trip-1)+depth clocks to it; HLS_BURST(bytes) notes memory traffic of the stage. In a region that
 * repeats, stages overlap: the region takes its slowest stage, and before that fills: every stage before the
 * slowest must run once, and every one behind it once more. All of it is modelled, never measured. */
#ifndef LPO_HLS_TIMING_H
#define LPO_HLS_TIMING_H
#include <stdint.h>

enum { HLS_MAX_STAGES = 16, HLS_CLOCK_HZ = 300000000 };

typedef struct lpo_hls_timing {
    uint64_t cycles[HLS_MAX_STAGES];  /* total */
    uint64_t longest[HLS_MAX_STAGES]; /* single execution */
    uint64_t bytes[HLS_MAX_STAGES];   /* of memory traffic */
    uint64_t current;                 /* clocks of the execution in progress */
    int stage;                        /* -1: none yet */
} lpo_hls_timing;

#ifdef __cplusplus
extern "C" {
#endif
/* Clears this thread's account, which the kernels called next on it fill. */
void lpo_hls_timing_begin(void);
void lpo_hls_timing_get(lpo_hls_timing *out);
/* Clocks of the whole region by the rule above. */
uint64_t lpo_hls_timing_region(const lpo_hls_timing *t);

void lpo_hls_timing_stage(int id);
void lpo_hls_timing_loop(uint64_t trip, uint64_t ii, uint64_t depth);
void lpo_hls_timing_burst(uint64_t bytes);
#ifdef __cplusplus
}
#endif

#ifdef __SYNTHESIS__
#define HLS_STAGE(id)
#define HLS_LOOP(trip, ii, depth)
#define HLS_BURST(bytes)
#else
#define HLS_STAGE(id)             lpo_hls_timing_stage(id)
#define HLS_LOOP(trip, ii, depth) lpo_hls_timing_loop((uint64_t)(trip), ii, depth)
#define HLS_BURST(bytes)          lpo_hls_timing_burst((uint64_t)(bytes))
#endif
#endif
