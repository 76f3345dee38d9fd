/* SPDX-License-Identifier: Apache-2.0 */
/* find.c -- the OpenCL library and the devices in it that can train: all but accelerators (an FPGA's OpenCL
 * takes no source), with a compiler and double precision, which the optimizer's and the log-probabilities'
 * sums need. */
#include "device/opencl/opencl.h"

#include <stdio.h>

#ifndef LEANPO_OPENCL_HEADERS

int lpo_opencl_describe(char *out, size_t size_bytes) {
    snprintf(
        out, size_bytes,
        "this LeanPO was built without OpenCL's headers (scripts/packages install opencl, then build again)");
    return 0;
}

#else

#include "device/opencl/api.h"
#include "device/opencl/vendors.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

static opencl_set all;
static pthread_once_t once = PTHREAD_ONCE_INIT;

const char *opencl_error(cl_int rc) {
    switch (rc) {
    case CL_DEVICE_NOT_AVAILABLE: return "the device is not available";
    case CL_COMPILER_NOT_AVAILABLE: return "no compiler available";
    case CL_MEM_OBJECT_ALLOCATION_FAILURE: return "out of device memory";
    case CL_OUT_OF_RESOURCES: return "out of resources, or the device was lost";
    case CL_OUT_OF_HOST_MEMORY: return "out of host memory";
    case CL_BUILD_PROGRAM_FAILURE: return "a program does not build";
    case CL_INVALID_COMMAND_QUEUE: return "the queue is gone: the device was lost";
    case CL_INVALID_BUFFER_SIZE: return "a buffer is larger than the device allows";
    case CL_INVALID_WORK_GROUP_SIZE: return "the device refuses the work-group size";
    default: return "an error of the driver";
    }
}

static void text(char *out, size_t size_bytes, cl_device_id d, cl_device_info what) {
    out[0] = 0;
    all.cl.clGetDeviceInfo(d, what, size_bytes - 1, out, NULL);
    out[size_bytes - 1] = 0;
}

static uint64_t number(cl_device_id d, cl_device_info what) {
    cl_ulong v = 0;
    all.cl.clGetDeviceInfo(d, what, sizeof v, &v, NULL);
    return v;
}

/* NULL, or why the device cannot be used. */
static const char *unusable(cl_device_id d) {
    cl_bool available = CL_FALSE, compiler = CL_FALSE;
    cl_device_fp_config wide = 0;
    size_t group = 0;
    all.cl.clGetDeviceInfo(d, CL_DEVICE_AVAILABLE, sizeof available, &available, NULL);
    all.cl.clGetDeviceInfo(d, CL_DEVICE_COMPILER_AVAILABLE, sizeof compiler, &compiler, NULL);
    all.cl.clGetDeviceInfo(d, CL_DEVICE_DOUBLE_FP_CONFIG, sizeof wide, &wide, NULL);
    all.cl.clGetDeviceInfo(d, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof group, &group, NULL);
    if (!available) return "is not available";
    if (!compiler) return "has no compiler";
    if (!wide) return "has no double precision";
    if (group < 256) return "takes no groups of 256";
    return NULL;
}

static void add_device(cl_platform_id p, cl_device_id d, bool cpu) {
    if (all.n == OPENCL_MAX_DEVICES) return;
    char name[128], version[80], driver[80];
    text(name, sizeof name, d, CL_DEVICE_NAME);
    const char *why = unusable(d);
    if (why) {
        snprintf(all.why, sizeof all.why, "%.100s %s", name, why);
        return;
    }
    opencl_found *f = &all.device[all.n++];
    *f = (opencl_found){.id = d, .cpu = cpu};
    snprintf(f->name, sizeof f->name, "%s", name);
    all.cl.clGetPlatformInfo(p, CL_PLATFORM_NAME, sizeof f->platform - 1, f->platform, NULL);
    text(version, sizeof version, d, CL_DEVICE_VERSION);
    text(driver, sizeof driver, d, CL_DRIVER_VERSION);
    snprintf(f->version, sizeof f->version, "%s, %s", version, driver);
    f->memory_bytes = number(d, CL_DEVICE_GLOBAL_MEM_SIZE);
    f->alloc_bytes = number(d, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
    f->local_bytes = number(d, CL_DEVICE_LOCAL_MEM_SIZE);
}

static bool load(void) {
    void *h = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!h) {
        snprintf(all.why, sizeof all.why, "libOpenCL.so.1 not found (apt-get install ocl-icd-libopencl1)");
        return false;
    }
#define X(f)                                                                                                 \
    *(void **)&all.cl.f = dlsym(h, #f);                                                                      \
    if (!all.cl.f) {                                                                                         \
        snprintf(all.why, sizeof all.why, "libOpenCL.so.1 has no " #f ": it is older than OpenCL 1.2");      \
        return false;                                                                                        \
    }
    OPENCL_CALLS(X)
#undef X
    return true;
}

static void find(void) {
    if (!load()) return;
    cl_platform_id platform[16];
    cl_uint n_platforms = 0;
    opencl_vendors vendors;
    if (!opencl_vendors_hide(&vendors) || all.cl.clGetPlatformIDs(16, platform, &n_platforms))
        n_platforms = 0;
    opencl_vendors_restore(&vendors);
    if (!n_platforms)
        snprintf(all.why, sizeof all.why,
                 "no OpenCL platform (apt-get install pocl-opencl-icd, or your GPU "
                 "vendor's package)");
    else
        snprintf(all.why, sizeof all.why, "no OpenCL device that can train");
    static const cl_device_type order[] = {CL_DEVICE_TYPE_GPU, CL_DEVICE_TYPE_CPU};
    for (int t = 0; t < 2; t++)
        for (cl_uint p = 0; p < n_platforms && p < 16; p++) {
            cl_device_id id[OPENCL_MAX_DEVICES];
            cl_uint n = 0;
            if (all.cl.clGetDeviceIDs(platform[p], order[t], OPENCL_MAX_DEVICES, id, &n)) continue;
            for (cl_uint i = 0; i < n && i < OPENCL_MAX_DEVICES; i++)
                add_device(platform[p], id[i], order[t] == CL_DEVICE_TYPE_CPU);
        }
}

const opencl_set *opencl_devices(void) {
    pthread_once(&once, find);
    return &all;
}

int lpo_opencl_describe(char *out, size_t size_bytes) {
    const opencl_set *s = opencl_devices();
    if (s->n)
        snprintf(out, size_bytes, "%d device%s, the first is %s", s->n, s->n == 1 ? "" : "s",
                 s->device[0].name);
    else
        snprintf(out, size_bytes, "%s", s->why);
    return s->n;
}

#endif
