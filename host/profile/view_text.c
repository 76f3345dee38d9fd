/* SPDX-License-Identifier: Apache-2.0 */
/* view_text.c -- a profile as lines of text. A figure's line ends in where the figure comes from; times are
 * per step, in milliseconds. */
#include "profile/view.h"

#include "profile/pcie.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char MEASURED[] = "[measured]", MODELLED[] = "[modelled]", EMULATED[] = "[emulated]";

static void line(FILE *f, const char *tag, const char *fmt, ...) LPO_PRINTF(3, 4);
static void line(FILE *f, const char *tag, const char *fmt, ...) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (size_t n = strlen(text); n && text[n - 1] == ' ';) text[--n] = 0;
    fprintf(f, "%s %s\n", tag, text);
}

/* "3.1 MB", "188 kB": three digits of a size. */
static const char *size_text(char out[24], double bytes) {
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB"};
    int u = 0;
    while (bytes >= 1000 && u < 4) bytes /= 1000, u++;
    snprintf(out, 24, "%.3g %s", bytes, unit[u]);
    return out;
}

static double per_step(const lpo_summary *s, double x) {
    return x / (s->n_steps ? s->n_steps : 1);
}

static const char *a_step(const lpo_summary *s) {
    return s->n_steps ? " a step" : " in all";
}

static void head(FILE *f, const lpo_summary *s) {
    if (s->n_steps)
        line(f, MEASURED, "step %.2f ms (%.2f to %.2f): %d steps, %d before them left out", 1e3 * s->step_s,
             1e3 * s->step_min_s, 1e3 * s->step_max_s, s->n_steps, s->n_skipped);
    else
        line(f, MEASURED, "no steps in this trace: all of its %.3f s", s->window_s);
    if (s->n_dropped)
        line(f, MEASURED, "%llu events came after the trace was full and are missing",
             (unsigned long long)s->n_dropped);
}

static const char *tag_of(const lpo_stage_time *t) {
    return t->modelled ? MODELLED : t->emulated ? EMULATED : MEASURED;
}

static const char *who_waits(const char *stage) {
    static const char *const text[][2] = {{"wait:data", "the step waits for a batch"},
                                          {"wait:step", "a data worker waits: batches are ready"},
                                          {"wait:preprocess", "the decoder waits for preprocessing"}};
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        if (!strcmp(stage, text[i][0])) return text[i][1];
    return NULL;
}

static const char *tag_of_device(const lpo_summary *s, const char *device) {
    for (int i = 0; i < s->n_stages; i++)
        if (!s->stage[i].modelled && !strcmp(s->stage[i].device, device)) return tag_of(&s->stage[i]);
    return MEASURED;
}

static void one_stage(FILE *f, const lpo_stage_time *t, const lpo_summary *s, const lpo_roofline *r) {
    char work[64] = "", bound[48] = "";
    double share;
    const lpo_bound b = lpo_bound_of(&share, t, s, r);
    const bool of_frames = !strcmp(t->stage, "decode") || !strcmp(t->stage, "preprocess");
    if (of_frames && s->frames > 0)
        snprintf(work, sizeof work, "%8.0f frames/s", s->frames / t->busy_s);
    else if (t->flops > 0)
        snprintf(work, sizeof work, "%8.1f GFLOP/s %7.1f GB/s", 1e-9 * t->flops / t->busy_s,
                 1e-9 * t->bytes / t->busy_s);
    else if (t->bytes > 5e7 * t->busy_s)
        snprintf(work, sizeof work, "%24.1f GB/s", 1e-9 * t->bytes / t->busy_s);
    if (b == LPO_BOUND_COMPUTE || b == LPO_BOUND_BANDWIDTH)
        snprintf(bound, sizeof bound, "%s %.0f%%", lpo_bound_name(b), 100 * share);
    else
        snprintf(bound, sizeof bound, "%s", who_waits(t->stage) ? who_waits(t->stage) : lpo_bound_name(b));
    /* What the step's thread does between its stages has no name of its own. */
    line(f, tag_of(t), "%-16s %-16s %9.3f %5.1f%%  %-29s %s",
         strcmp(t->stage, "step") ? t->stage : "the rest", t->device, 1e3 * per_step(s, t->busy_s),
         s->window_s > 0 ? 100 * t->busy_s / s->window_s : 0, work, bound);
}

static void stages(FILE *f, const lpo_summary *s, const lpo_roofline *r) {
    fprintf(f, "           %-16s %-16s %9s %6s  %-29s %s\n", "stage", "device", "ms busy", "share",
            "work while busy", "bound, share of roofline");
    for (int i = 0; i < s->n_stages; i++)
        if (s->stage[i].busy_s > 0) one_stage(f, &s->stage[i], s, r);
    if (s->n_ops) fprintf(f, "           slowest ops (each waited for: the step is slower than untraced)\n");
    for (int i = 0; i < s->n_ops && i < 8; i++) one_stage(f, &s->op[i], s, r);
}

static void queues(FILE *f, const lpo_summary *s) {
    char a[24], b[24];
    const lpo_stage_time *wait = lpo_summary_find(s, "wait:data", NULL);
    const bool waits = wait && wait->busy_s > .02 * s->window_s;
    if (s->data_s > 0 && s->n_steps)
        line(f, MEASURED, "overlap: %.3f ms of data work%s, %.0f%% of it beside the step's own work",
             1e3 * per_step(s, s->data_s), a_step(s), 100 * s->overlap_s / s->data_s);
    for (int i = 0; i < s->n_levels; i++) {
        const lpo_level *l = &s->level[i];
        if (!strncmp(l->name, "bytes:", 6)) {
            line(f, MEASURED, "%s: mean %s, most %s", l->name, size_text(a, l->mean), size_text(b, l->max));
            continue;
        }
        const char *means = "";
        if (!strcmp(l->name, "queue:batches"))
            means = l->mean >= .5 ? ": filled, the step is fed"
                    : waits       ? ": empty, the step starves"
                                  : ": nearly empty, but the step hardly waits";
        if (!strcmp(l->name, "queue:frames"))
            means = l->mean < .5 ? ": empty, preprocessing waits for the decoder"
                                 : ": filled, the decoder is ahead";
        line(f, MEASURED, "%s: mean %.2f, least %g, most %g%s", l->name, l->mean, l->min, l->max, means);
    }
}

