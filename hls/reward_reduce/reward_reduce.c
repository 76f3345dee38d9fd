/* SPDX-License-Identifier: Apache-2.0 */
/* reward_reduce.c -- per-token log-probabilities to loss, per-token coefficients and batch metrics.
 *
 * A DATAFLOW region repeats for every pair:  fetch -> sums -> objective -> coefficients
 * so tokens of one pair are read while those of the pair before are written; pairs may have any length and
 * number. A token is a float, or a target logit with (max, sum of exp) of each shard of the vocabulary,
 * merged here. Sums run in double over 16 interleaved partial sums, folded in a fixed order: the adder's
 * latency is hidden and the bits never depend on a schedule. */
#include "hls/abi.h"
#include "hls/real.h"
#include "hls/reward_reduce/ops.h"
#include "hls/timing.h"

enum { LANES = 16, AXI_LATENCY = 70, REAL_DEPTH = 160 };
enum { FETCH, SUMS, OBJECTIVE, COEF, N_STAGES };

typedef struct pair {
    uint32_t begin, middle, end; /* tokens of the chosen response, then of the rejected one */
    double in[4];                /* the row of pair_in */
} pair;

typedef struct sums {
    double w, l;
} sums;

typedef struct settings {
    uint32_t opcode;
    double beta, gamma, eps, extra;
    double n_pairs, total_w; /* tokens of all chosen responses */
} settings;

/* One pair's outcome; g are derivatives of its own loss by the two sums. */
typedef struct outcome {
    double loss, g_w, g_l, reward_w, reward_l, eps;
} outcome;

static void fetch(pair to[N_STAGES], const uint32_t *seg_start, const double *pair_in, uint32_t i) {
    HLS_STAGE(FETCH);
    pair p;
    p.begin = seg_start[2 * i];
    p.middle = seg_start[2 * i + 1];
    p.end = seg_start[2 * i + 2];
    for (int c = 0; c < 4; c++) {
#pragma HLS PIPELINE II = 1
        p.in[c] = pair_in[4 * i + (uint32_t)c];
    }
    for (int s = 0; s < N_STAGES; s++) {
#pragma HLS UNROLL
        to[s] = p;
    }
    HLS_LOOP(4, 1, AXI_LATENCY);
    HLS_BURST(12 + 32);
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
        sum += (double)shards[at + 2 * s + 1] * hls_exp((double)shards[at + 2 * s] - (double)top);
    }
    HLS_LOOP(n_shards, 9, 2 * REAL_DEPTH);
    return (double)target - (double)top - hls_log(sum);
}

static double sum_tokens(const float *logp, const float *shards, uint32_t n_shards, uint32_t begin,
                         uint32_t end) {
    double lane[LANES], total = 0.0;
#pragma HLS ARRAY_PARTITION variable = lane complete
    for (int i = 0; i < LANES; i++) {
#pragma HLS UNROLL
        lane[i] = 0.0;
    }
    for (uint32_t t = begin; t < end && n_shards == 0; t++) {
#pragma HLS LOOP_TRIPCOUNT max = 32768
#pragma HLS PIPELINE II = 1
#pragma HLS DEPENDENCE variable = lane type = inter distance = 16 true
        lane[(t - begin) % LANES] += (double)logp[t];
    }
    for (uint32_t t = begin; t < end && n_shards > 0; t++) {
#pragma HLS LOOP_TRIPCOUNT max = 32768
        lane[(t - begin) % LANES] += merged_logp(logp[t], shards, n_shards, t);
    }
    for (int i = 0; i < LANES; i++) {
#pragma HLS PIPELINE II = 8
        total += lane[i];
    }
    HLS_LOOP(n_shards ? 0 : end - begin, 1, AXI_LATENCY + 8);
    HLS_LOOP(LANES, 8, 8);
    HLS_BURST((uint64_t)(end - begin) * (4 + 8 * (uint64_t)n_shards));
    return total;
}

static void sum_pair(sums *out, const float *logp, const float *shards, uint32_t n_shards, pair p) {
    HLS_STAGE(SUMS);
    out->w = sum_tokens(logp, shards, n_shards, p.begin, p.middle);
    out->l = sum_tokens(logp, shards, n_shards, p.middle, p.end);
}

/* (1-eps) -log sigmoid(m) + eps -log sigmoid(-m), and its derivative by m. */
static double smoothed(double m, double eps, double *dm) {
    *dm = hls_sigmoid(m) - (1.0 - eps);
    return (1.0 - eps) * hls_nls(m) + eps * hls_nls(-m);
}

