/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess_avx2.c -- the row operations on 256-bit vectors.
 * Horizontal passes keep packed RGB: a 16-byte load holds four taps (12 bytes) of one row, a vector holds two
 * rows, and a byte shuffle puts what the multiplier wants side by side. No transposition, no planar copy. */
#if defined(__x86_64__)
#include "kernels/cpu/preprocess_rows.h"

#include <immintrin.h>
#include <string.h>

/* 16 chroma samples as words: 3 near + far. */
static inline __m256i chroma4(const uint8_t *near, const uint8_t *far, int32_t step, int32_t i) {
    __m256i n, f;
    if (step == 2) {
        __m256i low = _mm256_set1_epi16(255);
        n = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(near + 2 * i)), low);
        f = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(far + 2 * i)), low);
    } else {
        n = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(near + i)));
        f = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(far + i)));
    }
    return _mm256_add_epi16(_mm256_add_epi16(n, _mm256_slli_epi16(n, 1)), f);
}

void lpo_prep_chroma_avx2(int16_t *c8, const uint8_t *near, const uint8_t *far, int32_t step,
                          int32_t n_chroma, int32_t n, int wide) {
    const __m256i center = _mm256_set1_epi16(8 * 128);
    int32_t x = 0;
    if (wide) {
        /* A block also reads the sample after it, and for NV12 one byte more. */
        for (int32_t i = 0; i + 18 <= n_chroma && x + 32 <= n; i += 16, x += 32) {
            __m256i at = chroma4(near, far, step, i), next = chroma4(near, far, step, i + 1);
            __m256i even = _mm256_sub_epi16(_mm256_slli_epi16(at, 1), center);
            __m256i odd = _mm256_sub_epi16(_mm256_add_epi16(at, next), center);
            __m256i lo = _mm256_unpacklo_epi16(even, odd), hi = _mm256_unpackhi_epi16(even, odd);
            _mm256_storeu_si256((__m256i *)(c8 + x), _mm256_permute2x128_si256(lo, hi, 0x20));
            _mm256_storeu_si256((__m256i *)(c8 + x + 16), _mm256_permute2x128_si256(lo, hi, 0x31));
        }
    } else {
        for (; x + 16 <= n && x + 16 <= n_chroma; x += 16) {
            __m256i at = chroma4(near, far, step, x);
            _mm256_storeu_si256((__m256i *)(c8 + x), _mm256_sub_epi16(_mm256_slli_epi16(at, 1), center));
        }
    }
    lpo_chroma_tail(c8, near, far, step, n_chroma, n, wide, x);
}