/* What went over links: a card's transfers as it tells of them, and what a device's jobs were given and gave.
 */
static void links(FILE *f, const lpo_summary *s) {
    char a[24];
    for (int i = 0; i < s->n_stages; i++) {
        const lpo_stage_time *t = &s->stage[i];
        const bool is_copy = !strcmp(t->stage, "copy"),
                   is_job = !strcmp(t->stage, "preprocess") || !strcmp(t->stage, "reduce");
        if (!(is_copy || is_job) || !strcmp(t->device, "cpu") || !(t->bytes > 0) || t->modelled) continue;
        line(f, tag_of(t), "%s %s: %s%s in %.4g %s", is_copy ? "link to" : t->stage,
             is_copy ? t->device : "moves", size_text(a, per_step(s, t->bytes)), a_step(s),
             per_step(s, (double)t->n), is_copy ? "transfers" : "jobs");
    }
}

static void roofline(FILE *f, const lpo_summary *s, const lpo_roofline *r) {
    char text[256];
    if (r->flops_s > 0)
        line(f, MEASURED, "this machine: product %.1f GFLOP/s f32, %.1f bf16; memory %.1f GB/s",
             1e-9 * r->flops_s, 1e-9 * r->bf16_flops_s, 1e-9 * r->bytes_s);
    lpo_step_bound(text, sizeof text, s, r);
    line(f, MEASURED, "bound by %s", text);
}

static void preprocess(FILE *f, const lpo_summary *s, const lpo_advice *a) {
    if (!a->has_frames) return;
    const bool on_cpu = !strcmp(a->device, "cpu");
    line(f, tag_of_device(s, a->device),
         "preprocess: %.4g frames %s of %.0f pixels to %.0f take %.3f ms of %s", a->frames,
         a->from_cache ? "in all (cached since)" : a_step(s) + 1, s->frame_pixels, s->prep_pixels,
         1e3 * a->cpu_s, a->device);
    line(f, MODELLED, "  on a card: %.3f ms = longest of up %.3f, kernel %.3f at %.0f MHz, down %.3f",
         1e3 * a->card_s, 1e3 * a->up_s, 1e3 * a->kernel_s, 1e-6 * LPO_FPGA_CLOCK_HZ, 1e3 * a->down_s);
    if (!on_cpu)
        line(f, MODELLED, "  -> profile with --place preprocess=cpu to learn what %s saves", a->device);
    else if (a->from_cache)
        line(f, MODELLED,
             "  -> no frame is preprocessed in a step: a card saves %.3f ms once, steps stay %.2f ms",
             1e3 * fmax(0, a->cpu_s - a->card_s), 1e3 * s->step_s);
    else
        line(f, MODELLED, "  -> wins at most %.3f ms of %.2f%s (%.1f%%): %s", 1e3 * a->gain_s,
             1e3 * s->step_s, a_step(s), 100 * a->gain_s / s->step_s,
             a->preprocess_pays ? "try --place preprocess=fpga" : "leave preprocess=cpu");
}

static void reduction(FILE *f, const lpo_summary *s, const lpo_advice *a) {
    char logits[24], logps[24];
    if (!a->has_reduce) return;
    const bool on_cpu = !strcmp(a->reduce_device, "cpu");
    line(f, tag_of_device(s, a->reduce_device),
         "reduce: %.0f tokens a step in %.4g call%s take %.4f ms on %s", a->tokens, a->calls,
         a->calls > 1 ? "s" : "", 1e3 * a->reduce_s, a->reduce_device);
    line(f, MODELLED, "  on a card: %.4f ms = up %.4f + kernel %.4f + down %.4f, 13 us of each transfer",
         1e3 * a->reduce_card_s, 1e3 * a->reduce_up_s, 1e3 * a->reduce_kernel_s, 1e3 * a->reduce_down_s);
    const double change_s = a->reduce_s - a->reduce_card_s;
    if (!on_cpu)
        line(f, MODELLED, "  -> profile with --place reduce=cpu to learn what %s saves", a->reduce_device);
    else
        line(f, MODELLED, "  -> %s %.4f ms a step (%.2f%%): %s", change_s > 0 ? "wins" : "costs",
             1e3 * fabs(change_s), 100 * fabs(change_s) / s->step_s,
             a->reduce_pays ? "try --place reduce=fpga" : "leave reduce=cpu");
    if (a->logits_bytes > 0)
        line(f, MODELLED, "never send logits: %s a step, %.3f ms up; the log-probabilities are %s, %.4f ms",
             size_text(logits, a->logits_bytes), 1e3 * a->logits_s, size_text(logps, 4 * a->tokens),
             1e3 * a->logps_s);
}

char *lpo_profile_text(const lpo_summary *s, const lpo_roofline *r, const lpo_advice *a) {
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (!f) return NULL;
    head(f, s);
    stages(f, s, r);
    queues(f, s);
    links(f, s);
    roofline(f, s, r);
    preprocess(f, s, a);
    reduction(f, s, a);
    if (fclose(f)) {
        free(text);
        return NULL;
    }
    return text;
}
