/* SPDX-License-Identifier: Apache-2.0 */
/* objective.h -- preference losses: one table of objectives, each a loss and its exact gradient in float64.
 * An objective reads columns (one value per row, or a ragged list of tokens per row) and returns a scalar
 * loss with its derivatives by the policy's columns; it knows nothing of models or devices. `leanpo
 * objective` and training call the same functions. Not thread-safe: one lpo_objective, one thread. See
 * docs/objectives.md for the formulas. */
#ifndef LEANPO_OBJECTIVE_H
#define LEANPO_OBJECTIVE_H
#include "leanpo/status.h"

#include <stddef.h>
#include <stdint.h>

/* X(name, ragged, differentiable, meaning). _w is the chosen (winning) response, _l the rejected one; logs
 * are natural. ragged 1: one value per token; 2: either form. A differentiable column receives gradients. */
#define LPO_COLUMN_LIST(X)                                                                                   \
    X(S_w, 0, 1, "policy log-probability of the chosen response (sum over tokens)")                          \
    X(S_l, 0, 1, "policy log-probability of the rejected response")                                          \
    X(R_w, 0, 0, "reference log-probability of the chosen response")                                         \
    X(R_l, 0, 0, "reference log-probability of the rejected response")                                       \
    X(n_w, 0, 0, "tokens in the chosen response")                                                            \
    X(n_l, 0, 0, "tokens in the rejected response")                                                          \
    X(S_u, 0, 1, "policy log-probability of a response sampled from the reference")                          \
    X(R_u, 0, 0, "reference log-probability of that sample")                                                 \
    X(S_w_aug, 0, 0, "log-probability of the chosen response given the augmented video")                     \
    X(G_w, 0, 0, "log-probability of the chosen response given the video, from the model that made S_w_aug") \
    X(p_w, 0, 0, "probability that the chosen response beats the policy")                                    \
    X(p_l, 0, 0, "probability that the rejected response beats the policy")                                  \
    X(bald, 0, 0, "uncertainty (mutual information, nats) of the pair's label")                              \
    X(t_w, 1, 1, "policy log-probability of each chosen token")                                              \
    X(t_l, 1, 1, "policy log-probability of each rejected token")                                            \
    X(rt_w, 1, 0, "reference log-probability of each chosen token")                                          \
    X(rt_l, 1, 0, "reference log-probability of each rejected token")                                        \
    X(d_w, 1, 0, "1 where the chosen token differs from the rejected response, else 0")                      \
    X(d_l, 1, 0, "1 where the rejected token differs from the chosen response, else 0")                      \
    X(sump2_w, 1, 0, "sum of squared probabilities over the vocabulary at each chosen token")                \
    X(sump2_l, 1, 0, "sum of squared probabilities over the vocabulary at each rejected token")              \
    X(t, 1, 1, "policy log-probability of each token of a rollout")                                          \
    X(old, 1, 0, "log-probability of each token under the policy that sampled the rollout")                  \
    X(ref, 1, 0, "reference log-probability of each token of a rollout")                                     \
    X(adv, 2, 0, "advantage of a rollout, or of each of its tokens")                                         \
    X(n, 0, 0, "tokens in the rollout (its row may be padded beyond)")                                       \
    X(q, 1, 1, "token value predicted by the value model")                                                   \
    X(r, 0, 0, "reward of the whole response")                                                               \
    X(theta, 0, 1, "logit of each candidate response")                                                       \
    X(ref_logps, 0, 0, "reference log-probability of each candidate response")                               \
    X(w, 0, 0, "candidate that wins each comparison (0-based)")                                              \
    X(l, 0, 0, "candidate that loses each comparison (0-based)")

typedef enum lpo_column_id {
#define LPO_X(name, ragged, diff, meaning) LPO_COL_##name,
    LPO_COLUMN_LIST(LPO_X)
#undef LPO_X
        LPO_N_COLUMNS
} lpo_column_id; /* a mask of columns has bit UINT64_C(1) << LPO_COL_x */

/* One column, borrowed. Flat: n values, one a row. Ragged: n values in all, row i is
 * data[row_start[i]..row_start[i+1]), row_start has n_rows+1 entries, starts at 0 and ends at n. */
typedef struct lpo_column {
    const double *data; /* NULL: the column is absent */
    int64_t n;
    const int64_t *row_start; /* NULL: flat */
} lpo_column;

