/* SPDX-License-Identifier: Apache-2.0 */
/* profile.h -- where a run's time went, read from the trace.json it wrote (leanpo train --trace stages). */
#ifndef LEANPO_PROFILE_H
#define LEANPO_PROFILE_H
#include "leanpo/status.h"

typedef struct lpo_profile_options {
    const char *trace; /* trace.json, or a run folder that holds one */
    int last_steps;    /* of the trace that count; 0: all but the first tenth */
    int tail;          /* steps at the trace's end that do not: the loader has no more to make */
    int no_roofline;   /* do not measure what this machine can do (about a second) */
} lpo_profile_options;

/* What people read and what programs read, of one trace (malloc'd; either may be NULL when not wanted). Every
 * line of the text ends in [measured], [modelled] or [emulated]; every object of the JSON that holds a figure
 * has the same word as its "tag". */
LPO_API lpo_status lpo_profile_read(char **text, char **json, const lpo_profile_options *o, lpo_error *err);

/* Recording, for a program that wants a trace of its own work: everything between start and save. */
LPO_API void lpo_profile_start(void);
LPO_API lpo_status lpo_profile_save(const char *path, lpo_error *err);
#endif
