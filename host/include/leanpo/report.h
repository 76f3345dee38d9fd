/* SPDX-License-Identifier: Apache-2.0 */
/* report.h -- self-contained HTML pages: text, tables, bars, curves as inline SVG and images as data,
 * readable in light and dark, on a phone and printed; no script, nothing loaded from anywhere. */
#ifndef LEANPO_REPORT_H
#define LEANPO_REPORT_H
#include "leanpo/status.h"

#include <stddef.h>

typedef struct lpo_report_run {
    const char *label; /* "SFT" */
    const char *dir;   /* run folder: metrics.jsonl and config.json are read */
} lpo_report_run;

typedef struct lpo_report_bar {
    const char *group, *label; /* "colour", "after SFT": bars of one group stand together */
    double value;              /* 0..1 */
    double low, high;          /* an interval around it; equal: none */
} lpo_report_bar;

enum { LPO_REPORT_CELLS = 8 };
typedef struct lpo_report_row {
    const char *cell[LPO_REPORT_CELLS]; /* NULL-terminated when fewer */
} lpo_report_row;

typedef struct lpo_series {
    const char *label;
    const double *x, *y;      /* n points, x ascending; NaN points are left out */
    const double *low, *high; /* a band around y, or NULL */
    int n;
} lpo_series;

/* A page being written. The first mistake is kept, later calls do nothing, and close reports it: text may
 * come from anywhere, it is escaped. */
typedef struct lpo_page lpo_page;
LPO_API lpo_status lpo_page_open(lpo_page **out, const char *path, const char *title, lpo_error *err);
/* Into place at once, or not at all; frees p either way. */
LPO_API lpo_status lpo_page_close(lpo_page *p, lpo_error *err);

LPO_API void lpo_page_heading(lpo_page *p, const char *text);
LPO_API void lpo_page_text(lpo_page *p, const char *text);                   /* a paragraph */
LPO_API void lpo_page_table(lpo_page *p, const lpo_report_row *rows, int n); /* the first row is the head */
LPO_API void lpo_page_bars(lpo_page *p, const lpo_report_bar *bars, int n);
/* Charts between begin and end stand side by side where there is room. At most LPO_PAGE_SERIES series;
 * nothing is drawn when none has a point. */
enum { LPO_PAGE_SERIES = 12 };
LPO_API void lpo_page_charts_begin(lpo_page *p);
LPO_API void lpo_page_charts_end(lpo_page *p);
LPO_API void lpo_page_lines(lpo_page *p, const char *title, const char *x_label, const lpo_series *s, int n);
LPO_API void lpo_page_dots(lpo_page *p, const char *title, const char *x_label, const lpo_series *s, int n);
LPO_API void lpo_page_png(lpo_page *p, const void *png, size_t size_bytes, const char *alt);
/* The curves of a run. Without metrics.jsonl, or with a line that does not parse: an error naming it. */
LPO_API void lpo_page_run(lpo_page *p, const lpo_report_run *run);
#endif
