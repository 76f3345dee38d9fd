/* SPDX-License-Identifier: Apache-2.0 */
/* trace.h -- where the time goes: spans and counters from any thread, kept in memory until they are read.
 * One account for the process, because a stage does not know who runs it. Off (the default) a call costs one
 * atomic load; on, the events of a thread go to that thread's own chunk, so nothing waits. Names are copied
 * once each. */
#ifndef LPO_BASE_TRACE_H
#define LPO_BASE_TRACE_H
#include <stdbool.h>
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
/* The value of a quantity from now on: a queue's depth ("queue:batches"), bytes held. */
void lpo_trace_count(const char *name, double value);
#endif
