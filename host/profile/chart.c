/* SPDX-License-Identifier: Apache-2.0 */
/* chart.c -- see chart.h. Colours are CSS variables of the page, so a chart follows light and dark. */
#include "profile/chart.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { W = 520, H = 250, LEFT = 58, RIGHT = 12, TOP = 30, BOTTOM = 40, ROW = 15 };

const char *lpo_chart_color(int i) {
    static const char *const c[] = {"var(--c0)", "var(--c1)", "var(--c2)",
                                    "var(--c3)", "var(--c4)", "var(--c5)"};
    return c[i % 6];
}

lpo_status lpo_chart_text(lpo_writer *w, const char *text, lpo_error *err) {
    lpo_status s = LPO_OK;
    for (const char *p = text; *p && !s; p++) {
        switch (*p) {
        case '&': s = lpo_writer_put(w, "&amp;", 5, err); break;
        case '<': s = lpo_writer_put(w, "&lt;", 4, err); break;
        case '>': s = lpo_writer_put(w, "&gt;", 4, err); break;
        case '"': s = lpo_writer_put(w, "&quot;", 6, err); break;
        default: s = lpo_writer_put(w, p, 1, err);
        }
    }
    return s;
}

typedef struct range {
    double lo, hi, step; /* step: distance of ticks */
} range;

/* Widen [lo,hi] to ticks of 1, 2 or 5 times a power of ten. */
static range nice(double lo, double hi) {
    if (!(hi > lo)) {
        double pad = fabs(lo) > 0 ? fabs(lo) * .1 : 1;
        lo -= pad;
        hi += pad;
    }
    double raw = (hi - lo) / 4, mag = pow(10, floor(log10(raw))), m = raw / mag;
    double step = mag * (m <= 1 ? 1 : m <= 2 ? 2 : m <= 5 ? 5 : 10);
    return (range){floor(lo / step + 1e-9) * step, ceil(hi / step - 1e-9) * step, step};
}

static bool find_ranges(range *rx, range *ry, const lpo_series *s, int n_series) {
    double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
    for (int k = 0; k < n_series; k++)
        for (int i = 0; i < s[k].n; i++) {
            if (!isfinite(s[k].y[i])) continue;
            x0 = fmin(x0, s[k].x[i]);
            x1 = fmax(x1, s[k].x[i]);
            y0 = fmin(y0, s[k].low ? s[k].low[i] : s[k].y[i]);
            y1 = fmax(y1, s[k].high ? s[k].high[i] : s[k].y[i]);
        }
    if (!isfinite(y0)) return false;
    *rx = nice(x0, x1);
    rx->lo = x0;
    rx->hi = x1 > x0 ? x1 : x0 + 1;
    *ry = nice(y0, y1);
    return true;
}

static double px(range r, double x) {
    return LEFT + (x - r.lo) / (r.hi - r.lo) * (W - LEFT - RIGHT);
}
static double py(range r, double y) {
    return H - BOTTOM - (y - r.lo) / (r.hi - r.lo) * (H - TOP - BOTTOM);
}

static lpo_status axes(lpo_writer *w, range rx, range ry, const char *x_label, lpo_error *err) {
    lpo_status s = LPO_OK;
    for (double y = ry.lo; y <= ry.hi + ry.step / 2 && !s; y += ry.step)
        s = lpo_writer_printf(w, err,
                              "<line class=\"g\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text "
                              "class=\"t\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n",
                              LEFT, W - RIGHT, py(ry, y), py(ry, y), LEFT - 6, py(ry, y) + 4,
                              fabs(y) < ry.step / 1e6 ? 0 : y);
    for (double x = ceil(rx.lo / rx.step) * rx.step; x <= rx.hi * (1 + 1e-12) && !s; x += rx.step)
        s = lpo_writer_printf(w, err,
                              "<text class=\"t\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.6g</text>\n",
                              px(rx, x), H - BOTTOM + 16, fabs(x) < rx.step / 1e6 ? 0 : x);
    if (!s)
        s = lpo_writer_printf(w, err,
                              "<text class=\"t\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
                              (LEFT + W - RIGHT) / 2, H - 6, x_label);
    return s;
}

static lpo_status band(lpo_writer *w, const lpo_series *d, int k, range rx, range ry, lpo_error *err) {
    lpo_status s =
        lpo_writer_printf(w, err, "<polygon fill=\"%s\" opacity=\".13\" points=\"", lpo_chart_color(k));
    for (int i = 0; i < 2 * d->n && !s; i++) {
        const int at = i < d->n ? i : 2 * d->n - 1 - i;
        const double y = i < d->n ? d->high[at] : d->low[at];
        if (isfinite(y)) s = lpo_writer_printf(w, err, "%.1f,%.1f ", px(rx, d->x[at]), py(ry, y));
    }
    return s ? s : lpo_writer_printf(w, err, "\"/>\n");
}

