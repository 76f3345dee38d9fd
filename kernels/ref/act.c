/* SPDX-License-Identifier: Apache-2.0 */
/* act.c -- activations and their derivatives. SILU_MUL reads gate|up from one row of twice the width. */
#include "kernels/ref/ref.h"

static const double SQRT_2_PI = 0.79788456080286535588; /* sqrt(2 / pi) */

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double value(int act, double x) {
    switch (act) {
    case LPO_ACT_QUICK_GELU: return x * sigmoid(1.702 * x);
    case LPO_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(SQRT_2_PI * (x + 0.044715 * x * x * x)));
    case LPO_ACT_GELU: return 0.5 * x * (1 + erf(x * M_SQRT1_2));
    default: return x * sigmoid(x);
    }
}

static double slope(int act, double x) {
    switch (act) {
    case LPO_ACT_QUICK_GELU: {
        double s = sigmoid(1.702 * x);
        return s * (1 + 1.702 * x * (1 - s));
    }
    case LPO_ACT_GELU_TANH: {
        double t = tanh(SQRT_2_PI * (x + 0.044715 * x * x * x));
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * SQRT_2_PI * (1 + 3 * 0.044715 * x * x);
    }
    case LPO_ACT_GELU: return 0.5 * (1 + erf(x * M_SQRT1_2)) + x * exp(-0.5 * x * x) * 0.5 * SQRT_2_PI;
    default: {
        double s = sigmoid(x);
        return s * (1 + x * (1 - s));
    }
    }
}

int lpo_ref_act(const lpo_kcall *c) {
    const lpo_karg *y = &c->arg[0], *x = &c->arg[1];
    const int act = c->attrs.act;
    if (!ref_real(y) || !ref_real(x) || act < 0 || act > LPO_ACT_SILU_MUL) return -1;
    if (act != LPO_ACT_SILU_MUL) {
        if (!ref_is_vec(y, lpo_karg_count(x))) return -1;
        for (int64_t i = 0; i < lpo_karg_count(x); i++) ref_put(y, i, value(act, ref_get(x, i)));
        return 0;
    }
    const int64_t T = y->shape[0], N = y->shape[1];
    if (!ref_is(y, T, N) || !ref_is(x, T, 2 * N)) return -1;
    for (int64_t t = 0; t < T; t++)
        for (int64_t n = 0; n < N; n++)
            ref_put(y, t * N + n, value(act, ref_get(x, t * 2 * N + n)) * ref_get(x, t * 2 * N + N + n));
    return 0;
}

int lpo_ref_act_bwd(const lpo_kcall *c) {
    const lpo_karg *dx = &c->arg[0], *dy = &c->arg[1], *x = &c->arg[2];
    const int act = c->attrs.act;
    if (!ref_real(dx) || !ref_real(dy) || !ref_real(x) || act < 0 || act > LPO_ACT_SILU_MUL) return -1;
    if (!ref_is_vec(dx, lpo_karg_count(x))) return -1;
    if (act != LPO_ACT_SILU_MUL) {
        if (!ref_is_vec(dy, lpo_karg_count(x))) return -1;
        for (int64_t i = 0; i < lpo_karg_count(x); i++)
            ref_put(dx, i, ref_get(dy, i) * slope(act, ref_get(x, i)));
        return 0;
    }
    const int64_t T = dy->shape[0], N = dy->shape[1];
    if (!ref_is(dy, T, N) || !ref_is(x, T, 2 * N)) return -1;
    for (int64_t t = 0; t < T; t++)
        for (int64_t n = 0; n < N; n++) {
            double d = ref_get(dy, t * N + n), gate = ref_get(x, t * 2 * N + n),
                   up = ref_get(x, t * 2 * N + N + n);
            ref_put(dx, t * 2 * N + n, d * up * slope(act, gate));
            ref_put(dx, t * 2 * N + N + n, d * value(act, gate));
        }
    return 0;
}
