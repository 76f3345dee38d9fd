/* SPDX-License-Identifier: Apache-2.0 */
/* reduce.c -- see reduce.h: what goes to a device, whichever it is. */
#include "train/reduce.h"

#include <string.h>

struct lpo_reduce {
    lpo_reducer *reducer;
    lpo_pairs *pairs;
    void *job;
};

/* Do a side's tokens fit the kernels' floats? All but an f64 backbone's do. */
static bool are_floats(const lpo_column *t) {
    for (int64_t k = 0; k < t->n; k++)
        if ((double)(float)t->data[k] != t->data[k]) return false;
    return true;
}

const char *lpo_reduce_refuses(const lpo_pairs *p, const lpo_batch_columns *in) {
    const lpo_column *w = &in->col[LPO_COL_t_w], *l = &in->col[LPO_COL_t_l];
    if (!p) return "it is not a loss of pairs";
    if (p->whole) return "it compares the pairs of a batch with each other, so none is done before the last";
    if (!w->row_start || (p->s_l && !l->row_start)) return "the batch holds sums, not tokens";
    if (w->n + l->n > INT32_MAX || p->n > INT32_MAX / 2) return "the batch is too large";
    if (!are_floats(w) || (p->s_l && !are_floats(l)))
        return "the model computes in f64, the kernel reads f32";
    return NULL;
}

static void pack(lpo_reduce_input *to, const lpo_pairs *p, const lpo_batch_columns *in) {
    const int n_sides = p->s_l ? 2 : 1;
    uint32_t at = 0;
    memcpy(to->pair_in, p->in, to->n_pairs * sizeof *p->in);
    for (int64_t i = 0; i < p->n; i++) {
        for (int side = 0; side < n_sides; side++) {
            const lpo_column *t = &in->col[side ? LPO_COL_t_l : LPO_COL_t_w];
            const double *w = side ? p->token_l : p->token_w;
            to->seg_start[2 * i + side] = at;
            for (int64_t k = t->row_start[i]; k < t->row_start[i + 1]; k++, at++) {
                to->logp[at] = (float)t->data[k];
                if (to->weight) to->weight[at] = w[k];
            }
        }
        if (n_sides == 1) to->seg_start[2 * i + 1] = at;
    }
    to->seg_start[2 * p->n] = at;
}

lpo_status lpo_reduce_submit(lpo_reduce **job, lpo_reducer *reducer, lpo_pairs *p,
                             const lpo_batch_columns *in, lpo_arena *arena, lpo_error *err) {
    const size_t n = (size_t)in->col[LPO_COL_t_w].n + (p->s_l ? (size_t)in->col[LPO_COL_t_l].n : 0);
    const size_t rows = (size_t)p->n * LPO_PAIR_IN_COLUMNS, weights = p->token_w ? n : 0;
    lpo_reduce_input x = {.n_pairs = (size_t)p->n, .n_tokens = n};
    x.size_bytes = 8 * (rows + weights) + 4 * (n + 2 * x.n_pairs + 1);
    *job = NULL;
    lpo_reduce *r = lpo_arena_alloc(arena, 1, sizeof *r);
    x.pair_in = lpo_arena_alloc(arena, x.size_bytes / 8 + 1, sizeof(double));
    if (!r || !x.pair_in) return lpo_fail(err, LPO_ENOMEM, "out of memory to reduce a batch");
    x.weight = p->token_w ? x.pair_in + rows : NULL;
    x.logp = (float *)(x.pair_in + rows + weights);
    x.seg_start = (uint32_t *)(x.logp + n);
    pack(&x, p, in);
    *r = (lpo_reduce){reducer, p, NULL};
    lpo_status s = reducer->submit(reducer->self, &r->job, p, &x, arena, err);
    if (!s) *job = r;
    return s;
}

lpo_status lpo_reduce_wait(lpo_reduce *job, lpo_error *err) {
    lpo_status s = job->reducer->wait(job->reducer->self, job->job, job->pairs, err);
    job->pairs->done = !s;
    return s;
}

void lpo_reducer_close(lpo_reducer *r) {
    if (r) r->close(r->self);
}
