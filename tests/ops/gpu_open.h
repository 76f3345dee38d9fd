/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_open.h -- the GPU that a test runs on. LPO_TEST_GPU names it: opencl (when not set) or cuda, which may
 * be a real one or, through the search path that ctest sets, the stand-in of tests/cuda_shim. Skips aloud
 * without a device. */
#ifndef LPO_TESTS_GPU_OPEN_H
#define LPO_TESTS_GPU_OPEN_H
#include "device/cuda/cuda.h"
#include "device/cuda/images.h"
#include "device/opencl/opencl.h"
#include "kernels/op.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define MUST(call) cr_assert_eq(call, LPO_OK, "%s", err.msg)
static lpo_error err;

/* PoCL leaves its compiler behind, which is C++; what we leave in it is C. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:operator new\nleak:libLLVM\nleak:libclang\n";
}

static inline const lpo_driver *gpu_driver(void) {
    const char *name = getenv("LPO_TEST_GPU");
    if (!name || !strcmp(name, "opencl")) return &lpo_driver_opencl;
    cr_assert_str_eq(name, "cuda", "LPO_TEST_GPU is opencl or cuda");
    return &lpo_driver_cuda;
}

/* The stand-in for libcuda, when it is what the search path gives. It looks at nothing but an image's first
 * bytes, so a build without nvcc, which has none, can be tested too. */
static inline void *gpu_stand_in(void) {
    static const uint32_t fatbin[2] = {0xba55ed50u};
    static cuda_images images = {.toolkit = 13000};
    void *h = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!h || !dlsym(h, "cuda_shim_products")) return NULL;
    for (int i = 0; i < LPO_GPU_N_FILES; i++)
        images.file[i] = (cuda_image){(const unsigned char *)fatbin, (const unsigned char *)(fatbin + 2)};
    if (!lpo_cuda_built.toolkit) lpo_cuda_images = &images;
    return h;
}

static inline lpo_device *gpu_open(void) {
    const lpo_driver *v = gpu_driver();
    lpo_device *d;
    char why[256];
    if (v == &lpo_driver_cuda) gpu_stand_in();
    if (!(v == &lpo_driver_cuda ? lpo_cuda_describe(why, sizeof why) : lpo_opencl_describe(why, sizeof why)))
        cr_skip_test("no %s: %s", v->name, why);
    MUST(v->open(&d, 0, &err));
    return d;
}

/* y = a + a for four floats: does the device compute? */
static inline void gpu_check_alive(lpo_device *d) {
    const lpo_driver *v = lpo_device_driver(d);
    float a[4] = {1, 2, 3, 4}, y[4];
    lpo_buffer *b;
    MUST(v->alloc(&b, d, 1024, &err));
    MUST(v->upload(b, 256, a, sizeof a, &err));
    lpo_step s = {.op = LPO_OP_ADD,
                  .arg = {{b, 512, LPO_F32, 1, {4}}, {b, 256, LPO_F32, 1, {4}}, {b, 256, LPO_F32, 1, {4}}}};
    MUST(v->submit(d, &s, &err));
    MUST(v->wait(d, &err));
    MUST(v->download(y, b, 512, sizeof y, &err));
    v->release(b);
    for (int i = 0; i < 4; i++) cr_assert_eq(y[i], 2 * a[i]);
}
#endif
