/* SPDX-License-Identifier: Apache-2.0 */
/* demo_table.c -- what the seeds say together. A displacement is the change, since before preference
 * training, of the mean log-probability per token on pairs nobody trains on; "+-" is the sample standard
 * deviation over seeds. */
#include "demo.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

demo_stat demo_stat_of(const double *v, int n) {
    demo_stat t = {.n = n};
    for (int i = 0; i < n; i++) {
        t.mean += v[i] / n;
        t.positive += v[i] > 0;
    }
    for (int i = 0; i < n; i++) t.sd += (v[i] - t.mean) * (v[i] - t.mean);
    t.sd = n > 1 ? sqrt(t.sd / (n - 1)) : 0;
    return t;
}

static double last(const demo_seed *s, int cell, bool chosen) {
    const demo_curve *c = &s->cell[cell].curve;
    return c->n ? (chosen ? c->chosen : c->rejected)[c->n - 1] : NAN;
}

demo_stat demo_chosen(const demo *d, int cell) {
    double v[DEMO_SEEDS];
    for (int i = 0; i < d->n_seeds; i++) v[i] = last(&d->seed[i], cell, true);
    return demo_stat_of(v, d->n_seeds);
}
demo_stat demo_rejected(const demo *d, int cell) {
    double v[DEMO_SEEDS];
    for (int i = 0; i < d->n_seeds; i++) v[i] = last(&d->seed[i], cell, false);
    return demo_stat_of(v, d->n_seeds);
}
demo_stat demo_gain(const demo *d, int cell) {
    double v[DEMO_SEEDS];
    for (int i = 0; i < d->n_seeds; i++) v[i] = d->seed[i].cell[cell].eval.accuracy - d->seed[i].sft.accuracy;
    return demo_stat_of(v, d->n_seeds);
}
demo_stat demo_less(const demo *d, int a, int b) {
    double v[DEMO_SEEDS];
    for (int i = 0; i < d->n_seeds; i++) v[i] = last(&d->seed[i], a, true) - last(&d->seed[i], b, true);
    return demo_stat_of(v, d->n_seeds);
}

/* Share of the probe pairs whose reward prefers the winner, at the start or the end. */
static demo_stat accuracy(const demo *d, int cell, bool at_end) {
    double v[DEMO_SEEDS];
    for (int i = 0; i < d->n_seeds; i++) {
        const demo_curve *c = &d->seed[i].cell[cell].curve;
        v[i] = c->n ? c->accuracy[at_end ? c->n - 1 : 0] : NAN;
    }
    return demo_stat_of(v, d->n_seeds);
}

static double margin_at(const demo_curve *c, int k) {
    return c->chosen[k] - c->rejected[k];
}
/* Chosen displacement where the margin first reaches m, between evaluations by a straight line. */
static double chosen_at(const demo_curve *c, double m) {
    for (int k = 1; k < c->n; k++) {
        const double before = margin_at(c, k - 1), after = margin_at(c, k);
        if (after < m) continue;
        const double t = after > before ? (m - before) / (after - before) : 1;
        return c->chosen[k - 1] + t * (c->chosen[k] - c->chosen[k - 1]);
    }
    return NAN;
}
static double top_margin(const demo_curve *c) {
    double top = 0;
    for (int k = 0; k < c->n; k++) top = fmax(top, margin_at(c, k));
    return top;
}

bool demo_matched(demo_stat *a_chosen, demo_stat *b_chosen, double *margin, const demo *d, int a, int b) {
    double va[DEMO_SEEDS], vb[DEMO_SEEDS];
    *margin = 0;
    for (int i = 0; i < d->n_seeds; i++) {
        const demo_curve *ca = &d->seed[i].cell[a].curve, *cb = &d->seed[i].cell[b].curve;
        const double m = fmin(top_margin(ca), top_margin(cb));
        if (!(m > 0)) return false;
        va[i] = chosen_at(ca, m);
        vb[i] = chosen_at(cb, m);
        *margin += m / d->n_seeds;
    }
    *a_chosen = demo_stat_of(va, d->n_seeds);
    *b_chosen = demo_stat_of(vb, d->n_seeds);
    return true;
}

