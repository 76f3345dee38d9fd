/* SPDX-License-Identifier: Apache-2.0 */
/* page.c -- see leanpo/report.h: the frame of a page and its plain pieces. Every piece writes through put(),
 * which does nothing after the first mistake. */
#include "profile/chart.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char STYLE[] =
    "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
    "content=\"width=device-width,initial-scale=1\">\n"
    "<style>:root{color-scheme:light "
    "dark;--bg:#fff;--fg:#1b1f24;--mut:#5b6570;--line:#dfe3e8;--c0:#1f6feb;--c1:#d1242f;--c2:#1a7f37;"
    "--c3:#9a6700;--c4:#8250df;--c5:#57606a}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#0f1318;--fg:#e6e9ee;--mut:#9aa4b0;--line:#2b323b;--c0:#"
    "58a6ff;--c1:#ff7b72;--c2:#3fb950;"
    "--c3:#d29922;--c4:#bc8cff;--c5:#8b949e}}\n"
    "body{background:var(--bg);color:var(--fg);font:16px/1.5 "
    "system-ui,sans-serif;max-width:1120px;margin:2rem auto;padding:0 1rem}\n"
    "h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}table{border-collapse:collapse;display:block;"
    "overflow-x:auto}\n"
    "td,th{border-bottom:1px solid var(--line);padding:.3rem .8rem .3rem "
    "0;text-align:left;font-variant-numeric:tabular-nums;vertical-align:top}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:1rem}svg{"
    "max-width:640px;"
    "width:100%;"
    "height:auto}\n"
    "svg .g{stroke:var(--line)}svg .t{fill:var(--mut);font-size:11px}svg "
    ".h{fill:var(--fg);font-size:13px;font-weight:600}\n"
    ".bar{display:grid;grid-template-columns:7rem 8rem 1fr "
    "3.5rem;gap:.5rem;align-items:center;font-size:.9rem}\n"
    ".bar i{display:block;height:.8rem;background:var(--c0);border-radius:2px}.bar b{font-weight:600}.bar "
    "p{margin:0;position:relative}.bar u{position:absolute;top:.35rem;height:.1rem;background:var(--fg);"
    "opacity:.75}\n"
    "img{max-width:100%;height:auto;image-rendering:pixelated;border:1px solid var(--line)}i,u{print-color-"
    "adjust:exact;-webkit-print-color-adjust:exact}\n"
    "@media(max-width:600px){.bar{grid-template-columns:4.5rem 6rem 1fr 3rem;gap:.25rem;font-size:.8rem}}\n"
    "@media print{body{max-width:none}svg{break-inside:avoid}}</style>\n";

struct lpo_page {
    lpo_writer *out;
    lpo_status status;
    lpo_error err;
};

/* What a piece returned, kept when it is the first that is wrong. */
static void keep(lpo_page *p, lpo_status s) {
    if (!p->status) p->status = s;
}

static void put(lpo_page *p, const char *html) {
    if (!p->status) keep(p, lpo_writer_put(p->out, html, strlen(html), &p->err));
}

static void text(lpo_page *p, const char *plain) {
    if (!p->status) keep(p, lpo_chart_text(p->out, plain, &p->err));
}

lpo_status lpo_page_open(lpo_page **out, const char *path, const char *title, lpo_error *err) {
    *out = NULL;
    lpo_page *p = calloc(1, sizeof *p);
    if (!p) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", path);
    lpo_status s = lpo_writer_open(&p->out, path, err);
    if (s) {
        free(p);
        return s;
    }
    put(p, STYLE);
    put(p, "<title>");
    text(p, title);
    put(p, "</title></head><body><h1>");
    text(p, title);
    put(p, "</h1>\n");
    *out = p;
    return LPO_OK;
}

lpo_status lpo_page_close(lpo_page *p, lpo_error *err) {
    put(p, "</body></html>\n");
    lpo_status s = p->status;
    if (s) {
        if (err) *err = p->err;
        lpo_writer_abort(p->out);
    } else {
        s = lpo_writer_commit(p->out, err);
    }
    free(p);
    return s;
}

