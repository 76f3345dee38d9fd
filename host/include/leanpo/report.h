/* SPDX-License-Identifier: Apache-2.0 */
/* report.h -- a self-contained HTML page of one or several runs: tables and curves as inline SVG, readable in
 * light and dark, no script, nothing loaded from anywhere. */
#ifndef LEANPO_REPORT_H
#define LEANPO_REPORT_H
#include "leanpo/status.h"

typedef struct lpo_report_run {
    const char *label; /* "SFT" */
    const char *dir;   /* run folder: metrics.jsonl and config.json are read */
} lpo_report_run;

typedef struct lpo_report_bar {
    const char *group, *label; /* "colour", "after SFT": bars of one group stand together */
    double value;              /* 0..1 */
} lpo_report_bar;

typedef struct lpo_report_row {
    const char *cell[6]; /* NULL-terminated when fewer */
} lpo_report_row;

typedef struct lpo_report {
    const char *title;
    const char *const *paragraphs; /* plain text, NULL-terminated; may be NULL */
    const char *bars_title;
    const lpo_report_bar *bars;
    int n_bars;
    const char *table_title;
    const lpo_report_row *table; /* the first row is the head */
    int n_table;
    const lpo_report_run *runs;
    int n_runs;
} lpo_report;

/* Written atomically. A run without metrics.jsonl is an error naming it; lines that do not parse are an error
 * with their number. */
LPO_API lpo_status lpo_report_write(const char *path, const lpo_report *r, lpo_error *err);
#endif
