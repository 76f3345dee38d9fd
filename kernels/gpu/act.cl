/* SPDX-License-Identifier: Apache-2.0 */
/* act.cl -- activations and their slopes. rows x cols outputs; SILU_MUL's x holds gate|up, twice as wide. */
#define QUICK_GELU 0
#define GELU_TANH 1
#define GELU 2
#define SILU_MUL 3
#define ROOT_2_PI 0.7978845608f /* sqrt(2 / pi) */

FN float sigmoid(float x) { return 1.0f / (1.0f + exp(-x)); }

/* The normal distribution's mass below x: by erfc, which stays exact where 1 + erf cancels. */
FN float below(float x) { return 0.5f * erfc(x * -0.7071067812f); }

/* (1 + tanh(u)) / 2 is sigmoid(2u). */
FN float tanh_gate(float x) { return sigmoid(2.0f * ROOT_2_PI * (x + 0.044715f * x * x * x)); }

FN float value(int act, float x) {
    if (act == QUICK_GELU) return x * sigmoid(1.702f * x);
    if (act == GELU_TANH) return x * tanh_gate(x);
    if (act == GELU) return x * below(x);
    return x * sigmoid(x);
}

FN float slope(int act, float x) {
    if (act == GELU_TANH) {
        float s = tanh_gate(x);
        return s + x * s * (1.0f - s) * 2.0f * ROOT_2_PI * (1.0f + 3.0f * 0.044715f * x * x);
    }
    if (act == GELU) return below(x) + x * exp(-0.5f * x * x) * 0.5f * ROOT_2_PI;
    float k = act == QUICK_GELU ? 1.702f : 1.0f, s = sigmoid(k * x);
    return s * (1.0f + k * x * (1.0f - s));
}

KERNEL(256, lpo_act)(TENSOR(y), TENSOR(x), i64 n, i64 cols, i64 act) {
    i64 i = GROUP(0) * 256 + LANE;
    if (i >= n) return;
    if (act == SILU_MUL) {
        i64 gate = i + i / cols * cols;
        PUT(y, i, value(SILU_MUL, GET(x, gate)) * GET(x, gate + cols));
    } else {
        PUT(y, i, value((int)act, GET(x, i)));
    }
}

KERNEL(256, lpo_act_bwd)(TENSOR(dx), TENSOR(dy), TENSOR(x), i64 n, i64 cols, i64 act) {
    i64 i = GROUP(0) * 256 + LANE;
    if (i >= n) return;
    float d = GET(dy, i);
    if (act == SILU_MUL) {
        i64 gate = i + i / cols * cols;
        float g = GET(x, gate), up = GET(x, gate + cols);
        PUT(dx, gate, d * up * slope(SILU_MUL, g));
        PUT(dx, gate + cols, d * value(SILU_MUL, g));
    } else {
        PUT(dx, i, d * slope((int)act, GET(x, i)));
    }
}
