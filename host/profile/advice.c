/* SPDX-License-Identifier: Apache-2.0 */
/* advice.c -- see advice.h.
 * Preprocessing runs beside the step, so moving it away wins only what the step waits for data, and, where
 * the backbone computes on the same cores, the share of the cores that it takes. Reduction stands in the
 * step's way (backward needs its coefficients), so it pays when the card, its link included, is faster. */
#include "profile/advice.h"

#include "profile/pcie.h"

#include <math.h>
#include <string.h>

static const double WORTH = .03; /* of a step: below, moving a stage is not worth its trouble */

/* The row of the device that does the stage's work: another one's before the cpu's, which then only waits. */
static const lpo_stage_time *placed(const lpo_summary *s, const char *stage) {
    const lpo_stage_time *found = NULL;
    for (int i = 0; i < s->n_stages; i++) {
        const lpo_stage_time *t = &s->stage[i];
        if (strcmp(t->stage, stage) || t->modelled || !strncmp(t->device, "emulated:", 9)) continue;
        if (!found || strcmp(t->device, "cpu")) found = t;
    }
    return found;
}

static void preprocess(lpo_advice *a, const lpo_summary *s) {
    const double steps = s->n_steps ? s->n_steps : 1;
    const lpo_stage_time *wait = lpo_summary_find(s, "wait:data", NULL),
                         *forward = lpo_summary_find(s, "forward", NULL);
    const lpo_stage_time *row = placed(s, "preprocess");
    a->from_cache = !(s->frames > 0);
    a->has_frames = s->all_frames > 0 && (a->from_cache ? s->preprocess_s > 0 : row != NULL);
    if (!a->has_frames) return;
    a->device = a->from_cache ? "cpu" : row->device;
    a->frames = a->from_cache ? s->all_frames : s->frames / steps;
    a->cpu_s = a->from_cache ? s->preprocess_s : row->thread_s / steps;
    /* NV12 up, RGB down, both directions and the kernel at the same time. */
    a->up_s = a->frames * lpo_pcie_up_s(1.5 * s->frame_pixels);
    a->kernel_s = a->frames * lpo_fpga_preprocess_s(s->frame_pixels);
    a->down_s = a->frames * lpo_pcie_down_s(3 * s->prep_pixels);
    a->card_s = fmax(a->up_s, fmax(a->kernel_s, a->down_s));
    if (a->from_cache || strcmp(a->device, "cpu")) return;
    const bool same_cores = !forward || !strcmp(forward->device, "cpu");
    const double threads = s->threads > 0 ? s->threads : 1;
    const double waited_s = wait ? wait->busy_s / steps : 0;
    a->gain_s = fmin(a->cpu_s, waited_s + (same_cores ? a->cpu_s / threads : 0));
    a->preprocess_pays = a->gain_s > WORTH * s->step_s && a->card_s < a->cpu_s && a->card_s < s->step_s;
}

static void reduction(lpo_advice *a, const lpo_summary *s) {
    const double steps = s->n_steps ? s->n_steps : 1;
    const lpo_stage_time *row = lpo_summary_find(s, "reduce", "cpu");
    if (!row || !(s->tokens > 0)) return;
    a->has_reduce = true;
    a->calls = (double)row->n / steps;
    a->tokens = s->tokens / steps;
    a->reduce_s = row->busy_s / steps;
    a->reduce_device = placed(s, "reduce")->device;
    /* A float each way for every token; a token a clock. */
    a->reduce_up_s = a->calls * lpo_pcie_up_s(4 * a->tokens / a->calls);
    a->reduce_kernel_s = a->tokens / LPO_FPGA_CLOCK_HZ;
    a->reduce_down_s = a->calls * lpo_pcie_down_s(4 * a->tokens / a->calls);
    a->reduce_card_s = a->reduce_up_s + a->reduce_kernel_s + a->reduce_down_s;
    a->reduce_pays = !strcmp(a->reduce_device, "cpu") && a->reduce_s - a->reduce_card_s > WORTH * s->step_s;
    a->logits_bytes = 4 * a->tokens * s->vocab;
    a->logits_s = a->calls * lpo_pcie_up_s(a->logits_bytes / a->calls);
    a->logps_s = a->reduce_up_s;
}

void lpo_advice_make(lpo_advice *out, const lpo_summary *s) {
    *out = (lpo_advice){0};
    preprocess(out, s);
    reduction(out, s);
}
