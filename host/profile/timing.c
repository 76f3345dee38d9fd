/* SPDX-License-Identifier: Apache-2.0 */
/* timing.c -- a run that was not traced still wrote how long the parts of each step took (timing.jsonl): told
 * as a trace, one part after the other, it can be summed up by the same code. Work, queues and what went on
 * beside the steps are not in it. */
#include "profile/trace_file.h"

#include "base/file.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t MAX_FILE = (size_t)1 << 30;

static const struct {
    const char *key, *stage;
} PARTS[] = {{"time/data_wait_s", "wait:data"}, {"time/record_s", "record"},
             {"time/forward_s", "forward"},     {"time/reduce_s", "reduce"},
             {"time/backward_s", "backward"},   {"time/optimizer_s", "optimizer"}};
enum { N_PARTS = sizeof PARTS / sizeof *PARTS, SPANS = N_PARTS + 1 /* the step */ };

static void add_step(lpo_trace_log *log, const json_t *row) {
    const double step_s = json_number_value(json_object_get(row, "time/step_s"));
    const lpo_span *last = log->n_spans ? &log->span[log->n_spans - SPANS].span : NULL;
    double at_s = last ? last->start_s + last->seconds : 0;
    log->span[log->n_spans++] = (lpo_trace_span){{"step", "cpu", NULL, at_s, step_s, 0, 0, false}, 0};
    for (int i = 0; i < N_PARTS; i++) {
        const double part_s = json_number_value(json_object_get(row, PARTS[i].key));
        log->span[log->n_spans++] =
            (lpo_trace_span){{PARTS[i].stage, "cpu", NULL, at_s, part_s, 0, 0, false}, 0};
        at_s += part_s;
    }
}

static lpo_status add_lines(lpo_trace_log *log, char *text, const char *path, lpo_error *err) {
    double *step = malloc((log->n_spans / SPANS + 1) * sizeof *step);
    int n = 0, line = 0;
    if (!step) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    log->n_spans = 0;
    lpo_status s = LPO_OK;
    for (char *p = text, *end; !s && (end = strchr(p, '\n')); p = end + 1) {
        char where[600];
        json_t *row = NULL;
        double at;
        snprintf(where, sizeof where, "%.500s:%d", path, ++line);
        if (end == p) continue;
        s = lpo_json_parse(&row, p, (size_t)(end - p), where, err);
        if (!s) s = lpo_json_real(&at, row, "step", 0, 1e15, where, err);
        if (!s) {
            while (n && step[n - 1] >= at) { /* told again after a crash: the later one counts */
                n--;
                log->n_spans -= SPANS;
            }
            step[n++] = at;
            add_step(log, row);
        }
        json_decref(row);
    }
    free(step);
    return s;
}

lpo_status lpo_timing_load(lpo_trace_log *out, const char *path, lpo_error *err) {
    char *text;
    size_t size, lines = 0;
    *out = (lpo_trace_log){0};
    lpo_status s = lpo_file_read(&text, &size, path, MAX_FILE, err);
    if (s) return s;
    for (size_t i = 0; i < size; i++) lines += text[i] == '\n';
    out->n_spans = lines * SPANS; /* room */
    out->span = malloc((lines * SPANS + 1) * sizeof *out->span);
    out->thread = calloc(2, sizeof *out->thread);
    out->n_threads = 1;
    s = out->span && out->thread ? add_lines(out, text, path, err)
                                 : lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    free(text);
    if (s)
        lpo_trace_log_clear(out);
    else
        lpo_trace_log_sort(out);
    return s;
}
