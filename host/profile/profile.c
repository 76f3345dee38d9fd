/* SPDX-License-Identifier: Apache-2.0 */
/* profile.c -- see leanpo/profile.h: the trace's file, the machine, the views. */
#include "leanpo/profile.h"

#include "base/file.h"
#include "profile/trace_file.h"
#include "profile/view.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void lpo_profile_start(void) {
    lpo_trace_start();
}

lpo_status lpo_profile_save(const char *path, lpo_error *err) {
    return lpo_trace_save_now(path, err);
}

/* The log of a file, or of a run folder: its trace.json, else its timing.jsonl. */
static lpo_status load(lpo_trace_log *log, const char *path, lpo_error *err) {
    struct stat st;
    if (stat(path, &st) || !S_ISDIR(st.st_mode)) return lpo_trace_load(log, path, err);
    char *trace = lpo_path_join(path, "trace.json"), *timing = lpo_path_join(path, "timing.jsonl");
    lpo_status s;
    if (!trace || !timing)
        s = lpo_fail(err, LPO_ENOMEM, "out of memory");
    else if (lpo_path_exists(trace))
        s = lpo_trace_load(log, trace, err);
    else if (lpo_path_exists(timing))
        s = lpo_timing_load(log, timing, err);
    else
        s = lpo_fail(err, LPO_ENOTFOUND,
                     "%s: has neither trace.json nor timing.jsonl; leanpo train --trace stages writes both",
                     path);
    free(trace);
    free(timing);
    return s;
}

lpo_status lpo_profile_read(char **text, char **json, const lpo_profile_options *o, lpo_error *err) {
    lpo_trace_log log = {0};
    lpo_roofline r = {0};
    lpo_advice a;
    if (text) *text = NULL;
    if (json) *json = NULL;
    lpo_summary *s = calloc(1, sizeof *s);
    lpo_status st = s ? load(&log, o->trace, err) : lpo_fail(err, LPO_ENOMEM, "out of memory");
    if (!st) st = lpo_summary_make(s, &log, o->last_steps, o->tail, err);
    if (!st && !o->no_roofline) st = lpo_roofline_measure(&r, "cpu", err);
    if (!st) {
        lpo_advice_make(&a, s);
        if (text && !(*text = lpo_profile_text(s, &r, &a))) st = lpo_fail(err, LPO_ENOMEM, "out of memory");
    }
    if (!st && json) {
        json_t *obj = lpo_profile_json(s, &r, &a);
        *json = obj ? json_dumps(obj, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
        json_decref(obj);
        if (!*json) st = lpo_fail(err, LPO_ENOMEM, "out of memory");
    }
    if (st && text) {
        free(*text);
        *text = NULL;
    }
    lpo_trace_log_clear(&log);
    free(s);
    return st;
}
