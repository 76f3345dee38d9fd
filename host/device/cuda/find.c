/* SPDX-License-Identifier: Apache-2.0 */
/* find.c -- libcuda, cuBLASLt, and the devices that the embedded kernels run on. Every way in which a machine
 * can fall short has its line: users read it in `leanpo devices` and `leanpo doctor`. */
#include "device/cuda/api.h"
#include "device/cuda/images.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

const cuda_images *lpo_cuda_images = &lpo_cuda_built;

static cuda_set all;
static pthread_once_t once = PTHREAD_ONCE_INIT;

void cuda_error(char *out, size_t size_bytes, const cuda_api *cu, int rc) {
    const char *name = NULL, *words = NULL;
    if (cu->GetErrorName(rc, &name) || !name) name = "an error without a name";
    if (cu->GetErrorString(rc, &words) || !words) words = "unknown";
    snprintf(out, size_bytes, "%s (%s, %d)", words, name, rc);
}

bool cuda_is_lost(int rc) {
    switch (rc) {
    case CUDA_E_DEINITIALIZED:
    case CUDA_E_ECC:
    case CUDA_E_NVLINK:
    case CUDA_E_CONTAINED:
    case CUDA_E_ILLEGAL_ADDRESS:
    case CUDA_E_TIMEOUT:
    case CUDA_E_CONTEXT_DESTROYED:
    case CUDA_E_ASSERT:
    case CUDA_E_STACK:
    case CUDA_E_ILLEGAL_INSTRUCTION:
    case CUDA_E_MISALIGNED:
    case CUDA_E_ADDRESS_SPACE:
    case CUDA_E_PC:
    case CUDA_E_LAUNCH_FAILED:
    case CUDA_E_UNKNOWN: return true;
    default: return false;
    }
}

static bool load(void) {
    void *h = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!h) {
        snprintf(all.why, sizeof all.why, "libcuda.so.1 not found: no NVIDIA driver is installed");
        return false;
    }
#define X(name, symbol, args)                                                                                \
    *(void **)&all.cu.name = dlsym(h, symbol);                                                               \
    if (!all.cu.name) {                                                                                      \
        snprintf(all.why, sizeof all.why, "libcuda.so.1 has no " symbol ": update the NVIDIA driver");       \
        return false;                                                                                        \
    }
    CUDA_CALLS(X)
#undef X
    bool graphs = true;
#define X(name, symbol, args) graphs &= (*(void **)&all.cu.name = dlsym(h, symbol)) != NULL;
    CUDA_GRAPH_CALLS(X)
#undef X
    if (!graphs) all.cu.GraphLaunch = NULL;
    return true;
}

/* A library for a newer CUDA than the driver's is passed over. */
static void load_lt(void) {
    static const struct {
        int cuda;
        const char *name;
    } known[] = {{13000, "libcublasLt.so.13"}, {12000, "libcublasLt.so.12"}, {11000, "libcublasLt.so.11"}};
    snprintf(all.lt_why, sizeof all.lt_why,
             "libcublasLt.so not found for CUDA %d (install the CUDA toolkit's "
             "libcublas)",
             all.driver / 1000);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].cuda > all.driver) continue;
        void *h = dlopen(known[i].name, RTLD_NOW | RTLD_LOCAL);
        if (!h) continue;
        bool whole = true;
#define X(name, symbol, args) whole &= (*(void **)&all.lt.name = dlsym(h, symbol)) != NULL;
        CUBLAS_CALLS(X)
#undef X
        if (!whole) {
            snprintf(all.lt_why, sizeof all.lt_why, "%s lacks functions that are needed", known[i].name);
            dlclose(h);
            continue;
        }
        snprintf(all.lt_name, sizeof all.lt_name, "%s", known[i].name);
        return;
    }
}

