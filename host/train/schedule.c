/* SPDX-License-Identifier: Apache-2.0 */
/* schedule.c -- see schedule.h. */
#include "train/schedule.h"

#include <math.h>
#include <string.h>

lpo_schedule lpo_schedule_make(const char *name, double peak, double min_ratio, int64_t warmup_steps,
                               double warmup_ratio, int64_t total_steps) {
    lpo_schedule s = {LPO_SCHEDULE_COSINE, peak, min_ratio, warmup_steps, total_steps};
    if (warmup_steps <= 0) s.warmup_steps = (int64_t)ceil(warmup_ratio * (double)total_steps);
    if (!strcmp(name, "linear")) s.kind = LPO_SCHEDULE_LINEAR;
    if (!strcmp(name, "inverse_sqrt")) s.kind = LPO_SCHEDULE_INVERSE_SQRT;
    if (!strncmp(name, "constant", 8)) s.kind = LPO_SCHEDULE_CONSTANT;
    if (!strcmp(name, "constant")) s.warmup_steps = 0;
    return s;
}

double lpo_schedule_at(const lpo_schedule *s, int64_t step) {
    if (step < s->warmup_steps) return s->peak * (double)step / (double)s->warmup_steps;
    int64_t span = s->total_steps - s->warmup_steps;
    double done = (double)(step - s->warmup_steps) / (double)(span > 0 ? span : 1), share = 1;
    if (done > 1) done = 1;
    switch (s->kind) {
    case LPO_SCHEDULE_CONSTANT: return s->peak;
    case LPO_SCHEDULE_INVERSE_SQRT: {
        /* transformers' default time scale: the warm-up, or 10,000 steps without one. */
        double scale = s->warmup_steps ? (double)s->warmup_steps : 10000.0;
        return s->peak / sqrt((double)(step - s->warmup_steps) / scale + 1);
    }
    case LPO_SCHEDULE_LINEAR: share = 1 - done; break;
    case LPO_SCHEDULE_COSINE: share = 0.5 * (1 + cos(3.141592653589793 * done)); break;
    }
    return s->peak * (s->min_ratio + (1 - s->min_ratio) * share);
}
