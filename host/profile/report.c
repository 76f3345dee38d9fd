/* SPDX-License-Identifier: Apache-2.0 */
/* report.c -- a run's section of a page: one chart for each kind of figure in its metrics.jsonl. */
#include "base/json.h"
#include "profile/chart.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

lpo_status lpo_chart_run(lpo_writer *w, const lpo_report_run *run, lpo_error *err) {
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
            if (points) d[n++] = (lpo_series){.label = CHARTS[c].label[k], .x = x, .y = y, .n = points};
        }
        if (n) s = lpo_chart_lines(w, CHARTS[c].title, "step", d, n, err);
    }
    if (!s) s = lpo_writer_printf(w, err, "</div>\n");
    free(buf);
    rows_clear(&r);
    return s;
}
