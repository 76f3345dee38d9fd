/* SPDX-License-Identifier: Apache-2.0 */
/* exact.h -- float steps that the tools' C front end has no operator for, built from IEEE add and multiply
 * alone, so that they give the same bits in a PC and in the fabric. */
#ifndef LPO_HLS_EXACT_H
#define LPO_HLS_EXACT_H
#include <stdint.h>

typedef union hls_f32 {
    float value;
    uint32_t bits;
} hls_f32;
typedef union hls_f64 {
    double value;
    uint64_t bits;
} hls_f64;

static inline uint32_t hls_bits(float x) {
    hls_f32 u;
    u.value = x;
    return u.bits;
}
static inline float hls_float(uint32_t bits) {
    hls_f32 u;
    u.bits = bits;
    return u.value;
}

/* x*y + z rounded once. The product of two floats is exact in double; the sum is rounded to odd (an inexact
 * even last bit moves towards the lost remainder), after which rounding to float is as good as rounding the
 * exact value. */
static inline float hls_fma(float x, float y, float z) {
    double p = (double)x * (double)y, s = p + (double)z;
    double virt = s - p;
    double lost = (p - (s - virt)) + ((double)z - virt);
    hls_f64 u;
    u.value = s;
    if (lost != 0.0 && (u.bits & 1) == 0) u.bits += (lost > 0.0) == (s > 0.0) ? 1 : (uint64_t)-1;
    return (float)u.value;
}
#endif
