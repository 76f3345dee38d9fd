/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_driver.c -- what the CUDA driver does on machines that fall short and when things go wrong, with the
 * faults that the stand-in of tests/cuda_shim injects. Skips where the stand-in is not on the search path: a
 * real GPU does not fail on demand. Each test is a process, so the library starts anew in each. */
#include "gpu_open.h"

#include "device/gpu/gpu.h"

#include <pthread.h>

static const lpo_driver *const v = &lpo_driver_cuda;

static void *stand_in(void) {
    void *h = gpu_stand_in();
    if (!h) cr_skip_test("the stand-in for libcuda is not on the search path");
    return h;
}

static lpo_device *open_with(const char *name, const char *value) {
    char why[256];
    lpo_device *d;
    stand_in();
    if (name) setenv(name, value, 1);
    cr_assert_eq(lpo_cuda_describe(why, sizeof why), 1, "%s", why);
    MUST(v->open(&d, 0, &err));
    return d;
}

/* The line says what is wrong, and open says it too. */
static void expect_none(const char *name, const char *value, const char *words) {
    char why[256];
    lpo_device *d;
    stand_in();
    setenv(name, value, 1);
    cr_assert_eq(lpo_cuda_describe(why, sizeof why), 0);
    cr_expect(strstr(why, words), "%s", why);
    cr_expect_eq(v->open(&d, 0, &err), LPO_ENOTFOUND);
    cr_expect(strstr(err.msg, words), "%s", err.msg);
}

Test(cuda_machine, no_gpu) {
    expect_none("CUDA_SHIM_INIT", "100", "no GPU that it shows this process");
}
Test(cuda_machine, stub) {
    expect_none("CUDA_SHIM_INIT", "34", "the toolkit's stub");
}
Test(cuda_machine, restart_wanted) {
    expect_none("CUDA_SHIM_INIT", "803", "restart the machine");
}
Test(cuda_machine, driver_does_not_start) {
    expect_none("CUDA_SHIM_INIT", "999", "does not start");
}
Test(cuda_machine, old_driver) {
    expect_none("CUDA_SHIM_DRIVER", "11040", "speaks CUDA 11.4, these kernels were built with 1");
}
Test(cuda_machine, old_gpu) {
    expect_none("CUDA_SHIM_CAPABILITY", "75", "compute capability 7.5, the kernels need 8.0");
}

/* Built without nvcc: the reason, and what drives the GPU instead. */
Test(cuda_machine, no_kernels) {
    static const cuda_images none;
    char why[256];
    stand_in();
    lpo_cuda_images = &none;
    cr_assert_eq(lpo_cuda_describe(why, sizeof why), 0);
    cr_expect(strstr(why, "built without CUDA kernels") && strstr(why, "opencl"), "%s", why);
}

/* Kernels that do not load are an error with the cure; the device goes on when they do. */
static void expect_module_error(const char *code, const char *words, const char *cure) {
    lpo_device *d = open_with("CUDA_SHIM_MODULE", code);
    lpo_buffer *b;
    MUST(v->alloc(&b, d, 64, &err));
    const lpo_step s = {.op = LPO_OP_FILL, .arg = {{b, 0, LPO_F32, 1, {4}}}};
    cr_assert_eq(v->submit(d, &s, &err), LPO_EDEVICE);
    cr_expect(strstr(err.msg, "cast.cl") && strstr(err.msg, words) && strstr(err.msg, cure), "%s", err.msg);
    unsetenv("CUDA_SHIM_MODULE");
    v->release(b);
    gpu_check_alive(d);
    v->close(d);
}
Test(cuda_module, no_code_for_this_gpu) {
    expect_module_error("209", "CUDA_ERROR_NO_BINARY_FOR_GPU", "nvcc that knows this GPU");
}
Test(cuda_module, ptx_is_refused) {
    expect_module_error("218", "CUDA_ERROR_INVALID_PTX", "update the NVIDIA driver");
}

