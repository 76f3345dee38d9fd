/* SPDX-License-Identifier: Apache-2.0 */
/* loss.h -- the objective of a run, fed from rows, records and the reference.
 * An optimizer batch is computed in micro-batches. Its loss is the mean over all its rows, or for the
 * token-mean likelihood terms over all its chosen tokens, whatever the cut: every term is evaluated on the
 * micro-batch and weighed by its share of the whole. Batch statistics inside a loss (smoothing=batch,
 * alpha_dpo) are of the micro-batch, as in TRL. */
#ifndef LPO_TRAIN_LOSS_H
#define LPO_TRAIN_LOSS_H
#include "leanpo/objective.h"
#include "train/options.h"
#include "train/reference.h"

typedef struct lpo_loss lpo_loss;
struct lpo_reducer; /* train/reduce.h */
/* From the options objective, set, beta, smoothing and label_smoothing. */
lpo_status lpo_loss_create(lpo_loss **out, const lpo_train_options *o, lpo_error *err);
void lpo_loss_destroy(lpo_loss *l); /* NULL accepted */

bool lpo_loss_needs_pairs(const lpo_loss *l);
/* Settle where every column comes from: the policy, the records' own keys (p_w, p_l, bald, grounding,
 * ref_chosen_logps, ...), the reference. A column nobody has is LPO_EINVAL, all of them named. Ask before the
 * next two. */
lpo_status lpo_loss_bind(lpo_loss *l, const lpo_dataset *d, lpo_error *err);
bool lpo_loss_needs_reference(const lpo_loss *l);
/* Reduce pairs on a device (borrowed; NULL: here, as at first). The bits stay. A term it cannot take is
 * reduced here, after one warning unless `quiet`. */
void lpo_loss_place(lpo_loss *l, struct lpo_reducer *reducer, bool quiet);

/* Sums over rows; what the metrics of a batch are made from. */
typedef struct lpo_loss_sum {
    int64_t rows, tokens; /* chosen tokens */
    double row_loss, token_loss;
    int64_t reward_rows; /* rows that have rewards */
    double reward_chosen, reward_rejected, accuracy, margin;
    double eps, eps_squares, eps_min,
        eps_max; /* squares: of the deviations from the mean eps / reward_rows */
} lpo_loss_sum;
double lpo_loss_value(const lpo_loss_sum *s);
double lpo_loss_eps_std(const lpo_loss_sum *s); /* over all its rows */

/* Adds the rows to sum. g_w, g_l (both or none; t_w's and t_l's lengths) are overwritten with the loss's
 * derivatives, the micro-batch weighed by rows_total and tokens_total. r may be NULL when no reference is
 * needed. */
lpo_status lpo_loss_eval(lpo_loss_sum *sum, double *g_w, double *g_l, lpo_loss *l, const lpo_rows *rows,
                         const lpo_reference *ref, int64_t rows_total, int64_t tokens_total, int64_t step,
                         int64_t total_steps, lpo_error *err);

/* Running state, as lpo_objective_state and lpo_objective_restore. */
int lpo_loss_state(const lpo_loss *l, double *out, int cap);
lpo_status lpo_loss_restore(lpo_loss *l, const double *in, int n, lpo_error *err);

/* d_w[i] = 1 where chosen token i is not part of a longest common subsequence with the rejected response,
 * else 0; d_l the same for the other side. Lengths up to 65535. */
lpo_status lpo_token_diff(double *d_w, double *d_l, const int32_t *w, int64_t n_w, const int32_t *l,
                          int64_t n_l, lpo_arena *scratch, lpo_error *err);
#endif
