/* SPDX-License-Identifier: Apache-2.0 */
/* simd_body.h -- the loops of simd.h, compiled once per instruction set by a file that first defines
 *   vec, LANES, MR            the float vector, its width, rows of a tile (a tile is MR x 2*LANES)
 *   LOAD STORE SET1 FMA       on vec; LOADH widens LANES bf16; transpose(vec r[LANES]) in place
 *   SIMD_NAME                 the table to define
 * The elementwise loops are plain C under `omp simd`: the compiler knows the instruction set from the file's
 * flags. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/simd.h"
#include "kernels/number.h"
#include "kernels/op.h"

enum { NR = 2 * LANES, A_WIDTH = LANES < MR ? 2 * LANES : LANES, SHORT = MR / 2 + 1 };

/* `rows` is a constant wherever this is inlined: the height of the block of registers, m of which are stored.
 */
static inline __attribute__((always_inline)) void tile_of(const int rows, int64_t k, const float *a,
                                                          const float *b, float *c, int64_t ldc, int m, int n,
                                                          bool add) {
    vec acc[MR][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) acc[i][0] = acc[i][1] = SET1(0.0f);
    for (int i = 0; i < m; i++) { /* C is read or written only at the end: call it in now */
        __builtin_prefetch(c + i * ldc, 1);
        __builtin_prefetch(c + i * ldc + n - 1, 1);
    }
    for (int64_t p = 0; p < k; p++, a += A_WIDTH, b += NR) {
        const vec b0 = LOAD(b), b1 = LOAD(b + LANES);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const vec s = SET1(a[i]);
            acc[i][0] = FMA(s, b0, acc[i][0]);
            acc[i][1] = FMA(s, b1, acc[i][1]);
        }
    }
    if (m == rows && n == NR) {
        if (add) {
#pragma GCC unroll 16
            for (int i = 0; i < rows; i++) {
                acc[i][0] += LOAD(c + i * ldc);
                acc[i][1] += LOAD(c + i * ldc + LANES);
            }
        }
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            STORE(c + i * ldc, acc[i][0]);
            STORE(c + i * ldc + LANES, acc[i][1]);
        }
        return;
    }
    float edge[MR * NR];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        STORE(edge + i * NR, acc[i][0]);
        STORE(edge + i * NR + LANES, acc[i][1]);
    }
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++)
            c[i * ldc + j] = add ? edge[i * NR + j] + c[i * ldc + j] : edge[i * NR + j];
}
static void tile(int64_t k, const float *a, const float *b, float *c, int64_t ldc, int m, int n, bool add) {
    if (m > SHORT)
        tile_of(MR, k, a, b, c, ldc, m, n, add);
    else
        tile_of(SHORT, k, a, b, c, ldc, m, n, add);
}

static inline float element(const void *src, bool bf16, int64_t i) {
    return bf16 ? lpo_bf16_to_f32(((const uint16_t *)src)[i]) : ((const float *)src)[i];
}
static inline vec vector(const void *src, bool bf16, int64_t i) {
    return bf16 ? LOADH((const uint16_t *)src + i) : LOAD((const float *)src + i);
}

static void pack(float *dst, int width, const void *src, bool bf16, int64_t lane_stride, int64_t k_stride,
                 int lanes, int64_t k) {
    int64_t done = 0;
    if (lane_stride == 1) {
        /* Lanes past the last are never used, so they may hold what follows in the matrix, up to its end.
         * Rows are far apart and no hardware looks ahead for us; past the end a prefetch is harmless. */
        const char *ahead = (const char *)src + 16 * k_stride * (bf16 ? 2 : 4);
        for (; done < k && done * k_stride + width <= (k - 1) * k_stride + lanes; done++) {
            __builtin_prefetch(ahead + done * k_stride * (bf16 ? 2 : 4));
            if (!bf16) __builtin_prefetch(ahead + done * k_stride * 4 + 64);
            for (int i = 0; i < width; i += LANES)
                STORE(dst + done * width + i, vector(src, bf16, done * k_stride + i));
        }
    }
    if (k_stride == 1 && lane_stride != 1) {
        for (; done + LANES <= k; done += LANES)
            for (int l = 0; l < width; l += LANES) {
                vec r[LANES];
                for (int i = 0; i < LANES; i++)
                    r[i] = l + i < lanes ? vector(src, bf16, (l + i) * lane_stride + done) : SET1(0.0f);
                transpose(r);
                for (int i = 0; i < LANES; i++) STORE(dst + (done + i) * width + l, r[i]);
            }
    }
    for (int64_t p = done; p < k; p++)
        for (int i = 0; i < width; i++)
            dst[p * width + i] = i < lanes ? element(src, bf16, i * lane_stride + p * k_stride) : 0;
}

