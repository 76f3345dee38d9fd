/* SPDX-License-Identifier: Apache-2.0 */
/* bound.c -- what holds a stage back. The roofline gives two times, flops over the best product and bytes
 * over the best copy; the longer one is the bound. Bytes are what the ops' arguments hold: what stays in
 * cache between two ops moves faster than the copy, so the bandwidth time may exceed the time taken; it then
 * says nothing more than "not compute". */
#include "profile/view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double OVERHEAD =
    .1; /* of the time: with less than this the work itself is not what takes long */
static const double STARVES = .1; /* of the step spent waiting */

/* Their work is bytes and integers: the roofline of the model says nothing about it. */
static bool is_data(const char *stage) {
    static const char *const name[] = {"decode", "preprocess", "patchify", "tokenize"};
    for (size_t i = 0; i < sizeof name / sizeof *name; i++)
        if (!strcmp(stage, name[i])) return true;
    return false;
}

lpo_bound lpo_bound_of(double *share, const lpo_stage_time *t, const lpo_summary *s, const lpo_roofline *r) {
    const double flops_s = s->bf16 ? r->bf16_flops_s : r->flops_s;
    *share = 0;
    if (lpo_stage_is_wait(t->stage)) return LPO_BOUND_WAIT;
    if (t->modelled || t->emulated || !(t->busy_s > 0) || is_data(t->stage)) return LPO_BOUND_NONE;
    const double compute = flops_s > 0 ? t->flops / flops_s / t->busy_s : 0;
    const double memory = r->bytes_s > 0 ? t->bytes / r->bytes_s / t->busy_s : 0;
    if (!(compute > 0) && !(memory > 0)) return LPO_BOUND_NONE;
    *share = fmin(1, fmax(compute, memory));
    if (*share < OVERHEAD) return LPO_BOUND_OVERHEAD;
    return compute >= memory || compute > .5 ? LPO_BOUND_COMPUTE : LPO_BOUND_BANDWIDTH;
}

const char *lpo_bound_name(lpo_bound b) {
    static const char *const name[] = {"", "wait", "compute", "bandwidth", "overhead"};
    return name[b];
}

void lpo_step_bound(char *text, size_t size_bytes, const lpo_summary *s, const lpo_roofline *r) {
    const lpo_stage_time *top = NULL, *wait = lpo_summary_find(s, "wait:data", NULL);
    if (wait && wait->busy_s > STARVES * s->window_s) {
        for (int i = 0; i < s->n_stages; i++)
            if (is_data(s->stage[i].stage) && (!top || s->stage[i].thread_s > top->thread_s))
                top = &s->stage[i];
        snprintf(text, size_bytes, "data: the step waits for it %.0f%% of the time, most of it made by %s",
                 100 * wait->busy_s / s->window_s, top ? top->stage : "the loader");
        return;
    }
    for (int i = 0; i < s->n_stages; i++) {
        const lpo_stage_time *t = &s->stage[i];
        if (t->modelled || t->emulated || lpo_stage_is_wait(t->stage)) continue;
        if (!top || t->busy_s > top->busy_s) top = t;
    }
    if (!top || !(s->window_s > 0)) {
        snprintf(text, size_bytes, "nothing measured");
        return;
    }
    double share;
    const lpo_bound b = lpo_bound_of(&share, top, s, r);
    const int n = snprintf(text, size_bytes, "%s on %s, %.0f%% of the time", top->stage, top->device,
                           100 * top->busy_s / s->window_s);
    if (b >= LPO_BOUND_COMPUTE && n > 0 && (size_t)n < size_bytes)
        snprintf(text + n, size_bytes - (size_t)n, "; by its work: %s, at %.0f%% of the roofline",
                 lpo_bound_name(b), 100 * share);
}