static void column(demo_stat t) {
    if (t.n > 1)
        printf("  %+.3f +- %.3f", t.mean, t.sd);
    else
        printf("  %+.3f        ", t.mean);
}

static void difference(const demo *d, const char *what, int a, int b) {
    const demo_stat t = demo_less(d, a, b);
    printf("chosen displacement, %s: %+.3f", what, t.mean);
    if (t.n > 1) printf(" +- %.3f, above 0 in %d of %d seeds", t.sd, t.positive, t.n);
    printf("\n");
}

void demo_print(const demo *d) {
    double before = 0, sft = 0, chance = 0, rho = 0;
    for (int i = 0; i < d->n_seeds; i++) {
        before += d->seed[i].before.accuracy / d->n_seeds;
        sft += d->seed[i].sft.accuracy / d->n_seeds;
        chance += d->seed[i].chance / d->n_seeds;
        rho += d->seed[i].pairs[DEMO_PAIRS].rho / d->n_seeds;
    }
    printf("held-out accuracy: %.3f before SFT, %.3f after SFT (chance %.3f); reward-trust rho %.2f; %d "
           "seed%s\n",
           before, sft, chance, rho, d->n_seeds, d->n_seeds > 1 ? "s" : "");
    printf("%-24s %-6s  %-15s  %-15s  %-15s  %s\n", "", "lr", "accuracy change", "chosen", "rejected",
           "reward accuracy");
    for (int c = 0; demo_cells[c].name; c++) {
        if (!demo_has(d, c)) continue;
        printf("%-24s %-6s", demo_cells[c].name, demo_cells[c].learning_rate);
        column(demo_gain(d, c));
        column(demo_chosen(d, c));
        column(demo_rejected(d, c));
        if (accuracy(d, c, true).mean >= 0)
            printf("  %.3f -> %.3f", accuracy(d, c, false).mean, accuracy(d, c, true).mean);
        printf("\n");
    }
    demo_stat a, b;
    double m;
    if (demo_matched(&a, &b, &m, d, DEMO_LEANPO_1E4, DEMO_DPO_1E4))
        printf("at the same margin (%.3f nats per token) chosen: LeanPO %+.3f, DPO %+.3f\n", m, a.mean,
               b.mean);
    difference(d, "LeanPO less DPO at lr 1e-4", DEMO_LEANPO_1E4, DEMO_DPO_1E4);
    difference(d, "LeanPO less DPO at lr 3e-5", DEMO_LEANPO_3E5, DEMO_DPO_3E5);
}

/* ---- demo.json ---- */

/* null: the objective has no rewards. */
static json_t *stat_json(demo_stat t) {
    if (isnan(t.mean)) return json_null();
    return json_pack("{sf sf si si}", "mean", t.mean, "sd", t.sd, "positive", t.positive, "n", t.n);
}

static json_t *eval_json(const lpo_eval_result *r) {
    json_t *o = json_object();
    for (int i = 0; i < r->n_types; i++)
        json_object_set_new(
            o, r->type[i].name,
            json_pack("{sI sf}", "n", (json_int_t)r->type[i].n, "accuracy", r->type[i].accuracy));
    return json_pack("{sI sf sf sf sf so}", "n", (json_int_t)r->n, "accuracy", r->accuracy, "content_f1",
                     r->content_f1, "exact_match", r->exact_match, "mean_logp", r->mean_logp, "types", o);
}

static json_t *curve_json(const demo_curve *c) {
    json_t *a = json_array();
    for (int k = 0; k < c->n; k++)
        json_array_append_new(a, json_pack("{sf sf sf so}", "step", c->step[k], "displacement/chosen",
                                           c->chosen[k], "displacement/rejected", c->rejected[k],
                                           "eval_rewards/accuracies",
                                           isnan(c->accuracy[k]) ? json_null() : json_real(c->accuracy[k])));
    return a;
}

