/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.h -- a run's figures as JSON lines, and as TensorBoard events (events.h).
 * metrics.jsonl holds only what the same seed makes again: after a crash it is cut back to the checkpoint's
 * offset and ends up equal, byte for byte, to the file of a run that was never stopped. Seconds therefore
 * live in timing.jsonl, which is never cut: of two lines with one step, the later one counts. */
#ifndef LPO_TRAIN_METRICS_H
#define LPO_TRAIN_METRICS_H
#include "leanpo/status.h"

#include <stdint.h>

enum { LPO_MAX_SCALARS = 48 };

typedef struct lpo_scalars {
    int64_t step;
    int n;
    struct {
        const char *name; /* static storage, nothing JSON would escape */
        double value;
    } item[LPO_MAX_SCALARS];
} lpo_scalars;

void lpo_scalars_add(lpo_scalars *s, const char *name, double value);
/* Value of the last one so named, or `fallback`. */
double lpo_scalars_get(const lpo_scalars *s, const char *name, double fallback);

typedef struct lpo_lines lpo_lines;
/* Opens (creates) path for appending. keep_bytes >= 0: what lies beyond is cut off; a file shorter than that
 * is logged. */
lpo_status lpo_lines_open(lpo_lines **out, const char *path, int64_t keep_bytes, lpo_error *err);
void lpo_lines_close(lpo_lines *l); /* NULL accepted */
/* {"step": 7, "name": value, ...}, 9 significant digits; what is not finite becomes null. */
lpo_status lpo_lines_put(lpo_lines *l, const lpo_scalars *s, lpo_error *err);
lpo_status lpo_lines_sync(lpo_lines *l, lpo_error *err);
int64_t lpo_lines_bytes(const lpo_lines *l); /* size of the file now */
#endif