/* Pairs (p,q) times (cp,cq), four to a lane, in the order unpack leaves them. */
static inline __m256i pairs(__m256i lo_hi, int32_t cp, int32_t cq) {
    return _mm256_madd_epi16(lo_hi,
                             _mm256_set1_epi32((int32_t)(((uint32_t)cp & 0xffffu) | (uint32_t)cq << 16)));
}
/* Two halves of 32-bit sums to 16 bytes in pixel order. */
static inline __m128i narrow(__m256i lo, __m256i hi) {
    __m256i words = _mm256_packs_epi32(_mm256_srai_epi32(lo, 16), _mm256_srai_epi32(hi, 16));
    return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

/* Three planes of 16 bytes to 48 bytes RGBRGB.. */
static inline void store_rgb(uint8_t *out, __m128i r, __m128i g, __m128i b) {
    const __m128i r0 = _mm_setr_epi8(0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1, -1, 5);
    const __m128i g0 = _mm_setr_epi8(-1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1, -1);
    const __m128i b0 = _mm_setr_epi8(-1, -1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1);
    const __m128i r1 = _mm_setr_epi8(-1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1, 10, -1);
    const __m128i g1 = _mm_setr_epi8(5, -1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1, 10);
    const __m128i b1 = _mm_setr_epi8(-1, 5, -1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1);
    const __m128i r2 = _mm_setr_epi8(-1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15, -1, -1);
    const __m128i g2 = _mm_setr_epi8(-1, -1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15, -1);
    const __m128i b2 = _mm_setr_epi8(10, -1, -1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15);
    __m128i *o = (__m128i *)out;
#define LPO_THIRD(k)                                                                                         \
    _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(r, r##k), _mm_shuffle_epi8(g, g##k)),                         \
                 _mm_shuffle_epi8(b, b##k))
    _mm_storeu_si128(o, LPO_THIRD(0));
    _mm_storeu_si128(o + 1, LPO_THIRD(1));
    _mm_storeu_si128(o + 2, LPO_THIRD(2));
#undef LPO_THIRD
}

static void yuv(uint8_t *rgb, const uint8_t *y, const int16_t *u8, const int16_t *v8, int32_t n,
                const lpo_yuv_coef *k) {
    const __m256i black = _mm256_set1_epi16((short)k->black), half = _mm256_set1_epi32(1 << 15);
    int32_t x = 0;
    for (; x + 16 <= n; x += 16) {
        __m256i luma = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(y + x)));
        luma = _mm256_slli_epi16(_mm256_sub_epi16(luma, black), 3);
        __m256i u = _mm256_loadu_si256((const __m256i *)(u8 + x)),
                v = _mm256_loadu_si256((const __m256i *)(v8 + x));
        __m256i yv_lo = _mm256_unpacklo_epi16(luma, v), yv_hi = _mm256_unpackhi_epi16(luma, v);
        __m256i yu_lo = _mm256_unpacklo_epi16(luma, u), yu_hi = _mm256_unpackhi_epi16(luma, u);
        __m256i uv_lo = _mm256_unpacklo_epi16(u, v), uv_hi = _mm256_unpackhi_epi16(u, v);
        __m256i y_lo = _mm256_add_epi32(pairs(yu_lo, k->cy, 0), half);
        __m256i y_hi = _mm256_add_epi32(pairs(yu_hi, k->cy, 0), half);
        __m128i r = narrow(_mm256_add_epi32(pairs(yv_lo, k->cy, k->crv), half),
                           _mm256_add_epi32(pairs(yv_hi, k->cy, k->crv), half));
        __m128i g = narrow(_mm256_add_epi32(y_lo, pairs(uv_lo, k->cgu, k->cgv)),
                           _mm256_add_epi32(y_hi, pairs(uv_hi, k->cgu, k->cgv)));
        __m128i b = narrow(_mm256_add_epi32(pairs(yu_lo, k->cy, k->cbu), half),
                           _mm256_add_epi32(pairs(yu_hi, k->cy, k->cbu), half));
        store_rgb(rgb + 3 * x, r, g, b);
    }
    for (; x < n; x++) lpo_yuv_pixel(rgb + 3 * x, 8 * (y[x] - k->black), u8[x], v8[x], k);
}

static inline __m256i two_rows(const uint8_t *a, const uint8_t *b) {
    __m256i v = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)a));
    return _mm256_inserti128_si256(v, _mm_loadu_si128((const __m128i *)b), 1);
}
static inline __m256i both_lanes(__m128i v) {
    return _mm256_broadcastsi128_si256(v);
}

static void horz_fixed(uint8_t *out, ptrdiff_t pitch, const uint8_t *const in[4], const lpo_prep_taps *t,
                       const int32_t *split) {
    /* RGB RGB RGB RGB -> words R0R1 G0G1 B0B1 00 and R2R3 G2G3 B2B3 00 */
    const __m256i taps01 =
        both_lanes(_mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
    const __m256i taps23 =
        both_lanes(_mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1));
    const __m256i half = _mm256_set1_epi32(1 << 21);
    for (int32_t i = 0; i < t->n_out; i++) {
        __m256i hi0 = _mm256_setzero_si256(), lo0 = half, hi1 = hi0, lo1 = half;
        const int32_t *w = split + (size_t)i * (size_t)t->stride;
        ptrdiff_t at = 3 * (ptrdiff_t)t->start[i];
        for (int32_t k = 0; k < t->count[i]; k += 4, w += 4, at += 12) {
            __m256i h01 = _mm256_set1_epi32(w[0]), h23 = _mm256_set1_epi32(w[1]);
            __m256i l01 = _mm256_set1_epi32(w[2]), l23 = _mm256_set1_epi32(w[3]);
            __m256i v = two_rows(in[0] + at, in[1] + at);
            __m256i a = _mm256_shuffle_epi8(v, taps01), b = _mm256_shuffle_epi8(v, taps23);
            hi0 =
                _mm256_add_epi32(hi0, _mm256_add_epi32(_mm256_madd_epi16(a, h01), _mm256_madd_epi16(b, h23)));
            lo0 =
                _mm256_add_epi32(lo0, _mm256_add_epi32(_mm256_madd_epi16(a, l01), _mm256_madd_epi16(b, l23)));
            v = two_rows(in[2] + at, in[3] + at);
            a = _mm256_shuffle_epi8(v, taps01), b = _mm256_shuffle_epi8(v, taps23);
            hi1 =
                _mm256_add_epi32(hi1, _mm256_add_epi32(_mm256_madd_epi16(a, h01), _mm256_madd_epi16(b, h23)));
            lo1 =
                _mm256_add_epi32(lo1, _mm256_add_epi32(_mm256_madd_epi16(a, l01), _mm256_madd_epi16(b, l23)));
        }
        __m256i s0 = _mm256_srai_epi32(_mm256_add_epi32(_mm256_slli_epi32(hi0, 12), lo0), 22);
        __m256i s1 = _mm256_srai_epi32(_mm256_add_epi32(_mm256_slli_epi32(hi1, 12), lo1), 22);
        __m256i words = _mm256_packs_epi32(s0, s1); /* lanes: rows 0 2, rows 1 3 */
        __m256i bytes = _mm256_packus_epi16(words, words);
        uint64_t even = (uint64_t)_mm256_extract_epi64(bytes, 0),
                 odd = (uint64_t)_mm256_extract_epi64(bytes, 2);
        uint32_t px[4] = {(uint32_t)even, (uint32_t)odd, (uint32_t)(even >> 32), (uint32_t)(odd >> 32)};
        for (int r = 0; r < 4; r++)
            memcpy(out + r * pitch + 3 * i, &px[r], 4); /* the 4th byte is the next's first */
    }
}

