/* SPDX-License-Identifier: Apache-2.0 */
/* reduce.cl -- pairs of token log-probabilities to losses, derivatives and rewards: kernels/pair_loss.h, the
 * same text as on the host and in the fabric, and sums in the same order, so the same bits.
 * Tokens of pair i: from seg_start[2i] chosen, from seg_start[2i+1] rejected, to seg_start[2i+2]. */
#include "kernels/pair_loss.h"

/* A group a pair: its 2*LPO_PAIR_LANES partial sums by an item each, the rest by the first item. A pair's share
 * of the batch's sums goes to `part`. */
KERNEL(64, lpo_reduce_pairs)
(TENSOR(pair_out), TENSOR(part), TENSOR(logp), TENSOR(weight), TENSOR(seg_start), TENSOR(pair_in), i64 op,
 i64 score, i64 flags, i64 n_pairs, double beta, double tau, double alpha) {
    LOCAL double lane[2 * LPO_PAIR_LANES];
    const i64 i = GROUP(0);
    const GLOBAL int *seg = AT(int, seg_start) + 2 * i;
    if (LANE < 2 * LPO_PAIR_LANES) {
        const int side = LANE / LPO_PAIR_LANES;
        double sum = 0.0;
        for (int t = seg[side] + LANE % LPO_PAIR_LANES; t < seg[side + 1]; t += LPO_PAIR_LANES) {
            const double x = (double)AT(float, logp)[t];
            sum += HAS(weight) ? AT(double, weight)[t] * x : x;
        }
        lane[LANE] = sum;
    }
    BARRIER;
    if (LANE > 0) return;
    lpo_pair_rule k;
    k.op = (uint)op, k.score = (uint)score, k.flags = (uint)flags;
    k.beta = beta, k.tau = tau, k.alpha = alpha, k.n = (double)n_pairs;
    lpo_pair p;
    p.s_w = p.s_l = 0.0;
    for (int j = 0; j < LPO_PAIR_LANES; j++) p.s_w += lane[j];
    for (int j = 0; j < LPO_PAIR_LANES; j++) p.s_l += lane[LPO_PAIR_LANES + j];
    p.n_w = (double)(seg[1] - seg[0]);
    p.n_l = (double)(seg[2] - seg[1]);
    for (int c = 0; c < LPO_PAIR_IN_COLUMNS; c++)
        p.in[c] = AT(double, pair_in)[i * LPO_PAIR_IN_COLUMNS + c];
    double row[LPO_PAIR_COLUMNS], batch[LPO_BATCH_COLUMNS];
    for (int c = 0; c < LPO_BATCH_COLUMNS; c++) batch[c] = 0.0;
    lpo_pair_reduce(row, batch, k, p);
    for (int c = 0; c < LPO_PAIR_COLUMNS; c++) AT(double, pair_out)[i * LPO_PAIR_COLUMNS + c] = row[c];
    for (int c = 0; c < LPO_BATCH_COLUMNS; c++) AT(double, part)[i * LPO_BATCH_COLUMNS + c] = batch[c];
}

/* The batch's sums, in the order of the pairs; means but for the tokens. One group, an item a column. */
KERNEL(64, lpo_reduce_batch)(TENSOR(batch), TENSOR(part), i64 n_pairs) {
    if (LANE >= LPO_BATCH_COLUMNS) return;
    double sum = 0.0;
    for (i64 i = 0; i < n_pairs; i++) sum += AT(double, part)[i * LPO_BATCH_COLUMNS + LANE];
    AT(double, batch)[LANE] = LANE < LPO_BATCH_TOKENS_W && n_pairs ? sum / (double)n_pairs : sum;
}
