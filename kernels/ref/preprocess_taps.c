/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess_taps.c -- weight tables: which source samples make a result, and how much of each.
 * All three filters share one rule: a result's window is centred on its place in the source, cut at the
 * edges, and its weights are divided by their sum. Downscaling stretches the window by the scale
 * (antialiasing). The operations and their order below are part of the definition: another order gives other
 * last bits, and then other bytes. Memory: start int32[n_out] | count int32[n_out] | weights 4 bytes
 * [n_out][stride], each part 64-byte aligned. */
#include "kernels/preprocess.h"

#include <math.h>
#include <string.h>

enum { FIXED_BITS = 22 };

static size_t aligned(size_t bytes) {
    return (bytes + 63) & ~(size_t)63;
}

/* Longest window of any result, as both libraries bound it, rounded up to whole groups of 4. */
static int32_t bicubic_stride(int32_t n_in, int32_t n_out) {
    double scale = (double)n_in / n_out;
    double longest = ceil(2.0 * (scale < 1.0 ? 1.0 : scale)) * 2 + 2;
    return ((longest < n_in ? (int32_t)longest : n_in) + 3) / 4 * 4;
}

static size_t table_bytes(int32_t n_out, int32_t stride) {
    return 2 * aligned(sizeof(int32_t) * (size_t)n_out) + aligned(4u * (size_t)n_out * (size_t)stride);
}

size_t lpo_prep_taps_bytes(int32_t n_in, int32_t n_out) {
    return table_bytes(n_out, bicubic_stride(n_in, n_out));
}

/* Where the parts of a table lie, writable. */
typedef struct table {
    int32_t *start, *count;
    void *weights;
} table;

static table lay_out(lpo_prep_taps *t, void *mem, int32_t n_in, int32_t n_out, int32_t stride) {
    table p;
    p.start = mem;
    p.count = (int32_t *)((char *)mem + aligned(sizeof(int32_t) * (size_t)n_out));
    p.weights = (char *)p.count + aligned(sizeof(int32_t) * (size_t)n_out);
    memset(mem, 0, table_bytes(n_out, stride));
    *t = (lpo_prep_taps){n_in, n_out, stride, p.start, p.count, NULL, NULL};
    return p;
}

static double cubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

/* Normalise doubles to 22-bit integers, rounded half away from zero. */
static void quantise(int32_t *out, const double *w, int32_t n) {
    double sum = 0.0;
    for (int32_t k = 0; k < n; k++) sum += w[k];
    for (int32_t k = 0; k < n; k++) {
        double v = (sum != 0.0 ? w[k] / sum : w[k]) * (1 << FIXED_BITS);
        out[k] = (int32_t)(v < 0 ? v - 0.5 : v + 0.5);
    }
}

void lpo_prep_taps_pillow(lpo_prep_taps *t, void *mem, int32_t n_in, int32_t n_out) {
    int32_t stride = bicubic_stride(n_in, n_out);
    table p = lay_out(t, mem, n_in, n_out, stride);
    int32_t *fixed = p.weights;
    double w[LPO_PREP_MAX_SIZE];
    double scale = (double)n_in / n_out, stretch = scale < 1.0 ? 1.0 : scale;
    double support = 2.0 * stretch, inv = 1.0 / stretch;
    for (int32_t i = 0; i < n_out; i++) {
        double center = (i + 0.5) * scale;
        int32_t first = (int32_t)(center - support + 0.5);
        if (first < 0) first = 0;
        int32_t end = (int32_t)(center + support + 0.5);
        if (end > n_in) end = n_in;
        for (int32_t k = 0; k < end - first; k++) w[k] = cubic((k + first - center + 0.5) * inv);
        quantise(fixed + (size_t)i * stride, w, end - first);
        p.start[i] = first;
        p.count[i] = end - first;
    }
    t->fixed = fixed;
}

/* torch evaluates the inner lobe in double and the outer in float with fused steps; the argument mixes both.
 */
static float cubic_torch(float x) {
    x = fabsf(x);
    if (x < 1.0f) return (float)((1.5 * (double)x - 2.5) * (double)x * (double)x + 1);
    if (x < 2.0f) return fmaf(fmaf(x - 5.0f, x, 8.0f), x, -4.0f) * -0.5f;
    return 0.0f;
}

void lpo_prep_taps_torchvision(lpo_prep_taps *t, void *mem, int32_t n_in, int32_t n_out) {
    int32_t stride = bicubic_stride(n_in, n_out);
    table p = lay_out(t, mem, n_in, n_out, stride);
    float *real = p.weights;
    float scale = (float)n_in / (float)n_out;
    float support = scale >= 1.0f ? (float)(2.0 * (double)scale) : 2.0f;
    float inv = scale >= 1.0f ? (float)(1.0 / (double)scale) : 1.0f;
    for (int32_t i = 0; i < n_out; i++) {
        float *w = real + (size_t)i * stride, sum = 0.0f;
        float center = (float)((double)scale * (i + 0.5));
        int32_t first = (int32_t)((double)(center - support) + 0.5);
        if (first < 0) first = 0;
        int32_t end = (int32_t)((double)(center + support) + 0.5);
        if (end > n_in) end = n_in;
        for (int32_t k = 0; k < end - first; k++) {
            float from_center = (float)(k + first) - center;
            w[k] = cubic_torch((float)(((double)from_center + 0.5) * (double)inv));
            sum += w[k];
        }
        for (int32_t k = 0; k < end - first && sum != 0.0f; k++) w[k] /= sum;
        p.start[i] = first;
        p.count[i] = end - first;
    }
    t->real = real;
}

static int32_t blur_radius(double sigma) {
    return (int32_t)ceil(3.0 * sigma);
}
static int32_t blur_stride(double sigma) {
    return (2 * blur_radius(sigma) + 1 + 3) / 4 * 4;
}

size_t lpo_prep_taps_blur_bytes(int32_t n, double sigma) {
    return table_bytes(n, blur_stride(sigma));
}

void lpo_prep_taps_blur(lpo_prep_taps *t, void *mem, int32_t n, double sigma) {
    int32_t stride = blur_stride(sigma), radius = blur_radius(sigma);
    table p = lay_out(t, mem, n, n, stride);
    int32_t *fixed = p.weights;
    double w[2 * 64 + 1];
    for (int32_t i = 0; i < n; i++) {
        int32_t first = i - radius < 0 ? 0 : i - radius;
        int32_t end = i + radius + 1 > n ? n : i + radius + 1;
        for (int32_t k = first; k < end; k++) w[k - first] = exp(-0.5 * (k - i) * (k - i) / (sigma * sigma));
        quantise(fixed + (size_t)i * stride, w, end - first);
        p.start[i] = first;
        p.count[i] = end - first;
    }
    t->fixed = fixed;
}

int32_t lpo_prep_noise_scale(double sigma) {
    double unit = sqrt(4.0 * (256.0 * 256.0 - 1.0) / 12.0);
    return (int32_t)lrint(sigma / unit * 65536.0);
}