/* The next `k` of the sums of `rows` rows of A with LANES rows of B (stored along k): each lane adds its
 * products one k after the other, exactly as a tile does. */
static inline __attribute__((always_inline)) void thin_of(const int rows, int64_t k, const float *a,
                                                          int64_t lda, const void *b, bool bf16, int64_t at,
                                                          int64_t ldb, int n, float *c, bool add) {
    vec acc[THIN];
#pragma GCC unroll 8
    for (int t = 0; t < rows; t++) acc[t] = SET1(0.0f);
    for (int64_t p = 0; p < k; p += LANES) {
        vec r[LANES];
        if (p + LANES <= k) {
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) r[i] = vector(b, bf16, at + (i < n ? i : 0) * ldb + p);
            transpose(r);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
#pragma GCC unroll 8
                for (int t = 0; t < rows; t++) acc[t] = FMA(SET1(a[t * lda + p + i]), r[i], acc[t]);
        } else
            for (int64_t q = p; q < k; q++) {
                float lane[LANES];
                for (int i = 0; i < LANES; i++) lane[i] = element(b, bf16, at + (i < n ? i : 0) * ldb + q);
#pragma GCC unroll 8
                for (int t = 0; t < rows; t++) acc[t] = FMA(SET1(a[t * lda + q]), LOAD(lane), acc[t]);
            }
    }
#pragma GCC unroll 8
    for (int t = 0; t < rows; t++) {
        if (add) acc[t] += LOAD(c + t * LANES);
        STORE(c + t * LANES, acc[t]);
    }
}
static void thin(int m, int64_t k, const float *a, int64_t lda, const void *b, bool bf16, int64_t at,
                 int64_t ldb, int n, float *c, bool add) {
#if THIN == 8
    for (; m >= 8; m -= 8, a += 8 * lda, c += 8 * LANES) thin_of(8, k, a, lda, b, bf16, at, ldb, n, c, add);
#endif
    for (; m >= 4; m -= 4, a += 4 * lda, c += 4 * LANES) thin_of(4, k, a, lda, b, bf16, at, ldb, n, c, add);
    for (; m >= 2; m -= 2, a += 2 * lda, c += 2 * LANES) thin_of(2, k, a, lda, b, bf16, at, ldb, n, c, add);
    if (m) thin_of(1, k, a, lda, b, bf16, at, ldb, n, c, add);
}

static void widen(float *restrict dst, const uint16_t *restrict src, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) dst[i] = lpo_bf16_to_f32(src[i]);
}
static inline uint16_t to_bf16(float f) { /* lpo_f32_to_bf16 without a branch */
    uint32_t u = lpo_float_bits(f), rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16, nan = (u >> 16) | 0x40u;
    return (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}
static void narrow(uint16_t *restrict dst, const float *restrict src, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) dst[i] = to_bf16(src[i]);
}

/* e^x to about 1 ulp on [-87.3, 88.7]: x = n ln 2 + r, |r| <= ln 2 / 2, a degree 6 polynomial in r, 2^n by
 * the exponent field. Below it is 0 (no subnormals), above it saturates near the largest float. */
