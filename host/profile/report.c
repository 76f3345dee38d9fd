/* SPDX-License-Identifier: Apache-2.0 */
/* report.c -- see report.h: page frame, tables, bars, and one set of curves per run from its metrics.jsonl.
 */
#include "leanpo/report.h"

#include "base/file.h"
#include "base/json.h"
#include "profile/chart.h"

#include <stdbool.h>
#include <stdio.h>
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
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:1rem}svg{width:100%;"
    "height:auto}\n"
    "svg .g{stroke:var(--line)}svg .t{fill:var(--mut);font-size:11px}svg "
    ".h{fill:var(--fg);font-size:13px;font-weight:600}\n"
    ".bar{display:grid;grid-template-columns:7rem 8rem 1fr "
    "3.5rem;gap:.5rem;align-items:center;font-size:.9rem}\n"
    ".bar i{display:block;height:.8rem;background:var(--c0);border-radius:2px}.bar b{font-weight:600}\n"
    "@media print{body{max-width:none}svg{break-inside:avoid}}</style>\n";

enum { MAX_POINTS = 1 << 20 };

/* The rows of metrics.jsonl. */
typedef struct rows {
    json_t **row;
    int n;
} rows;

static void rows_clear(rows *r) {
    for (int i = 0; i < r->n; i++) json_decref(r->row[i]);
    free(r->row);
}

static lpo_status rows_read(rows *r, const char *dir, lpo_error *err) {
    *r = (rows){0};
    char *path = lpo_path_join(dir, "metrics.jsonl"), *text = NULL;
    size_t size;
    if (!path) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", dir);
    lpo_status s = lpo_file_read(&text, &size, path, (size_t)1 << 30, err);
    int cap = 0, line = 0;
    for (char *p = text; !s && p && *p;) {
        char *end = strchr(p, '\n');
        size_t n = end ? (size_t)(end - p) : strlen(p);
        line++;
        if (n) {
            char where[600];
            snprintf(where, sizeof where, "%s:%d", path, line);
            if (r->n == cap) {
                json_t **q = r->n < MAX_POINTS
                                 ? realloc(r->row, (size_t)(cap = cap ? 2 * cap : 256) * sizeof *q)
                                 : NULL;
                if (!q) {
                    s = lpo_fail(err, LPO_ELIMIT, "%s: too many rows", path);
                    break;
                }
                r->row = q;
            }
            s = lpo_json_parse(&r->row[r->n], p, n, where, err);
            r->n += !s;
        }
        p += n + (end != NULL);
    }
    free(text);
    free(path);
    if (s) rows_clear(r);
    return s;
}

/* Points (step, row[key]) of the rows that have the key. */
static int series(double *x, double *y, const rows *r, const char *key) {
    int n = 0;
    for (int i = 0; i < r->n; i++) {
        const json_t *step = json_object_get(r->row[i], "step"), *v = json_object_get(r->row[i], key);
        if (!json_is_number(step) || !json_is_number(v)) continue;
        x[n] = json_number_value(step);
        y[n++] = json_number_value(v);
    }
    return n;
}

typedef struct chart_spec {
    const char *title, *key[3], *label[3];
} chart_spec;

static const chart_spec CHARTS[] = {
    {"loss", {"loss", "eval_loss"}, {"train", "held out"}},
    {"reward margin", {"rewards/margins", "eval_rewards/margins"}, {"train", "held out"}},
    {"reward accuracy", {"rewards/accuracies", "eval_rewards/accuracies"}, {"train", "held out"}},
    {"displacement (nats per token)",
     {"displacement/chosen", "displacement/rejected"},
     {"chosen", "rejected"}},
    {"token accuracy", {"mean_token_accuracy"}, {"train"}},
    {"label smoothing", {"smoothing/eps_mean"}, {"eps"}},
    {"gradient norm", {"grad_norm"}, {"norm"}},
    {"learning rate", {"learning_rate"}, {"lr"}},
};

static lpo_status write_run(lpo_writer *w, const lpo_report_run *run, lpo_error *err) {
    rows r;
    lpo_status s = rows_read(&r, run->dir, err);
    if (s) return s;
    double *buf = malloc(6 * ((size_t)r.n + 1) * sizeof *buf);
    if (!buf) s = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", run->dir);
    if (!s) s = lpo_writer_printf(w, err, "<h2>");
    if (!s) s = lpo_chart_text(w, run->label, err);
    if (!s) s = lpo_writer_printf(w, err, "</h2><div class=\"charts\">\n");
    for (size_t c = 0; c < sizeof CHARTS / sizeof *CHARTS && !s; c++) {
        lpo_series d[3];
        int n = 0;
        for (int k = 0; k < 3 && CHARTS[c].key[k]; k++) {
            double *x = buf + 2 * (size_t)k * ((size_t)r.n + 1), *y = x + r.n + 1;
            int points = series(x, y, &r, CHARTS[c].key[k]);
            if (points) d[n++] = (lpo_series){CHARTS[c].label[k], x, y, points};
        }
        if (n) s = lpo_chart_lines(w, CHARTS[c].title, "step", d, n, err);
    }
    if (!s) s = lpo_writer_printf(w, err, "</div>\n");
    free(buf);
    rows_clear(&r);
    return s;
}

static lpo_status write_bars(lpo_writer *w, const lpo_report *r, lpo_error *err) {
    if (!r->n_bars) return LPO_OK;
    lpo_status s = lpo_writer_printf(w, err, "<h2>");
    if (!s) s = lpo_chart_text(w, r->bars_title, err);
    if (!s) s = lpo_writer_printf(w, err, "</h2>\n");
    const char *group = "";
    int color = 0;
    for (int i = 0; i < r->n_bars && !s; i++) {
        bool first = strcmp(group, r->bars[i].group) != 0;
        color = first ? 0 : color + 1;
        group = r->bars[i].group;
        s = lpo_writer_printf(w, err, "<div class=\"bar\"><b>");
        if (!s && first) s = lpo_chart_text(w, group, err);
        if (!s) s = lpo_writer_printf(w, err, "</b><span>");
        if (!s) s = lpo_chart_text(w, r->bars[i].label, err);
        if (!s)
            s = lpo_writer_printf(
                w, err, "</span><i style=\"width:%.1f%%;background:%s\"></i><span>%.3f</span></div>\n",
                100 * r->bars[i].value, lpo_chart_color(color), r->bars[i].value);
    }
    return s;
}

static lpo_status write_table(lpo_writer *w, const lpo_report *r, lpo_error *err) {
    if (!r->n_table) return LPO_OK;
    lpo_status s = lpo_writer_printf(w, err, "<h2>");
    if (!s) s = lpo_chart_text(w, r->table_title, err);
    if (!s) s = lpo_writer_printf(w, err, "</h2><table>\n");
    for (int i = 0; i < r->n_table && !s; i++) {
        const char *tag = i ? "td" : "th";
        s = lpo_writer_printf(w, err, "<tr>");
        for (int c = 0; c < 6 && r->table[i].cell[c] && !s; c++) {
            s = lpo_writer_printf(w, err, "<%s>", tag);
            if (!s) s = lpo_chart_text(w, r->table[i].cell[c], err);
            if (!s) s = lpo_writer_printf(w, err, "</%s>", tag);
        }
        if (!s) s = lpo_writer_printf(w, err, "</tr>\n");
    }
    return s ? s : lpo_writer_printf(w, err, "</table>\n");
}

static lpo_status write_page(lpo_writer *w, const lpo_report *r, lpo_error *err) {
    lpo_status s = lpo_writer_put(w, STYLE, sizeof STYLE - 1, err);
    if (!s) s = lpo_writer_printf(w, err, "<title>");
    if (!s) s = lpo_chart_text(w, r->title, err);
    if (!s) s = lpo_writer_printf(w, err, "</title></head><body><h1>");
    if (!s) s = lpo_chart_text(w, r->title, err);
    if (!s) s = lpo_writer_printf(w, err, "</h1>\n");
    for (int i = 0; r->paragraphs && r->paragraphs[i] && !s; i++) {
        s = lpo_writer_printf(w, err, "<p>");
        if (!s) s = lpo_chart_text(w, r->paragraphs[i], err);
        if (!s) s = lpo_writer_printf(w, err, "</p>\n");
    }
    if (!s) s = write_bars(w, r, err);
    if (!s) s = write_table(w, r, err);
    for (int i = 0; i < r->n_runs && !s; i++) s = write_run(w, &r->runs[i], err);
    return s ? s : lpo_writer_printf(w, err, "</body></html>\n");
}

lpo_status lpo_report_write(const char *path, const lpo_report *r, lpo_error *err) {
    lpo_writer *w;
    lpo_status s = lpo_writer_open(&w, path, err);
    if (s) return s;
    s = write_page(w, r, err);
    if (s) {
        lpo_writer_abort(w);
        return s;
    }
    return lpo_writer_commit(w, err);
}
