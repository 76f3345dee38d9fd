/* SPDX-License-Identifier: Apache-2.0 */
/* reward_reduce.c -- per-token log-probabilities to loss, per-token coefficients and batch metrics.
 *
 * A DATAFLOW region repeats for every pair:  fetch -> sums -> objective -> coefficients
 * so tokens of one pair are read while those of the pair before are written; pairs may have any length and
 * number. A token is a float, or a target logit with (max, sum of exp) of each shard of the vocabulary,
 * merged here; a weight may scale it. Sums run in double over LPO_PAIR_LANES interleaved partial sums, folded
 * in a fixed order: the adder's latency is hidden and the bits never depend on a schedule. The loss itself is
 * kernels/pair_loss.h, as on the host. */
#include "hls/abi.h"
#include "hls/timing.h"
#include "kernels/pair_loss.h"

enum { AXI_LATENCY = 70, REAL_DEPTH = 160 };
enum { FETCH, SUMS, OBJECTIVE, COEF, N_STAGES };

typedef struct pair {
    uint32_t begin, middle, end; /* tokens of the chosen response, then of the rejected one */
    double in[LPO_PAIR_IN_COLUMNS];
} pair;

typedef struct sums {
    double w, l;
} sums;

static void fetch(pair to[N_STAGES], const uint32_t *seg_start, const double *pair_in, uint32_t i) {
    HLS_STAGE(FETCH);
    pair p;
    p.begin = seg_start[2 * i];
    p.middle = seg_start[2 * i + 1];
    p.end = seg_start[2 * i + 2];
    for (uint32_t c = 0; c < LPO_PAIR_IN_COLUMNS; c++) {
#pragma HLS PIPELINE II = 1
        p.in[c] = pair_in[LPO_PAIR_IN_COLUMNS * i + c];
    }
    for (int s = 0; s < N_STAGES; s++) {
#pragma HLS UNROLL
        to[s] = p;
    }
    HLS_LOOP(LPO_PAIR_IN_COLUMNS, 1, AXI_LATENCY);
    HLS_BURST(12 + 8 * LPO_PAIR_IN_COLUMNS);
}

/* Log-probability of token t from its shards: target - max - log(sum of exp). */
static double merged_logp(float target, const float *shards, uint32_t n_shards, uint32_t t) {
    size_t at = (size_t)t * n_shards * 2;
    float top = shards[at];
    double sum = 0.0;
    for (uint32_t s = 1; s < n_shards; s++) {
#pragma HLS LOOP_TRIPCOUNT max = 64
#pragma HLS PIPELINE II = 1
        if (shards[at + 2 * s] > top) top = shards[at + 2 * s];
    }
    for (uint32_t s = 0; s < n_shards; s++) {
#pragma HLS LOOP_TRIPCOUNT max = 64
#pragma HLS PIPELINE II = 8
        sum += (double)shards[at + 2 * s + 1] * lpo_real_exp((double)shards[at + 2 * s] - (double)top);
    }
    HLS_LOOP(n_shards, 9, 2 * REAL_DEPTH);
    return (double)target - (double)top - lpo_real_log(sum);
}

static double sum_tokens(const float *logp, const float *shards, const double *weight, uint32_t n_shards,
                         uint32_t weighted, uint32_t begin, uint32_t end) {
    double lane[LPO_PAIR_LANES], total = 0.0;
#pragma HLS ARRAY_PARTITION variable = lane complete
    for (int i = 0; i < LPO_PAIR_LANES; i++) {
#pragma HLS UNROLL
        lane[i] = 0.0;
    }
    if (n_shards > 0) {
        for (uint32_t t = begin; t < end; t++) {
#pragma HLS LOOP_TRIPCOUNT max = 32768
            double x = merged_logp(logp[t], shards, n_shards, t);
            lane[(t - begin) % LPO_PAIR_LANES] += weighted ? weight[t] * x : x;
        }
    } else if (weighted) {
        for (uint32_t t = begin; t < end; t++) {
#pragma HLS LOOP_TRIPCOUNT max = 32768
#pragma HLS PIPELINE II = 1
#pragma HLS DEPENDENCE variable = lane type = inter distance = 16 true
            lane[(t - begin) % LPO_PAIR_LANES] += weight[t] * (double)logp[t];
        }
    } else {
        for (uint32_t t = begin; t < end; t++) {
#pragma HLS LOOP_TRIPCOUNT max = 32768
#pragma HLS PIPELINE II = 1
#pragma HLS DEPENDENCE variable = lane type = inter distance = 16 true
            lane[(t - begin) % LPO_PAIR_LANES] += (double)logp[t];
        }
    }
    for (int i = 0; i < LPO_PAIR_LANES; i++) {
#pragma HLS PIPELINE II = 8
        total += lane[i];
    }
    HLS_LOOP(n_shards ? 0 : end - begin, 1, AXI_LATENCY + 8);
    HLS_LOOP(LPO_PAIR_LANES, 8, 8);
    HLS_BURST((uint64_t)(end - begin) * (4 + 8 * ((uint64_t)n_shards + weighted)));
    return total;
}

