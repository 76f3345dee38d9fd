/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess_patchify.c -- the 256 values a byte can normalise to are computed once a channel; cutting is
 * then copying, row of a patch by row of a patch. */
#include "kernels/preprocess.h"

void lpo_patch_levels(float value[3][256], const float mean[3], const float std[3]) {
    for (int32_t c = 0; c < 3; c++)
        for (int32_t x = 0; x < 256; x++) value[c][x] = ((float)x - 255.f * mean[c]) / (255.f * std[c]);
}

void lpo_cpu_cut(uint8_t *out, const uint8_t *rgb, const lpo_patchify_args *a) {
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
                    uint8_t *o = out + ((size_t)tp * P + y) * P;
                    for (int32_t x = 0; x < P; x++, in += 3) {
                        o[x] = in[0];
                        o[channel + x] = in[1];
                        o[2 * channel + x] = in[2];
                    }
                }
            }
            out += 3 * channel;
        }
}

/* The bytes are cut into the last quarter of the result, where each is read before its place is written. */
void lpo_cpu_patchify(float *out, const uint8_t *rgb, const lpo_patchify_args *a) {
    float value[3][256];
    lpo_patch_levels(value, a->mean, a->std);
    const size_t grid_t = (size_t)(a->n_frames + a->temporal - 1) / (size_t)a->temporal;
    const size_t patches = grid_t * (size_t)(a->height / a->patch) * (size_t)(a->width / a->patch);
    const size_t channel = (size_t)a->temporal * (size_t)a->patch * (size_t)a->patch;
    const uint8_t *in = (uint8_t *)out + 9 * channel * patches;
    lpo_cpu_cut((uint8_t *)out + 9 * channel * patches, rgb, a);
    for (size_t i = 0; i < 3 * patches; i++)
        for (size_t k = 0; k < channel; k++) *out++ = value[i % 3][*in++];
}
