/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess_avx512.c -- the row operations on 512-bit vectors: preprocess_avx2.c with all four rows in one
 * vector. */
#if defined(__x86_64__)
#include "kernels/cpu/preprocess_rows.h"

#include <immintrin.h>
#include <string.h>

static inline __m512i pairs(__m512i v, int32_t cp, int32_t cq) {
    return _mm512_madd_epi16(v, _mm512_set1_epi32((int32_t)(((uint32_t)cp & 0xffffu) | (uint32_t)cq << 16)));
}
static inline __m256i narrow(__m512i lo, __m512i hi) {
    __m512i words = _mm512_packs_epi32(_mm512_srai_epi32(lo, 16), _mm512_srai_epi32(hi, 16));
    return _mm512_cvtusepi16_epi8(_mm512_max_epi16(words, _mm512_setzero_si512()));
}

/* Byte j of the k-th 16 of RGBRGB.. comes from plane (16k+j)%3, pixel (16k+j)/3. */
static inline void store_rgb(uint8_t *out, __m128i r, __m128i g, __m128i b) {
    const __m128i r0 = _mm_setr_epi8(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5);
    const __m128i r1 = _mm_setr_epi8(5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10);
    const __m128i r2 = _mm_setr_epi8(10, 11, 11, 11, 12, 12, 12, 13, 13, 13, 14, 14, 14, 15, 15, 15);
    const __m128i index[3] = {r0, r1, r2};
    const __mmask16 from_g[3] = {0x2492, 0x9249, 0x4924}, from_b[3] = {0x4924, 0x2492, 0x9249};
    for (int k = 0; k < 3; k++) {
        __m128i v = _mm_shuffle_epi8(r, index[k]);
        v = _mm_mask_shuffle_epi8(v, from_g[k], g, index[k]);
        v = _mm_mask_shuffle_epi8(v, from_b[k], b, index[k]);
        _mm_storeu_si128((__m128i *)out + k, v);
    }
}

static void yuv(uint8_t *rgb, const uint8_t *y, const int16_t *u8, const int16_t *v8, int32_t n,
                const lpo_yuv_coef *k) {
    const __m512i black = _mm512_set1_epi16((short)k->black), half = _mm512_set1_epi32(1 << 15);
    int32_t x = 0;
    for (; x + 32 <= n; x += 32) {
        __m512i luma = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(y + x)));
        luma = _mm512_slli_epi16(_mm512_sub_epi16(luma, black), 3);
        __m512i u = _mm512_loadu_si512(u8 + x), v = _mm512_loadu_si512(v8 + x);
        __m512i yv_lo = _mm512_unpacklo_epi16(luma, v), yv_hi = _mm512_unpackhi_epi16(luma, v);
        __m512i yu_lo = _mm512_unpacklo_epi16(luma, u), yu_hi = _mm512_unpackhi_epi16(luma, u);
        __m512i uv_lo = _mm512_unpacklo_epi16(u, v), uv_hi = _mm512_unpackhi_epi16(u, v);
        __m512i y_lo = _mm512_add_epi32(pairs(yu_lo, k->cy, 0), half);
        __m512i y_hi = _mm512_add_epi32(pairs(yu_hi, k->cy, 0), half);
        __m256i r = narrow(_mm512_add_epi32(pairs(yv_lo, k->cy, k->crv), half),
                           _mm512_add_epi32(pairs(yv_hi, k->cy, k->crv), half));
        __m256i g = narrow(_mm512_add_epi32(y_lo, pairs(uv_lo, k->cgu, k->cgv)),
                           _mm512_add_epi32(y_hi, pairs(uv_hi, k->cgu, k->cgv)));
        __m256i b = narrow(_mm512_add_epi32(pairs(yu_lo, k->cy, k->cbu), half),
                           _mm512_add_epi32(pairs(yu_hi, k->cy, k->cbu), half));
        store_rgb(rgb + 3 * x, _mm256_castsi256_si128(r), _mm256_castsi256_si128(g),
                  _mm256_castsi256_si128(b));
        store_rgb(rgb + 3 * x + 48, _mm256_extracti128_si256(r, 1), _mm256_extracti128_si256(g, 1),
                  _mm256_extracti128_si256(b, 1));
    }
    for (; x < n; x++) lpo_yuv_pixel(rgb + 3 * x, 8 * (y[x] - k->black), u8[x], v8[x], k);
}

static inline __m512i four_rows(const uint8_t *const in[4], ptrdiff_t at) {
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(in[0] + at)));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(in[1] + at)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(in[2] + at)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(in[3] + at)), 3);
}

