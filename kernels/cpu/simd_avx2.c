/* SPDX-License-Identifier: Apache-2.0 */
/* simd_avx2.c -- the loops for AVX2 with FMA: a 6 x 16 tile fills 12 of 16 registers. */
#if defined __x86_64__
#pragma GCC optimize("O3")
#include <immintrin.h>

typedef __m256 vec;
#define LANES        8
#define MR           6
#define THIN         4
#define FEW          8
#define SET1(x)      _mm256_set1_ps(x)
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define LOAD(p)      _mm256_loadu_ps(p)
#define STORE(p, v)  _mm256_storeu_ps(p, v)
#define LOADH(p)                                                                                             \
    _mm256_castsi256_ps(                                                                                     \
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(p))), 16))
#define SIMD_NAME lpo_simd_avx2

/* 8 x 8: pairs, then quads inside 128-bit halves, then the halves. */
static inline void transpose(vec *r) {
    vec t[8], u[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            u[i + 2 * j] = _mm256_shuffle_ps(t[i + j], t[i + 2 + j], 0x44);
            u[i + 2 * j + 1] = _mm256_shuffle_ps(t[i + j], t[i + 2 + j], 0xee);
        }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
    }
}
#include "kernels/cpu/simd_body.h"
#else
typedef int lpo_simd_avx2_is_for_x86;
#endif