/* When memory runs out the pool is given back first; what is too much is refused with the numbers, and what
 * others left free is one of them. */
Test(cuda_faults, out_of_memory) {
    lpo_device *d = open_with("CUDA_SHIM_MEMORY", "134217728");
    lpo_buffer *a, *b;
    MUST(v->alloc(&a, d, 60 << 20, &err));
    v->release(a);
    MUST(v->alloc(&a, d, 80 << 20, &err)); /* beside 32 MiB for products: the 60 must go */
    cr_assert_eq(v->alloc(&b, d, 40 << 20, &err), LPO_ENOMEM);
    cr_expect(strstr(err.msg, "40.0 MiB more wanted") &&
                  strstr(err.msg, "has 128.0 MiB, 16.0 MiB of them free"),
              "%s", err.msg);
    gpu_check_alive(d);
    v->release(a);
    v->close(d);
}

/* Lost in the middle of a step: the wait says so and what to do, everything after fails at once with the
 * first reason, and closing ends. Released buffers are no trouble. */
static void expect_lost(const char *code, const char *name) {
    setenv("CUDA_SHIM_FAIL_CODE", code, 1);
    lpo_device *d = open_with("CUDA_SHIM_FAIL_LAUNCH", "2");
    lpo_buffer *b, *more;
    char bytes[16];
    MUST(v->alloc(&b, d, 64, &err));
    const lpo_step s = {.op = LPO_OP_FILL, .arg = {{b, 0, LPO_F32, 1, {4}}}};
    for (int i = 0; i < 3; i++) MUST(v->submit(d, &s, &err));
    cr_assert_eq(v->wait(d, &err), LPO_EDEVICE);
    cr_expect(strstr(err.msg, name) && strstr(err.msg, "--resume"), "%s", err.msg);
    const lpo_status all[] = {v->wait(d, &err), v->submit(d, &s, &err), v->upload(b, 0, bytes, 16, &err),
                              v->download(bytes, b, 0, 16, &err), v->alloc(&more, d, 1 << 20, &err)};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) cr_expect_eq(all[i], LPO_EDEVICE, "call %zu", i);
    cr_expect(strstr(err.msg, "was lost: waiting") && strstr(err.msg, name), "%s", err.msg);
    v->release(b);
    v->close(d);
    cr_expect_eq(v->open(&d, 0, &err), LPO_EDEVICE);
    cr_expect_null(d);
}
Test(cuda_faults, illegal_address) {
    expect_lost("700", "CUDA_ERROR_ILLEGAL_ADDRESS");
}
Test(cuda_faults, launch_failed) {
    expect_lost("719", "CUDA_ERROR_LAUNCH_FAILED");
}

/* y[m,n] = x[m,k] w[n,k]^T (+ b): does it come out right? */
static void product(lpo_device *d, int m, int n, int k, int dtype_w) {
    float *x = calloc((size_t)(m * k), 4), *w = calloc((size_t)(n * k), 4), *y = calloc((size_t)(m * n), 4);
    const float odd = k == 1 ? 1.00234163f : 1.000244140625f; /* 24 bits, where no sum rounds; 13 */
    lpo_buffer *b;
    for (int i = 0; i < m * k; i++) x[i] = (float)(i % 7 - 3) * odd;
    for (int i = 0; i < n * k; i++) w[i] = (float)(i % 5 - 2);
    uint16_t *half = calloc((size_t)(n * k), 2);
    for (int i = 0; i < n * k; i++)
        memcpy(&half[i], (char *)&w[i] + 2, 2); /* small whole numbers are exact */
    const size_t at_w = 1 << 16, at_y = 1 << 17;
    MUST(v->alloc(&b, d, 1 << 18, &err));
    MUST(v->upload(b, 0, x, (size_t)(m * k) * 4, &err));
    MUST(v->upload(b, at_w, dtype_w == LPO_F32 ? (void *)w : half,
                   (size_t)(n * k) * (dtype_w == LPO_F32 ? 4 : 2), &err));
    const lpo_step s = {
        .op = LPO_OP_LINEAR,
        .arg = {{b, at_y, LPO_F32, 2, {m, n}}, {b, 0, LPO_F32, 2, {m, k}}, {b, at_w, dtype_w, 2, {n, k}}}};
    MUST(v->submit(d, &s, &err));
    MUST(v->wait(d, &err));
    MUST(v->download(y, b, at_y, (size_t)(m * n) * 4, &err));
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            float sum = 0;
            for (int e = 0; e < k; e++) sum += x[i * k + e] * w[j * k + e];
            cr_assert_eq(y[i * n + j], sum, "(%d, %d): %g, not %g", i, j, (double)y[i * n + j], (double)sum);
        }
    v->release(b);
    free(half);
    free(x);
    free(w);
    free(y);
}