static lpo_status dots(lpo_writer *w, const lpo_series *d, int k, range rx, range ry, double radius,
                       lpo_error *err) {
    lpo_status s = LPO_OK;
    for (int i = 0; i < d->n && !s; i++)
        if (isfinite(d->y[i]))
            s = lpo_writer_printf(w, err, "<circle r=\"%.1f\" fill=\"%s\" cx=\"%.1f\" cy=\"%.1f\"/>", radius,
                                  lpo_chart_color(k), px(rx, d->x[i]), py(ry, d->y[i]));
    return s;
}

static lpo_status line(lpo_writer *w, const lpo_series *d, int k, range rx, range ry, lpo_error *err) {
    lpo_status s = lpo_writer_printf(
        w, err, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" points=\"", lpo_chart_color(k));
    int drawn = 0;
    for (int i = 0; i < d->n && !s; i++)
        if (isfinite(d->y[i])) {
            s = lpo_writer_printf(w, err, "%.1f,%.1f ", px(rx, d->x[i]), py(ry, d->y[i]));
            drawn = i + 1;
        }
    if (!s) s = lpo_writer_printf(w, err, "\"/>\n");
    return !s && drawn && d->n <= 30 ? dots(w, d, k, rx, ry, 2.5, err) : s; /* few points: show each */
}

/* Where the label of series k stands: at the right of the title when all are few, else in rows below it.
 * Returns the rows used up to it. */
static int legend_at(int *x, const char *title, const lpo_series *d, int n, int k) {
    int width = 0, rows = 1;
    for (int i = 0; i < n; i++) width += 7 * (int)strlen(d[i].label) + 14;
    const bool beside = LEFT + 8 * (int)strlen(title) + width < W;
    *x = beside ? W - RIGHT - width + 14 : LEFT;
    for (int i = 0; i < k; i++) {
        *x += 7 * (int)strlen(d[i].label) + 14;
        if (!beside && *x + 7 * (int)strlen(d[i + 1].label) > W) {
            *x = LEFT;
            rows++;
        }
    }
    return beside ? 0 : rows;
}

static lpo_status legend(lpo_writer *w, const char *title, const lpo_series *d, int n, lpo_error *err) {
    lpo_status s = LPO_OK;
    for (int k = 0; k < n && n > 1 && !s; k++) {
        int x, row = legend_at(&x, title, d, n, k);
        s = lpo_writer_printf(w, err, "<text class=\"t\" style=\"fill:%s\" x=\"%d\" y=\"%d\">",
                              lpo_chart_color(k), x, 16 + ROW * row);
        if (!s) s = lpo_chart_text(w, d[k].label, err);
        if (!s) s = lpo_writer_printf(w, err, "</text>");
    }
    return s;
}

static lpo_status chart(lpo_writer *w, const char *title, const char *x_label, const lpo_series *d,
                        int n_series, bool lines, lpo_error *err) {
    range rx, ry;
    if (!find_ranges(&rx, &ry, d, n_series)) return LPO_OK;
    int x;
    const int head = ROW * legend_at(&x, title, d, n_series, n_series - 1);
    lpo_status s = lpo_writer_printf(w, err, "<svg role=\"img\" viewBox=\"0 0 %d %d\"><title>", W, H + head);
    if (!s) s = lpo_chart_text(w, title, err);
    if (!s) s = lpo_writer_printf(w, err, "</title><text class=\"h\" x=\"%d\" y=\"16\">", LEFT);
    if (!s) s = lpo_chart_text(w, title, err);
    if (!s) s = lpo_writer_printf(w, err, "</text>\n");
    if (!s) s = legend(w, title, d, n_series, err);
    if (!s) s = lpo_writer_printf(w, err, "<g transform=\"translate(0,%d)\">\n", head);
    if (!s) s = axes(w, rx, ry, x_label, err);
    for (int k = n_series - 1; k >= 0 && !s; k--) {
        if (lines && d[k].low && d[k].high) s = band(w, &d[k], k, rx, ry, err);
        if (!s) s = lines ? line(w, &d[k], k, rx, ry, err) : dots(w, &d[k], k, rx, ry, 1.6, err);
    }
    return s ? s : lpo_writer_printf(w, err, "</g></svg>\n");
}

lpo_status lpo_chart_lines(lpo_writer *w, const char *title, const char *x_label, const lpo_series *d,
                           int n_series, lpo_error *err) {
    return chart(w, title, x_label, d, n_series, true, err);
}
lpo_status lpo_chart_dots(lpo_writer *w, const char *title, const char *x_label, const lpo_series *d,
                          int n_series, lpo_error *err) {
    return chart(w, title, x_label, d, n_series, false, err);
}
