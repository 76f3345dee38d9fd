/* SPDX-License-Identifier: Apache-2.0 */
/* cast.cl -- fill, bytes to the values they stand for, and conversion between f32, bf16, f64 and f16: by way
 * of a double, which holds each of them exactly, so only the store rounds (to nearest even). */
FN double from_f16(ushort h) {
    uint e = (h >> 10) & 31u, m = h & 0x3ffu;
    double v;
    if (e == 0)
        v = (double)m * (1.0 / 16777216.0); /* zero and subnormals: m * 2^-24 */
    else if (e == 31)
        v = (double)BITS_FLOAT(0x7f800000u | (m << 13) | (m ? 0x400000u : 0u));
    else
        v = (double)BITS_FLOAT(((e + 112u) << 23) | (m << 13));
    return h & 0x8000u ? -v : v;
}

FN ushort to_f16(float f) {
    uint u = FLOAT_BITS(f), a = u & 0x7fffffffu;
    ushort sign = (ushort)((u >> 16) & 0x8000u);
    if (a > 0x7f800000u) return (ushort)(sign | 0x7e00u);
    if (a >= 0x47800000u) return (ushort)(sign | 0x7c00u); /* >= 65536; 65520.. round up to it below */
    if (a < 0x38800000u) return (ushort)(sign | (FLOAT_BITS(BITS_FLOAT(a) + 0.5f) - 0x3f000000u));
    a += 0xfffu + ((a >> 13) & 1u);
    return (ushort)(sign | ((a >> 13) - (112u << 10)));
}

/* Round to odd in float first, so that the second rounding cannot see a false tie. */
FN float to_odd(double d) {
    float f = (float)d;
    uint u = FLOAT_BITS(f);
    if (f != f || (double)f == d || (u & 0x7fffffffu) == 0x7f800000u) return f;
    double af = (double)(f < 0.0f ? -f : f), ad = d < 0.0 ? -d : d;
    if (af > ad) u--;
    return BITS_FLOAT(u | 1u);
}

FN double read_any(const GLOBAL uchar *p, int type, i64 i) {
    if (type == F64) return ((const GLOBAL double *)p)[i];
    if (type == F16) return from_f16(((const GLOBAL ushort *)p)[i]);
    return (double)lpo_get(p, type, i);
}

FN void write_any(GLOBAL uchar *p, int type, i64 i, double v) {
    if (type == F64)
        ((GLOBAL double *)p)[i] = v;
    else if (type == F32)
        ((GLOBAL float *)p)[i] = (float)v;
    else if (type == BF16)
        ((GLOBAL ushort *)p)[i] = lpo_bf16(to_odd(v));
    else
        ((GLOBAL ushort *)p)[i] = to_f16(to_odd(v));
}

KERNEL(256, lpo_fill)(TENSOR(y), i64 n, double value) {
    i64 i = GROUP(0) * 256 + LANE;
    if (i < n) write_any(y_base + y_at, y_type, i, value);
}

KERNEL(256, lpo_cast)(TENSOR(y), TENSOR(x), i64 n) {
    i64 i = GROUP(0) * 256 + LANE;
    if (i < n) write_any(y_base + y_at, y_type, i, read_any(x_base + x_at, x_type, i));
}

KERNEL(256, lpo_levels)(TENSOR(y), TENSOR(x), TENSOR(value), i64 n, i64 cols, i64 part) {
    i64 i = GROUP(0) * 256 + LANE;
    if (i < n) AT(float, y)[i] = AT(float, value)[i % cols / part * 256 + AT(uchar, x)[i]];
}

/* x as the sum of three bf16, exactly: each takes the 8 bits that the ones before left. */
KERNEL(256, lpo_split)
(TENSOR(high), TENSOR(middle), TENSOR(low), TENSOR(x), i64 n) {
    i64 i = GROUP(0) * 256 + LANE;
    if (i >= n) return;
    float v = GET(x, i), h = ROUND(high, v), left = h == v ? 0.0f : v - h, m = ROUND(middle, left);
    PUT(high, i, h);
    PUT(middle, i, m);
    PUT(low, i, left - m);
}