/* Objectives on the mean log-likelihood, without a reference. */
static outcome mean_reward(settings k, pair p, double mean_w, double mean_l, double n_w, double n_l) {
    outcome o = {0, 0, 0, k.beta * mean_w, k.beta * mean_l, k.eps};
    double m = k.beta * (mean_w - mean_l - k.gamma), dm;
    if (k.opcode == HLS_OP_LEANPO) o.eps = p.in[2];
    if (k.opcode == HLS_OP_LEANPO_MARGIN) o.eps = k.eps * hls_sigmoid(-m / k.extra);
    o.loss = smoothed(m, o.eps, &dm);
    o.g_w = k.beta * dm / n_w;
    o.g_l = -k.beta * dm / n_l;
    return o;
}

/* Objectives of the difference of log-ratios a - b. */
static outcome difference(settings k, pair p, double a, double b, double s_w, double n_w, double n_l) {
    outcome o = {0, 0, 0, k.beta * a, k.beta * b, 0};
    double z = k.beta * (a - b), dm = 0, per_w = 1.0, per_l = 1.0, likelihood = 0;
    if (k.opcode == HLS_OP_IPO || k.opcode == HLS_OP_SIGMOID_NORM) per_w = n_w, per_l = n_l;
    double h = a / per_w - b / per_l;
    switch (k.opcode) {
    case HLS_OP_RDPO: {
        double c = 1.0 - 2.0 * k.eps;
        o.loss = ((1.0 - k.eps) * hls_nls(z) - k.eps * hls_nls(-z)) / c;
        dm = -k.beta * ((1.0 - k.eps) * hls_sigmoid(-z) + k.eps * hls_sigmoid(z)) / c;
        break;
    }
    case HLS_OP_IPO:
    case HLS_OP_IPO_SUM: {
        double e = h - 1.0 / (2.0 * k.beta);
        o.loss = e * e;
        dm = 2.0 * e;
        break;
    }
    case HLS_OP_SIGMOID_NORM:
        o.loss = hls_nls(k.beta * h);
        dm = -k.beta * hls_sigmoid(-k.beta * h);
        break;
    case HLS_OP_HINGE:
        if (z < 1.0) {
            o.loss = 1.0 - z;
            dm = -k.beta;
        }
        break;
    default: /* dpo, rpo, rpo_average, upo */
        o.eps = k.opcode == HLS_OP_UPO ? p.in[2] : k.eps;
        o.loss = smoothed(z, o.eps, &dm);
        dm *= k.beta;
        if (k.opcode == HLS_OP_RPO) likelihood = k.extra * k.beta;
        if (k.opcode == HLS_OP_RPO_AVERAGE || k.opcode == HLS_OP_UPO) likelihood = k.extra / n_w;
    }
    o.loss -= likelihood * s_w;
    o.g_w = dm / per_w - likelihood;
    o.g_l = -dm / per_l;
    return o;
}

/* Objectives that judge each response by itself. */
static outcome unary(settings k, pair p, double a, double b) {
    outcome o = {0, 0, 0, k.beta * a, k.beta * b, 0};
    double w = k.beta * a, l = k.beta * b, z = w - l;
    double up_w = hls_sigmoid(w), down_w = hls_sigmoid(-w), up_l = hls_sigmoid(l), down_l = hls_sigmoid(-l);
    double e_w = a - (p.in[2] - 0.5) / k.beta, e_l = b - (p.in[3] - 0.5) / k.beta;
    switch (k.opcode) {
    case HLS_OP_SPPO:
        o.loss = (e_w * e_w + e_l * e_l) / 2.0;
        o.g_w = e_w;
        o.g_l = e_l;
        break;
    case HLS_OP_SPPO_HARD:
        e_w = a - 0.5 / k.beta;
        e_l = b + 0.5 / k.beta;
        o.loss = e_w * e_w + e_l * e_l;
        o.g_w = 2.0 * e_w;
        o.g_l = 2.0 * e_l;
        break;
    case HLS_OP_NCA_PAIR:
        o.loss = hls_nls(w) + hls_nls(-w) / 2.0 + hls_nls(-l) / 2.0;
        o.g_w = k.beta * (up_w / 2.0 - down_w);
        o.g_l = k.beta * up_l / 2.0;
        break;
    case HLS_OP_BCO_PAIR:
        o.loss = hls_nls(w) + hls_nls(-l);
        o.g_w = -k.beta * down_w;
        o.g_l = k.beta * up_l;
        break;
    case HLS_OP_APO_ZERO:
        o.loss = down_w + up_l;
        o.g_w = -k.beta * up_w * down_w;
        o.g_l = k.beta * up_l * down_l;
        break;
    default: { /* apo_down */
        double bell = hls_sigmoid(z) * hls_sigmoid(-z);
        o.loss = up_w + hls_sigmoid(-z);
        o.g_w = k.beta * (up_w * down_w - bell);
        o.g_l = k.beta * bell;
    }
    }
    return o;
}

