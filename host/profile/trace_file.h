/* SPDX-License-Identifier: Apache-2.0 */
/* trace_file.h -- a trace as a file: Chrome's trace JSON, which Perfetto and chrome://tracing open.
 * A process per device, a thread per track; modelled spans stand in processes of their own, "modelled:
 * DEVICE", and what a software card did in "emulated: CARD": measured, but not on hardware. Counters are
 * events of phase "C". Times are microseconds from the first event. Everything a span holds is in its args,
 * so the file can be read back. */
#ifndef LPO_PROFILE_TRACE_FILE_H
#define LPO_PROFILE_TRACE_FILE_H
#include "base/trace.h"

lpo_status lpo_trace_save(const char *path, const lpo_trace_log *log, lpo_error *err);
/* What lpo_trace_save wrote; times begin at 0. Refuses what it cannot read with the event's number. */
lpo_status lpo_trace_load(lpo_trace_log *out, const char *path, lpo_error *err);

/* A run's timing.jsonl as such a log: steps and their parts. */
lpo_status lpo_timing_load(lpo_trace_log *out, const char *path, lpo_error *err);

/* Adds the spans of a software card's trace (the JSON lines of $LEANPO_CARD_TRACE) that lie within the log's
 * time: a job's wall clock on device "emulated:CARD", its cycles over the kernel clock as a modelled span of
 * device CARD. A file that is not there adds nothing. */
lpo_status lpo_trace_merge_card(lpo_trace_log *log, const char *path, lpo_error *err);

/* Stops recording. The process's own trace with the card's, from $LEANPO_CARD_TRACE, into path. */
lpo_status lpo_trace_save_now(const char *path, lpo_error *err);
#endif
