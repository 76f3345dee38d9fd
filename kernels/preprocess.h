/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess.h -- one decoded frame to resized 8-bit RGB, and clips to normalised patches: the one
 * definition.
 *
 * kernels/ref is the truth; kernels/cpu, the GPU dialect and the HLS kernel give the same bytes. The order is
 * fixed: YUV -> RGB (preprocess_pixel.h) | crop | horizontal pass | vertical pass | blur | grey | flip |
 * noise Everything is int32 but the torchvision mode, which is IEEE binary32 in a stated order. The host
 * computes the weight tables in double once a clip; kernels only multiply and add. Fixed-width types and no
 * library: HLS compiles it. */
#ifndef LPO_KERNELS_PREPROCESS_H
#define LPO_KERNELS_PREPROCESS_H
#include "kernels/anywhere.h"

/* 8 bits a sample. NV12 has U and V interleaved in plane[1]; GBRP has planes G, B, R. */
enum { LPO_PREP_YUV420P, LPO_PREP_YUV422P, LPO_PREP_YUV444P, LPO_PREP_NV12, LPO_PREP_RGB24, LPO_PREP_GBRP };
enum { LPO_PREP_BT601, LPO_PREP_BT709, LPO_PREP_BT2020 };
enum { LPO_PREP_PILLOW, LPO_PREP_TORCHVISION };
enum { LPO_PREP_MAX_SIZE = 16384 }; /* of a side, source and result */

typedef struct lpo_prep_frame {
    int32_t pixfmt, matrix, full_range;
    int32_t width, height;
    const uint8_t *plane[3];
    int32_t pitch_bytes[3]; /* may be negative (rows bottom-up), but not for HLS */
} lpo_prep_frame;

/* Rows, and bytes a row without padding, of plane k; 0: the format has no such plane. */
int lpo_prep_plane(int32_t *rows, int32_t *row_bytes, int32_t pixfmt, int32_t width, int32_t height, int k);

/* Weights of one pass: result i is the sum over k < count[i] of in[start[i]+k] * weight[i*stride+k].
 * `stride` is a multiple of 4 and weights from count[i] on are zero, so a kernel may run over whole groups
 * of 4. */
typedef struct lpo_prep_taps {
    int32_t n_in, n_out, stride; /* n_out 0: no such pass */
    const int32_t *start, *count;
    const int32_t *fixed; /* pillow mode and blur: 22 fraction bits */
    const float *real;    /* torchvision mode */
} lpo_prep_taps;

typedef struct lpo_prep_frame_args {
    lpo_prep_frame src;
    int32_t crop_x, crop_y, crop_w, crop_h; /* inside the source; edges act as the image's */
    int32_t out_w, out_h;
    int32_t mode;
    lpo_prep_taps horz, vert;           /* crop_w -> out_w, crop_h -> out_h, in the mode's weights */
    lpo_prep_taps blur_horz, blur_vert; /* out_w -> out_w, out_h -> out_h, fixed; n_out 0: none */
    int32_t grey, hflip;
    int32_t noise_scale; /* lpo_prep_noise_scale(sigma); 0: none */
    uint32_t noise_key[2];
} lpo_prep_frame_args;

/* Bytes of memory a table needs (any filter), and its construction in that memory, 64-byte aligned; the table
 * points into it. Sizes in 1..LPO_PREP_MAX_SIZE, sigma in (0, 16]. */
size_t lpo_prep_taps_bytes(int32_t n_in, int32_t n_out);
void lpo_prep_taps_pillow(lpo_prep_taps *t, void *mem, int32_t n_in, int32_t n_out);
void lpo_prep_taps_torchvision(lpo_prep_taps *t, void *mem, int32_t n_in, int32_t n_out);
size_t lpo_prep_taps_blur_bytes(int32_t n, double sigma);
void lpo_prep_taps_blur(lpo_prep_taps *t, void *mem, int32_t n, double sigma);
/* Q16 factor from the sum of four uniform bytes (deviation 147.80...) to noise of this deviation, 0..128. */
int32_t lpo_prep_noise_scale(double sigma);

/* a->src -> out_rgb u8 [out_h][out_w][3], overwritten. workspace: lpo_prep_workspace_bytes, 64-byte aligned,
 * one per concurrent call; enough for either version. */
size_t lpo_prep_workspace_bytes(const lpo_prep_frame_args *a);
size_t lpo_cpu_preprocess_bytes(const lpo_prep_frame_args *a); /* what the cpu version alone needs */
void lpo_ref_preprocess_frame(uint8_t *out_rgb, const lpo_prep_frame_args *a, void *workspace);
void lpo_cpu_preprocess_frame(uint8_t *out_rgb, const lpo_prep_frame_args *a, void *workspace);

typedef struct lpo_patchify_args {
    int32_t n_frames, height, width; /* height and width multiples of patch*merge */
    int32_t patch, temporal, merge;
    float mean[3], std[3]; /* of x/255 */
} lpo_patchify_args;

/* rgb u8 [n_frames][h][w][3] -> out f32 [grid_t*grid_h*grid_w][3*temporal*patch*patch], overwritten: rows in
 * the order (t, h/merge, w/merge, merge, merge), columns (c, temporal, patch, patch). Value (x - 255 mean) /
 * (255 std) in f32. Frames missing at the end repeat the last one. */
void lpo_ref_patchify(float *out, const uint8_t *rgb, const lpo_patchify_args *a);
void lpo_cpu_patchify(float *out, const uint8_t *rgb, const lpo_patchify_args *a);
/* The same in two halves: the bytes, cut (mean and std unused), and the value each byte of a channel becomes.
 */
void lpo_cpu_cut(uint8_t *out, const uint8_t *rgb, const lpo_patchify_args *a);
void lpo_patch_levels(float value[3][256], const float mean[3], const float std[3]);

/* The instruction set lpo_cpu_preprocess_frame uses: the best there is, unless forced (tests, benchmarks)
 * before any concurrent call. Forcing what the processor lacks gives the best below it. Returns the level in
 * force. */
enum { LPO_PREP_PORTABLE, LPO_PREP_AVX2, LPO_PREP_AVX512, LPO_PREP_AUTO };
int lpo_cpu_preprocess_level(int force);
#endif