static bool start(void) {
    const int toolkit = lpo_cuda_images->toolkit;
    int rc = all.cu.Init(0);
    all.cu.DriverGetVersion(&all.driver);
    if (rc == CUDA_E_NO_DEVICE)
        snprintf(all.why, sizeof all.why, "the NVIDIA driver is here, but no GPU that it shows this process");
    else if (rc == CUDA_E_STUB_LIBRARY)
        snprintf(all.why, sizeof all.why, "libcuda.so.1 is the toolkit's stub, not a driver");
    else if (rc == CUDA_E_MISMATCH)
        snprintf(all.why, sizeof all.why,
                 "libcuda.so.1 and the kernel's NVIDIA driver have different versions: restart the machine");
    else if (rc) {
        char words[160];
        cuda_error(words, sizeof words, &all.cu, rc);
        snprintf(all.why, sizeof all.why, "the NVIDIA driver does not start: %s", words);
    } else if (!toolkit)
        snprintf(all.why, sizeof all.why,
                 "this LeanPO was built without CUDA kernels (install nvcc, then build "
                 "again); opencl drives NVIDIA GPUs too");
    else if (all.driver / 1000 < toolkit / 1000)
        snprintf(
            all.why, sizeof all.why,
            "the NVIDIA driver speaks CUDA %d.%d, these kernels were built with %d.%d: update the driver, or "
            "build LeanPO with an older nvcc",
            all.driver / 1000, all.driver % 1000 / 10, toolkit / 1000, toolkit % 1000 / 10);
    else
        return true;
    return false;
}

static void add_device(int ordinal) {
    cuda_found f = {0};
    size_t memory = 0;
    int local = 0, rc = all.cu.DeviceGet(&f.ordinal, ordinal);
    if (!rc) rc = all.cu.DeviceGetName(f.name, (int)sizeof f.name - 1, f.ordinal);
    if (!rc) rc = all.cu.DeviceGetAttribute(&f.major, CUDA_COMPUTE_MAJOR, f.ordinal);
    if (!rc) rc = all.cu.DeviceGetAttribute(&f.minor, CUDA_COMPUTE_MINOR, f.ordinal);
    if (!rc) rc = all.cu.DeviceGetAttribute(&local, CUDA_LOCAL_MOST, f.ordinal);
    if (!rc) rc = all.cu.DeviceTotalMem(&memory, f.ordinal);
    if (rc) {
        char words[160];
        cuda_error(words, sizeof words, &all.cu, rc);
        snprintf(all.why, sizeof all.why, "device %d does not answer: %s", ordinal, words);
    } else if (f.major < 8) {
        snprintf(all.why, sizeof all.why, "%.100s has compute capability %d.%d, the kernels need 8.0", f.name,
                 f.major, f.minor);
    } else {
        f.memory_bytes = memory;
        f.local_bytes = (uint64_t)local;
        all.device[all.n++] = f;
    }
}

static void find(void) {
    if (!load() || !start()) return;
    int n = 0;
    snprintf(all.why, sizeof all.why, "no GPU");
    all.cu.DeviceGetCount(&n);
    for (int i = 0; i < n && all.n < CUDA_MAX_DEVICES; i++) add_device(i);
    if (all.n) load_lt();
}

const cuda_set *cuda_devices(void) {
    pthread_once(&once, find);
    return &all;
}

int lpo_cuda_describe(char *out, size_t size_bytes) {
    const cuda_set *s = cuda_devices();
    const cuda_found *f = &s->device[0];
    if (s->n)
        snprintf(
            out, size_bytes,
            "%d device%s, the first is %s (sm_%d%d, driver for CUDA %d.%d); products by %s%s", s->n,
            s->n == 1 ? "" : "s", f->name, f->major, f->minor, s->driver / 1000, s->driver % 1000 / 10,
            s->lt_name[0] ? s->lt_name : "the slower kernel of its own: ", s->lt_name[0] ? "" : s->lt_why);
    else
        snprintf(out, size_bytes, "%s", s->why);
    return s->n;
}