static json_t *seed_json(const demo *d, const demo_seed *s) {
    json_t *cells = json_object(), *stages = json_object(), *pairs = json_object();
    static const char *const kinds[DEMO_N_PAIRS] = {"pairs",       "no hint",  "no reflection",
                                                    "plain loser", "template", "flipped"};
    for (int c = 0; demo_cells[c].name; c++)
        if (demo_has(d, c))
            json_object_set_new(cells, demo_cells[c].name,
                                json_pack("{so so}", "heldout", eval_json(&s->cell[c].eval), "curve",
                                          curve_json(&s->cell[c].curve)));
    for (int k = 0; k < DEMO_N_PAIRS; k++)
        if (s->pairs[k].n_questions)
            json_object_set_new(
                pairs, kinds[k],
                json_pack("{sI sI sf sf sf s[ff]}", "n_questions", (json_int_t)s->pairs[k].n_questions,
                          "n_pairs", (json_int_t)s->pairs[k].n_pairs, "trust_chosen",
                          s->pairs[k].trust_chosen, "trust_rejected", s->pairs[k].trust_rejected, "trust/rho",
                          s->pairs[k].rho, "trust/rho_interval", s->pairs[k].rho_low, s->pairs[k].rho_high));
    for (int k = 0; k < s->n_stages; k++) json_object_set_new(stages, s->stage[k], json_real(s->seconds[k]));
    return json_pack("{sI sf so so so so so}", "seed", (json_int_t)s->seed, "chance", s->chance, "before_sft",
                     eval_json(&s->before), "after_sft", eval_json(&s->sft), "pairs", pairs, "cells", cells,
                     "seconds", stages);
}

lpo_status demo_write_json(const demo *d, lpo_error *err) {
    json_t *seeds = json_array(), *table = json_array();
    for (int i = 0; i < d->n_seeds; i++) json_array_append_new(seeds, seed_json(d, &d->seed[i]));
    for (int c = 0; demo_cells[c].name; c++) {
        const demo_cell *e = &demo_cells[c];
        if (!demo_has(d, c)) continue;
        json_array_append_new(table, json_pack("{ss ss ss so so so so so}", "cell", e->name, "objective",
                                               e->objective, "learning_rate", e->learning_rate,
                                               "accuracy_change", stat_json(demo_gain(d, c)),
                                               "displacement/chosen", stat_json(demo_chosen(d, c)),
                                               "displacement/rejected", stat_json(demo_rejected(d, c)),
                                               "reward_accuracy_before", stat_json(accuracy(d, c, false)),
                                               "reward_accuracy_after", stat_json(accuracy(d, c, true))));
    }
    json_t *o = json_pack("{sI si sb sf so so}", "first_seed", (json_int_t)d->first_seed, "n_seeds",
                          d->n_seeds, "full", d->full, "seconds", d->seconds, "table", table, "seeds", seeds);
    demo_stat a, b;
    double m;
    if (demo_matched(&a, &b, &m, d, DEMO_LEANPO_1E4, DEMO_DPO_1E4))
        json_object_set_new(
            o, "matched_margin",
            json_pack("{sf so so}", "margin", m, "leanpo", stat_json(a), "dpo", stat_json(b)));
    json_object_set_new(o, "leanpo_less_dpo_1e-4", stat_json(demo_less(d, DEMO_LEANPO_1E4, DEMO_DPO_1E4)));
    json_object_set_new(o, "leanpo_less_dpo_3e-5", stat_json(demo_less(d, DEMO_LEANPO_3E5, DEMO_DPO_3E5)));
    char path[DEMO_PATH + 64], tmp[DEMO_PATH + 70];
    snprintf(path, sizeof path, "%s/demo.json", d->out);
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    const int bad =
        !o || json_dump_file(o, tmp, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) || rename(tmp, path);
    json_decref(o);
    return bad ? lpo_fail(err, LPO_EIO, "%s: cannot write it", path) : LPO_OK;
}
