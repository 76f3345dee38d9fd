/* SPDX-License-Identifier: Apache-2.0 */
/* logprob.cl -- what follows the product of one chunk of logits z[rows][count], ids v0..v0+count-1. A row's
 * state is five doubles, joined chunk after chunk in the order of the vocabulary: the largest logit, the sum of
 * exponentials below it, the sum of exponential * (logit - largest), the target's logit, the arg-max. */
#define STATE 5

KERNEL(64, lpo_logprob_chunk)
(TENSOR(state), TENSOR(z), TENSOR(target), i64 v0, i64 count) {
    LOCAL float top[64];
    LOCAL double wide[64];
    LOCAL int where[64];
    i64 row = GROUP(0), at = row * count;
    GLOBAL double *s = AT(double, state) + row * STATE;
    float max = LOWEST;
    int best = 0x7fffffff;
    for (i64 v = LANE; v < count; v += 64) {
        float l = GET(z, at + v);
        if (l > max || best == 0x7fffffff) {
            max = l;
            best = (int)v;
        }
    }
    top[LANE] = max;
    where[LANE] = best;
    BARRIER;
    for (int step = 32; step > 0; step /= 2) {
        if (LANE < step && (top[LANE + step] > top[LANE] ||
                            (top[LANE + step] == top[LANE] && where[LANE + step] < where[LANE]))) {
            top[LANE] = top[LANE + step];
            where[LANE] = where[LANE + step];
        }
        BARRIER;
    }
    max = top[0];
    best = where[0];
    float sum = 0.0f, dot = 0.0f;
    for (i64 v = LANE; v < count; v += 64) {
        float below = GET(z, at + v) - max, e = exp(below);
        sum += e;
        dot = fma(e, below, dot);
    }
    double total = lpo_group_sum_f64(wide, 64, LANE, (double)sum);
    double total_dot = lpo_group_sum_f64(wide, 64, LANE, (double)dot);
    if (LANE == 0) {
        int goal = AT(int, target)[row];
        if (v0 == 0) {
            s[0] = (double)max;
            s[1] = s[2] = s[3] = 0.0;
            s[4] = (double)best;
        } else {
            double old = s[0], now = (double)max;
            if (now > old) {
                double e = exp(old - now);
                s[2] = e * (s[2] + s[1] * (old - now));
                s[1] *= e;
                s[0] = now;
                s[4] = (double)(v0 + best);
            } else {
                double e = exp(now - old);
                total_dot = e * (total_dot + total * (now - old));
                total *= e;
            }
        }
        s[1] += total;
        s[2] += total_dot;
        if (goal >= v0 && goal < v0 + count) s[3] = (double)GET(z, at + goal - v0);
    }
}

KERNEL(64, lpo_logprob_join)
(TENSOR(logp), TENSOR(lse), TENSOR(entropy), TENSOR(hit), TENSOR(state), TENSOR(target), i64 rows, i64 n) {
    i64 row = GROUP(0) * 64 + LANE;
    if (row >= rows) return;
    GLOBAL double *s = AT(double, state) + row * STATE;
    double rest = log(s[1]), l = s[0] + rest;
    int goal = AT(int, target)[row];
    float out = goal < 0 ? 0.0f : (float)(s[3] - l);
    if (goal >= n) out = BITS_FLOAT(0xff800000u); /* masked out: minus infinity */
    PUT(logp, row, out);
    PUT(lse, row, (float)l);
    if (HAS(entropy)) PUT(entropy, row, (float)(rest - s[2] / s[1]));
    if (HAS(hit)) AT(int, hit)[row] = (double)goal == s[4] ? 1 : 0;
}

/* The gradient of logits: dlogp * ((v is the target) - exp(z - lse)). dz may be z. */
KERNEL(256, lpo_logprob_grad)
(TENSOR(dz), TENSOR(z), TENSOR(dlogp), TENSOR(lse), TENSOR(target), i64 rows, i64 v0, i64 count, i64 n) {
    i64 i = GROUP(0) * 256 + LANE;
    if (i >= rows * count) return;
    i64 row = i / count, v = v0 + i % count;
    int goal = AT(int, target)[row];
    float d = goal < 0 || goal >= n ? 0.0f : GET(dlogp, row), p = exp(GET(z, i) - GET(lse, row));
    PUT(dz, i, d * ((v == goal ? 1.0f : 0.0f) - p));
}
