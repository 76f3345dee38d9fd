/* SPDX-License-Identifier: Apache-2.0 */
/* dtype.c -- see dtype.h. A double on its way to 16 bits is rounded to odd in float first, so that rounding
 * twice gives what rounding once would. */
#include "tensor/dtype.h"

#include "kernels/number.h"

#include <stdbool.h>
#include <string.h>

static const char *const names[LPO_N_DTYPES] = {"F32", "BF16", "F64", "I32", "U8", "F16", "I64"};

const char *lpo_dtype_name(int32_t dtype) {
    return dtype >= 0 && dtype < LPO_N_DTYPES ? names[dtype] : NULL;
}

int32_t lpo_dtype_parse(const char *name) {
    for (int32_t i = 0; i < LPO_N_DTYPES; i++)
        if (!strcmp(names[i], name)) return i;
    return -1;
}

static bool is_real(int32_t t) {
    return t == LPO_F32 || t == LPO_BF16 || t == LPO_F64 || t == LPO_F16;
}

static double get(const unsigned char *p, int32_t dtype) {
    uint16_t h;
    float f;
    double d;
    switch (dtype) {
    case LPO_F32: memcpy(&f, p, sizeof f); return (double)f;
    case LPO_F64: memcpy(&d, p, sizeof d); return d;
    case LPO_BF16: memcpy(&h, p, sizeof h); return (double)lpo_bf16_to_f32(h);
    default: memcpy(&h, p, sizeof h); return (double)lpo_f16_to_f32(h);
    }
}

static void put(unsigned char *p, int32_t dtype, double v) {
    uint16_t h;
    float f;
    switch (dtype) {
    case LPO_F32:
        f = (float)v;
        memcpy(p, &f, sizeof f);
        break;
    case LPO_F64: memcpy(p, &v, sizeof v); break;
    default:
        f = lpo_f64_to_odd_f32(v);
        h = dtype == LPO_BF16 ? lpo_f32_to_bf16(f) : lpo_f32_to_f16(f);
        memcpy(p, &h, sizeof h);
        break;
    }
}

lpo_status lpo_dtype_convert(void *dst, int32_t dst_dtype, const void *src, int32_t src_dtype, int64_t n,
                             lpo_error *err) {
    size_t to = lpo_dtype_bytes(dst_dtype), from = lpo_dtype_bytes(src_dtype);
    if (n <= 0) return LPO_OK;
    if (dst_dtype == src_dtype && to) {
        memcpy(dst, src, (size_t)n * to);
        return LPO_OK;
    }
    if (!is_real(dst_dtype) || !is_real(src_dtype))
        return lpo_fail(err, LPO_EUNSUPPORTED, "no conversion from dtype %s to %s",
                        lpo_dtype_name(src_dtype) ? lpo_dtype_name(src_dtype) : "?",
                        lpo_dtype_name(dst_dtype) ? lpo_dtype_name(dst_dtype) : "?");
    unsigned char *d = dst;
    const unsigned char *s = src;
    if (src_dtype == LPO_BF16 && dst_dtype == LPO_F32) { /* the path of loading a checkpoint */
        for (int64_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, s + 2 * i, sizeof h);
            float f = lpo_bf16_to_f32(h);
            memcpy(d + 4 * i, &f, sizeof f);
        }
        return LPO_OK;
    }
    for (int64_t i = 0; i < n; i++) put(d + (size_t)i * to, dst_dtype, get(s + (size_t)i * from, src_dtype));
    return LPO_OK;
}
