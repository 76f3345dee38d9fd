/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess_patchify.c -- normalise and cut clips into the rows a patch-embedding GEMM eats; see
 * preprocess.h. */
#include "kernels/preprocess.h"

void lpo_ref_patchify(float *out, const uint8_t *rgb, const lpo_patchify_args *a) {
    int32_t P = a->patch, M = a->merge, grid_t = (a->n_frames + a->temporal - 1) / a->temporal;
    int32_t grid_h = a->height / P, grid_w = a->width / P;
    for (int32_t t = 0; t < grid_t; t++)
        for (int32_t by = 0; by < grid_h; by += M)
            for (int32_t bx = 0; bx < grid_w; bx += M)
                for (int32_t m = 0; m < M * M; m++) {
                    int32_t y0 = (by + m / M) * P, x0 = (bx + m % M) * P;
                    for (int32_t c = 0; c < 3; c++) {
                        float shift = 255.f * a->mean[c], scale = 255.f * a->std[c];
                        for (int32_t tp = 0; tp < a->temporal; tp++) {
                            int32_t f = t * a->temporal + tp;
                            if (f >= a->n_frames) f = a->n_frames - 1;
                            for (int32_t i = 0; i < P * P; i++) {
                                size_t at = ((size_t)f * a->height + (y0 + i / P)) * a->width + (x0 + i % P);
                                *out++ = ((float)rgb[at * 3 + c] - shift) / scale;
                            }
                        }
                    }
                }
}
