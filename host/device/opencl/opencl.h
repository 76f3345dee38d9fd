/* SPDX-License-Identifier: Apache-2.0 */
/* opencl.h -- the OpenCL driver: the kernels of kernels/gpu on any device of any vendor's OpenCL 1.2. The
 * library (libOpenCL.so.1, the ICD loader) is opened when a device is first asked for; a build without its
 * headers has a driver with no devices. */
#ifndef LPO_DEVICE_OPENCL_H
#define LPO_DEVICE_OPENCL_H
#include "device/driver.h"

extern const lpo_driver lpo_driver_opencl;

/* What there is to say when count is 0 or some devices cannot be used; one line. The number of usable
 * devices. */
int lpo_opencl_describe(char *out, size_t size_bytes);
#endif