static void horz_fixed(uint8_t *out, ptrdiff_t pitch, const uint8_t *const in[4], const lpo_prep_taps *t,
                       const int32_t *split) {
    /* RGB RGB RGB RGB -> words R0R1 G0G1 B0B1 00 and R2R3 G2G3 B2B3 00 */
    const __m512i taps01 =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
    const __m512i taps23 =
        _mm512_broadcast_i32x4(_mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1));
    for (int32_t i = 0; i < t->n_out; i++) {
        __m512i hi = _mm512_setzero_si512(), lo = _mm512_set1_epi32(1 << 21);
        const int32_t *w = split + (size_t)i * (size_t)t->stride;
        ptrdiff_t at = 3 * (ptrdiff_t)t->start[i];
        for (int32_t k = 0; k < t->count[i]; k += 4, w += 4, at += 12) {
            __m512i v = four_rows(in, at);
            __m512i a = _mm512_shuffle_epi8(v, taps01), b = _mm512_shuffle_epi8(v, taps23);
            hi = _mm512_add_epi32(hi, _mm512_add_epi32(_mm512_madd_epi16(a, _mm512_set1_epi32(w[0])),
                                                       _mm512_madd_epi16(b, _mm512_set1_epi32(w[1]))));
            lo = _mm512_add_epi32(lo, _mm512_add_epi32(_mm512_madd_epi16(a, _mm512_set1_epi32(w[2])),
                                                       _mm512_madd_epi16(b, _mm512_set1_epi32(w[3]))));
        }
        __m512i sum = _mm512_srai_epi32(_mm512_add_epi32(_mm512_slli_epi32(hi, 12), lo), 22);
        __m128i bytes = _mm512_cvtusepi32_epi8(_mm512_max_epi32(sum, _mm512_setzero_si512()));
        uint32_t px[4];
        _mm_storeu_si128((__m128i *)px, bytes);
        for (int r = 0; r < 4; r++)
            memcpy(out + r * pitch + 3 * i, &px[r], 4); /* the 4th byte is the next's first */
    }
}

/* 64 results of vert_fixed at x; mask: the bytes that exist. */
static inline __m512i vert_block(const uint8_t *p, ptrdiff_t pitch, const int32_t *w, int32_t count,
                                 __mmask64 mask) {
    const __m512i zero = _mm512_setzero_si512();
    __m512i hi[4], lo[4];
    for (int q = 0; q < 4; q++) hi[q] = zero, lo[q] = _mm512_set1_epi32(1 << 21);
    for (int32_t k = 0; k < count; k += 2) {
        const int32_t *pair = w + k / 4 * 4 + k / 2 % 2;
        __m512i wh = _mm512_set1_epi32(pair[0]), wl = _mm512_set1_epi32(pair[2]);
        const uint8_t *row = p + k * pitch;
        __m512i r0 = _mm512_maskz_loadu_epi8(mask, row);
        /* The odd one out has weight zero, and perhaps no row. */
        __m512i r1 = _mm512_maskz_loadu_epi8(mask, k + 1 < count ? row + pitch : row);
        __m512i a = _mm512_unpacklo_epi8(r0, r1), b = _mm512_unpackhi_epi8(r0, r1);
        __m512i q[4] = {_mm512_unpacklo_epi8(a, zero), _mm512_unpackhi_epi8(a, zero),
                        _mm512_unpacklo_epi8(b, zero), _mm512_unpackhi_epi8(b, zero)};
        for (int j = 0; j < 4; j++) {
            hi[j] = _mm512_add_epi32(hi[j], _mm512_madd_epi16(q[j], wh));
            lo[j] = _mm512_add_epi32(lo[j], _mm512_madd_epi16(q[j], wl));
        }
    }
    for (int q = 0; q < 4; q++)
        hi[q] = _mm512_srai_epi32(_mm512_add_epi32(_mm512_slli_epi32(hi[q], 12), lo[q]), 22);
    return _mm512_packus_epi16(_mm512_packs_epi32(hi[0], hi[1]), _mm512_packs_epi32(hi[2], hi[3]));
}

static void vert_fixed(uint8_t *out, const uint8_t *in, ptrdiff_t pitch, int32_t row, const lpo_prep_taps *t,
                       const int32_t *split, int32_t i) {
    const uint8_t *p = in + t->start[i] * pitch;
    const int32_t *w = split + (size_t)i * (size_t)t->stride;
    for (int32_t x = 0; x < row; x += 64) {
        __mmask64 mask = row - x >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << (row - x)) - 1;
        _mm512_mask_storeu_epi8(out + x, mask, vert_block(p + x, pitch, w, t->count[i], mask));
    }
}

