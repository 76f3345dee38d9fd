/* SPDX-License-Identifier: Apache-2.0 */
/* group_advantage.c -- rewards of a prompt's rollouts, or of a response's tokens, to advantages.
 *
 * A DATAFLOW region repeats for every group:  read -> advantages -> write. A group fits on chip, so it is
 * read and written in bursts though GAE walks it backwards. Sums are double, in order. */
#include "hls/abi.h"
#include "hls/group_advantage/ops.h"
#include "hls/timing.h"
#include "kernels/real.h"

enum { AXI_LATENCY = 70, ADD = 8 };
enum { READ, ADVANTAGE, WRITE };

typedef float group[HLS_ADV_MAX_GROUP];

typedef struct segment {
    uint32_t begin, n;
} segment;

static void read_group(group r, group v, segment to[3], const float *reward, const float *value,
                       const uint32_t *seg_start, uint32_t opcode, uint32_t i) {
    HLS_STAGE(READ);
    segment s = {seg_start[i], seg_start[i + 1] - seg_start[i]};
    for (int k = 0; k < 3; k++) to[k] = s;
    for (uint32_t k = 0; k < s.n; k++) {
#pragma HLS LOOP_TRIPCOUNT max = 16384
#pragma HLS PIPELINE II = 1
        r[k] = reward[s.begin + k];
    }
    for (uint32_t k = 0; k < s.n && opcode == HLS_ADV_GAE; k++) {
#pragma HLS LOOP_TRIPCOUNT max = 16384
#pragma HLS PIPELINE II = 1
        v[k] = value[s.begin + k];
    }
    HLS_LOOP(s.n, 1, AXI_LATENCY);
    HLS_LOOP(opcode == HLS_ADV_GAE ? s.n : 0, 1, AXI_LATENCY);
    HLS_BURST((uint64_t)s.n * (opcode == HLS_ADV_GAE ? 8 : 4));
}

static double mean_of(group r, uint32_t n) {
    double sum = 0.0;
    for (uint32_t k = 0; k < n; k++) {
#pragma HLS LOOP_TRIPCOUNT max = 16384
#pragma HLS PIPELINE II = 8
        sum += (double)r[k];
    }
    HLS_LOOP(n, ADD, ADD);
    return n ? sum / (double)n : 0.0;
}

static double deviation_of(group r, uint32_t n, double mean) {
    double sum = 0.0;
    for (uint32_t k = 0; k < n; k++) {
#pragma HLS LOOP_TRIPCOUNT max = 16384
#pragma HLS PIPELINE II = 8
        double d = (double)r[k] - mean;
        sum += d * d;
    }
    HLS_LOOP(n, ADD, 3 * ADD);
    return n > 1 ? lpo_real_sqrt(sum / (double)(n - 1)) : 0.0;
}

static void gae(group out, group r, group v, uint32_t n, double gamma, double lambda) {
    double next_value = 0.0, next = 0.0;
    for (uint32_t k = n; k > 0; k--) {
#pragma HLS LOOP_TRIPCOUNT max = 16384
#pragma HLS PIPELINE II = 16
        double value = (double)v[k - 1];
        next = (double)r[k - 1] + gamma * next_value - value + gamma * lambda * next;
        next_value = value;
        out[k - 1] = (float)next;
    }
    HLS_LOOP(n, 2 * ADD, 5 * ADD);
}

static void advantages(group out, double *group_out, group r, group v, segment s, uint32_t opcode, double eps,
                       double gamma, double lambda, uint32_t i) {
    HLS_STAGE(ADVANTAGE);
    double mean = mean_of(r, s.n), deviation = deviation_of(r, s.n, mean), scale = 1.0;
    if (opcode == HLS_ADV_GRPO) scale = 1.0 / (deviation + eps);
    /* r - (sum - r)/(n-1) = (r - mean) n/(n-1) */
    if (opcode == HLS_ADV_RLOO) scale = s.n > 1 ? (double)s.n / (double)(s.n - 1) : 0.0;
    if (opcode == HLS_ADV_GAE) gae(out, r, v, s.n, gamma, lambda);
    for (uint32_t k = 0; k < s.n && opcode != HLS_ADV_GAE; k++) {
#pragma HLS LOOP_TRIPCOUNT max = 16384
#pragma HLS PIPELINE II = 1
        out[k] = s.n > 1 ? (float)(((double)r[k] - mean) * scale) : 0.0f;
    }
    group_out[2 * (size_t)i] = mean;
    group_out[2 * (size_t)i + 1] = deviation;
    HLS_LOOP(opcode == HLS_ADV_GAE ? 0 : s.n, 1, 3 * ADD);
    HLS_BURST(16);
}

static void write_group(float *advantage, group in, segment s) {
    HLS_STAGE(WRITE);
    for (uint32_t k = 0; k < s.n; k++) {
#pragma HLS LOOP_TRIPCOUNT max = 16384
#pragma HLS PIPELINE II = 1
        advantage[s.begin + k] = in[k];
    }
    HLS_LOOP(s.n, 1, AXI_LATENCY);
    HLS_BURST((uint64_t)s.n * 4);
}

void lpo_hls_group_advantage(const float *reward, const float *value, const uint32_t *seg_start,
                             float *advantage, double *group_out, uint32_t opcode, uint32_t n_groups,
                             double eps, double gamma, double lambda) {
    for (uint32_t i = 0; i < n_groups; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 65536
#pragma HLS DATAFLOW
        group r, v, adv;
        segment s[3];
#pragma HLS ARRAY_PARTITION variable = s complete
        read_group(r, v, s, reward, value, seg_start, opcode, i);
        advantages(adv, group_out, r, v, s[ADVANTAGE], opcode, eps, gamma, lambda, i);
        write_group(advantage, adv, s[WRITE]);
    }
}
