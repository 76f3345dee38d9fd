/* SPDX-License-Identifier: Apache-2.0 */
/* demo_report.c -- the page of the experiment: what happened to likelihoods and answers, beside its controls.
 */
#include "demo.h"
#include "leanpo/media.h"
#include "leanpo/prep.h"
#include "leanpo/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CURVES = DEMO_CELLS, N_THUMBS = 3, MAX_SCATTER = 4000 };

static void show(char out[64], demo_stat t) {
    if (t.n > 1)
        snprintf(out, 64, "%+.3f ± %.3f", t.mean, t.sd);
    else
        snprintf(out, 64, "%+.3f", t.mean);
}

/* Two rows: LeanPO and DPO where both have the same margin. Returns how many it wrote. */
static int matched_rows(lpo_report_row *rows, double *margin, const demo *d) {
    static char text[2][3][64];
    static const int cell[] = {DEMO_LEANPO_1E4, DEMO_DPO_1E4};
    demo_stat chosen[2];
    if (!demo_matched(&chosen[0], &chosen[1], margin, d, cell[0], cell[1])) return 0;
    for (int k = 0; k < 2; k++) {
        snprintf(text[k][0], 64, "%s, at margin %.3f", demo_cells[cell[k]].name, *margin);
        show(text[k][1], chosen[k]);
        snprintf(text[k][2], 64, "%+.3f", chosen[k].mean - *margin);
        rows[k] =
            (lpo_report_row){{text[k][0], demo_cells[cell[k]].learning_rate, "", text[k][1], text[k][2]}};
    }
    return 2;
}

static void write_table(lpo_page *p, const demo *d) {
    static char text[DEMO_CELLS][3][64];
    double margin = 0;
    lpo_report_row rows[DEMO_CELLS + 3] = {
        {{"trained on the pairs", "learning rate", "accuracy change", "chosen", "rejected"}}};
    int n = 1;
    for (int c = 0; demo_cells[c].name; c++) {
        if (!demo_has(d, c)) continue;
        show(text[c][0], demo_gain(d, c));
        show(text[c][1], demo_chosen(d, c));
        show(text[c][2], demo_rejected(d, c));
        rows[n++] = (lpo_report_row){
            {demo_cells[c].name, demo_cells[c].learning_rate, text[c][0], text[c][1], text[c][2]}};
    }
    const int n_matched = matched_rows(rows + n, &margin, d);
    n += n_matched;
    lpo_page_heading(p, "What each objective does to accuracy and likelihood");
    lpo_page_table(p, rows, n);
    lpo_page_text(
        p, "Chosen and rejected: change of the mean log-probability per token (nats) of the winning and the "
           "losing answers of pairs nobody trains on, since before preference training. ± is the standard "
           "deviation over seeds.");
    if (n_matched)
        lpo_page_text(
            p, "Equal learning rate is not equal progress: the last two rows are read where LeanPO and DPO "
               "have the same margin (chosen less rejected, nats per token), each on its way to the end.");
}

/* Mean over seeds with a band of one standard deviation. */
typedef struct mean_curve {
    double y[DEMO_CURVE], low[DEMO_CURVE], high[DEMO_CURVE];
} mean_curve;

enum { CHOSEN, REJECTED, MARGIN };
static void average(mean_curve *out, const demo *d, int cell, int what) {
    for (int k = 0; k < d->seed[0].cell[cell].curve.n; k++) {
        double v[DEMO_SEEDS];
        for (int i = 0; i < d->n_seeds; i++) {
            const demo_curve *c = &d->seed[i].cell[cell].curve;
            v[i] = k >= c->n          ? NAN
                   : what == CHOSEN   ? c->chosen[k]
                   : what == REJECTED ? c->rejected[k]
                                      : c->chosen[k] - c->rejected[k];
        }
        const demo_stat t = demo_stat_of(v, d->n_seeds);
        out->y[k] = t.mean;
        out->low[k] = t.mean - t.sd;
        out->high[k] = t.mean + t.sd;
    }
}

