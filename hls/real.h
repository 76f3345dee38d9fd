/* SPDX-License-Identifier: Apache-2.0 */
/* real.h -- exp and log in double from add, multiply and divide alone: the same bits on every machine, which
 * no C library promises. Relative errors are below 1e-15 where the comments say the arguments lie. */
#ifndef LPO_HLS_REAL_H
#define LPO_HLS_REAL_H
#include "hls/exact.h"

/* e^x, x in [-700, 700]; 0 below. x = k ln2 + r with |r| <= ln2/2, then 14 Taylor terms and k into the
 * exponent. */
static inline double hls_exp(double x) {
    static const double c[14] = {1.0,
                                 1.0,
                                 1.0 / 2,
                                 1.0 / 6,
                                 1.0 / 24,
                                 1.0 / 120,
                                 1.0 / 720,
                                 1.0 / 5040,
                                 1.0 / 40320,
                                 1.0 / 362880,
                                 1.0 / 3628800,
                                 1.0 / 39916800,
                                 1.0 / 479001600,
                                 1.0 / 6227020800.0};
    if (x < -700.0) return 0.0;
    if (x > 700.0) x = 700.0;
    double shifted = x * 1.4426950408889634 + 6755399441055744.0; /* 1.5 2^52: the integer stays */
    double k = shifted - 6755399441055744.0;
    double r = (x - k * 0.6931471803691238) - k * 1.9082149292705877e-10; /* ln2 in two parts */
    double y = c[13];
    for (int i = 12; i >= 0; i--) {
#pragma HLS UNROLL
        y = y * r + c[i];
    }
    hls_f64 scale;
    scale.bits = (uint64_t)((int64_t)k + 1023) << 52;
    return y * scale.value;
}

/* log((1+s)/(1-s)), |s| <= 1/3: 2 (s + s^3/3 + ... + s^35/35). */
static inline double hls_log_ratio(double s) {
    double q = s * s, y = 1.0 / 35;
    for (int n = 33; n >= 1; n -= 2) {
#pragma HLS UNROLL
        y = y * q + 1.0 / n;
    }
    return 2.0 * s * y;
}

/* log(1+x), x in [0, 1]. */
static inline double hls_log1p(double x) {
    return hls_log_ratio(x / (2.0 + x));
}

/* log(x), x > 0 and not subnormal. */
static inline double hls_log(double x) {
    hls_f64 u;
    u.value = x;
    int32_t e = (int32_t)(u.bits >> 52) - 1023;
    u.bits = (u.bits & 0xfffffffffffffULL) | 0x3ff0000000000000ULL;
    if (u.value > 1.4142135623730951) {
        u.value *= 0.5;
        e++;
    }
    return hls_log_ratio((u.value - 1.0) / (u.value + 1.0)) + e * 0.6931471805599453;
}

/* Square root, x >= 0 and not subnormal: 1/sqrt by Newton from the halved exponent. */
static inline double hls_sqrt(double x) {
    hls_f64 u;
    if (!(x > 0.0)) return 0.0;
    u.value = x;
    u.bits = 0x5fe6eb50c7b537a9ULL - (u.bits >> 1);
    double y = u.value;
    for (int i = 0; i < 5; i++) {
#pragma HLS UNROLL
        y = y * (1.5 - 0.5 * x * y * y);
    }
    return x * y;
}

static inline double hls_sigmoid(double z) {
    double e = hls_exp(z >= 0 ? -z : z);
    return (z >= 0 ? 1.0 : e) / (1.0 + e);
}
/* -log sigmoid(z). */
static inline double hls_nls(double z) {
    double tail = hls_log1p(hls_exp(z >= 0 ? -z : z));
    return z >= 0 ? tail : tail - z;
}
#endif