static inline float exp1(float x) {
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves the integer in the low bits */
    float z = x < -87.33654f ? -87.33654f : x;
    z = z > 88.37626f ? 88.37626f : z;
    const float t = z * 1.44269504f + round, n = t - round;
    const float r = (z - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const float e = p * lpo_bits_float((lpo_float_bits(t) + 127u) << 23);
    return x < -87.33654f ? 0.0f : e;
}
static inline float sigmoid(float x) {
    return 1.0f / (1.0f + exp1(-x));
}

static float dot(const float *a, const float *b, int64_t n) {
    vec s0 = SET1(0.0f), s1 = s0, s2 = s0, s3 = s0;
    int64_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        s0 = FMA(LOAD(a + i), LOAD(b + i), s0);
        s1 = FMA(LOAD(a + i + LANES), LOAD(b + i + LANES), s1);
        s2 = FMA(LOAD(a + i + 2 * LANES), LOAD(b + i + 2 * LANES), s2);
        s3 = FMA(LOAD(a + i + 3 * LANES), LOAD(b + i + 3 * LANES), s3);
    }
    for (; i + LANES <= n; i += LANES) s0 = FMA(LOAD(a + i), LOAD(b + i), s0);
    float lane[LANES], sum = 0;
    STORE(lane, (s0 + s1) + (s2 + s3));
    for (int w = LANES / 2; w; w /= 2)
        for (int j = 0; j < w; j++) lane[j] += lane[j + w];
    for (; i < n; i++) sum += a[i] * b[i];
    return lane[0] + sum;
}
static float dot_bf16(const uint16_t *a, const float *b, int64_t n) {
    vec s0 = SET1(0.0f), s1 = s0;
    int64_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        s0 = FMA(LOADH(a + i), LOAD(b + i), s0);
        s1 = FMA(LOADH(a + i + LANES), LOAD(b + i + LANES), s1);
    }
    float lane[LANES], sum = 0;
    STORE(lane, s0 + s1);
    for (int w = LANES / 2; w; w /= 2)
        for (int j = 0; j < w; j++) lane[j] += lane[j + w];
    for (; i < n; i++) sum += lpo_bf16_to_f32(a[i]) * b[i];
    return lane[0] + sum;
}
static void axpy(float *restrict y, float a, const float *restrict x, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}
static void axpy_bf16(float *restrict y, float a, const uint16_t *restrict x, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] += a * lpo_bf16_to_f32(x[i]);
}
static void add(float *y, const float *a, const float *b, int64_t n) { /* y may be a or b */
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}
static void scale(float *y, float a, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] *= a;
}
static float max_of(const float *x, int64_t n) {
    float m = -INFINITY;
#pragma omp simd reduction(max : m)
    for (int64_t i = 0; i < n; i++) m = x[i] > m ? x[i] : m;
    return m;
}
static float exp_sum(float *x, float by, float shift, int64_t n) {
    float s = 0;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++) {
        x[i] = exp1(x[i] * by - shift);
        s += x[i];
    }
    return s;
}
static void softmax_bwd(float *restrict dp, const float *restrict p, float minus, float by, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) dp[i] = p[i] * (dp[i] - minus) * by;
}
static lpo_stats stats(const float *z, int64_t n) {
    lpo_stats s = {max_of(z, n), 0, 0, 0};
    float sum = 0, d = 0;
    const float m = s.max;
#pragma omp simd reduction(+ : sum, d)
    for (int64_t i = 0; i < n; i++) {
        const float e = exp1(z[i] - m);
        sum += e;
        d += e * z[i];
    }
    s.sum = sum;
    s.dot = d;
    for (; s.best + LANES < n; s.best += LANES) { /* whole vectors without it */
        int found = 0;
#pragma omp simd reduction(| : found)
        for (int i = 0; i < LANES; i++) found |= z[s.best + i] == m;
        if (found) break;
    }
    while (s.best + 1 < n && !(z[s.best] == m)) s.best++;
    return s;
}
static float sum_of(const float *x, int64_t n) {
    float s = 0;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++) s += x[i];
    return s;
}
static float sum_sq(const float *x, float minus, int64_t n) {
    float s = 0;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++) s += (x[i] - minus) * (x[i] - minus);
    return s;
}

static void norm(float *y, const float *x, const float *w, const float *b, float mean, float rstd,
                 bool round_bf16, int64_t n) {
    if (round_bf16) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = lpo_bf16_to_f32(to_bf16((x[i] - mean) * rstd)) * w[i];
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * rstd * w[i];
    }
    if (b) add(y, y, b, n);
}
static void norm_bwd(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w,
                     float mean, float rstd, bool rms, int64_t n) {
    float g_sum = 0, gn_sum = 0;
#pragma omp simd reduction(+ : g_sum, gn_sum)
    for (int64_t i = 0; i < n; i++) {
        const float g = dy[i] * w[i];
        g_sum += g;
        gn_sum += g * ((x[i] - mean) * rstd);
    }
    if (dw) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) dw[i] += dy[i] * ((x[i] - mean) * rstd);
    }
    if (db) add(db, db, dy, n);
    const float c1 = rms ? 0 : g_sum / (float)n, c2 = gn_sum / (float)n;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) dx[i] = rstd * (dy[i] * w[i] - c1 - (x[i] - mean) * rstd * c2);
}
static void rope(float *y, const float *x, const float *cosine, const float *sine, float sign, int64_t half) {
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        const float a = x[i], b = x[i + half], s = sine[i] * sign;
        y[i] = a * cosine[i] - b * s;
        y[i + half] = b * cosine[i] + a * s;
    }
}

