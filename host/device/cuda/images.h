/* SPDX-License-Identifier: Apache-2.0 */
/* images.h -- the compiled kernels that cmake/cuda.cmake embeds: one fatbin a file of kernels/gpu, with code
 * for sm_80 and sm_90a and PTX for what came after. */
#ifndef LPO_DEVICE_CUDA_IMAGES_H
#define LPO_DEVICE_CUDA_IMAGES_H
#include "kernels/gpu/launch.h"

typedef struct cuda_image {
    const unsigned char *data, *end;
} cuda_image;

typedef struct cuda_images {
    int toolkit; /* 13000: of CUDA 13.0; 0: built without nvcc, no image is there */
    cuda_image file[LPO_GPU_N_FILES];
} cuda_images;

extern const cuda_images lpo_cuda_built;
/* What the driver loads: &lpo_cuda_built, unless a test put others there. */
extern const cuda_images *lpo_cuda_images;
#endif
