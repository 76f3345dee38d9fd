/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess_patchify.c -- the 256 values a byte can normalise to are computed once a channel; cutting is
 * then copying through a table, row of a patch by row of a patch. */
#include "kernels/preprocess.h"

void lpo_cpu_patchify(float *out, const uint8_t *rgb, const lpo_patchify_args *a) {
    float value[3][256];
    for (int32_t c = 0; c < 3; c++)
        for (int32_t x = 0; x < 256; x++) value[c][x] = ((float)x - 255.f * a->mean[c]) / (255.f * a->std[c]);
    int32_t P = a->patch, M = a->merge, grid_t = (a->n_frames + a->temporal - 1) / a->temporal;
    int32_t grid_h = a->height / P, grid_w = a->width / P;
    size_t channel = (size_t)a->temporal * P * P;
    for (int32_t t = 0; t < grid_t; t++)
        for (int32_t r = 0; r < grid_h * grid_w; r++) {
            int32_t block = r / (M * M), m = r % (M * M), across = grid_w / M;
            int32_t y0 = (block / across * M + m / M) * P, x0 = (block % across * M + m % M) * P;
            for (int32_t tp = 0; tp < a->temporal; tp++) {
                int32_t f = t * a->temporal + tp < a->n_frames ? t * a->temporal + tp : a->n_frames - 1;
                for (int32_t y = 0; y < P; y++) {
                    const uint8_t *in = rgb + (((size_t)f * a->height + (y0 + y)) * a->width + x0) * 3;
                    float *o = out + ((size_t)tp * P + y) * P;
                    for (int32_t x = 0; x < P; x++, in += 3) {
                        o[x] = value[0][in[0]];
                        o[channel + x] = value[1][in[1]];
                        o[2 * channel + x] = value[2][in[2]];
                    }
                }
            }
            out += 3 * channel;
        }
}
