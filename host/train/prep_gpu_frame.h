/* SPDX-License-Identifier: Apache-2.0 */
/* prep_gpu_frame.h -- one frame on a GPU: its weight tables as the device holds them, and the launches of
 * kernels/gpu/preprocess.cl that render it. */
#ifndef LPO_TRAIN_PREP_GPU_FRAME_H
#define LPO_TRAIN_PREP_GPU_FRAME_H
#include "device/gpu/gpu.h"
#include "kernels/preprocess.h"

/* The tables of a frame's passes in one piece, all of 4 bytes: start | count | weights of each. */
typedef struct lpo_gpu_tables {
    lpo_prep_taps pass[4]; /* horz, vert, blur_horz, blur_vert: pointers into data */
    size_t size_bytes;     /* of data: what goes to the device */
    int32_t data[];
} lpo_gpu_tables;

lpo_gpu_tables *lpo_gpu_tables_create(const lpo_prep_frame_args *a); /* free it; NULL: out of memory */
bool lpo_gpu_tables_same(const lpo_gpu_tables *p, const lpo_gpu_tables *q);

/* Device memory between the kernels of a frame. In an in-order queue all frames may share it. */
size_t lpo_gpu_frame_work_bytes(const lpo_prep_frame_args *a);
/* Queues a. source: its planes one after another, rows without padding; result: out_w * out_h * 3 bytes;
 * buffer: of the tables; a's own tables and pixels are not looked at. */
lpo_status lpo_gpu_frame_start(lpo_device *d, const lpo_prep_frame_args *a, const lpo_gpu_tables *tables,
                               lpo_buffer *buffer, lpo_gpu_tensor result, lpo_gpu_tensor source,
                               lpo_buffer *work, lpo_error *err);
#endif