static void write_curves(lpo_page *p, const demo *d) {
    static const char *const title[] = {"chosen: change of log-probability per token",
                                        "rejected: change of log-probability per token",
                                        "margin: chosen less rejected"};
    static const int shown[] = {DEMO_LEANPO_1E4, DEMO_DPO_1E4,    DEMO_SFT_1E4,
                                DEMO_SIMPO_1E4,  DEMO_LEANPO_3E5, DEMO_DPO_3E5};
    enum { N = sizeof shown / sizeof *shown };
    static mean_curve m[N];
    lpo_page_heading(p, "Likelihood displacement");
    lpo_page_charts_begin(p);
    for (int what = CHOSEN; what <= MARGIN; what++) {
        lpo_series s[N];
        for (int i = 0; i < N; i++) {
            const demo_curve *c = &d->seed[0].cell[shown[i]].curve;
            average(&m[i], d, shown[i], what);
            const bool band = d->n_seeds > 1;
            s[i] = (lpo_series){demo_cells[shown[i]].name, c->step, m[i].y, band ? m[i].low : NULL,
                                band ? m[i].high : NULL,   c->n};
        }
        lpo_page_lines(p, title[what], "step", s, N);
    }
    lpo_page_charts_end(p);
}

/* 95% interval: of a share of n answers (Wilson) with one seed, else of the mean over seeds by their spread.
 */
static lpo_report_bar bar_of(const char *group, const char *label, const double *v, int n_seeds, int64_t n) {
    const demo_stat t = demo_stat_of(v, n_seeds);
    lpo_report_bar b = {group, label, t.mean, 0, 0};
    if (n_seeds > 1) {
        const double half = 1.96 * t.sd / sqrt(n_seeds);
        b.low = fmax(0, t.mean - half);
        b.high = fmin(1, t.mean + half);
    } else if (n > 0) {
        const double z = 1.96, q = z * z / (double)n, mid = (t.mean + q / 2) / (1 + q),
                     half = z * sqrt(t.mean * (1 - t.mean) / (double)n + q / (4 * (double)n)) / (1 + q);
        b.low = fmax(0, mid - half);
        b.high = fmin(1, mid + half);
    }
    return b;
}

static const lpo_eval_result *stage_eval(const demo_seed *s, int stage) {
    static const int cell[] = {0, 0, DEMO_SFT_1E4, DEMO_DPO_1E4, DEMO_LEANPO_1E4, DEMO_LEANPO_3E5};
    return stage == 0 ? &s->before : stage == 1 ? &s->sft : &s->cell[cell[stage]].eval;
}

static void write_accuracy(lpo_page *p, const demo *d) {
    static const char *const label[] = {"before SFT", "SFT",    "SFT on winners",
                                        "DPO",        "LeanPO", "LeanPO 3e-5"};
    enum { STAGES = sizeof label / sizeof *label };
    static lpo_report_bar bars[STAGES * (LPO_EVAL_MAX_TYPES + 1)];
    const int n_types = d->seed[0].sft.n_types;
    int n = 0;
    for (int t = -1; t < n_types; t++)
        for (int k = 0; k < STAGES; k++) {
            double v[DEMO_SEEDS];
            for (int i = 0; i < d->n_seeds; i++) {
                const lpo_eval_result *r = stage_eval(&d->seed[i], k);
                v[i] = t < 0 ? r->accuracy : t < r->n_types ? r->type[t].accuracy : NAN;
            }
            const lpo_eval_result *r = stage_eval(&d->seed[0], k);
            bars[n++] = bar_of(t < 0 ? "all" : d->seed[0].sft.type[t].name, label[k], v, d->n_seeds,
                               t < 0 ? r->n : r->type[t].n);
        }
    lpo_page_heading(p, "Held-out accuracy by question type");
    lpo_page_bars(p, bars, n);
    lpo_page_text(p, d->n_seeds > 1 ? "Lines: 95% interval of the mean over seeds."
                                    : "Lines: 95% Wilson interval of one seed's questions.");
}

