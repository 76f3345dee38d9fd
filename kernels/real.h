/* SPDX-License-Identifier: Apache-2.0 */
/* real.h -- exp and log in double from add, multiply and divide alone: the same bits on every machine and in
 * the fabric, which no C library promises. The losses of host/align and the kernels of hls/ both compute with
 * these, so where a loss is computed does not change it. Relative errors stay below 1e-15 (2e-15 for sigmoid
 * and nls, expm1 near |x| = 1/3); NaN stays NaN. C11 and C++14, synthesizable; OpenCL C and
 * CUDA C++ behind gpu/dialect.h. */
#ifndef LPO_KERNELS_REAL_H
#define LPO_KERNELS_REAL_H
#include "kernels/anywhere.h"

#ifdef __SYNTHESIS__
#define LPO_UNROLL _Pragma("HLS UNROLL")
#else
#define LPO_UNROLL
#endif

typedef union lpo_real_bits {
    double value;
    uint64_t bits;
} lpo_real_bits;

LPO_FN double lpo_real_from(uint64_t bits) {
    lpo_real_bits u;
    u.bits = bits;
    return u.value;
}

/* 1/1!, 1/2!, .. 1/14! */
LPO_TABLE double lpo_real_inverse_factorial[14] = {1.0,
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
                                                   1.0 / 6227020800.0,
                                                   1.0 / 87178291200.0};

/* 1 + r/2! + r^2/3! + ... + r^13/14!: (e^r - 1)/r for |r| <= 0.35. */
LPO_FN double lpo_real_expm1_series(double r) {
    double y = lpo_real_inverse_factorial[13];
    for (int i = 12; i >= 0; i--) {
        LPO_UNROLL
        y = y * r + lpo_real_inverse_factorial[i];
    }
    return y;
}

/* e^x; 0 below -708, infinity above 709. x = k ln2 + r with |r| <= ln2/2: a series for r, k into the
 * exponent. */
LPO_FN double lpo_real_exp(double x) {
    if (x < -708.0) return 0.0;
    if (x > 709.0) return lpo_real_from(0x7ff0000000000000);
    if (x != x) return x;
    double shifted = x * 1.4426950408889634 + 6755399441055744.0; /* 1.5 2^52: the integer stays */
    double k = shifted - 6755399441055744.0;
    double r = (x - k * 0.6931471803691238) - k * 1.9082149292705877e-10; /* ln2 in two parts */
    double y = 1.0 + r * lpo_real_expm1_series(r);
    return y * lpo_real_from((uint64_t)((int64_t)k + 1023) << 52);
}

/* e^x - 1. */
LPO_FN double lpo_real_expm1(double x) {
    if (x > -0.35 && x < 0.35) return x * lpo_real_expm1_series(x);
    return lpo_real_exp(x) - 1.0;
}

/* log((1+s)/(1-s)), |s| <= 1/3: 2 (s + s^3/3 + ... + s^35/35). */
LPO_FN double lpo_real_log_ratio(double s) {
    double q = s * s, y = 1.0 / 35;
    for (int n = 33; n >= 1; n -= 2) {
        LPO_UNROLL
        y = y * q + 1.0 / n;
    }
    return 2.0 * s * y;
}

/* log(x); minus infinity at 0, NaN below. */
LPO_FN double lpo_real_log(double x) {
    lpo_real_bits u;
    int32_t e = -1023;
    u.value = x;
    if (!(x > 0.0)) return lpo_real_from(x == 0.0 ? 0xfff0000000000000 : 0x7ff8000000000000);
    if (u.bits == 0x7ff0000000000000) return x;
    if (u.bits < 0x0010000000000000) { /* subnormal */
        u.value = x * 18014398509481984.0;
        e -= 54;
    }
    e += (int32_t)(u.bits >> 52);
    u.bits = (u.bits & 0xfffffffffffff) | 0x3ff0000000000000;
    if (u.value > 1.4142135623730951) {
        u.value *= 0.5;
        e++;
    }
    return lpo_real_log_ratio((u.value - 1.0) / (u.value + 1.0)) + e * 0.6931471805599453;
}

/* log(1+x). */
LPO_FN double lpo_real_log1p(double x) {
    if (x >= -0.5 && x <= 1.0) return lpo_real_log_ratio(x / (2.0 + x));
    return lpo_real_log(1.0 + x);
}

/* Square root, x not subnormal; 0 below 0: 1/sqrt by Newton from the halved exponent. */
LPO_FN double lpo_real_sqrt(double x) {
    lpo_real_bits u;
    if (!(x > 0.0)) return 0.0;
    u.value = x;
    u.bits = 0x5fe6eb50c7b537a9 - (u.bits >> 1);
    double y = u.value;
    for (int i = 0; i < 5; i++) {
        LPO_UNROLL
        y = y * (1.5 - 0.5 * x * y * y);
    }
    return x * y;
}

/* Sigmoid and -log sigmoid without overflow at either end. */
LPO_FN double lpo_sigmoid(double z) {
    double e = lpo_real_exp(z >= 0 ? -z : z);
    return (z >= 0 ? 1.0 : e) / (1.0 + e);
}
LPO_FN double lpo_nls(double z) {
    double tail = lpo_real_log1p(lpo_real_exp(z >= 0 ? -z : z));
    return z >= 0 ? tail : tail - z;
}
#endif
