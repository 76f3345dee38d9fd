/* SPDX-License-Identifier: Apache-2.0 */
/* vocab_logprob.c -- log-probability of a target from its row of bf16 logits resident on the card.
 * Its niche is verification: logits that must cross PCIe first lose to a fused GPU kernel by far.
 *
 * A DATAFLOW region repeats for every chunk of 8192 logits:  read -> max -> sum -> merge
 * The maximum of a chunk is known before its exponentials begin, so no running sum is ever rescaled inside
 * the 32 lanes; only the merge, once a chunk, rescales, in double. A stage takes 32 logits a clock. */
#include "hls/abi.h"
#include "hls/exact.h"
#include "hls/timing.h"
#include "kernels/real.h"

enum { LANES = 32, PHASES = 8, CHUNK = 8192, WORDS = CHUNK / LANES, AXI_LATENCY = 70, EXP_DEPTH = 60 };
enum { READ, MAX, SUM, MERGE };

/* Logits as floats; those past the row's end are absent (n counts the present). */
typedef float chunk[WORDS][LANES];

typedef struct place {
    uint32_t token, first, n; /* logits [first, first + n) of the token's row; n 0: nothing in this chunk */
    int32_t is_last;
    int32_t here;    /* the target is one of them, */
    float at_target; /* and this its logit */
} place;

typedef struct partial {
    float top;
    double sum;
} partial;

/* What a row has gathered so far. */
typedef struct gathered {
    float top, at_target;
    double sum;
    int32_t here;
} gathered;

static float f32_of_bf16(uint16_t h) {
#pragma HLS INLINE
    return hls_float((uint32_t)h << 16);
}

/* e^x in float, x <= 0; 0 below -87. Relative error under 3e-7. */
static float exp_f32(float x) {
#pragma HLS INLINE
    if (x < -87.0f) return 0.0f;
    float shifted = x * 1.44269504f + 12582912.0f; /* 1.5 2^23: the integer stays */
    float k = shifted - 12582912.0f;
    float r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
    float y = 1.0f / 5040;
    y = y * r + 1.0f / 720;
    y = y * r + 1.0f / 120;
    y = y * r + 1.0f / 24;
    y = y * r + 1.0f / 6;
    y = y * r + 0.5f;
    y = y * r + 1.0f;
    y = y * r + 1.0f;
    return y * hls_float((uint32_t)((int32_t)k + 127) << 23);
}

static void read_chunk(chunk to_max, chunk to_sum, place to[4], const uint16_t *logits, const int32_t *target,
                       uint32_t n_valid, uint32_t stride, uint32_t n_chunks, uint32_t step) {
    HLS_STAGE(READ);
    place p;
    p.token = step / n_chunks;
    p.first = step % n_chunks * CHUNK;
    p.n = n_valid - p.first;
    if (p.n > CHUNK) p.n = CHUNK;
    p.is_last = step % n_chunks == n_chunks - 1;
    int64_t t = (int64_t)target[p.token] - (int64_t)p.first;
    p.here = t >= 0 && t < (int64_t)p.n;
    p.at_target = 0.0f;
    for (uint32_t w = 0; w < WORDS; w++) {
#pragma HLS PIPELINE II = 1
        for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
            uint32_t i = w * LANES + l;
            float x = i < p.n ? f32_of_bf16(logits[(size_t)p.token * stride + p.first + i]) : 0.0f;
            if ((int64_t)i == t && p.here) p.at_target = x;
            to_max[w][l] = x;
            to_sum[w][l] = x;
        }
    }
    for (int s = 0; s < 4; s++) to[s] = p;
    HLS_LOOP(1, 1, AXI_LATENCY);
    HLS_LOOP((p.n + LANES - 1) / LANES, 1, AXI_LATENCY);
    HLS_BURST((uint64_t)p.n * 2);
}