/* Reward against trust of the candidates behind the pairs of the first seed. */
static void write_scatter(lpo_page *p, const demo *d) {
    static double x[2][MAX_SCATTER], y[2][MAX_SCATTER];
    static const char *const key[2][2] = {{"trust_chosen", "reward_chosen"},
                                          {"trust_rejected", "reward_rejected"}};
    char path[DEMO_PATH + 64], text[300];
    int n[2] = {0, 0};
    snprintf(path, sizeof path, "%s/pairs.candidates.jsonl", d->seed[0].world);
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    while (f && getline(&line, &cap, f) > 0) {
        json_t *o = json_loads(line, 0, NULL);
        for (int k = 0; k < 2; k++) {
            const json_t *t = json_object_get(o, key[k][0]), *r = json_object_get(o, key[k][1]);
            if (!t || !r || n[k] == MAX_SCATTER) continue;
            /* spread equal trusts a little, so that points can be told apart */
            x[k][n[k]] = json_number_value(t) + .03 * ((n[k] * 37 % 101) / 101.0 - .5);
            y[k][n[k]++] = json_number_value(r);
        }
        json_decref(o);
    }
    free(line);
    if (f) fclose(f);
    if (!n[0]) return;
    lpo_page_heading(p, "Does the model's own reward know which answer to trust?");
    const lpo_series s[] = {{"meant to win", x[0], y[0], NULL, NULL, n[0]},
                            {"meant to lose", x[1], y[1], NULL, NULL, n[1]}};
    lpo_page_charts_begin(p);
    lpo_page_dots(p, "reward: mean log-probability per token", "trust: content-word F1 against the truth", s,
                  2);
    lpo_page_charts_end(p);
    snprintf(text, sizeof text,
             "Spearman's rho over all candidates of seed %llu, kept or not: %.3f (95%% bootstrap interval "
             "%.3f to %.3f).",
             (unsigned long long)d->seed[0].seed, d->seed[0].pairs[DEMO_PAIRS].rho,
             d->seed[0].pairs[DEMO_PAIRS].rho_low, d->seed[0].pairs[DEMO_PAIRS].rho_high);
    lpo_page_text(p, text);
}

/* The sampled frames of a video side by side. */
static lpo_status strip(uint8_t **png, size_t *size, const char *video, lpo_error *err) {
    lpo_prep_options o;
    lpo_clip c = {0};
    lpo_status s = lpo_prep_options_load(&o, NULL, err);
    if (s) return s;
    o.n_frames = 8;
    o.target_h = o.target_w = 112;
    o.n_threads = 1;
    s = lpo_prep_video(&c, video, &o, NULL, err);
    if (s) return s;
    const size_t w = (size_t)c.width, h = (size_t)c.height, n = (size_t)c.n_frames;
    uint8_t *rgb = malloc(n * w * h * 3);
    if (!rgb) s = lpo_fail(err, LPO_ENOMEM, "out of memory for a picture");
    for (size_t y = 0; y < h && !s; y++)
        for (size_t i = 0; i < n; i++)
            memcpy(rgb + (y * n + i) * w * 3, c.frames_u8 + (i * h + y) * w * 3, w * 3);
    if (!s) s = lpo_png_encode(png, size, rgb, (int)(n * w), (int)h, err);
    free(rgb);
    lpo_clip_clear(&c);
    return s;
}

static char *answer_of(const demo *d, const char *model, const char *video, const char *prompt) {
    lpo_generate_options g = lpo_generate_options_default();
    char *text = NULL;
    g.model = model;
    g.video = video;
    g.prompt = prompt;
    g.max_tokens = 24;
    g.temperature = 0;
    g.n_threads = d->n_threads;
    if (lpo_generate_text(&text, &g, NULL, NULL, NULL)) return NULL;
    return text;
}

static void write_thumb(lpo_page *p, const demo *d, const json_t *pair) {
    const demo_seed *s = &d->seed[0];
    char video[DEMO_PATH + 512];
    const char *prompt = json_string_value(json_object_get(pair, "prompt"));
    snprintf(video, sizeof video, "%s/%s", s->world, json_string_value(json_object_get(pair, "video")));
    uint8_t *png;
    size_t size;
    if (strip(&png, &size, video, NULL)) return;
    char *before = answer_of(d, s->sft_model, video, prompt),
         *after = answer_of(d, s->leanpo_model, video, prompt);
    lpo_page_png(p, png, size, "eight frames of the video");
    const lpo_report_row rows[] = {{{"prompt", prompt}},
                                   {{"winner", json_string_value(json_object_get(pair, "chosen"))}},
                                   {{"loser", json_string_value(json_object_get(pair, "rejected"))}},
                                   {{"answer after SFT", before ? before : "-"}},
                                   {{"answer after LeanPO", after ? after : "-"}}};
    lpo_page_table(p, rows, 5);
    free(after);
    free(before);
    free(png);
}

