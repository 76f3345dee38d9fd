/* SPDX-License-Identifier: Apache-2.0 */
/* report.c -- a run's section of a page: one chart for each kind of figure in its metrics.jsonl and
 * timing.jsonl, and where its steps' time went, by stage and device. */
#include "base/json.h"
#include "base/trace.h"
#include "profile/chart.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_POINTS = 1 << 20 };

/* The rows of metrics.jsonl or timing.jsonl. */
typedef struct rows {
    json_t **row;
    int n;
} rows;

static void rows_clear(rows *r) {
    for (int i = 0; i < r->n; i++) json_decref(r->row[i]);
    free(r->row);
}

static lpo_status rows_read(rows *r, const char *dir, const char *name, lpo_error *err) {
    *r = (rows){0};
    char *path = lpo_path_join(dir, name), *text = NULL;
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

/* Points (step, row[key]) of the rows that have the key. A step told again, after a crash, counts as told
 * last. */
static int series(double *x, double *y, const rows *r, const char *key) {
    int n = 0;
    for (int i = 0; i < r->n; i++) {
        const json_t *step = json_object_get(r->row[i], "step"), *v = json_object_get(r->row[i], key);
        if (!json_is_number(step) || !json_is_number(v)) continue;
        while (n && x[n - 1] >= json_number_value(step)) n--;
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
    {"label smoothing",
     {"smoothing/eps_mean", "smoothing/eps_min", "smoothing/eps_max"},
     {"mean", "least", "most"}},
    {"gradient norm", {"grad_norm"}, {"norm"}},
    {"learning rate", {"learning_rate"}, {"lr"}},
};

static const chart_spec TIMING[] = {
    {"throughput (records a second)", {"records_per_s"}, {"records"}},
    {"time of a step (s)", {"time/step_s", "time/data_wait_s"}, {"step", "waiting for data"}},
};

static lpo_status write_charts(lpo_writer *w, const rows *r, const chart_spec *spec, size_t n_spec,
                               lpo_error *err) {
    lpo_status s = LPO_OK;
    double *buf = malloc(6 * ((size_t)r->n + 1) * sizeof *buf);
    if (!buf) return lpo_fail(err, LPO_ENOMEM, "out of memory for charts");
    for (size_t c = 0; c < n_spec && !s; c++) {
        lpo_series d[3];
        int n = 0;
        for (int k = 0; k < 3 && spec[c].key[k]; k++) {
            double *x = buf + 2 * (size_t)k * ((size_t)r->n + 1), *y = x + r->n + 1;
            int points = series(x, y, r, spec[c].key[k]);
            if (points) d[n++] = (lpo_series){.label = spec[c].label[k], .x = x, .y = y, .n = points};
        }
        if (n) s = lpo_chart_lines(w, spec[c].title, "step", d, n, err);
    }
    free(buf);
    return s;
}

/* timing.jsonl may be missing: a run's figures may have been copied without their times. */
static lpo_status timing_read(rows *r, const char *dir, lpo_error *err) {
    *r = (rows){0};
    char *path = lpo_path_join(dir, "timing.jsonl");
    const bool there = path && lpo_path_exists(path);
    free(path);
    return there ? rows_read(r, dir, "timing.jsonl", err) : LPO_OK;
}

lpo_status lpo_chart_run(lpo_writer *w, const lpo_report_run *run, lpo_error *err) {
    rows r, t = {0};
    lpo_status s = rows_read(&r, run->dir, "metrics.jsonl", err);
    if (s) return s;
    s = timing_read(&t, run->dir, err);
    if (!s) s = lpo_writer_printf(w, err, "<h2>");
    if (!s) s = lpo_chart_text(w, run->label, err);
    if (!s) s = lpo_writer_printf(w, err, "</h2><div class=\"charts\">\n");
    if (!s) s = write_charts(w, &r, CHARTS, sizeof CHARTS / sizeof *CHARTS, err);
    if (!s) s = write_charts(w, &t, TIMING, sizeof TIMING / sizeof *TIMING, err);
    if (!s) s = lpo_writer_printf(w, err, "</div>\n");
    rows_clear(&t);
    rows_clear(&r);
    return s;
}

/* The device of a stage: where the run says it was, or, in older runs, what its --place asked for. */
static const char *device_of(const json_t *config, const char *stage) {
    const json_t *settled = json_object_get(json_object_get(config, "run"), "placement");
    const char *place = json_string_value(json_object_get(config, "place")),
               *device = json_string_value(json_object_get(settled, stage));
    char name[64] = "cpu";
    if (device) return lpo_trace_intern(device);
    for (const char *p = place; p && *p;) {
        const size_t n = strcspn(p, ","), n_stage = strlen(stage);
        const bool named = memchr(p, '=', n) != NULL;
        if (named && !strncmp(p, stage, n_stage) && p[n_stage] == '=')
            snprintf(name, sizeof name, "%.*s", (int)(n - n_stage - 1), p + n_stage + 1);
        if (!named && !strcmp(stage, "backbone")) snprintf(name, sizeof name, "%.*s", (int)n, p);
        p += n + (p[n] == ',');
    }
    return lpo_trace_intern(strcmp(name, "auto") ? name : "cpu");
}

void lpo_run_why(char out[LPO_RUN_WHY_BYTES], const char *dir) {
    json_t *config = NULL;
    lpo_error ignored;
    char *path = lpo_path_join(dir, "config.json");
    out[0] = 0;
    if (path && !lpo_json_load(&config, path, 1 << 20, &ignored)) {
        const json_t *p = json_object_get(json_object_get(config, "run"), "placement");
        const char *device = json_string_value(json_object_get(p, "backbone")),
                   *reason = json_string_value(json_object_get(p, "reason"));
        if (json_is_true(json_object_get(p, "auto")) && device && reason)
            snprintf(out, LPO_RUN_WHY_BYTES, "auto put the backbone on %s: %s", device, reason);
    }
    json_decref(config);
    free(path);
}

static double sum_of(const rows *r, const char *key, int first) {
    double sum = 0;
    for (int i = first; i < r->n; i++) sum += json_number_value(json_object_get(r->row[i], key));
    return sum;
}

lpo_status lpo_run_split(lpo_report_bar out[LPO_RUN_SPLIT], int *n, const char *dir, lpo_error *err) {
    static const struct {
        const char *key, *label, *stage;
    } part[] = {
        {"time/data_wait_s", "waiting for data", NULL},
        {"time/record_s", "recording", NULL},
        {NULL, "the rest", NULL},
        {"time/forward_s", "forward", "backbone"},
        {"time/backward_s", "backward", "backbone"},
        {"time/optimizer_s", "optimizer", "backbone"},
        {"time/reduce_s", "reduction", "reduce"},
    };
    rows r;
    json_t *config = NULL;
    *n = 0;
    char *path = lpo_path_join(dir, "config.json");
    lpo_status s = timing_read(&r, dir, err);
    if (!s && path && lpo_path_exists(path)) s = lpo_json_load(&config, path, 1 << 20, err);
    free(path);
    const int first = r.n > 1 ? (r.n + 9) / 10 : 0; /* the first steps warm up */
    const double step_s = s ? 0 : sum_of(&r, "time/step_s", first);
    double rest = 1;
    int rest_at = 0;
    for (size_t i = 0; step_s > 0 && i < sizeof part / sizeof *part; i++) {
        const double share = part[i].key ? sum_of(&r, part[i].key, first) / step_s : 0;
        if (!part[i].key) rest_at = *n;
        out[(*n)++] = (lpo_report_bar){part[i].stage ? device_of(config, part[i].stage) : "host",
                                       part[i].label, share < 1 ? share : 1, 0, 0};
        rest -= share;
    }
    if (*n) out[rest_at].value = rest > 0 ? rest : 0;
    json_decref(config);
    rows_clear(&r);
    return s;
}
