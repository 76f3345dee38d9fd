/* SPDX-License-Identifier: Apache-2.0 */
/* dropout.cl -- elements left out by a counter-based draw (lpo_dropped of kernels/op.h), the others scaled; y may
 * be x. */
FN bool dropped(u64 seed, i64 i, double share) {
    u64 z = seed + ((u64)i + 1) * 0x9e3779b97f4a7c15ul;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ul;
    z = (z ^ z >> 27) * 0x94d049bb133111ebul;
    return (double)((z ^ z >> 31) >> 11) * (1.0 / 9007199254740992.0) < share; /* 2^53 */
}

KERNEL(256, lpo_dropout)(TENSOR(y), TENSOR(x), i64 n, i64 seed, double share) {
    i64 i = GROUP(0) * 256 + LANE;
    if (i < n) PUT(y, i, dropped((u64)seed, i, share) ? 0.0f : GET(x, i) * (float)(1.0 / (1.0 - share)));
}
