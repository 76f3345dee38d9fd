/* SPDX-License-Identifier: Apache-2.0 */
/* schedule.h -- learning rate by step, with the formulas of transformers' get_scheduler, so that curves carry
 * over. */
#ifndef LPO_TRAIN_SCHEDULE_H
#define LPO_TRAIN_SCHEDULE_H
#include <stdint.h>

typedef enum lpo_schedule_kind {
    LPO_SCHEDULE_COSINE,
    LPO_SCHEDULE_LINEAR,
    LPO_SCHEDULE_CONSTANT, /* after the warm-up */
    LPO_SCHEDULE_INVERSE_SQRT
} lpo_schedule_kind;

typedef struct lpo_schedule {
    lpo_schedule_kind kind;
    double peak, min_ratio;
    int64_t warmup_steps, total_steps;
} lpo_schedule;

/* "cosine", "linear", "constant" (no warm-up), "constant_with_warmup", "inverse_sqrt". warmup_steps > 0, or
 * else ceil(warmup_ratio * total_steps). */
lpo_schedule lpo_schedule_make(const char *name, double peak, double min_ratio, int64_t warmup_steps,
                               double warmup_ratio, int64_t total_steps);
/* Rate of optimizer step `step` (0-based): 0 at the first step of a warm-up. */
double lpo_schedule_at(const lpo_schedule *s, int64_t step);
#endif
