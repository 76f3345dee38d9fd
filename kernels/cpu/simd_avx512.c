/* SPDX-License-Identifier: Apache-2.0 */
/* simd_avx512.c -- the loops for AVX-512: a 14 x 32 tile fills 28 of 32 registers. */
#if defined __x86_64__
#pragma GCC optimize("O3")
#include <immintrin.h>

typedef __m512 vec;
#define LANES        16
#define MR           14
#define THIN         8
#define FEW          32
#define SET1(x)      _mm512_set1_ps(x)
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define LOAD(p)      _mm512_loadu_ps(p)
#define STORE(p, v)  _mm512_storeu_ps(p, v)
#define LOADH(p)                                                                                             \
    _mm512_castsi512_ps(_mm512_slli_epi32(                                                                   \
        _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(p))), 16))
#define SIMD_NAME lpo_simd_avx512

/* 16 x 16: pairs, quads inside 128-bit quarters, then the quarters twice. */
static inline void transpose(vec *r) {
    vec t[16], u[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            u[i + 2 * j] = _mm512_shuffle_ps(t[i + j], t[i + 2 + j], 0x44);
            u[i + 2 * j + 1] = _mm512_shuffle_ps(t[i + j], t[i + 2 + j], 0xee);
        }
        /* u[4b+i], quarter q = column 4q+i of rows 4b..4b+3 */
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const vec even_a = _mm512_shuffle_f32x4(u[i], u[i + 4], 0x88),
                  odd_a = _mm512_shuffle_f32x4(u[i], u[i + 4], 0xdd);
        const vec even_b = _mm512_shuffle_f32x4(u[i + 8], u[i + 12], 0x88),
                  odd_b = _mm512_shuffle_f32x4(u[i + 8], u[i + 12], 0xdd);
        r[i] = _mm512_shuffle_f32x4(even_a, even_b, 0x88);
        r[i + 4] = _mm512_shuffle_f32x4(odd_a, odd_b, 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(even_a, even_b, 0xdd);
        r[i + 12] = _mm512_shuffle_f32x4(odd_a, odd_b, 0xdd);
    }
}
#include "kernels/cpu/simd_body.h"
#else
typedef int lpo_simd_avx512_is_for_x86;
#endif