/* 32 results of vert_fixed at x. */
static inline __m256i vert_block(const uint8_t *p, ptrdiff_t pitch, const int32_t *w, int32_t count) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i hi[4], lo[4];
    for (int q = 0; q < 4; q++) hi[q] = zero, lo[q] = _mm256_set1_epi32(1 << 21);
    for (int32_t k = 0; k < count; k += 2) {
        const int32_t *pair = w + k / 4 * 4 + k / 2 % 2;
        __m256i wh = _mm256_set1_epi32(pair[0]), wl = _mm256_set1_epi32(pair[2]);
        const uint8_t *row = p + k * pitch;
        __m256i r0 = _mm256_loadu_si256((const __m256i *)row);
        /* The odd one out has weight zero, and perhaps no row. */
        __m256i r1 = _mm256_loadu_si256((const __m256i *)(k + 1 < count ? row + pitch : row));
        __m256i a = _mm256_unpacklo_epi8(r0, r1), b = _mm256_unpackhi_epi8(r0, r1);
        __m256i q[4] = {_mm256_unpacklo_epi8(a, zero), _mm256_unpackhi_epi8(a, zero),
                        _mm256_unpacklo_epi8(b, zero), _mm256_unpackhi_epi8(b, zero)};
        for (int j = 0; j < 4; j++) {
            hi[j] = _mm256_add_epi32(hi[j], _mm256_madd_epi16(q[j], wh));
            lo[j] = _mm256_add_epi32(lo[j], _mm256_madd_epi16(q[j], wl));
        }
    }
    for (int q = 0; q < 4; q++)
        hi[q] = _mm256_srai_epi32(_mm256_add_epi32(_mm256_slli_epi32(hi[q], 12), lo[q]), 22);
    return _mm256_packus_epi16(_mm256_packs_epi32(hi[0], hi[1]), _mm256_packs_epi32(hi[2], hi[3]));
}

static void vert_fixed(uint8_t *out, const uint8_t *in, ptrdiff_t pitch, int32_t row, const lpo_prep_taps *t,
                       const int32_t *split, int32_t i) {
    const uint8_t *p = in + t->start[i] * pitch;
    const int32_t *w = split + (size_t)i * (size_t)t->stride;
    int32_t x = 0;
    for (; x + 32 <= row; x += 32)
        _mm256_storeu_si256((__m256i *)(out + x), vert_block(p + x, pitch, w, t->count[i]));
    if (x < row) {
        uint8_t end[32];
        _mm256_storeu_si256((__m256i *)end, vert_block(p + x, pitch, w, t->count[i]));
        memcpy(out + x, end, (size_t)(row - x));
    }
}

/* Tap `tap` of the four in each lane as three floats and a zero. */
static inline __m256 tap_real(__m256i v, int tap) {
    enum { Z = -128 }; /* stays negative when 3*tap is added: a zero byte */
    const __m256i first = both_lanes(_mm_setr_epi8(0, Z, Z, Z, 1, Z, Z, Z, 2, Z, Z, Z, Z, Z, Z, Z));
    return _mm256_cvtepi32_ps(
        _mm256_shuffle_epi8(v, _mm256_add_epi8(first, _mm256_set1_epi8((char)(3 * tap)))));
}

