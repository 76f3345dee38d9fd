#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# host/device/cuda/api.h declares libcuda and cuBLASLt by hand; where NVIDIA's headers are installed, every number, size and symbol in it
# is held to theirs. $1: the source tree.
set -uo pipefail
root=$(cd "${1:-.}" && pwd) || exit 2
for dir in "${CUDA_HOME:-/usr/local/cuda}/include" /usr/include; do
    [ -f "$dir/cuda.h" ] && [ -f "$dir/cublasLt.h" ] && break
    dir=
done
[ -n "$dir" ] || { echo "skipped: cuda.h and cublasLt.h are not installed"; exit 77; }
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
{
    echo '#include <cublasLt.h>'
    echo '#include <cuda.h>'
    echo '#include "device/cuda/api.h"'
    echo '#define SAME(a, b) _Static_assert((long long)(a) == (long long)(b), #a)'
    while read -r ours theirs; do echo "SAME($ours, $theirs);"; done <<'LIST'
CUDA_E_OUT_OF_MEMORY CUDA_ERROR_OUT_OF_MEMORY
CUDA_E_DEINITIALIZED CUDA_ERROR_DEINITIALIZED
CUDA_E_STUB_LIBRARY CUDA_ERROR_STUB_LIBRARY
CUDA_E_NO_DEVICE CUDA_ERROR_NO_DEVICE
CUDA_E_INVALID_IMAGE CUDA_ERROR_INVALID_IMAGE
CUDA_E_NO_BINARY CUDA_ERROR_NO_BINARY_FOR_GPU
CUDA_E_ECC CUDA_ERROR_ECC_UNCORRECTABLE
CUDA_E_INVALID_PTX CUDA_ERROR_INVALID_PTX
CUDA_E_NVLINK CUDA_ERROR_NVLINK_UNCORRECTABLE
CUDA_E_NO_JIT CUDA_ERROR_JIT_COMPILER_NOT_FOUND
CUDA_E_PTX_VERSION CUDA_ERROR_UNSUPPORTED_PTX_VERSION
CUDA_E_ILLEGAL_ADDRESS CUDA_ERROR_ILLEGAL_ADDRESS
CUDA_E_TIMEOUT CUDA_ERROR_LAUNCH_TIMEOUT
CUDA_E_CONTEXT_DESTROYED CUDA_ERROR_CONTEXT_IS_DESTROYED
CUDA_E_ASSERT CUDA_ERROR_ASSERT
CUDA_E_STACK CUDA_ERROR_HARDWARE_STACK_ERROR
CUDA_E_ILLEGAL_INSTRUCTION CUDA_ERROR_ILLEGAL_INSTRUCTION
CUDA_E_MISALIGNED CUDA_ERROR_MISALIGNED_ADDRESS
CUDA_E_ADDRESS_SPACE CUDA_ERROR_INVALID_ADDRESS_SPACE
CUDA_E_PC CUDA_ERROR_INVALID_PC
CUDA_E_LAUNCH_FAILED CUDA_ERROR_LAUNCH_FAILED
CUDA_E_MISMATCH CUDA_ERROR_SYSTEM_DRIVER_MISMATCH
CUDA_E_UNKNOWN CUDA_ERROR_UNKNOWN
CUDA_COMPUTE_MAJOR CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
CUDA_COMPUTE_MINOR CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
CUDA_LOCAL_MOST CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
CUDA_FUNCTION_LOCAL CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
CUDA_NON_BLOCKING CU_STREAM_NON_BLOCKING
CUDA_NO_TIMING CU_EVENT_DISABLE_TIMING
CUDA_THREAD_LOCAL CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
CUBLAS_REAL_32F CUDA_R_32F
CUBLAS_REAL_16BF CUDA_R_16BF
CUBLAS_IN_32F CUBLAS_COMPUTE_32F
CUBLAS_IN_32F_STRICT CUBLAS_COMPUTE_32F_PEDANTIC
CUBLAS_PRODUCT_COMPUTE CUBLASLT_MATMUL_DESC_COMPUTE_TYPE
CUBLAS_PRODUCT_TRANS_A CUBLASLT_MATMUL_DESC_TRANSA
CUBLAS_PRODUCT_TRANS_B CUBLASLT_MATMUL_DESC_TRANSB
CUBLAS_PRODUCT_EPILOGUE CUBLASLT_MATMUL_DESC_EPILOGUE
CUBLAS_PRODUCT_BIAS CUBLASLT_MATMUL_DESC_BIAS_POINTER
CUBLAS_PLUS_BIAS CUBLASLT_EPILOGUE_BIAS
CUBLAS_LAYOUT_BATCH CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT
CUBLAS_LAYOUT_FROM CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET
CUBLAS_PREFER_WORKSPACE CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES
CUBLAS_PREFER_REDUCTION CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK
CUBLAS_PREFER_ALIGN_A CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES
CUBLAS_PREFER_ALIGN_B CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES
CUBLAS_PREFER_ALIGN_C CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES
CUBLAS_PREFER_ALIGN_D CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES
CUBLAS_PREFER_MEANS CUBLASLT_MATMUL_PREF_IMPL_MASK
CUBLAS_MEANS_PLAIN_32F CUBLASLT_NUMERICAL_IMPL_FLAGS_FMA|CUBLASLT_NUMERICAL_IMPL_FLAGS_ACCUMULATOR_32F|CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_32F
CUBLAS_REDUCTION_COMPUTE_TYPE CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE
0 CUBLAS_OP_N
1 CUBLAS_OP_T
sizeof(cuda_ptr) sizeof(CUdeviceptr)
sizeof(cublas_algo) sizeof(cublasLtMatmulAlgo_t)
sizeof(cublas_choice) sizeof(cublasLtMatmulHeuristicResult_t)
offsetof(cublas_choice,workspace_bytes) offsetof(cublasLtMatmulHeuristicResult_t,workspaceSize)
offsetof(cublas_choice,state) offsetof(cublasLtMatmulHeuristicResult_t,state)
LIST
    # _v2 is what the header's own macros make of a plain name.
    echo '#define STRING(x) #x'
    echo '#define EXPANDED(x) STRING(x)'
    sed -n 's/.*X([A-Za-z]*, "\(cu[A-Za-z]*\)\(_v2\)*", .*/\1 \1\2/p' "$root/host/device/cuda/api.h" | while read -r plain symbol; do
        echo "_Static_assert(sizeof(EXPANDED($plain)) == sizeof(\"$symbol\"), \"$plain is now another symbol\");"
    done
} > "$t/abi.c"
gcc -fsyntax-only -std=gnu11 -Wall -Werror -isystem "$dir" -I "$root" -I "$root/host" -I "$root/host/include" "$t/abi.c" || exit 1
# Each function is there and takes as many arguments.
bad=0
args() { tr -d '\n' | sed 's/[^,]//g' | wc -c; }
tr '\n' ' ' < "$root/host/device/cuda/api.h" | sed 's/\\ / /g' | grep -oE 'X\([A-Za-z]+, "cu[A-Za-z_0-9]+", +\([^)]*\)\)' > "$t/ours"
cat "$dir/cuda.h" "$dir/cublasLt.h" | sed 's@//.*@@' | tr '\n' ' ' | sed 's@/\*[^*]*\*/@@g' > "$t/theirs"
while read -r line; do
    symbol=$(sed -E 's/.*"(cu[A-Za-z_0-9]+)".*/\1/' <<<"$line")
    ours=$(sed -E 's/.*", +\((.*)\)\)/\1/' <<<"$line" | args)
    plain=${symbol%_v2}
    plain=${plain%WithFlags}
    theirs=$(grep -oE "(WINAPI|CUDAAPI) $plain *\([^)]*\)" "$t/theirs" | head -n 1)
    [ -n "$theirs" ] || { echo "$symbol: not in the headers" >&2; bad=1; }
    theirs=$(sed -E 's/^[^(]*\(//' <<<"$theirs" | args)
    [ "$ours" = "$theirs" ] || { echo "$symbol: $ours arguments, theirs has $theirs" >&2; bad=1; }
done < "$t/ours"
[ "$(wc -l < "$t/ours")" -ge 40 ] || { echo "the table of calls was not read" >&2; bad=1; }
exit $bad
