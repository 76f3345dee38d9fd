/* SPDX-License-Identifier: Apache-2.0 */
/* cuda.h -- the CUDA driver: the kernels of kernels/gpu, compiled by nvcc when LeanPO was built, on NVIDIA
 * GPUs. libcuda.so.1 and cuBLASLt are opened when a device is first asked for, so one binary runs with and
 * without them; a build without nvcc has a driver with no devices. */
#ifndef LPO_DEVICE_CUDA_H
#define LPO_DEVICE_CUDA_H
#include "device/driver.h"

extern const lpo_driver lpo_driver_cuda;

/* What there is to say when count is 0 or some devices cannot be used; one line. The number of usable
 * devices. */
int lpo_cuda_describe(char *out, size_t size_bytes);
#endif