static void sum_pair(sums *out, const float *logp, const float *shards, const double *weight,
                     uint32_t n_shards, uint32_t weighted, pair p) {
    HLS_STAGE(SUMS);
    out->w = sum_tokens(logp, shards, weight, n_shards, weighted, p.begin, p.middle);
    out->l = sum_tokens(logp, shards, weight, n_shards, weighted, p.middle, p.end);
}

/* The pair's row, and its share of the batch's sums. */
static void objective(double g[2], double *pair_out, double batch[LPO_BATCH_COLUMNS], lpo_pair_rule k, pair p,
                      sums s, uint32_t i) {
    HLS_STAGE(OBJECTIVE);
    double row[LPO_PAIR_COLUMNS];
    lpo_pair x = {s.w, s.l, (double)(p.middle - p.begin), (double)(p.end - p.middle), {0}};
    for (int c = 0; c < LPO_PAIR_IN_COLUMNS; c++) {
#pragma HLS UNROLL
        x.in[c] = p.in[c];
    }
    lpo_pair_reduce(row, batch, k, x);
    for (uint32_t c = 0; c < LPO_PAIR_COLUMNS; c++) {
#pragma HLS PIPELINE II = 1
        pair_out[(size_t)i * LPO_PAIR_COLUMNS + c] = row[c];
    }
    g[0] = row[LPO_PAIR_G_W];
    g[1] = row[LPO_PAIR_G_L];
    HLS_LOOP(LPO_PAIR_COLUMNS, 1, 3 * REAL_DEPTH + AXI_LATENCY);
    HLS_BURST(8 * LPO_PAIR_COLUMNS);
}

static void coefficients(float *coef, const double *weight, uint32_t want, uint32_t weighted, double g[2],
                         pair p) {
    HLS_STAGE(COEF);
    uint32_t end = want ? p.end : p.begin;
    if (weighted) {
        for (uint32_t t = p.begin; t < end; t++) {
#pragma HLS LOOP_TRIPCOUNT max = 65536
#pragma HLS PIPELINE II = 1
            coef[t] = (float)(weight[t] * (t < p.middle ? g[0] : g[1]));
        }
    } else {
        for (uint32_t t = p.begin; t < end; t++) {
#pragma HLS LOOP_TRIPCOUNT max = 65536
#pragma HLS PIPELINE II = 1
            coef[t] = (float)(t < p.middle ? g[0] : g[1]);
        }
    }
    HLS_LOOP(weighted ? (end - p.begin + 7) / 8 : (end - p.begin + 15) / 16, 1, AXI_LATENCY);
    HLS_BURST((uint64_t)(end - p.begin) * (4 + 8 * weighted));
}

void lpo_hls_reward_reduce(const float *logp, const float *shards, const double *weight,
                           const double *coef_weight, const uint32_t *seg_start, const double *pair_in,
                           float *coef, double *pair_out, double *batch_out, uint32_t opcode, uint32_t score,
                           uint32_t flags, uint32_t n_pairs, uint32_t n_shards, uint32_t weighted,
                           uint32_t want_coef, double beta, double tau, double alpha) {
    const lpo_pair_rule k = {opcode, score, flags, beta, tau, alpha, (double)n_pairs};
    double batch[LPO_BATCH_COLUMNS] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (uint32_t i = 0; i < n_pairs; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 65536
#pragma HLS DATAFLOW
        pair p[N_STAGES];
        sums s;
        double g[2];
#pragma HLS ARRAY_PARTITION variable = p complete
#pragma HLS ARRAY_PARTITION variable = g complete
        fetch(p, seg_start, pair_in, i);
        sum_pair(&s, logp, shards, weight, n_shards, weighted, p[SUMS]);
        objective(g, pair_out, batch, k, p[OBJECTIVE], s, i);
        coefficients(coef, coef_weight, want_coef, weighted, g, p[COEF]);
    }
    for (int c = 0; c < LPO_BATCH_COLUMNS; c++) {
#pragma HLS PIPELINE II = 1
        batch_out[c] = c < LPO_BATCH_TOKENS_W && n_pairs ? batch[c] / k.n : batch[c];
    }
}
