/* SPDX-License-Identifier: Apache-2.0 */
/* heldout.c -- see heldout.h. */
#include "train/heldout.h"

typedef struct tally {
    int64_t rows, fixed, tokens, chosen_tokens, hits;
    double fixed_w, fixed_l, sum_w, sum_l, entropy;
} tally;

static double row_sum(const double *t, const int64_t *start, int32_t i) {
    double s = 0;
    for (int64_t k = start[i]; k < start[i + 1]; k++) s += t[k];
    return s;
}

static void count(tally *t, const lpo_rows *r, int64_t n_fixed, bool pairs) {
    for (int32_t i = 0; i < r->n; i++) {
        const double w = row_sum(r->t_w, r->start_w, i), l = row_sum(r->t_l, r->start_l, i);
        t->sum_w += w;
        t->sum_l += l;
        if (r->samples[i].record->index >= n_fixed) continue;
        t->fixed++;
        t->fixed_w += w / (double)(r->start_w[i + 1] - r->start_w[i]);
        if (pairs) t->fixed_l += l / (double)(r->start_l[i + 1] - r->start_l[i]);
    }
    t->rows += r->n;
    t->tokens += r->start_w[r->n] + r->start_l[r->n];
    t->chosen_tokens += r->start_w[r->n];
    t->hits += r->hit_w;
    t->entropy += r->entropy_sum;
}

static double mean(double sum, int64_t n) {
    return n ? sum / (double)n : 0;
}

lpo_status lpo_heldout_run(lpo_heldout_result *out, const lpo_heldout *h, lpo_engine *e,
                           const lpo_recipe *recipe, int64_t step, int64_t total_steps,
                           lpo_progress_fn *progress, void *user, lpo_error *err) {
    tally t = {0};
    lpo_loader *loader;
    lpo_batch *b;
    *out = (lpo_heldout_result){0};
    lpo_status s = lpo_loader_create(&loader, h->data, recipe, &h->loader, err);
    if (s) return s;
    while (!(s = lpo_loader_next(&b, loader, NULL, err))) {
        lpo_rows rows;
        s = lpo_engine_forward(&rows, e, b, 0, b->n_samples, h->pairs, false, err);
        if (!s) count(&t, &rows, h->n_fixed, h->pairs);
        if (!s && h->loss)
            s = lpo_loss_eval(&out->sum, NULL, NULL, h->loss, &rows, &h->ref, b->n_samples, 1, step,
                              total_steps, err);
        lpo_loader_release(loader, b);
        /* Not interruptible: a step is over when its evaluation is, and the caller asks again then. */
        if (!s && progress) progress(user, "evaluating", t.rows, lpo_dataset_count(h->data));
        if (s) break;
    }
    lpo_loader_destroy(loader);
    out->chosen = mean(t.fixed_w, t.fixed);
    out->rejected = mean(t.fixed_l, t.fixed);
    out->logps_chosen = mean(t.sum_w, t.rows);
    out->logps_rejected = mean(t.sum_l, t.rows);
    out->entropy = mean(t.entropy, t.tokens);
    out->mean_token_accuracy = mean((double)t.hits, t.chosen_tokens);
    return s == LPO_EEND ? LPO_OK : s;
}
