/* SPDX-License-Identifier: Apache-2.0 */
/* launch.h -- from the shared description of a frame (kernels/preprocess.h) to the kernel's arguments.
 * Host code, never synthesised. The weight tables go to the card as they are; beside them the card wants a
 * schedule and a table of normalised values, made here once a clip.
 *
 * Schedule: int32 [n_steps][8] = first source row, their number | first resized row, their number | first
 * finished row, their number | 0, 0. A step takes in at most 8 source rows and gives at most 8 resized and 8
 * finished ones, so every loop of the kernel has a fixed bound whatever the scale. */
#ifndef LPO_HLS_PREPROCESS_LAUNCH_H
#define LPO_HLS_PREPROCESS_LAUNCH_H
#include "hls/abi.h"
#include "hls/preprocess/limits.h"
#include "kernels/preprocess.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What does not fit the card, in words; NULL when the frame fits. patch 0: no patches wanted. */
const char *lpo_hls_preprocess_refuses(const lpo_prep_frame_args *a, int32_t patch);

/* Most steps a schedule can have, and the schedule itself; returns its steps. blur tables with n_out 0: none.
 */
int32_t lpo_hls_preprocess_max_steps(const lpo_prep_frame_args *a);
int32_t lpo_hls_preprocess_schedule(int32_t *schedule, const lpo_prep_frame_args *a);

/* [3][256] bits of (x - 255 mean)/(255 std): f32, or bf16 in the low half. */
void lpo_hls_preprocess_levels(uint32_t *levels, const lpo_patchify_args *p, int32_t patch_type);

/* All scalars and the source's and the tables' addresses; the caller sets schedule, n_steps, levels and the
 * results wanted (rgb, patches_*). p NULL: no patches. frame: which of the clip's. */
void lpo_hls_preprocess_fill(lpo_hls_preprocess_args *out, const lpo_prep_frame_args *a,
                             const lpo_patchify_args *p, int32_t patch_type, int32_t frame);
#ifdef __cplusplus
}
#endif
#endif
