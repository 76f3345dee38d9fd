/* SPDX-License-Identifier: Apache-2.0 */
/* trace.h -- where the time goes: spans and counters from any thread, kept in memory until they are read.
 * One account for the process, because a stage does not know who runs it. Off (the default) a call costs one
 * atomic load; on, the events of a thread go to that thread's own chunks, so nothing waits. Names are copied
 * once each and stand until the process ends. */
#ifndef LPO_BASE_TRACE_H
#define LPO_BASE_TRACE_H
#include "leanpo/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lpo_span {
    const char *stage;  /* what the user may place or knows: "decode", "preprocess", "tokenize", "forward",
                           "reduce",  "backward", "optimizer", "wait:data", "copy" ... */
    const char *device; /* "cpu", "csim", "fpga:0", "cuda:0"; one track of the chart each, a track per thread
                           within */
    const char *name;   /* finer: an op, a kernel with its CU, a file name; NULL: the stage's */
    double start_s, seconds; /* lpo_now_s() clock; modelled spans: modelled seconds from the measured start */
    double bytes, flops;     /* moved, done; 0 unknown */
    bool modelled;           /* seconds come from a model, not from a clock */
} lpo_span;

bool lpo_trace_on(void);
void lpo_trace_put(const lpo_span *s);
/* The value of a quantity from now on: a queue's depth ("queue:batches"), bytes held ("bytes:frame_cache").
 * Names that begin with "n:" are amounts that came to pass now ("n:frames"): they are summed. */
void lpo_trace_count(const char *name, double value);

/* A measured span in two lines: double t = lpo_trace_begin(); ...; lpo_trace_end(t, "forward", "cpu", NULL,
 * 0, 0); begin is 0 when tracing is off, and end then does nothing. */
double lpo_trace_begin(void);
void lpo_trace_end(double begin, const char *stage, const char *device, const char *name, double bytes,
                   double flops);
/* What the calling thread's track is called ("data worker"), if tracing is on. */
void lpo_trace_thread(const char *name);

/* ---- for those who read it ---- */

enum { LPO_TRACE_MAX_EVENTS = 1 << 21 }; /* further ones are counted, not kept */

void lpo_trace_start(void); /* forgets what was kept, then keeps */
void lpo_trace_stop(void);  /* what was kept can still be read */

typedef struct lpo_trace_span {
    lpo_span span;
    int thread; /* index of log.thread */
} lpo_trace_span;
typedef struct lpo_trace_value {
    const char *name;
    double at_s, value;
} lpo_trace_value;
typedef struct lpo_trace_log {
    lpo_trace_span *span; /* by start; of two that start together the longer first: parents before children */
    size_t n_spans;
    lpo_trace_value *value; /* by time */
    size_t n_values;
    const char **thread; /* a track's name; one track serves one thread after another, never two at once */
    int n_threads;
    uint64_t n_dropped;
} lpo_trace_log;
/* A copy of what was kept so far; threads may go on recording. */
lpo_status lpo_trace_read(lpo_trace_log *out, lpo_error *err);
void lpo_trace_log_clear(lpo_trace_log *log); /* a zeroed one is fine */
/* The order above, for logs put together otherwise. */
void lpo_trace_log_sort(lpo_trace_log *log);
/* The one copy of a name, which lives as long as the process; NULL for NULL. Any thread. */
const char *lpo_trace_intern(const char *name);
#endif
