/* SPDX-License-Identifier: Apache-2.0 */
/* pairs.h -- the frame around every loss of (chosen, rejected) pairs.
 * Such an objective is brought to the form of kernels/pair_loss.h: a rule, and a row of numbers a pair. What
 * is common happens here: token columns become sums (16 interleaved partial sums, as on the card), ld_alpha
 * and bmc weigh tokens, wpo weighs pairs, f_divergence picks the score. An objective's function adds what is
 * its own: which op, margins, smoothing, weights. The numbers are then reduced here, or by whoever takes the
 * batch (host/train/reduce.c: the reward_reduce kernel), to the same bits; and the derivatives carried back
 * to the columns.
 * Three objectives compare pairs of the batch with each other (tpo, aot, aot_unpaired): they have `whole`
 * instead of an op, and stay on the host. */
#ifndef LPO_ALIGN_PAIRS_H
#define LPO_ALIGN_PAIRS_H
#include "align/term.h"
#include "kernels/pair_loss.h"

#include <stdbool.h>

/* Fills loss, G_W and G_L (derivatives of the sum of the losses by s_w, s_l) of every row of out. */
typedef lpo_status lpo_pairs_whole_fn(struct lpo_pairs *p, lpo_error *err);

typedef struct lpo_pairs {
    lpo_term *x;
    int64_t n;
    const double *s_w, *s_l;           /* policy log-probabilities (sums); s_l NULL: one-sided */
    const double *n_w, *n_l;           /* tokens; NULL where not needed */
    const double *token_w, *token_l;   /* weight of each token of t_w, t_l; NULL: 1 */
    lpo_pair_rule rule;                /* to be run, or */
    lpo_pairs_whole_fn *whole;         /* this */
    double (*in)[LPO_PAIR_IN_COLUMNS]; /* n rows; R and the weight are there when the objective sees it */
    double (*out)[LPO_PAIR_COLUMNS];   /* n rows */
    double batch[LPO_BATCH_COLUMNS];
    bool done; /* out and batch are there: somebody else has reduced the pairs */
} lpo_pairs;

/* Set one number of every pair. */
void lpo_pairs_fill(lpo_pairs *p, int column, double value);
/* Add coef * negative log-likelihood of the chosen responses, averaged over all their tokens. Before weights
 * are changed: with wpo the term counts their sum. */
void lpo_pairs_add_nll(lpo_pairs *p, double coef);
/* Weigh the tokens: weights belong to t_w and t_l. The sums s are made anew. */
lpo_status lpo_pairs_weigh_tokens(lpo_pairs *p, const double *token_w, const double *token_l, lpo_error *err);

/* Sum of n numbers in the order of LPO_PAIR_LANES; weight may be NULL. */
double lpo_sum_tokens(const double *v, const double *weight, int64_t n);

/* The pairs of a batch, ready to be reduced; they live in x->arena. */
lpo_status lpo_pairs_open(lpo_pairs **out, lpo_pairs_fn *fn, lpo_term *x, lpo_error *err);
/* Reduces them unless `done`, and hands loss, gradients (to x->grad) and statistics over. */
lpo_status lpo_pairs_close(double *loss, lpo_pairs *p, lpo_error *err);

/* ---- an evaluation in two halves, for who reduces the pairs elsewhere ---- */

/* lpo_objective_eval is begin and end. Between them the pairs of every term may be reduced by somebody else,
 * who fills out and batch and sets done. `in` and its columns must live until the end. */
lpo_status lpo_objective_begin(lpo_objective *o, const lpo_batch_columns *in, int64_t step,
                               int64_t total_steps, lpo_error *err);
/* Pairs of term i, NULL when it has none; its name in the table, NULL past the last term. */
lpo_pairs *lpo_objective_pairs(lpo_objective *o, int i, const char **name);
lpo_status lpo_objective_end(double *loss, double *const grads[LPO_N_COLUMNS], lpo_objective *o,
                             lpo_error *err);

/* Columns the modifiers ask for, in place of or beside the row's own. */
uint64_t lpo_pairs_needs(uint64_t needs, const lpo_hypers *h);
#endif
