/* SPDX-License-Identifier: Apache-2.0 */
/* sqnorm.cl -- sum of squares in double: 64 * 64 elements a group, then one group adds the groups' sums. */
KERNEL(64, lpo_sqnorm)(TENSOR(part), TENSOR(x), i64 n) {
    LOCAL double buf[64];
    i64 first = GROUP(0) * 4096, end = lpo_min(n, first + 4096);
    double sum = 0.0;
    for (i64 i = first + LANE; i < end; i += 64) {
        double v = (double)GET(x, i);
        sum += v * v;
    }
    sum = lpo_group_sum_f64(buf, 64, LANE, sum);
    if (LANE == 0) AT(double, part)[GROUP(0)] = sum;
}

KERNEL(64, lpo_sqnorm_add)(TENSOR(out), TENSOR(part), i64 n) {
    LOCAL double buf[64];
    double sum = 0.0;
    for (i64 i = LANE; i < n; i += 64) sum += AT(double, part)[i];
    sum = lpo_group_sum_f64(buf, 64, LANE, sum);
    if (LANE == 0) AT(double, out)[0] += sum;
}
