/* SPDX-License-Identifier: Apache-2.0 */
/* api.h -- inside the CUDA driver: the few types, numbers and functions of libcuda and cuBLASLt that are
 * used, declared here so that the driver is built without NVIDIA's toolkit (tests/lint/cuda_abi.sh holds them
 * to its headers where it is installed), and what the driver's files share. */
#ifndef LPO_DEVICE_CUDA_API_H
#define LPO_DEVICE_CUDA_API_H
#include "device/cuda/cuda.h"
#include "device/gpu/gpu.h"

typedef uint64_t cuda_ptr; /* memory of the device */
typedef struct cuda_context_of *cuda_context;
typedef struct cuda_stream_of *cuda_stream;
typedef struct cuda_event_of *cuda_event;
typedef struct cuda_module_of *cuda_module;
typedef struct cuda_function_of *cuda_function;
typedef struct cuda_graph_of *cuda_graph;
typedef struct cuda_exec_of *cuda_exec; /* a graph made ready to be launched */

/* The results that mean something here; 0 is success. */
enum {
    CUDA_E_OUT_OF_MEMORY = 2,
    CUDA_E_DEINITIALIZED = 4,
    CUDA_E_STUB_LIBRARY = 34,
    CUDA_E_NO_DEVICE = 100,
    CUDA_E_INVALID_IMAGE = 200,
    CUDA_E_NO_BINARY = 209,
    CUDA_E_ECC = 214,
    CUDA_E_INVALID_PTX = 218,
    CUDA_E_NVLINK = 220,
    CUDA_E_NO_JIT = 221,
    CUDA_E_PTX_VERSION = 222,
    CUDA_E_CONTAINED = 226,
    CUDA_E_ILLEGAL_ADDRESS = 700,
    CUDA_E_TIMEOUT = 702,
    CUDA_E_CONTEXT_DESTROYED = 709,
    CUDA_E_ASSERT = 710,
    CUDA_E_STACK = 714,
    CUDA_E_ILLEGAL_INSTRUCTION = 715,
    CUDA_E_MISALIGNED = 716,
    CUDA_E_ADDRESS_SPACE = 717,
    CUDA_E_PC = 718,
    CUDA_E_LAUNCH_FAILED = 719,
    CUDA_E_MISMATCH = 803,
    CUDA_E_UNKNOWN = 999
};
enum { CUDA_COMPUTE_MAJOR = 75, CUDA_COMPUTE_MINOR = 76, CUDA_LOCAL_MOST = 97 }; /* device attributes */
enum { CUDA_FUNCTION_LOCAL = 8, CUDA_NON_BLOCKING = 1, CUDA_NO_TIMING = 2, CUDA_THREAD_LOCAL = 1 };

