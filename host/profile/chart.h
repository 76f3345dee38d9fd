/* SPDX-License-Identifier: Apache-2.0 */
/* chart.h -- line and bar charts as inline SVG text. */
#ifndef LPO_PROFILE_CHART_H
#define LPO_PROFILE_CHART_H
#include "base/file.h"
#include "leanpo/report.h"

/* One line chart with axes, at most five ticks each way, and a legend. Nothing is written when no series has
 * a point. dots: points without lines. */
lpo_status lpo_chart_lines(lpo_writer *w, const char *title, const char *x_label, const lpo_series *s,
                           int n_series, lpo_error *err);
lpo_status lpo_chart_dots(lpo_writer *w, const char *title, const char *x_label, const lpo_series *s,
                          int n_series, lpo_error *err);
/* The heading and charts of a run folder. */
lpo_status lpo_chart_run(lpo_writer *w, const lpo_report_run *run, lpo_error *err);
/* Shares of a step's time by device and stage, from timing.jsonl and config.json; n 0 without them. */
enum { LPO_RUN_SPLIT = 8 };
lpo_status lpo_run_split(lpo_report_bar out[LPO_RUN_SPLIT], int *n, const char *dir, lpo_error *err);
/* Where `auto` put the backbone of a run, and why; "" when it was the user's word. */
enum { LPO_RUN_WHY_BYTES = 1024 };
void lpo_run_why(char out[LPO_RUN_WHY_BYTES], const char *dir);
/* text with &, <, >, " escaped. */
lpo_status lpo_chart_text(lpo_writer *w, const char *text, lpo_error *err);
/* The CSS colour of series i. */
const char *lpo_chart_color(int i);
#endif
