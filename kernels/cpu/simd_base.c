/* SPDX-License-Identifier: Apache-2.0 */
/* simd_base.c -- the loops for any machine, on the compiler's own 4-wide vectors. */
#pragma GCC optimize("O3")
#include <string.h>

typedef float vec __attribute__((vector_size(16)));
#define LANES        4
#define MR           4
#define THIN         4
#define FEW          8
#define SET1(x)      ((vec){(x), (x), (x), (x)})
#define FMA(a, b, c) ((a) * (b) + (c))
#define LOAD(p)      load(p)
#define STORE(p, v)  store(p, v)
#define LOADH(p)     load_bf16(p)
#define SIMD_NAME    lpo_simd_base
#include "kernels/number.h"

static inline vec load(const float *p) {
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void store(float *p, vec v) {
    memcpy(p, &v, sizeof v);
}
static inline vec load_bf16(const uint16_t *p) {
    return (vec){lpo_bf16_to_f32(p[0]), lpo_bf16_to_f32(p[1]), lpo_bf16_to_f32(p[2]), lpo_bf16_to_f32(p[3])};
}
static inline void transpose(vec *r) {
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < i; j++) {
            float t = r[i][j];
            r[i][j] = r[j][i];
            r[j][i] = t;
        }
}
#include "kernels/cpu/simd_body.h"
