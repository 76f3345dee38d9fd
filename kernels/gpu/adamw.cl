/* SPDX-License-Identifier: Apache-2.0 */
/* adamw.cl -- one optimizer step of one tensor. Reals: beta1, beta2, decay (1 - lr*weight_decay), step
 * (lr/bias1), 1/sqrt(bias2), eps, g_scale, max_norm (0: no clip). */
KERNEL(256, lpo_adamw)
(TENSOR(p), TENSOR(m), TENSOR(v), TENSOR(low), TENSOR(g), TENSOR(norm2), i64 n, double beta1, double beta2,
 double decay, double step, double unbias2, double eps, double g_scale, double max_norm) {
    i64 i = GROUP(0) * 256 + LANE;
    if (i >= n) return;
    double scale = g_scale;
    if (HAS(norm2) && max_norm > 0.0) {
        double clip = max_norm / (sqrt(AT(double, norm2)[0]) * g_scale + 1e-6);
        if (clip < 1.0) scale *= clip;
    }
    float gi = GET(g, i) * (float)scale;
    float mi = (float)beta1 * GET(m, i) + (float)(1.0 - beta1) * gi;
    float vi = (float)beta2 * GET(v, i) + (float)(1.0 - beta2) * gi * gi;
    float pi = GET(p, i) * (float)decay - (float)step * mi / (sqrt(vi) * (float)unbias2 + (float)eps);
    PUT(m, i, mi);
    PUT(v, i, vi);
    PUT(p, i, pi);
    if (HAS(low)) PUT(low, i, pi);
}