static void horz_real(float *out, ptrdiff_t pitch, const uint8_t *const in[4], const lpo_prep_taps *t) {
    for (int32_t i = 0; i < t->n_out; i++) {
        const float *w = t->real + (size_t)i * (size_t)t->stride;
        ptrdiff_t at = 3 * (ptrdiff_t)t->start[i];
        int32_t n = t->count[i], k = 1;
        __m256 acc[2];
        for (int p = 0; p < 2; p++)
            acc[p] = _mm256_mul_ps(tap_real(two_rows(in[2 * p] + at, in[2 * p + 1] + at), 0),
                                   _mm256_set1_ps(w[0]));
        for (at += 3; n - k >= 4; k += 4, at += 12) {
            for (int p = 0; p < 2; p++) {
                __m256i v = two_rows(in[2 * p] + at, in[2 * p + 1] + at);
                acc[p] = _mm256_add_ps(acc[p], _mm256_mul_ps(tap_real(v, 0), _mm256_set1_ps(w[k])));
                acc[p] = _mm256_add_ps(acc[p], _mm256_mul_ps(tap_real(v, 1), _mm256_set1_ps(w[k + 1])));
                acc[p] = _mm256_add_ps(acc[p], _mm256_mul_ps(tap_real(v, 2), _mm256_set1_ps(w[k + 2])));
                acc[p] = _mm256_add_ps(acc[p], _mm256_mul_ps(tap_real(v, 3), _mm256_set1_ps(w[k + 3])));
            }
        }
        for (; k < n; k++, at += 3)
            for (int p = 0; p < 2; p++) {
                __m256 v = tap_real(two_rows(in[2 * p] + at, in[2 * p + 1] + at), 0);
                acc[p] = _mm256_fmadd_ps(v, _mm256_set1_ps(w[k]), acc[p]);
            }
        for (int p = 0; p < 2; p++) {
            _mm_storeu_ps(out + (2 * p) * pitch + 3 * i, _mm256_castps256_ps128(acc[p]));
            _mm_storeu_ps(out + (2 * p + 1) * pitch + 3 * i, _mm256_extractf128_ps(acc[p], 1));
        }
    }
}

/* 32 results of vert_real at x. */
static inline __m256i vert_real_block(const float *p, ptrdiff_t pitch, const float *w, int32_t count) {
    __m256 acc[4];
    for (int q = 0; q < 4; q++) acc[q] = _mm256_mul_ps(_mm256_loadu_ps(p + 8 * q), _mm256_set1_ps(w[0]));
    int32_t k = 1;
    for (; k <= (count - 1) / 4 * 4; k++)
        for (int q = 0; q < 4; q++)
            acc[q] = _mm256_add_ps(
                acc[q], _mm256_mul_ps(_mm256_loadu_ps(p + k * pitch + 8 * q), _mm256_set1_ps(w[k])));
    for (; k < count; k++)
        for (int q = 0; q < 4; q++)
            acc[q] = _mm256_fmadd_ps(_mm256_loadu_ps(p + k * pitch + 8 * q), _mm256_set1_ps(w[k]), acc[q]);
    __m256i n[4];
    for (int q = 0; q < 4; q++) {
        __m256 v = _mm256_min_ps(_mm256_max_ps(acc[q], _mm256_setzero_ps()), _mm256_set1_ps(255.f));
        n[q] = _mm256_cvtps_epi32(v);
    }
    __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(n[0], n[1]), _mm256_packs_epi32(n[2], n[3]));
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

static void vert_real(uint8_t *out, const float *in, ptrdiff_t pitch, int32_t row, const lpo_prep_taps *t,
                      int32_t i) {
    const float *p = in + t->start[i] * pitch, *w = t->real + (size_t)i * (size_t)t->stride;
    int32_t x = 0;
    for (; x + 32 <= row; x += 32)
        _mm256_storeu_si256((__m256i *)(out + x), vert_real_block(p + x, pitch, w, t->count[i]));
    if (x < row) {
        uint8_t end[32];
        _mm256_storeu_si256((__m256i *)end, vert_real_block(p + x, pitch, w, t->count[i]));
        memcpy(out + x, end, (size_t)(row - x));
    }
}

const lpo_prep_rows lpo_prep_rows_avx2 = {lpo_prep_chroma_avx2, yuv,      horz_fixed, horz_real,
                                          vert_fixed,           vert_real};
#endif
