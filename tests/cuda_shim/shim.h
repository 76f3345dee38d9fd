/* SPDX-License-Identifier: Apache-2.0 */
/* shim.h -- a stand-in for libcuda.so.1 and libcublasLt, for tests on machines without an NVIDIA GPU: what
 * host/device/cuda calls, played over OpenCL. It proves the driver's logic, not that anything runs on a GPU.
 * A kernel is found by its name and run from its OpenCL source; an image is only looked at.
 * Whatever a program may leave to the last moment, it leaves: queued work runs when somebody waits for it, so
 * a missing wait, a piece of staging filled too early or an unordered copy shows as a wrong number or as an
 * abort with the reason. Device addresses are not memory of this process.
 *
 * Environment: CUDA_SHIM_DRIVER=12040 version, CUDA_SHIM_INIT=100 cuInit's result, CUDA_SHIM_CAPABILITY=75,
 * CUDA_SHIM_MEMORY=BYTES there are, CUDA_SHIM_MODULE=218 what loading gives, CUDA_SHIM_FAIL_LAUNCH=N the n-th
 * launch (from 1) ends the device with CUDA_SHIM_FAIL_CODE (700), CUDA_SHIM_LT=none|refuse|loose cuBLASLt
 * (loose: has no strict products), CUDA_SHIM_GRAPHS=0 refuses to capture, CUDA_SHIM_FAIL_GRAPH=N there is no
 * memory for the n-th graph, CUDA_SHIM_REPORT=1 says at the end how many graphs were launched. Only a search
 * path that names this library's folder loads it. */
#ifndef LPO_TESTS_CUDA_SHIM_H
#define LPO_TESTS_CUDA_SHIM_H
#include "device/cuda/api.h"

#define SHIM_EXPORT __attribute__((visibility("default")))

typedef struct shim_product { /* D = A B (+ bias) (+ D), column-major, as cuBLASLt was told */
    uint64_t rows, cols, depth;
    int64_t ld_a, ld_b, ld_c;
    int trans_a, trans_b, type_a, type_b, type_c;
    float alpha, beta;
    cuda_ptr a, b, c, bias; /* bias 0: none */
    int32_t batch;          /* and elements from one matrix to the next */
    int64_t from_a, from_b, from_c;
} shim_product;

/* "cuda shim: WORDS" to stderr, and the process ends. */
_Noreturn void shim_abort(const char *fmt, ...) LPO_PRINTF(1, 2);
/* The text or number of CUDA_SHIM_name. */
const char *shim_env(const char *name);
long shim_number(const char *name, long otherwise);
/* Bytes of the device, now; outside an allocation aborts. */
void shim_read(void *dst, cuda_ptr at, size_t size_bytes);
void shim_write(cuda_ptr at, const void *src, size_t size_bytes);
/* Queue a product. The result is the device's. */
int shim_queue_product(cuda_stream s, const shim_product *p);
void shim_run_product(const shim_product *p);
#endif