static void chunk_max(float *top, chunk in, place p) {
    HLS_STAGE(MAX);
    float lane[LANES];
#pragma HLS ARRAY_PARTITION variable = lane complete
    for (uint32_t l = 0; l < LANES; l++) lane[l] = in[0][0];
    for (uint32_t w = 0; w < WORDS; w++) {
#pragma HLS PIPELINE II = 1
        for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
            if (w * LANES + l < p.n && in[w][l] > lane[l]) lane[l] = in[w][l];
        }
    }
    float best = lane[0];
    for (uint32_t l = 1; l < LANES; l++) {
#pragma HLS UNROLL
        if (lane[l] > best) best = lane[l];
    }
    *top = best;
    HLS_LOOP(WORDS, 1, 12);
}

static void chunk_sum(partial *out, chunk in, float top, place p) {
    HLS_STAGE(SUM);
    float acc[PHASES][LANES];
#pragma HLS ARRAY_PARTITION variable = acc complete dim = 0
    for (int f = 0; f < PHASES; f++)
        for (int l = 0; l < LANES; l++) acc[f][l] = 0.0f;
    for (uint32_t w = 0; w < WORDS; w++) {
#pragma HLS PIPELINE II = 1
#pragma HLS DEPENDENCE variable = acc type = inter distance = 8 true
        for (uint32_t l = 0; l < LANES; l++) {
#pragma HLS UNROLL
            if (w * LANES + l < p.n) acc[w % PHASES][l] += exp_f32(in[w][l] - top);
        }
    }
    double sum = 0.0;
    for (int l = 0; l < LANES; l++) {
#pragma HLS PIPELINE II = 8
        float lane = 0.0f;
        for (int f = 0; f < PHASES; f++) lane += acc[f][l];
        sum += (double)lane;
    }
    out->top = top;
    out->sum = sum;
    HLS_LOOP(WORDS, 1, EXP_DEPTH);
    HLS_LOOP(LANES / 4, 8, 8);
}

/* Joins the chunk to its row; the row's last chunk writes the results. */
static void merge(float *logp, float *shard, gathered *row, partial in, place p) {
    HLS_STAGE(MERGE);
    int first = p.first == 0;
    float top = first || in.top > row->top ? in.top : row->top;
    double before = first ? 0.0 : row->sum * lpo_real_exp((double)row->top - (double)top);
    row->sum = before + in.sum * lpo_real_exp((double)in.top - (double)top);
    row->top = top;
    if (first) row->here = 0;
    if (p.here) {
        row->here = 1;
        row->at_target = p.at_target;
    }
    HLS_LOOP(1, 1, 40);
    if (p.is_last) {
        double x = (double)row->at_target - (double)top - lpo_real_log(row->sum);
        logp[p.token] = row->here ? (float)x : 0.0f;
        shard[2 * (size_t)p.token] = top;
        shard[2 * (size_t)p.token + 1] = (float)row->sum;
        HLS_LOOP(1, 1, AXI_LATENCY + 100);
        HLS_BURST(12);
    }
}

static void all_chunks(const uint16_t *logits, const int32_t *target, float *logp, float *shard,
                       uint32_t n_valid, uint32_t stride, uint32_t n_chunks, uint32_t n_steps) {
    gathered row = {0.0f, 0.0f, 0.0, 0};
    for (uint32_t i = 0; i < n_steps; i++) {
#pragma HLS LOOP_TRIPCOUNT max = 4194304
#pragma HLS DATAFLOW
        chunk for_max, for_sum;
        place p[4];
        float top;
        partial part;
#pragma HLS ARRAY_PARTITION variable = for_max complete dim = 2
#pragma HLS ARRAY_PARTITION variable = for_sum complete dim = 2
#pragma HLS ARRAY_PARTITION variable = p complete
        read_chunk(for_max, for_sum, p, logits, target, n_valid, stride, n_chunks, i);
        chunk_max(&top, for_max, p[MAX]);
        chunk_sum(&part, for_sum, top, p[SUM]);
        merge(logp, shard, &row, part, p[MERGE]);
    }
}

void lpo_hls_vocab_logprob(const uint16_t *logits, const int32_t *target, float *logp, float *shard,
                           uint32_t n_tokens, uint32_t n_valid, uint32_t stride) {
    uint32_t n_chunks = (n_valid + CHUNK - 1) / CHUNK;
    all_chunks(logits, target, logp, shard, n_valid, stride, n_chunks, n_tokens * n_chunks);
}