void lpo_page_heading(lpo_page *p, const char *title) {
    put(p, "<h2>");
    text(p, title);
    put(p, "</h2>\n");
}

void lpo_page_text(lpo_page *p, const char *plain) {
    put(p, "<p>");
    text(p, plain);
    put(p, "</p>\n");
}

void lpo_page_table(lpo_page *p, const lpo_report_row *rows, int n) {
    put(p, "<table>\n");
    for (int i = 0; i < n; i++) {
        put(p, "<tr>");
        for (int c = 0; c < LPO_REPORT_CELLS && rows[i].cell[c]; c++) {
            put(p, i ? "<td>" : "<th>");
            text(p, rows[i].cell[c]);
            put(p, i ? "</td>" : "</th>");
        }
        put(p, "</tr>\n");
    }
    put(p, "</table>\n");
}

static void bar(lpo_page *p, const lpo_report_bar *b, bool first, int color) {
    put(p, "<div class=\"bar\"><b>");
    if (first) text(p, b->group);
    put(p, "</b><span>");
    text(p, b->label);
    if (p->status) return;
    keep(p, lpo_writer_printf(p->out, &p->err, "</span><p><i style=\"width:%.1f%%;background:%s\"></i>",
                              100 * b->value, lpo_chart_color(color)));
    if (!p->status && b->high > b->low)
        keep(p, lpo_writer_printf(p->out, &p->err, "<u style=\"left:%.1f%%;width:%.1f%%\"></u>", 100 * b->low,
                                  100 * (b->high - b->low)));
    if (!p->status) keep(p, lpo_writer_printf(p->out, &p->err, "</p><span>%.3f</span></div>\n", b->value));
}

void lpo_page_bars(lpo_page *p, const lpo_report_bar *bars, int n) {
    const char *group = "";
    for (int i = 0, color = 0; i < n; i++) {
        const bool first = strcmp(group, bars[i].group) != 0;
        color = first ? 0 : color + 1;
        group = bars[i].group;
        bar(p, &bars[i], first, color);
    }
}

void lpo_page_charts_begin(lpo_page *p) {
    put(p, "<div class=\"charts\">\n");
}
void lpo_page_charts_end(lpo_page *p) {
    put(p, "</div>\n");
}
void lpo_page_lines(lpo_page *p, const char *title, const char *x_label, const lpo_series *s, int n) {
    if (!p->status) keep(p, lpo_chart_lines(p->out, title, x_label, s, n, &p->err));
}
void lpo_page_dots(lpo_page *p, const char *title, const char *x_label, const lpo_series *s, int n) {
    if (!p->status) keep(p, lpo_chart_dots(p->out, title, x_label, s, n, &p->err));
}

void lpo_page_run(lpo_page *p, const lpo_report_run *run) {
    lpo_report_bar split[LPO_RUN_SPLIT];
    int n = 0;
    if (!p->status) keep(p, lpo_chart_run(p->out, run, &p->err));
    if (!p->status) keep(p, lpo_run_split(split, &n, run->dir, &p->err));
    if (n) lpo_page_text(p, "Where a step's time goes, by device and stage (shares of the step):");
    if (n) lpo_page_bars(p, split, n);
    char why[LPO_RUN_WHY_BYTES];
    lpo_run_why(why, run->dir);
    if (*why) lpo_page_text(p, why);
}

void lpo_page_png(lpo_page *p, const void *png, size_t size_bytes, const char *alt) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *b = png;
    put(p, "<p><img alt=\"");
    text(p, alt);
    put(p, "\" src=\"data:image/png;base64,");
    for (size_t i = 0; i < size_bytes; i += 3) {
        const size_t left = size_bytes - i;
        const unsigned v =
            (unsigned)b[i] << 16 | (left > 1 ? (unsigned)b[i + 1] << 8 : 0) | (left > 2 ? b[i + 2] : 0);
        const char four[5] = {digit[v >> 18], digit[v >> 12 & 63], left > 1 ? digit[v >> 6 & 63] : '=',
                              left > 2 ? digit[v & 63] : '=', 0};
        put(p, four);
    }
    put(p, "\"></p>\n");
}
