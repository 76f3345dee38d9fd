/* SPDX-License-Identifier: Apache-2.0 */
/* frame_score.c -- how much a frame shows and how much it changed: entropy of its channels' histograms, and
 * the mean absolute difference from the frame before. Frame selection reads both.
 *
 * Eight pixels a clock. A bin cannot be read and written again in one clock, so each of the 8 lanes keeps 4
 * histograms in turn; they are added up at the end. Counts are integers, so the order does not matter. */
#include "hls/abi.h"
#include "hls/timing.h"
#include "kernels/real.h"

enum { LANES = 8, PHASES = 4, AXI_LATENCY = 70, LOG_DEPTH = 160 };
enum { COUNT, ENTROPY };

typedef uint32_t counts[LANES][PHASES][3][256];

static void clear(counts bins) {
    for (int b = 0; b < 256; b++) {
#pragma HLS PIPELINE II = 1
        for (int l = 0; l < LANES; l++)
            for (int p = 0; p < PHASES; p++)
                for (int c = 0; c < 3; c++) bins[l][p][c][b] = 0;
    }
    HLS_LOOP(256, 1, 2);
}

/* Returns the sum of absolute differences. */
static uint64_t count(counts bins, const uint8_t *rgb, const uint8_t *previous, uint32_t n_pixels,
                      uint32_t has_previous) {
    uint64_t sad = 0;
    for (uint32_t i = 0; i < n_pixels; i += LANES) {
#pragma HLS LOOP_TRIPCOUNT max = 2097152
#pragma HLS PIPELINE II = 1
#pragma HLS DEPENDENCE variable = bins type = inter distance = 4 true
        for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
            for (uint32_t c = 0; c < 3; c++) {
                if (i + l >= n_pixels) continue;
                int32_t now = rgb[(size_t)(i + l) * 3 + c];
                int32_t before = has_previous ? previous[(size_t)(i + l) * 3 + c] : now;
                bins[l][i / LANES % PHASES][c][now]++;
                sad += (uint64_t)(now > before ? now - before : before - now);
            }
        }
    }
    HLS_LOOP((n_pixels + LANES - 1) / LANES, 1, AXI_LATENCY);
    HLS_BURST((uint64_t)n_pixels * (has_previous ? 6 : 3));
    return sad;
}

/* Adds up the lanes of one channel; entropy in bits = log2 n - (sum of k log2 k) / n. */
static double entropy(uint32_t *histogram, counts bins, int c, uint32_t n_pixels) {
    double sum = 0.0;
    for (int b = 0; b < 256; b++) {
#pragma HLS PIPELINE II = 8
        uint32_t k = 0;
        for (int l = 0; l < LANES; l++)
            for (int p = 0; p < PHASES; p++) k += bins[l][p][c][b];
        histogram[256 * c + b] = k;
        if (k > 0) sum += (double)k * lpo_real_log((double)k);
    }
    HLS_LOOP(256, 8, LOG_DEPTH);
    HLS_BURST(256 * 4);
    return n_pixels ? (lpo_real_log((double)n_pixels) - sum / (double)n_pixels) * 1.4426950408889634 : 0.0;
}

void lpo_hls_frame_score(const uint8_t *rgb, const uint8_t *previous, uint32_t *histogram, double *score,
                         uint32_t n_pixels, uint32_t has_previous) {
    counts bins;
#pragma HLS ARRAY_PARTITION variable = bins complete dim = 1
#pragma HLS ARRAY_PARTITION variable = bins complete dim = 2
#pragma HLS ARRAY_PARTITION variable = bins complete dim = 3
    HLS_STAGE(COUNT);
    clear(bins);
    uint64_t sad = count(bins, rgb, previous, n_pixels, has_previous);
    HLS_STAGE(ENTROPY);
    for (int c = 0; c < 3; c++) score[c] = entropy(histogram, bins, c, n_pixels);
    score[3] = n_pixels ? (double)sad / (3.0 * (double)n_pixels) : 0.0;
}
