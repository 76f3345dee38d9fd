/* SPDX-License-Identifier: Apache-2.0 */
/* summary.h -- what a trace says about its steps: who was busy, who waited for whom, what moved.
 * The window is the last steps of the trace; the first ones (warm-up: caches cold, memory still growing) are
 * left out. A stage's time is its own: what stands inside its spans under another name is not counted twice.
 * "op" spans are the inside of forward and backward and are listed apart. */
#ifndef LPO_PROFILE_SUMMARY_H
#define LPO_PROFILE_SUMMARY_H
#include "base/trace.h"

typedef struct lpo_stage_time {
    const char *stage, *device; /* as lpo_span has them; of an op: its name */
    bool modelled, emulated;    /* emulated: the wall clock of HLS C or a software card: no hardware's */
    int64_t n;                  /* spans */
    double busy_s;              /* of the window, any thread at it */
    double thread_s;            /* summed over threads */
    double bytes, flops;
} lpo_stage_time;

typedef struct lpo_level { /* a counter over the window: mean over time */
    const char *name;
    double mean, min, max;
} lpo_level;

enum { LPO_SUMMARY_ROWS = 96, LPO_SUMMARY_LEVELS = 32 };

typedef struct lpo_summary {
    int n_steps, n_skipped; /* n_steps 0: no steps, the window is the whole trace */
    double window_s;
    double step_s, step_min_s, step_max_s;  /* means and extremes of the window's steps; step_s 0 = window */
    lpo_stage_time stage[LPO_SUMMARY_ROWS]; /* in the order of the flow of data */
    int n_stages;
    lpo_stage_time op[LPO_SUMMARY_ROWS]; /* slowest first */
    int n_ops;
    lpo_level level[LPO_SUMMARY_LEVELS];
    int n_levels;
    double data_s, overlap_s; /* of the window: some data stage at work; that, beside the step's own work */
    double frames, tokens;    /* of the window */
    double all_frames, frame_pixels, prep_pixels, decode_s, preprocess_s; /* of the whole trace; a frame's
                                                                             pixels before and after; thread
                                                                             seconds */
    double vocab, threads;
    bool bf16, is_emulation; /* the run's cards are software ones */
    uint64_t n_dropped;
} lpo_summary;

/* last_steps: how many steps the window holds at most; 0: all but the first tenth (one at least). tail: steps
 * at the end that are left out: by then nobody makes batches any more. */
lpo_status lpo_summary_make(lpo_summary *out, const lpo_trace_log *log, int last_steps, int tail,
                            lpo_error *err);
/* The first such row, or NULL. device NULL: any. */
const lpo_stage_time *lpo_summary_find(const lpo_summary *s, const char *stage, const char *device);
/* "wait:data": time in which the thread did nothing. */
bool lpo_stage_is_wait(const char *stage);
#endif