typedef struct lpo_batch_columns {
    int64_t n_rows; /* rows of every column (theta, ref_logps, w and l have their own lengths) */
    lpo_column col[LPO_N_COLUMNS];
} lpo_batch_columns;

typedef struct lpo_objective lpo_objective;

/* What the table says of one objective; strings live as long as the program. */
typedef struct lpo_objective_info {
    const char *name;
    const char
        *aliases; /* space-separated; "alias(key=value,...)" is an alias that also sets hyper-parameters */
    const char *family; /* "pair", "token", "group", "value", "candidates" */
    const char
        *defaults; /* "key=value ..." : every hyper-parameter it knows; key=auto depends on another one */
    const char *source;
    const char *summary;
    uint64_t needs; /* mask of columns with default hyper-parameters */
} lpo_objective_info;

/* Statistics of the last evaluation, TRL's definitions; of a weighted sum, those of its first term with
 * rewards. */
typedef struct lpo_objective_stats {
    double eps_mean, eps_std, eps_min, eps_max; /* label smoothing of the pairs; 0 where there is none */
    double reward_chosen, reward_rejected;      /* batch means */
    double accuracy;                            /* share of pairs with reward chosen > rejected, strictly */
    double margin;                              /* mean of chosen - rejected */
    int has_rewards;                            /* 0: the four above are 0 (no pairs) */
} lpo_objective_stats;

/* Name of a column ("S_w"); NULL when out of range. */
LPO_API const char *lpo_column_name(int column);

/* Parse a name, alias or weighted sum: "leanpo", "dpo", "leanpo+1.0*sft". Hyper-parameters take their
 * defaults. */
LPO_API lpo_status lpo_objective_create(lpo_objective **out, const char *spec, lpo_error *err);
LPO_API void lpo_objective_destroy(lpo_objective *o); /* NULL accepted */

/* Set a hyper-parameter: "beta" reaches every term that has it, "sft.weight" or "dpo.beta" only that term. An
 * unknown key is LPO_EINVAL and the message lists the known ones. */
LPO_API lpo_status lpo_objective_set(lpo_objective *o, const char *key, const char *value, lpo_error *err);

/* Are the hyper-parameters consistent? (margin smoothing with tau <= 1, eps >= .5 of rdpo, ...) Evaluation
 * asks this too; training asks before it loads a model. */
LPO_API lpo_status lpo_objective_check(const lpo_objective *o, lpo_error *err);

/* Columns an evaluation reads with the present hyper-parameters. S_x, n_x and R_x may be absent where t_x
 * (rt_x for R) is given: they are then its row sums and lengths, and the gradient lands on t_x. */
LPO_API uint64_t lpo_objective_needs(const lpo_objective *o);

/* loss: the scalar. grads[c]: caller-allocated with in->col[c].n values, overwritten with d loss / d column c
 * (zeros where the loss does not read it); grads or grads[c] NULL = not wanted. step of total_steps (0-based;
 * total 0 = unknown) drives the schedule smoothing. Advances running state (EMAs). LPO_ENUMERIC names the
 * column and row of a NaN or infinity. */
LPO_API lpo_status lpo_objective_eval(double *loss, double *const grads[LPO_N_COLUMNS], lpo_objective *o,
                                      const lpo_batch_columns *in, int64_t step, int64_t total_steps,
                                      lpo_error *err);

LPO_API void lpo_objective_get_stats(lpo_objective_stats *out, const lpo_objective *o);

/* Running state as doubles, for a bit-exact resume. Returns how many there are; writes at most cap (out NULL:
 * counts). */
LPO_API int lpo_objective_state(const lpo_objective *o, double *out, int cap);
LPO_API lpo_status lpo_objective_restore(lpo_objective *o, const double *in, int n, lpo_error *err);

/* Row i of the table (i from 0), NULL past the end. */
LPO_API const lpo_objective_info *lpo_objective_at(int i);

/* The command line's face: one entry {"inputs": {column: array, ...}, "hyper_parameters": {key: value, ...}}
 * as JSON text of n bytes -> malloc'd {"loss": x, "grads": {column: array shaped as the input}}, numbers with
 * 17 significant digits. name NULL: the entry's "objective". sets: "key=value" applied after the entry's
 * hyper-parameters. *out is NULL on failure; the caller frees it. */
LPO_API lpo_status lpo_objective_json(char **out, const char *name, const char *entry_json, size_t n,
                                      const char *const *sets, int n_sets, lpo_error *err);
#endif
