/* SPDX-License-Identifier: Apache-2.0 */
/* term.h -- what an objective's loss function sees, and what the table says of it (folder-internal).
 * The caller has checked that every needed column is there, finite and of the right shape, so a loss function
 * is only mathematics: read x->col, add to x->grad, return the scalar. To add an objective: one function and
 * one row in the file of its family; docs/objectives.md walks through it. */
#ifndef LPO_ALIGN_TERM_H
#define LPO_ALIGN_TERM_H
#include "align/hyper.h"
#include "base/arena.h"
#include "kernels/real.h"
#include "leanpo/objective.h"

#include <math.h>

#define LPO_BIT(c)  (UINT64_C(1) << (c))
#define LPO_C(name) LPO_BIT(LPO_COL_##name)
#define LPO_NEED_S  (LPO_C(S_w) | LPO_C(S_l))
#define LPO_NEED_R  (LPO_C(R_w) | LPO_C(R_l))
#define LPO_NEED_N  (LPO_C(n_w) | LPO_C(n_l))
#define LPO_NEED_T  (LPO_C(t_w) | LPO_C(t_l))
#define LPO_NEED_RT (LPO_C(rt_w) | LPO_C(rt_l))

/* Exponential averages of a batch mean and spread; weight = 1 - decay^k makes mean/weight unbiased from the
 * first step. */
typedef struct lpo_ema {
    double mean, spread, weight;
} lpo_ema;

/* Values treated as constants by the gradient pass through lpo_sg. Finite differences need those constants to
 * stand still while an input moves: a test records them in one evaluation and replays them in the others.
 * Training has no tape. */
typedef struct lpo_sg_tape {
    double *value;
    int64_t n, cap, at;
    int replay;
} lpo_sg_tape;

typedef struct lpo_term {
    int64_t n_rows;
    const double *hp;              /* by lpo_hyper_id */
    uint64_t hp_given;             /* hyper-parameters somebody set */
    lpo_column col[LPO_N_COLUMNS]; /* needed columns, derived ones filled in; others have data NULL */
    double
        *grad[LPO_N_COLUMNS]; /* col[c].n zeroed doubles for each needed differentiable column, else NULL */
    int64_t step, total_steps;
    lpo_ema *ema;
    lpo_objective_stats *stats; /* zeroed; pair objectives fill it */
    lpo_arena *arena;           /* lives until the evaluation ends */
    lpo_sg_tape *tape;          /* NULL outside tests */
} lpo_term;

struct lpo_pairs;
typedef lpo_status lpo_term_fn(double *loss, lpo_term *x, lpo_error *err);
/* Writes what is the objective's own into the pairs' rule and rows, see pairs.h. */
typedef lpo_status lpo_pairs_fn(struct lpo_pairs *p, lpo_error *err);

typedef struct lpo_objective_row {
    lpo_objective_info info;
    lpo_term_fn *eval;                      /* the whole loss, or */
    lpo_pairs_fn *pairs;                    /* a reduction of pairs, see pairs.h */
    uint64_t optional;                      /* columns read when given */
    uint64_t (*needs)(const lpo_hypers *h); /* more columns; NULL: none */
    lpo_status (*check)(const lpo_hypers *h, const char *name,
                        lpo_error *err); /* NULL: any combination goes */
} lpo_objective_row;

/* The families, each ended by a row without a name; table.c strings them together. */
extern const lpo_objective_row lpo_rows_smoothed[], lpo_rows_reference_pairs[], lpo_rows_unary_pairs[],
    lpo_rows_reference_free[], lpo_rows_token_weighted[], lpo_rows_policy_gradient[], lpo_rows_value[];

const lpo_objective_row *lpo_row_at(int i);

/* Fill x->col with the columns of `needs` (and those of `optional` that are given), deriving S, R and n from
 * token columns where absent, after checking shapes and values; allocate x->grad for the differentiable ones.
 */
lpo_status lpo_columns_resolve(lpo_term *x, const lpo_batch_columns *in, uint64_t needs, uint64_t optional,
                               const char *name, lpo_error *err);
/* grads += weight * x->grad, derivatives of derived columns carried on to their tokens. */
void lpo_columns_give_back(double *const grads[LPO_N_COLUMNS], const lpo_batch_columns *in, const lpo_term *x,
                           double weight);

/* Tests only: record (replay 0) or replay lpo_sg constants in the next evaluations; NULL stops. */
void lpo_objective_set_tape(lpo_objective *o, lpo_sg_tape *tape);

/* Reading a hyper-parameter inside a loss function: HP(x, beta). */
#define LPO_HP(x, id) ((x)->hp[LPO_HP_##id])

/* v as a constant of the gradient. */
double lpo_sg(lpo_term *x, double v);

/* Fold one batch (mean, spread) into the averages, then read them bias-corrected. */
void lpo_ema_update(lpo_ema *e, double decay, double mean, double spread);
/* Mean and sample standard deviation (n-1) of n values; the deviation of one value is 0. */
void lpo_mean_std(double *mean, double *std, const double *v, int64_t n);
#endif
