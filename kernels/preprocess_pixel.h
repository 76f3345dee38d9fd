/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess_pixel.h -- the arithmetic of preprocess.h for one sample, inline: what every version must
 * reproduce.
 *
 * YUV -> RGB: luma and chroma are brought to a common scale of 8 (bilinear chroma upsampling has weights in
 * eighths, so nothing is rounded on the way), multiplied by 13-bit coefficients, and rounded once: Y8 = 8 (Y
 * - black), U8, V8 = 8 (chroma - 128) R = clip8((cy Y8 + crv V8 + 2^15) >> 16), G = clip8((cy Y8 + cgu U8 +
 * cgv V8 + 2^15) >> 16), B likewise. Chroma sits as in MPEG-2 and H.264: in a row on the even pixels; between
 * two rows for 4:2:0. So row pass, 4:2:0: 3 near + far rows (even row y: far is above; odd: below), else 4
 * near column pass: even x: 2 c[x/2]; odd x: c[x/2] + c[x/2+1];  4:4:4: 2 c[x];  all indices clamped to the
 * plane. */
#ifndef LPO_KERNELS_PREPROCESS_PIXEL_H
#define LPO_KERNELS_PREPROCESS_PIXEL_H
#include "kernels/preprocess.h"

typedef struct lpo_yuv_coef {
    int32_t cy, crv, cgu, cgv, cbu, black;
} lpo_yuv_coef;

/* round(2^13 k): cy = 255/219 or 1, crv = 2(1-Kr) s, cbu = 2(1-Kb) s, cgu = -cbu Kb/Kg, cgv = -crv Kr/Kg,
 * with s = 255/224 or 1. [matrix][full_range] */
LPO_TABLE lpo_yuv_coef lpo_yuv_coefs[3][2] = {
    {{9539, 13075, -3209, -6660, 16525, 16}, {8192, 11485, -2819, -5850, 14516, 0}},
    {{9539, 14686, -1747, -4366, 17305, 16}, {8192, 12901, -1535, -3835, 15201, 0}},
    {{9539, 13752, -1535, -5328, 17545, 16}, {8192, 12080, -1348, -4681, 15412, 0}},
};

LPO_FN uint8_t lpo_clip8(int32_t x) {
    return (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x);
}

/* y8, u8, v8: the scaled samples above. */
LPO_FN void lpo_yuv_pixel(uint8_t rgb[3], int32_t y8, int32_t u8, int32_t v8, const lpo_yuv_coef *k) {
    int32_t y = k->cy * y8 + (1 << 15);
    rgb[0] = lpo_clip8((y + k->crv * v8) >> 16);
    rgb[1] = lpo_clip8((y + k->cgu * u8 + k->cgv * v8) >> 16);
    rgb[2] = lpo_clip8((y + k->cbu * u8) >> 16);
}

/* One result of a fixed-point pass; `step` bytes between taps. |sum| stays below 2^31: sum |w| < 1.5 * 2^22.
 */
LPO_FN uint8_t lpo_taps_fixed(const uint8_t *in, int32_t step, const int32_t *w, int32_t count) {
    int32_t acc = 1 << 21;
    for (int32_t k = 0; k < count; k++) acc += in[k * step] * w[k];
    return lpo_clip8(acc >> 22);
}

/* How a tap enters a float sum. The first is a product. Then come groups of four, each tap rounded twice
 * (product, sum); the (count-1)%4 taps left over are fused, rounded once. This is what GCC makes of torch's
 * loop on a machine with FMA (-O3 vectorises the products by four and contracts the remainder), found by
 * experiment and true of every size tried (tests/golden/preprocess_pillow.py). */
LPO_FN int lpo_tap_is_fused(int32_t k, int32_t count) {
    return k > (count - 1) / 4 * 4;
}
LPO_FN float lpo_tap_real(float acc, float x, float w, int32_t k, int32_t count) {
    if (k == 0) return x * w;
    if (lpo_tap_is_fused(k, count)) return LPO_FMAF(x, w, acc);
    float product = x * w;
    return acc + product;
}

/* Clamp, then round half to even: adding 1.5*2^23 leaves the integer in the low bits of the sum. */
LPO_FN uint8_t lpo_round8(float x) {
    x = x < 0.f ? 0.f : x > 255.f ? 255.f : x;
    float shifted = x + 12582912.f;
    return (uint8_t)(int32_t)(shifted - 12582912.f);
}

/* As Pillow's convert("L"): 16-bit BT.601 weights. */
LPO_FN uint8_t lpo_grey8(const uint8_t rgb[3]) {
    return (uint8_t)((19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 0x8000u) >> 16);
}

/* Noise for byte `index` of the result: a keyed 32-bit mix of the index alone, so any order of evaluation,
 * anywhere, gives the same. Its four bytes sum to nearly a normal variable of mean 510 and variance 4
 * (256^2-1)/12. */
LPO_FN uint32_t lpo_mix32(uint32_t h) {
    h = (h ^ (h >> 16)) * 0x85ebca6bu;
    h = (h ^ (h >> 13)) * 0xc2b2ae35u;
    return h ^ (h >> 16);
}
LPO_FN uint8_t lpo_noise8(uint8_t x, uint32_t index, const uint32_t key[2], int32_t scale) {
    uint32_t h = lpo_mix32(lpo_mix32(index ^ key[0]) + key[1]);
    int32_t sum = (int32_t)((h & 255) + (h >> 8 & 255) + (h >> 16 & 255) + (h >> 24)) - 510;
    return lpo_clip8(x + ((sum * scale + (1 << 15)) >> 16));
}
#endif
