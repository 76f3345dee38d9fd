/* SPDX-License-Identifier: Apache-2.0 */
/* number.h -- the two half-width storage formats, by hand and portable: bf16 is the upper half of a float,
 * f16 is IEEE binary16. Conversions to them round to nearest even; NaN stays NaN (quiet), overflow becomes
 * infinity. */
#ifndef LPO_KERNELS_NUMBER_H
#define LPO_KERNELS_NUMBER_H
#include <math.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t lpo_float_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}
static inline float lpo_bits_float(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline float lpo_bf16_to_f32(uint16_t h) {
    return lpo_bits_float((uint32_t)h << 16);
}
static inline uint16_t lpo_f32_to_bf16(float f) {
    uint32_t u = lpo_float_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

static inline float lpo_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = (h >> 10) & 31u, m = h & 0x3ffu;
    if (e == 0) { /* zero and subnormals: m * 2^-24 is exact in a float */
        float v = (float)m * 0x1p-24f;
        return sign ? -v : v;
    }
    if (e == 31) return lpo_bits_float(sign | 0x7f800000u | (m << 13) | (m ? 0x400000u : 0));
    return lpo_bits_float(sign | ((e + 112u) << 23) | (m << 13));
}
static inline uint16_t lpo_f32_to_f16(float f) {
    uint32_t u = lpo_float_bits(f), a = u & 0x7fffffffu;
    uint16_t sign = (uint16_t)((u >> 16) & 0x8000u);
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (a >= 0x47800000u) return (uint16_t)(sign | 0x7c00u); /* >= 65536; 65520.. round up to it below */
    if (a < 0x38800000u) { /* below 2^-14: adding 0.5 lets the FPU round at 2^-24 */
        return (uint16_t)(sign | (lpo_float_bits(lpo_bits_float(a) + 0.5f) - lpo_float_bits(0.5f)));
    }
    a += 0xfffu + ((a >> 13) & 1u);
    return (uint16_t)(sign | ((a >> 13) - (112u << 10)));
}

/* A double on its way to fewer bits: round to odd in float first, so that the second rounding cannot see a
 * false tie. */
static inline float lpo_f64_to_odd_f32(double d) {
    float f = (float)d;
    if (f != f || (double)f == d || isinf(f)) return f;
    uint32_t u = lpo_float_bits(f);
    if (fabs((double)f) > fabs(d)) u--;
    return lpo_bits_float(u | 1u);
}
#endif
