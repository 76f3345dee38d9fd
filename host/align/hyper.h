/* SPDX-License-Identifier: Apache-2.0 */
/* hyper.h -- every hyper-parameter of every objective: its names, its range, its choices.
 * A row of the objective table lists the ones it knows with their defaults ("beta=0.1 eps=0"); two parameters
 * may share a alias ("gamma" is a weight in one and a discount in another) as long as no row knows both.
 * Values are doubles; a choice is its index; "auto" (NaN) means unset: the objective then decides, and
 * docs/objectives.md says how. */
#ifndef LPO_ALIGN_HYPER_H
#define LPO_ALIGN_HYPER_H
#include "leanpo/status.h"

#include <stddef.h>
#include <stdint.h>

/* X(our name, aliases, minimum, maximum, kind, choices). Kinds: '[' minimum allowed, '(' above it, 'i'
 * integer, 'b' boolean, 'c' choice (alternatives of one choice are separated by commas). */
#define LPO_HYPER_LIST(X)                                                                                    \
    X(beta, "", 0, 1e9, '(', "")                                                                             \
    X(gamma_r, "gamma_beta_ratio", -1e9, 1e9, '[', "")                                                       \
    X(eps, "label_smoothing epsilon", 0, 1, '[', "")                                                         \
    X(smoothing, "", 0, 0, 'c', "fixed|schedule|margin|batch|grounding")                                     \
    X(eps_min, "", 0, 1, '[', "")                                                                            \
    X(eps_max, "", 0, 1, '[', "")                                                                            \
    X(tau, "discopop_tau", 0, 1e9, '(', "")                                                                  \
    X(kappa, "", 0, 1e9, '[', "")                                                                            \
    X(decay, "", 0, 0.999999, '[', "")                                                                       \
    X(step, "", 0, 1e15, 'i', "")                                                                            \
    X(total, "", 0, 1e15, 'i', "")                                                                           \
    X(alpha, "", -1e3, 1e3, '[', "")                                                                         \
    X(mu_prev, "", -1e9, 1e9, '[', "")                                                                       \
    X(sd_prev, "", 0, 1e9, '[', "")                                                                          \
    X(lambda, "lam", 0, 1e9, '[', "")                                                                        \
    X(eta, "", 0, 1e9, '[', "")                                                                              \
    X(nll, "c", 0, 1e9, '[', "")                                                                             \
    X(dpo_alpha, "", 0, 1e9, '[', "")                                                                        \
    X(nll_gamma, "gamma", 0, 1e9, '[', "")                                                                   \
    X(discount, "gamma", 0, 1, '[', "")                                                                      \
    X(delta, "dpo_bmc_delta", 0, 1e9, '[', "")                                                               \
    X(ref_weights, "", 0, 0, 'c', "policy|reference")                                                        \
    X(ld_alpha, "", 0, 1, '[', "")                                                                           \
    X(wpo, "use_weighting", 0, 1, 'b', "")                                                                   \
    X(f_divergence, "f_divergence_type", 0, 0, 'c',                                                          \
      "reverse_kl|forward_kl|js,js_divergence|alpha,alpha_divergence")                                       \
    X(f_alpha, "a f_alpha_divergence_coef", -1e3, 1e3, '[', "")                                              \
    X(cpo_alpha, "", 0, 1e9, '[', "")                                                                        \
    X(simpo_gamma, "", -1e9, 1e9, '[', "")                                                                   \
    X(cpo_loss, "loss_type", 0, 0, 'c', "sigmoid|hinge|ipo|simpo,alphapo")                                   \
    X(surrogate, "loss_type", 0, 0, 'c', "grpo|bnpo|dr_grpo|dapo|cispo|sapo|vespo|luspo|ppo")                \
    X(level, "importance_sampling_level", 0, 0, 'c', "token|sequence")                                       \
    X(clip, "eps epsilon epsilon_low", 0, 1, '[', "")                                                        \
    X(clip_high, "eps_high epsilon_high", 0, 1e9, '[', "")                                                   \
    X(clip_max, "delta", 0, 1e9, '(', "")                                                                    \
    X(kl, "beta", 0, 1e9, '[', "")                                                                           \
    X(kl_unbiased, "use_bias_correction_kl", 0, 1, 'b', "")                                                  \
    X(max_len, "max_completion_length", 1, 1e15, 'i', "")                                                    \
    X(whiten, "", 0, 1, 'b', "")                                                                             \
    X(tau_pos, "sapo_temperature_pos", 0, 1e9, '(', "")                                                      \
    X(tau_neg, "sapo_temperature_neg", 0, 1e9, '(', "")                                                      \
    X(k_pos, "vespo_k_pos", 0, 1e3, '[', "")                                                                 \
    X(lam_pos, "vespo_lambda_pos", 0, 1e3, '[', "")                                                          \
    X(k_neg, "vespo_k_neg", 0, 1e3, '[', "")                                                                 \
    X(lam_neg, "vespo_lambda_neg", 0, 1e3, '[', "")

typedef enum lpo_hyper_id {
#define LPO_X(id, aliases, min, max, kind, choices) LPO_HP_##id,
    LPO_HYPER_LIST(LPO_X)
#undef LPO_X
        LPO_N_HYPER
} lpo_hyper_id;

enum { LPO_SMOOTH_FIXED, LPO_SMOOTH_SCHEDULE, LPO_SMOOTH_MARGIN, LPO_SMOOTH_BATCH, LPO_SMOOTH_GROUNDING };
enum { LPO_REF_WEIGHTS_POLICY, LPO_REF_WEIGHTS_REFERENCE };
enum { LPO_FDIV_REVERSE_KL, LPO_FDIV_FORWARD_KL, LPO_FDIV_JS, LPO_FDIV_ALPHA };
enum { LPO_CPO_SIGMOID, LPO_CPO_HINGE, LPO_CPO_IPO, LPO_CPO_SIMPO };
enum {
    LPO_PG_GRPO,
    LPO_PG_BNPO,
    LPO_PG_DR_GRPO,
    LPO_PG_DAPO,
    LPO_PG_CISPO,
    LPO_PG_SAPO,
    LPO_PG_VESPO,
    LPO_PG_LUSPO,
    LPO_PG_PPO
};
enum { LPO_LEVEL_TOKEN, LPO_LEVEL_SEQUENCE };

/* The hyper-parameters of one term of an objective. */
typedef struct lpo_hypers {
    double value[LPO_N_HYPER]; /* NaN: auto */
    uint64_t known;            /* ids the row lists */
    uint64_t given;            /* ids somebody set */
} lpo_hypers;

/* h := the defaults of a row ("beta=0.1 eps=auto ..."). A malformed row is our bug: asserts. */
void lpo_hypers_init(lpo_hypers *h, const char *defaults);
/* Set by any of its names; `none`, `null`, `auto` and `default` restore the row's default. LPO_ENOTFOUND (err
 * untouched) when the row knows no such key; LPO_EINVAL with a message when the value does not fit. */
lpo_status lpo_hypers_set(lpo_hypers *h, const char *defaults, const char *key, size_t key_len,
                          const char *value, const char *objective, lpo_error *err);
/* Space-separated names of the ids in mask, for messages. */
void lpo_hypers_list(char *out, size_t cap, uint64_t mask);
/* Are key's first key_len bytes one of the space-separated words? */
int lpo_word_in(const char *words, const char *key, size_t key_len);
#endif