#define SQRT_2_PI 0.7978845608f /* sqrt(2 / pi) */
static inline float tanh1(float x) {
    return 1.0f - 2.0f / (exp1(2.0f * x) + 1.0f);
}
/* Abramowitz and Stegun 7.1.26: within 1.5e-7, the size of a float's rounding at 1. */
static inline float erf1(float x) {
    const float a = fabsf(x), t = 1.0f / (1.0f + 0.3275911f * a);
    const float p =
        ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t;
    const float e = 1.0f - p * exp1(-a * a);
    return x < 0 ? -e : e;
}
static void act(int kind, float *restrict y, const float *restrict x, const float *restrict up, int64_t n) {
    switch (kind) {
    case LPO_ACT_QUICK_GELU:
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = x[i] * sigmoid(1.702f * x[i]);
        break;
    case LPO_ACT_GELU_TANH:
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = 0.5f * x[i] * (1 + tanh1(SQRT_2_PI * (x[i] + 0.044715f * x[i] * x[i] * x[i])));
        break;
    case LPO_ACT_GELU:
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = 0.5f * x[i] * (1 + erf1(x[i] * 0.70710678f));
        break;
    default:
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = x[i] * sigmoid(x[i]) * up[i];
    }
}
static void act_bwd(int kind, float *restrict dx, float *restrict dup, const float *restrict dy,
                    const float *restrict x, const float *restrict up, int64_t n) {
    switch (kind) {
    case LPO_ACT_QUICK_GELU:
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            const float s = sigmoid(1.702f * x[i]);
            dx[i] = dy[i] * s * (1 + 1.702f * x[i] * (1 - s));
        }
        break;
    case LPO_ACT_GELU_TANH:
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            const float v = x[i], t = tanh1(SQRT_2_PI * (v + 0.044715f * v * v * v));
            dx[i] = dy[i] * (0.5f * (1 + t) + 0.5f * v * (1 - t * t) * SQRT_2_PI * (1 + 0.134145f * v * v));
        }
        break;
    case LPO_ACT_GELU:
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            const float v = x[i];
            dx[i] = dy[i] * (0.5f * (1 + erf1(v * 0.70710678f)) + v * exp1(-0.5f * v * v) * 0.5f * SQRT_2_PI);
        }
        break;
    default:
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            const float s = sigmoid(x[i]);
            dup[i] = dy[i] * x[i] * s;
            dx[i] = dy[i] * up[i] * s * (1 + x[i] * (1 - s));
        }
    }
}
static void adam(const lpo_adam *a, float *restrict p, float *restrict m, float *restrict v,
                 const float *restrict g, int64_t n) {
    const lpo_adam k = *a;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float gi = g[i] * k.g_scale;
        m[i] = k.beta1 * m[i] + k.one_beta1 * gi;
        v[i] = k.beta2 * v[i] + k.one_beta2 * gi * gi;
        p[i] = p[i] * k.decay - k.step * m[i] / (sqrtf(v[i]) * k.inv_sqrt_bias2 + k.eps);
    }
}
static double sqnorm(const float *x, int64_t n) {
    double s = 0;
#pragma omp simd reduction(+ : s)
    for (int64_t i = 0; i < n; i++) s += (double)x[i] * (double)x[i];
    return s;
}

const lpo_simd SIMD_NAME = {MR,     NR,      A_WIDTH,     LANES,    FEW,    tile,      thin, pack,
                            widen,  narrow,  dot,         dot_bf16, axpy,   axpy_bf16, add,  scale,
                            max_of, exp_sum, softmax_bwd, stats,    sum_of, sum_sq,    norm, norm_bwd,
                            rope,   act,     act_bwd,     adam,     sqnorm};
