/* SPDX-License-Identifier: Apache-2.0 */
/* api.h -- inside the OpenCL driver: the library's functions, found at run time, and what its files share. */
#ifndef LPO_DEVICE_OPENCL_API_H
#define LPO_DEVICE_OPENCL_API_H
#define CL_TARGET_OPENCL_VERSION 120
#include "device/opencl/opencl.h"
#include "kernels/gpu/launch.h"

#include <CL/cl.h>

/* clang-format off */
#define OPENCL_CALLS(X) \
    X(clGetPlatformIDs) X(clGetPlatformInfo) X(clGetDeviceIDs) X(clGetDeviceInfo) X(clCreateContext) \
    X(clReleaseContext) X(clCreateCommandQueue) X(clReleaseCommandQueue) X(clCreateBuffer) X(clReleaseMemObject) \
    X(clCreateProgramWithSource) X(clCreateProgramWithBinary) X(clBuildProgram) X(clGetProgramBuildInfo) \
    X(clGetProgramInfo) X(clReleaseProgram) X(clCreateKernel) X(clReleaseKernel) X(clSetKernelArg) \
    X(clEnqueueNDRangeKernel) X(clEnqueueWriteBuffer) X(clEnqueueReadBuffer) X(clFlush) X(clFinish)
/* clang-format on */

typedef struct opencl_api {
#define X(f) __typeof__(f) *f;
    OPENCL_CALLS(X)
#undef X
} opencl_api;

enum { OPENCL_MAX_DEVICES = 16 };

typedef struct opencl_found {
    cl_device_id id;
    char name[128], platform[128], version[256]; /* version: of platform, device and driver, for the cache */
    uint64_t memory_bytes, alloc_bytes, local_bytes;
    bool cpu;
} opencl_found;

/* All usable devices, GPUs first, looked for once. n 0: why says why. */
typedef struct opencl_set {
    opencl_api cl;
    opencl_found device[OPENCL_MAX_DEVICES];
    int n;
    char why[256];
} opencl_set;
const opencl_set *opencl_devices(void);

/* The words of an OpenCL error code. */
const char *opencl_error(cl_int rc);

/* One program of kernels/gpu, built from its source or from the disk cache. */
lpo_status opencl_program(cl_program *out, const opencl_api *cl, cl_context context,
                          const opencl_found *device, const lpo_gpu_source *source, lpo_error *err);
#endif
