/* SPDX-License-Identifier: Apache-2.0 */
/* chart.h -- line and bar charts as inline SVG text. */
#ifndef LPO_PROFILE_CHART_H
#define LPO_PROFILE_CHART_H
#include "base/file.h"

enum { LPO_CHART_MAX_SERIES = 8 };

typedef struct lpo_series {
    const char *label;
    const double *x, *y; /* n points, x ascending; NaN points are left out */
    int n;
} lpo_series;

/* One line chart with axes, at most five ticks each way, and a legend. Nothing is written when no series has
 * a point. */
lpo_status lpo_chart_lines(lpo_writer *w, const char *title, const char *x_label, const lpo_series *s,
                           int n_series, lpo_error *err);
/* text with &, <, >, " escaped. */
lpo_status lpo_chart_text(lpo_writer *w, const char *text, lpo_error *err);
/* The CSS colour of series i. */
const char *lpo_chart_color(int i);
#endif
