/* SPDX-License-Identifier: Apache-2.0 */
/* hls_score.c -- frame_score and group_advantage against their definitions written in the plainest way. */
#include "hls/abi.h"
#include "hls/group_advantage/ops.h"
#include "kernels/real.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state = 1;
static uint32_t draw(uint32_t n) {
    state = state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)state * n) >> 32);
}
static double uniform(double lo, double hi) {
    return lo + (hi - lo) * draw(1u << 30) / (double)(1u << 30);
}

static void check_frame(uint32_t n, uint32_t colours, uint32_t has_previous) {
    uint8_t *now = malloc(n * 3), *before = malloc(n * 3);
    uint32_t got[768], want[768] = {0};
    double score[4], sad = 0;
    cr_assert(now && before);
    for (uint32_t i = 0; i < 3 * n; i++) {
        now[i] = (uint8_t)draw(colours);
        before[i] = (uint8_t)draw(256);
        want[i % 3 * 256 + now[i]]++;
        if (has_previous) sad += abs(now[i] - before[i]);
    }
    lpo_hls_frame_score(now, before, got, score, n, has_previous);
    cr_expect_arr_eq(got, want, sizeof want, "%u pixels", n);
    for (int c = 0; c < 3; c++) {
        double bits = 0;
        for (int b = 0; b < 256; b++) {
            double p = want[256 * c + b] / (double)n;
            if (p > 0) bits -= p * log2(p);
        }
        cr_expect_leq(fabs(score[c] - bits), 1e-12 * 8, "%u pixels: %.15g, expected %.15g", n, score[c],
                      bits);
    }
    cr_expect_leq(fabs(score[3] - sad / (3.0 * n)), 1e-12 * 255, "%u pixels: %.15g", n, score[3]);
    free(now);
    free(before);
}

/* Truth: histograms are exact, entropies and the mean difference are their definitions, for sizes off the
 * lane grid, few colours and one. */
Test(hls_score, frame) {
    const uint32_t sizes[] = {1, 7, 8, 9, 33, 1000, 4099};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (uint32_t has = 0; has < 2; has++) {
            check_frame(sizes[i], 256, has);
            check_frame(sizes[i], 3, has);
            check_frame(sizes[i], 1, has);
        }
}

enum { N_GROUPS = 12, MAX_N = 4096 };

static void expect_advantage(double *want, const float *r, const float *v, uint32_t n, uint32_t opcode,
                             double eps, double gamma, double lambda) {
    double mean = 0, var = 0;
    for (uint32_t k = 0; k < n; k++) mean += r[k] / (double)n;
    for (uint32_t k = 0; k < n; k++) var += (r[k] - mean) * (r[k] - mean);
    for (uint32_t k = 0; k < n; k++) {
        double others = 0, w = 1;
        want[k] = 0;
        for (uint32_t j = 0; j < n; j++) others += j == k ? 0 : r[j];
        if (n > 1 && opcode == HLS_ADV_GRPO) want[k] = (r[k] - mean) / (sqrt(var / (n - 1)) + eps);
        if (n > 1 && opcode == HLS_ADV_DR_GRPO) want[k] = r[k] - mean;
        if (n > 1 && opcode == HLS_ADV_RLOO) want[k] = r[k] - others / (n - 1);
        for (uint32_t j = k; j < n && opcode == HLS_ADV_GAE; j++, w *= gamma * lambda)
            want[k] += w * (r[j] + (j + 1 < n ? gamma * v[j + 1] : 0) - v[j]);
    }
}

/* Truth: each opcode is its formula, groups of one and groups of equal rewards included, to f32. */
Test(hls_score, advantages) {
    static float r[MAX_N], v[MAX_N], adv[MAX_N];
    static double want[MAX_N], out[N_GROUPS][2];
    uint32_t seg[N_GROUPS + 1] = {0};
    for (int g = 0; g < N_GROUPS; g++) {
        uint32_t n = g == 0 ? 1 : 2 + draw(g < 6 ? 8 : 300);
        seg[g + 1] = seg[g] + n;
        cr_assert_leq(seg[g + 1], MAX_N);
        for (uint32_t k = seg[g]; k < seg[g + 1]; k++) {
            r[k] = g == 1 ? .5f : (float)uniform(-2, 2);
            v[k] = (float)uniform(-1, 1);
        }
    }
    for (uint32_t op = HLS_ADV_GRPO; op <= HLS_ADV_GAE; op++) {
        memset(adv, 0x5a, sizeof adv);
        lpo_hls_group_advantage(r, v, seg, adv, out[0], op, N_GROUPS, 1e-4, .99, .95);
        for (int g = 0; g < N_GROUPS; g++) {
            uint32_t n = seg[g + 1] - seg[g];
            expect_advantage(want, r + seg[g], v + seg[g], n, op, 1e-4, .99, .95);
            for (uint32_t k = 0; k < n; k++)
                cr_expect_leq(fabs(adv[seg[g] + k] - want[k]), 1e-6 * fmax(1, fabs(want[k])),
                              "opcode %u, group %d of %u: %g, expected %g", op, g, n, adv[seg[g] + k],
                              want[k]);
        }
    }
    cr_expect_eq(out[1][0], .5);
    cr_expect_eq(out[1][1], 0);
}

/* Truth: the square root keeps 1e-15. */
Test(hls_score, own_sqrt) {
    for (int i = 0; i < 100000; i++) {
        double x = exp(uniform(-200, 200));
        cr_assert_leq(fabs(lpo_real_sqrt(x) / sqrt(x) - 1), 1e-15, "sqrt(%a)", x);
    }
    cr_expect_eq(lpo_real_sqrt(0), 0);
}
