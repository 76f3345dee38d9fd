/* SPDX-License-Identifier: Apache-2.0 */
/* rope.cl -- rotate the first n_rot heads of each row by the row's own angles; the rest of the row is copied.
 * One item owns a pair (i, i + d/2), or one element of the rest, so y may be x. */
KERNEL(256, lpo_rope)
(TENSOR(y), TENSOR(x), TENSOR(cosine), TENSOR(sine), i64 rows, i64 width, i64 d, i64 n_rot, i64 inverse) {
    i64 i = GROUP(0) * 256 + LANE, half_d = d / 2, pairs = n_rot * half_d, per_row = width - pairs;
    if (i >= rows * per_row) return;
    i64 row = i / per_row, k = i % per_row, at = row * width;
    if (k >= pairs) {
        at += k + pairs;
        PUT(y, at, GET(x, at));
        return;
    }
    i64 j = k % half_d, angle = row * half_d + j;
    at += k / half_d * d + j;
    float a = GET(x, at), b = GET(x, at + half_d), c = GET(cosine, angle), s = GET(sine, angle);
    if (inverse) s = -s;
    PUT(y, at, a * c - b * s);
    PUT(y, at + half_d, b * c + a * s);
}