/* cuBLASLt is asked once for each form of product. */
Test(cuda_products, one_question_a_form) {
    void *h = stand_in();
    lpo_device *d = open_with(NULL, NULL);
    const long *asked = dlsym(h, "cuda_shim_heuristics"), *done = dlsym(h, "cuda_shim_products");
    for (int i = 0; i < 5; i++) product(d, 40, 50, 20, LPO_F32);
    cr_expect(*asked == 1 && *done == 5, "%ld questions, %ld products", *asked, *done);
    product(d, 41, 50, 20, LPO_F32);
    cr_expect(*asked == 2 && *done == 6, "%ld questions, %ld products", *asked, *done);
    v->close(d);
}

/* What it does not take, f32 by bf16, the dialect's own product does; so too when it refuses or is not there.
 */
Test(cuda_products, mixed) {
    void *h = stand_in();
    lpo_device *d = open_with(NULL, NULL);
    product(d, 40, 50, 20, LPO_BF16);
    cr_expect_eq(*(const long *)dlsym(h, "cuda_shim_products"), 3);
    product(d, 40, 50, 1, LPO_BF16);
    v->close(d);
}
Test(cuda_products, without_strict_ones) {
    void *h = stand_in();
    lpo_device *d = open_with("CUDA_SHIM_LT", "loose");
    product(d, 40, 50, 20, LPO_F32);
    cr_expect_eq(*(const long *)dlsym(h, "cuda_shim_products"), 1);
    v->close(d);
}
Test(cuda_products, refused) {
    lpo_device *d = open_with("CUDA_SHIM_LT", "refuse");
    product(d, 40, 50, 20, LPO_F32);
    v->close(d);
}
Test(cuda_products, absent) {
    lpo_device *d = open_with("CUDA_SHIM_LT", "none");
    product(d, 40, 50, 20, LPO_F32);
    v->close(d);
}

static void *drive(void *d) {
    gpu_check_alive(d);
    return d;
}

/* Any thread may drive the device, one at a time. */
Test(cuda_driver, another_thread) {
    lpo_device *d = open_with(NULL, NULL);
    pthread_t t;
    gpu_check_alive(d);
    cr_assert_eq(pthread_create(&t, NULL, drive, d), 0);
    cr_assert_eq(pthread_join(t, NULL), 0);
    v->close(d);
}

/* Two devices of one GPU share its context; the last one to close gives it back. */
Test(cuda_driver, opened_twice) {
    lpo_device *a = open_with(NULL, NULL), *b;
    MUST(v->open(&b, 0, &err));
    v->close(a);
    gpu_check_alive(b);
    v->close(b);
}

/* More groups than CUDA launches in the second dimension are refused, not cut off. */
Test(cuda_driver, too_many_groups) {
    lpo_device *d = open_with(NULL, NULL);
    lpo_buffer *b;
    MUST(v->alloc(&b, d, 64, &err));
    const lpo_gpu_launch l = {
        .kernel = LPO_GPU_FILL, .groups = {1, 70000}, .tensor = {{b, 0, LPO_F32}}, .n = {4}};
    cr_expect_eq(lpo_gpu_enqueue(d, &l, &err), LPO_ELIMIT);
    v->release(b);
    v->close(d);
}