/* Tap `tap` of the four in each lane as three floats and a zero. */
static inline __m512 tap_real(__m512i v, int tap) {
    enum { Z = -128 }; /* stays negative when 3*tap is added: a zero byte */
    const __m512i first =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, Z, Z, Z, 1, Z, Z, Z, 2, Z, Z, Z, Z, Z, Z, Z));
    return _mm512_cvtepi32_ps(
        _mm512_shuffle_epi8(v, _mm512_add_epi8(first, _mm512_set1_epi8((char)(3 * tap)))));
}

static inline __m512 rounded_twice(__m512 acc, __m512 x, float w) {
    return _mm512_add_ps(acc, _mm512_mul_ps(x, _mm512_set1_ps(w)));
}

static void horz_real(float *out, ptrdiff_t pitch, const uint8_t *const in[4], const lpo_prep_taps *t) {
    for (int32_t i = 0; i < t->n_out; i++) {
        const float *w = t->real + (size_t)i * (size_t)t->stride;
        ptrdiff_t at = 3 * (ptrdiff_t)t->start[i];
        int32_t n = t->count[i], k = 1;
        __m512 acc = _mm512_mul_ps(tap_real(four_rows(in, at), 0), _mm512_set1_ps(w[0]));
        for (at += 3; n - k >= 4; k += 4, at += 12) {
            __m512i v = four_rows(in, at);
            acc = rounded_twice(acc, tap_real(v, 0), w[k]);
            acc = rounded_twice(acc, tap_real(v, 1), w[k + 1]);
            acc = rounded_twice(acc, tap_real(v, 2), w[k + 2]);
            acc = rounded_twice(acc, tap_real(v, 3), w[k + 3]);
        }
        for (; k < n; k++, at += 3)
            acc = _mm512_fmadd_ps(tap_real(four_rows(in, at), 0), _mm512_set1_ps(w[k]), acc);
        _mm_storeu_ps(out + 3 * i, _mm512_castps512_ps128(acc));
        _mm_storeu_ps(out + pitch + 3 * i, _mm512_extractf32x4_ps(acc, 1));
        _mm_storeu_ps(out + 2 * pitch + 3 * i, _mm512_extractf32x4_ps(acc, 2));
        _mm_storeu_ps(out + 3 * pitch + 3 * i, _mm512_extractf32x4_ps(acc, 3));
    }
}

static void vert_real(uint8_t *out, const float *in, ptrdiff_t pitch, int32_t row, const lpo_prep_taps *t,
                      int32_t i) {
    const float *p = in + t->start[i] * pitch, *w = t->real + (size_t)i * (size_t)t->stride;
    int32_t count = t->count[i];
    for (int32_t x = 0; x < row; x += 64) {
        __m512 acc[4]; /* the row's slack makes whole blocks readable */
        for (int q = 0; q < 4; q++)
            acc[q] = _mm512_mul_ps(_mm512_loadu_ps(p + x + 16 * q), _mm512_set1_ps(w[0]));
        int32_t k = 1;
        for (; k <= (count - 1) / 4 * 4; k++)
            for (int q = 0; q < 4; q++)
                acc[q] = rounded_twice(acc[q], _mm512_loadu_ps(p + k * pitch + x + 16 * q), w[k]);
        for (; k < count; k++)
            for (int q = 0; q < 4; q++)
                acc[q] = _mm512_fmadd_ps(_mm512_loadu_ps(p + k * pitch + x + 16 * q), _mm512_set1_ps(w[k]),
                                         acc[q]);
        for (int q = 0; q < 4; q++) {
            __m512 v = _mm512_min_ps(_mm512_max_ps(acc[q], _mm512_setzero_ps()), _mm512_set1_ps(255.f));
            int32_t left = row - x - 16 * q;
            __mmask16 mask = (__mmask16)(left >= 16 ? 0xffff : left <= 0 ? 0 : (1 << left) - 1);
            _mm512_mask_cvtusepi32_storeu_epi8(out + x + 16 * q, mask, _mm512_cvtps_epi32(v));
        }
    }
}

const lpo_prep_rows lpo_prep_rows_avx512 = {lpo_prep_chroma_avx2, yuv,      horz_fixed, horz_real,
                                            vert_fixed,           vert_real};
#endif