static outcome evaluate(settings k, pair p, sums s) {
    double n_w = (double)(p.middle - p.begin), n_l = (double)(p.end - p.middle);
    double a = s.w - p.in[0], b = s.l - p.in[1];
    if (k.opcode <= HLS_OP_SIMPO) return mean_reward(k, p, s.w / n_w, s.l / n_l, n_w, n_l);
    if (k.opcode <= HLS_OP_UPO) return difference(k, p, a, b, s.w, n_w, n_l);
    if (k.opcode <= HLS_OP_APO_DOWN) return unary(k, p, a, b);
    outcome o = {-s.w * k.n_pairs / k.total_w, -k.n_pairs / k.total_w, 0, 0, 0, 0}; /* sft */
    return o;
}

/* The pair's row, and its share of the batch's sums. */
static void objective(float g[2], double *pair_out, double batch[HLS_BATCH_COLUMNS], settings k, pair p,
                      sums s, uint32_t i) {
    HLS_STAGE(OBJECTIVE);
    outcome o = evaluate(k, p, s);
    const double row[HLS_PAIR_COLUMNS] = {
        s.w, s.l, o.loss, o.g_w / k.n_pairs, o.g_l / k.n_pairs, o.reward_w, o.reward_l, o.eps};
    for (int c = 0; c < HLS_PAIR_COLUMNS; c++) {
#pragma HLS PIPELINE II = 1
        pair_out[(size_t)i * HLS_PAIR_COLUMNS + (size_t)c] = row[c];
    }
    g[0] = (float)row[HLS_PAIR_G_W];
    g[1] = (float)row[HLS_PAIR_G_L];
    batch[HLS_BATCH_LOSS] += o.loss;
    batch[HLS_BATCH_REWARD_W] += o.reward_w;
    batch[HLS_BATCH_REWARD_L] += o.reward_l;
    batch[HLS_BATCH_ACCURACY] += o.reward_w > o.reward_l ? 1.0 : 0.0;
    batch[HLS_BATCH_MARGIN] += o.reward_w - o.reward_l;
    batch[HLS_BATCH_EPS] += o.eps;
    batch[HLS_BATCH_TOKENS_W] += (double)(p.middle - p.begin);
    batch[HLS_BATCH_TOKENS_L] += (double)(p.end - p.middle);
    HLS_LOOP(HLS_PAIR_COLUMNS, 1, 3 * REAL_DEPTH + AXI_LATENCY);
    HLS_BURST(8 * HLS_PAIR_COLUMNS);
}

static void coefficients(float *coef, float g[2], pair p) {
    HLS_STAGE(COEF);
    for (uint32_t t = p.begin; t < p.end; t++) {
#pragma HLS LOOP_TRIPCOUNT max = 65536
#pragma HLS PIPELINE II = 1
        coef[t] = t < p.middle ? g[0] : g[1];
    }
    HLS_LOOP((p.end - p.begin + 15) / 16, 1, AXI_LATENCY);
    HLS_BURST((uint64_t)(p.end - p.begin) * 4);
}

static double chosen_tokens(const uint32_t *seg_start, uint32_t n_pairs) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_pairs; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 65536
#pragma HLS PIPELINE II = 2
        n += seg_start[2 * i + 1] - seg_start[2 * i];
    }
    HLS_LOOP(n_pairs, 2, AXI_LATENCY);
    return (double)n;
}

void lpo_hls_reward_reduce(const float *logp, const float *shards, const uint32_t *seg_start,
                           const double *pair_in, float *coef, double *pair_out, double *batch_out,
                           uint32_t opcode, uint32_t n_pairs, uint32_t n_shards, double beta, double gamma,
                           double eps, double extra) {
    HLS_STAGE(FETCH);
    const settings k = {opcode, beta, gamma, eps, extra, (double)n_pairs, chosen_tokens(seg_start, n_pairs)};
    double batch[HLS_BATCH_COLUMNS] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (uint32_t i = 0; i < n_pairs; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 65536
#pragma HLS DATAFLOW
        pair p[N_STAGES];
        sums s;
        float g[2];
#pragma HLS ARRAY_PARTITION variable = p complete
#pragma HLS ARRAY_PARTITION variable = g complete
        fetch(p, seg_start, pair_in, i);
        sum_pair(&s, logp, shards, n_shards, p[SUMS]);
        objective(g, pair_out, batch, k, p[OBJECTIVE], s, i);
        coefficients(coef, g, p[COEF]);
    }
    for (int c = 0; c < HLS_BATCH_COLUMNS; c++) {
#pragma HLS PIPELINE II = 1
        batch_out[c] = c < HLS_BATCH_TOKENS_W && n_pairs ? batch[c] / k.n_pairs : batch[c];
    }
}
