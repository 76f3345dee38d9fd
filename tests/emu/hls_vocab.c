/* SPDX-License-Identifier: Apache-2.0 */
/* hls_vocab.c -- vocab_logprob against a double log-softmax, and in pieces through reward_reduce. */
#include "hls/abi.h"
#include "kernels/number.h"
#include "kernels/pair_loss.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

static uint32_t state = 1;
static uint32_t draw(uint32_t n) {
    state = state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)state * n) >> 32);
}

enum { T = 6 };

static uint16_t *random_logits(uint32_t stride, double spread) {
    uint16_t *x = malloc((size_t)T * stride * 2);
    cr_assert(x);
    for (uint32_t i = 0; i < T * stride; i++)
        x[i] = lpo_f32_to_bf16((float)(spread * ((double)draw(1u << 20) / (1u << 19) - 1)));
    return x;
}

static double exact(const uint16_t *row, uint32_t n, int32_t target) {
    double top = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++) top = fmax(top, lpo_bf16_to_f32(row[i]));
    for (uint32_t i = 0; i < n; i++) sum += exp(lpo_bf16_to_f32(row[i]) - top);
    return lpo_bf16_to_f32(row[target]) - top - log(sum);
}

/* Truth: within f32 of the exact log-softmax for vocabularies off every grid, flat and peaked; padding beyond
 * the valid logits does not count. */
Test(hls_vocab, log_softmax) {
    const uint32_t sizes[] = {1, 31, 33, 5000, 8192, 8193, 32000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int peaked = 0; peaked < 3; peaked++) {
            uint32_t n = sizes[s], stride = (n + 31) / 32 * 32 + 32;
            uint16_t *x = random_logits(stride, peaked == 0 ? .01 : peaked == 1 ? 8 : 300);
            int32_t target[T];
            float logp[T], shard[T][2];
            for (int t = 0; t < T; t++) target[t] = (int32_t)draw(n);
            lpo_hls_vocab_logprob(x, target, logp, shard[0], T, n, stride);
            for (int t = 0; t < T; t++) {
                double want = exact(x + (size_t)t * stride, n, target[t]);
                cr_expect_leq(fabs(logp[t] - want), 1e-6 * fmax(1, fabs(want)),
                              "%u logits: %.9g, expected %.9g", n, logp[t], want);
            }
            free(x);
        }
}

/* Truth: the shards it writes are those reward_reduce merges: two halves of a vocabulary give the sum of the
 * whole's log-probabilities. */
Test(hls_vocab, halves_merge_in_reward_reduce) {
    enum { N = 16384 + 128, HALF = N / 2 };
    uint16_t *x = random_logits(N, 6);
    int32_t target[T], in_half[2][T];
    float logp[T], half_logp[T], half[2][T][2], shards[T][2][2], logit[T], coef[T];
    for (int t = 0; t < T; t++) {
        target[t] = (int32_t)draw(N);
        in_half[0][t] = target[t] < HALF ? target[t] : -1;
        in_half[1][t] = target[t] - HALF;
        logit[t] = lpo_bf16_to_f32(x[t * N + target[t]]);
    }
    for (int h = 0; h < 2; h++) {
        lpo_hls_vocab_logprob(x + h * HALF, in_half[h], half_logp, half[h][0], T, HALF, N);
        for (int t = 0; t < T; t++) {
            shards[t][h][0] = half[h][t][0];
            shards[t][h][1] = half[h][t][1];
            if (in_half[h][t] < 0) cr_expect_eq(half_logp[t], 0);
        }
    }
    float whole[T][2];
    lpo_hls_vocab_logprob(x, target, logp, whole[0], T, N, N);
    const uint32_t seg[3] = {0, 4, T};
    const double pair_in[LPO_PAIR_IN_COLUMNS] = {0};
    double pair[LPO_PAIR_COLUMNS], batch[LPO_BATCH_COLUMNS], want[2] = {0};
    lpo_hls_reward_reduce(logit, shards[0][0], NULL, NULL, seg, pair_in, coef, pair, batch, LPO_PAIR_LOGISTIC,
                          LPO_SCORE_REVERSE_KL, LPO_PAIR_BY_TOKEN, 1, 2, 0, 1, 2, 1, 0);
    for (int t = 0; t < T; t++) want[t >= 4] += logp[t];
    cr_expect_leq(fabs(pair[LPO_PAIR_S_W] - want[0]), 1e-5);
    cr_expect_leq(fabs(pair[LPO_PAIR_S_L] - want[1]), 1e-5);
    free(x);
}