static void write_thumbs(lpo_page *p, const demo *d) {
    char path[DEMO_PATH + 64], seen[N_THUMBS][2][64]; /* type, video */
    snprintf(path, sizeof path, "%s/pairs.probe.jsonl", d->seed[0].world);
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    int n = 0;
    lpo_page_heading(p, "Three pairs nobody trained on");
    while (f && n < N_THUMBS && getline(&line, &cap, f) > 0) {
        json_t *o = json_loads(line, 0, NULL);
        const char *type = json_string_value(json_object_get(o, "type")),
                   *video = json_string_value(json_object_get(o, "video"));
        bool fresh = type && video;
        for (int i = 0; i < n && fresh; i++) fresh = strcmp(seen[i][0], type) && strcmp(seen[i][1], video);
        if (fresh) {
            snprintf(seen[n][0], sizeof seen[n][0], "%s", type);
            snprintf(seen[n++][1], sizeof seen[0][1], "%s", video);
            write_thumb(p, d, o);
        }
        json_decref(o);
    }
    free(line);
    if (f) fclose(f);
}

static void write_timing(lpo_page *p, const demo *d) {
    static char text[DEMO_STAGES][2][64];
    lpo_report_row rows[DEMO_STAGES + 1] = {{{"stage", "seconds, mean over seeds"}}};
    const int n = d->seed[0].n_stages;
    for (int k = 0; k < n; k++) {
        double sum = 0;
        for (int i = 0; i < d->n_seeds; i++) sum += d->seed[i].seconds[k] / d->n_seeds;
        snprintf(text[k][0], 64, "%s", d->seed[0].stage[k]);
        snprintf(text[k][1], 64, "%.0f", sum);
        rows[k + 1] = (lpo_report_row){{text[k][0], text[k][1]}};
    }
    lpo_page_heading(p, "Where the time went (measured)");
    lpo_page_table(p, rows, n + 1);
}

static void write_head(lpo_page *p, const demo *d) {
    double sft = 0, chance = 0;
    long long kept = 0, asked = 0;
    char text[700];
    for (int i = 0; i < d->n_seeds; i++) {
        sft += d->seed[i].sft.accuracy / d->n_seeds;
        chance += d->seed[i].chance / d->n_seeds;
        kept += d->seed[i].pairs[DEMO_PAIRS].n_pairs;
        asked += d->seed[i].pairs[DEMO_PAIRS].n_questions;
    }
    const demo_stat less = demo_less(d, DEMO_LEANPO_1E4, DEMO_DPO_1E4);
    snprintf(text, sizeof text,
             "A 1.4 M-parameter Qwen2-VL-shaped model learns to answer questions about moving shapes "
             "(held-out accuracy "
             "%.3f after SFT, chance %.3f), makes its own preference pairs (%lld of %lld questions gave "
             "one), and is then "
             "trained on them by several objectives. %d seed%s.",
             sft, chance, kept, asked, d->n_seeds,
             d->n_seeds > 1 ? "s" : "; a few hundredths of accuracy are noise");
    lpo_page_text(p, text);
    snprintf(text, sizeof text,
             "At equal learning rate (1e-4) LeanPO moves the likelihood of the winning answers by %+.3f nats "
             "per token "
             "relative to DPO%s. An SFT term on the winners is the control: it moves them too, without "
             "preferences.",
             less.mean, d->n_seeds > 1 ? " in the mean over seeds" : "");
    lpo_page_text(p, text);
}

lpo_status demo_write_report(const demo *d, lpo_error *err) {
    char path[DEMO_PATH + 64];
    lpo_page *p;
    snprintf(path, sizeof path, "%s/report.html", d->out);
    lpo_status s = lpo_page_open(&p, path, "LeanPO on the moving-shapes world", err);
    if (s) return s;
    write_head(p, d);
    write_table(p, d);
    write_curves(p, d);
    write_accuracy(p, d);
    write_scatter(p, d);
    write_thumbs(p, d);
    write_timing(p, d);
    return lpo_page_close(p, err);
}