/* X(name, symbol, arguments): all return a result. */
/* clang-format off */
#define CUDA_CALLS(X) \
    X(Init, "cuInit", (unsigned)) \
    X(DriverGetVersion, "cuDriverGetVersion", (int *)) \
    X(GetErrorName, "cuGetErrorName", (int, const char **)) \
    X(GetErrorString, "cuGetErrorString", (int, const char **)) \
    X(DeviceGetCount, "cuDeviceGetCount", (int *)) \
    X(DeviceGet, "cuDeviceGet", (int *, int)) \
    X(DeviceGetName, "cuDeviceGetName", (char *, int, int)) \
    X(DeviceGetAttribute, "cuDeviceGetAttribute", (int *, int, int)) \
    X(DeviceTotalMem, "cuDeviceTotalMem_v2", (size_t *, int)) \
    X(DevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (cuda_context *, int)) \
    X(DevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", (int)) \
    X(CtxSetCurrent, "cuCtxSetCurrent", (cuda_context)) \
    X(MemGetInfo, "cuMemGetInfo_v2", (size_t *, size_t *)) \
    X(MemAlloc, "cuMemAlloc_v2", (cuda_ptr *, size_t)) \
    X(MemFree, "cuMemFree_v2", (cuda_ptr)) \
    X(MemHostAlloc, "cuMemHostAlloc", (void **, size_t, unsigned)) \
    X(MemFreeHost, "cuMemFreeHost", (void *)) \
    X(MemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2", (cuda_ptr, const void *, size_t, cuda_stream)) \
    X(MemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2", (void *, cuda_ptr, size_t, cuda_stream)) \
    X(StreamCreate, "cuStreamCreate", (cuda_stream *, unsigned)) \
    X(StreamDestroy, "cuStreamDestroy_v2", (cuda_stream)) \
    X(StreamSynchronize, "cuStreamSynchronize", (cuda_stream)) \
    X(StreamWaitEvent, "cuStreamWaitEvent", (cuda_stream, cuda_event, unsigned)) \
    X(EventCreate, "cuEventCreate", (cuda_event *, unsigned)) \
    X(EventDestroy, "cuEventDestroy_v2", (cuda_event)) \
    X(EventRecord, "cuEventRecord", (cuda_event, cuda_stream)) \
    X(EventSynchronize, "cuEventSynchronize", (cuda_event)) \
    X(ModuleLoadData, "cuModuleLoadData", (cuda_module *, const void *)) \
    X(ModuleUnload, "cuModuleUnload", (cuda_module)) \
    X(ModuleGetFunction, "cuModuleGetFunction", (cuda_function *, cuda_module, const char *)) \
    X(FuncSetAttribute, "cuFuncSetAttribute", (cuda_function, int, int)) \
    X(LaunchKernel, "cuLaunchKernel", (cuda_function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, \
                                       unsigned, cuda_stream, void **, void **))
/* What a driver may lack: graphs. */
#define CUDA_GRAPH_CALLS(X) \
    X(StreamBeginCapture, "cuStreamBeginCapture_v2", (cuda_stream, int)) \
    X(StreamEndCapture, "cuStreamEndCapture", (cuda_stream, cuda_graph *)) \
    X(GraphInstantiate, "cuGraphInstantiateWithFlags", (cuda_exec *, cuda_graph, unsigned long long)) \
    X(GraphDestroy, "cuGraphDestroy", (cuda_graph)) \
    X(GraphLaunch, "cuGraphLaunch", (cuda_exec, cuda_stream)) \
    X(GraphExecDestroy, "cuGraphExecDestroy", (cuda_exec))

/* cuBLASLt. Its status: 0 is success. */
typedef struct cublas_handle_of *cublas_handle;
typedef struct cublas_product_of *cublas_product;
typedef struct cublas_layout_of *cublas_layout;
typedef struct cublas_preference_of *cublas_preference;
typedef struct cublas_algo {
    uint64_t data[8];
} cublas_algo;
typedef struct cublas_choice {
    cublas_algo algo;
    size_t workspace_bytes;
    int state;
    float waves;
    int reserved[4];
} cublas_choice;
enum { CUBLAS_REAL_32F = 0, CUBLAS_REAL_16BF = 14 }; /* types of data */
enum { CUBLAS_IN_32F = 68, CUBLAS_IN_32F_STRICT = 69 }; /* of computing; strict: no TF32, no emulation, whatever the environment says */
enum { CUBLAS_PRODUCT_COMPUTE = 0, CUBLAS_PRODUCT_TRANS_A = 3, CUBLAS_PRODUCT_TRANS_B = 4, CUBLAS_PRODUCT_EPILOGUE = 7, CUBLAS_PRODUCT_BIAS = 8 };
enum { CUBLAS_PLUS_BIAS = 4 };
enum { CUBLAS_LAYOUT_BATCH = 5, CUBLAS_LAYOUT_FROM = 6 }; /* how many, and elements from one to the next */
enum { CUBLAS_PREFER_WORKSPACE = 1, CUBLAS_PREFER_REDUCTION = 3, CUBLAS_PREFER_ALIGN_A = 5, CUBLAS_PREFER_ALIGN_B = 6,
       CUBLAS_PREFER_ALIGN_C = 7, CUBLAS_PREFER_ALIGN_D = 8, CUBLAS_PREFER_MEANS = 12 };
enum { CUBLAS_MEANS_PLAIN_32F = 0x080201 }; /* ordinary fused steps, f32 sums, f32 operands: no matrix units */
enum { CUBLAS_REDUCTION_COMPUTE_TYPE = 2 };

#define CUBLAS_CALLS(X) \
    X(Create, "cublasLtCreate", (cublas_handle *)) \
    X(Destroy, "cublasLtDestroy", (cublas_handle)) \
    X(ProductCreate, "cublasLtMatmulDescCreate", (cublas_product *, int, int)) \
    X(ProductDestroy, "cublasLtMatmulDescDestroy", (cublas_product)) \
    X(ProductSet, "cublasLtMatmulDescSetAttribute", (cublas_product, int, const void *, size_t)) \
    X(LayoutCreate, "cublasLtMatrixLayoutCreate", (cublas_layout *, int, uint64_t, uint64_t, int64_t)) \
    X(LayoutSet, "cublasLtMatrixLayoutSetAttribute", (cublas_layout, int, const void *, size_t)) \
    X(LayoutDestroy, "cublasLtMatrixLayoutDestroy", (cublas_layout)) \
    X(PreferenceCreate, "cublasLtMatmulPreferenceCreate", (cublas_preference *)) \
    X(PreferenceDestroy, "cublasLtMatmulPreferenceDestroy", (cublas_preference)) \
    X(PreferenceSet, "cublasLtMatmulPreferenceSetAttribute", (cublas_preference, int, const void *, size_t)) \
    X(Heuristic, "cublasLtMatmulAlgoGetHeuristic", (cublas_handle, cublas_product, cublas_layout, cublas_layout, \
                                                    cublas_layout, cublas_layout, cublas_preference, int, \
                                                    cublas_choice *, int *)) \
    X(Matmul, "cublasLtMatmul", (cublas_handle, cublas_product, const void *, const void *, cublas_layout, const void *, \
                                 cublas_layout, const void *, const void *, cublas_layout, void *, cublas_layout, \
                                 const cublas_algo *, void *, size_t, cuda_stream))
/* clang-format on */

typedef struct cuda_api {
#define X(name, symbol, args) int(*name) args;
    CUDA_CALLS(X)
    CUDA_GRAPH_CALLS(X) /* GraphLaunch NULL: not there */
#undef X
} cuda_api;

typedef struct cublas_api {
#define X(name, symbol, args) int(*name) args;
    CUBLAS_CALLS(X)
#undef X
} cublas_api;

enum { CUDA_MAX_DEVICES = 16 };

typedef struct cuda_found {
    int ordinal, major, minor; /* compute capability */
    char name[128];
    uint64_t memory_bytes, local_bytes;
} cuda_found;

/* All usable devices, looked for once. n 0: why says why. */
typedef struct cuda_set {
    cuda_api cu;
    cublas_api lt;
    char lt_name[64]; /* the library's name; "": not there, why in lt_why */
    char lt_why[160];
    int driver; /* 13000: the CUDA that the driver speaks */
    cuda_found device[CUDA_MAX_DEVICES];
    int n;
    char why[256];
} cuda_set;
const cuda_set *cuda_devices(void);

/* "out of memory (CUDA_ERROR_OUT_OF_MEMORY)" */
void cuda_error(char *out, size_t size_bytes, const cuda_api *cu, int rc);
bool cuda_is_lost(int rc); /* no later call can succeed */

/* Inside the driver a tensor's buffer is its memory's address itself, so that launches can be compared. */
static inline cuda_ptr cuda_at(const lpo_gpu_tensor *t) {
    return t->buffer ? (cuda_ptr)(uintptr_t)t->buffer + t->offset_bytes : 0;
}

/* Products by cuBLASLt: one handle, a workspace, and the algorithm chosen for each form of product so far. */
typedef struct cuda_gemm cuda_gemm;
cuda_gemm *cuda_gemm_create(const cuda_set *set);
void cuda_gemm_destroy(cuda_gemm *g); /* NULL accepted */
enum { CUDA_GEMM_WORKSPACE = 32 << 20 };
/* Queue c (+)= a b (+ bias) of a LPO_GPU_GEMM launch. 0; positive: not a product for cuBLASLt, nothing was
 * queued; negative: its status, negated. */
int cuda_gemm_go(cuda_gemm *g, const lpo_gpu_launch *l, cuda_ptr workspace, cuda_stream stream);
#endif
