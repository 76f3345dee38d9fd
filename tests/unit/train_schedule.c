/* SPDX-License-Identifier: Apache-2.0 */
/* Learning-rate schedules: the values are those of transformers.get_scheduler (4.x formulas, worked by hand),
 * so a run moved over from TRL keeps its curve. */
#include "train/schedule.h"

#include <criterion/criterion.h>
#include <math.h>

static double at(const char *name, double min_ratio, int64_t warmup, double ratio, int64_t total,
                 int64_t step) {
    lpo_schedule s = lpo_schedule_make(name, 2.0, min_ratio, warmup, ratio, total);
    return lpo_schedule_at(&s, step);
}

#define NEAR(a, b) cr_assert(fabs((a) - (b)) < 1e-12, "%.17g, expected %.17g", (double)(a), (double)(b))

/* Warm-up climbs from exactly 0 in equal parts and reaches the peak at step `warmup`. */
Test(train_schedule, warmup_is_linear_from_zero) {
    NEAR(at("cosine", 0, 4, 0, 20, 0), 0.0);
    NEAR(at("cosine", 0, 4, 0, 20, 1), 0.5);
    NEAR(at("cosine", 0, 4, 0, 20, 3), 1.5);
    NEAR(at("cosine", 0, 4, 0, 20, 4), 2.0);
    NEAR(at("constant", 0, 4, 0, 20, 0), 2.0); /* "constant" has none */
    NEAR(at("constant_with_warmup", 0, 4, 0, 20, 1), 0.5);
}

/* A ratio is rounded up to whole steps, as TrainingArguments.get_warmup_steps does: ceil(.1 * 25) = 3. */
Test(train_schedule, ratio_rounds_up) {
    lpo_schedule s = lpo_schedule_make("linear", 1, 0, 0, 0.1, 25);
    cr_assert_eq(s.warmup_steps, 3);
}

/* Cosine is at half its height half-way, linear at 1-x; both end at min_ratio of the peak and stay there. */
Test(train_schedule, decay) {
    NEAR(at("cosine", 0, 4, 0, 20, 12), 1.0);
    NEAR(at("cosine", 0, 4, 0, 20, 20), 0.0);
    NEAR(at("cosine", 0.1, 4, 0, 20, 20), 0.2);
    NEAR(at("cosine", 0.1, 4, 0, 20, 12), 2 * (0.1 + 0.9 * 0.5));
    NEAR(at("linear", 0, 0, 0, 10, 7), 2 * 0.3);
    NEAR(at("linear", 0.5, 0, 0, 10, 99), 1.0);
    NEAR(at("inverse_sqrt", 0, 4, 0, 20, 16), 1.0); /* 2 / sqrt((16-4)/4 + 1) */
}

/* A run whose warm-up covers all of it never divides by zero. */
Test(train_schedule, warmup_as_long_as_the_run) {
    NEAR(at("cosine", 0, 5, 0, 5, 5), 2.0);
}
