/* SPDX-License-Identifier: Apache-2.0 */
/* dialect.h -- the few words that let one source be OpenCL C 1.2 and CUDA C++.
 * Not a header of the host: it is put in front of each .cl file of this folder before that is compiled for a
 * device. */
/* clang-format off */
/* KERNEL(threads, name)(TENSOR(y), i64 n) { ... }   `threads` work items a group, in one dimension
 * TENSOR(x)             a base pointer, the byte where the tensor begins (negative: absent), its storage type.
 *                       Storage is f32 or bf16 at run time, arithmetic is float: one kernel serves every mix
 * GET, PUT, AT(type, x) element i as float; the elements themselves, where only one type is allowed
 * GROUP, GROUPS, LANE   this group's number and their count in dimension 0..2; the work item in its group
 * LOCAL, LOCAL_PTR      memory of the group; a pointer into it. BARRIER: all items of the group wait for each other
 * LOCAL_ARG, LOCAL_POOL last argument and first line of a kernel whose local memory is sized at launch
 * FN, FN_ALONE          a function; one whose loops a CPU, which runs a group's items in a loop around the
 *                       kernel's body, must not take apart
 * LPO_FN, LPO_TABLE     as FN, for texts shared with the host (kernels/anywhere.h), which a file includes by name
 * float8, LOAD8, ...    eight floats. MAD8(f, x, sum) is f*x + sum, FMA8(x, y, sum) x*y + sum, fused
 *
 * Order is part of every result: no atomics, sums over a group in one fixed tree, contraction off; fused steps
 * are written fma. So two runs give the same bits. */
/* clang-format on */
#define LPO_GPU
#define LPO_FN            FN
#define LPO_FMAF(x, y, z) fma(x, y, z)
#ifdef __OPENCL_VERSION__
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#pragma OPENCL FP_CONTRACT OFF
#define KERNEL(threads, name) __kernel __attribute__((reqd_work_group_size(threads, 1, 1))) void name
#define GLOBAL                __global
#define LOCAL                 __local
#define LOCAL_PTR             __local
#define FN                    static
#ifdef LPO_CPU
#define FN_ALONE static __attribute__((noinline))
#else
#define FN_ALONE static
#endif
#define BARRIER         barrier(CLK_LOCAL_MEM_FENCE)
#define GROUP(d)        ((i64)get_group_id(d))
#define GROUPS(d)       ((i64)get_num_groups(d))
#define LANE            ((int)get_local_id(0))
#define LOCAL_ARG       , __local float *lpo_pool
#define LOCAL_POOL(p)   __local float *p = lpo_pool
#define LOAD8(p)        vload8(0, p)
#define STORE8(p, v)    vstore8(v, 0, p)
#define SET8(f)         ((float8)(f))
#define MAD8(f, v, sum) fma((float8)(f), v, sum)
#define FMA8(x, y, sum) fma(x, y, sum)
#define BITS_FLOAT(u)   as_float((uint)(u))
#define FLOAT_BITS(f)   as_uint(f)
#define LPO_TABLE       __constant
typedef long i64;
typedef ulong u64;
typedef uchar uint8_t;
typedef int int32_t;
typedef uint uint32_t;
typedef long int64_t;
typedef ulong uint64_t;
#else
#ifdef __CUDACC_VER_MAJOR__
#define FN                    static __device__ __forceinline__
#define LPO_TABLE             static __device__ const
#define LOCAL                 __shared__
#define KERNEL(threads, name) extern "C" __global__ void __launch_bounds__(threads) name
#define BARRIER               __syncthreads()
#define LPO_AXIS(what, d)     ((d) == 0 ? what.x : (d) == 1 ? what.y : what.z)
#define GROUP(d)              ((i64)LPO_AXIS(blockIdx, d))
#define GROUPS(d)             ((i64)LPO_AXIS(gridDim, d))
#define LANE                  ((int)threadIdx.x)
#else /* clang alone, without CUDA's headers: to see that the source is CUDA */
#define FN        static __attribute__((device)) inline
#define LPO_TABLE static __attribute__((device)) const
#define LOCAL     __attribute__((shared))
#define KERNEL(threads, name)                                                                                \
    extern "C" __attribute__((global)) void __attribute__((launch_bounds(threads))) name
#define BARRIER __syncthreads()
#define GROUP(d)                                                                                             \
    ((i64)((d) == 0   ? __nvvm_read_ptx_sreg_ctaid_x()                                                       \
           : (d) == 1 ? __nvvm_read_ptx_sreg_ctaid_y()                                                       \
                      : __nvvm_read_ptx_sreg_ctaid_z()))
#define GROUPS(d)                                                                                            \
    ((i64)((d) == 0   ? __nvvm_read_ptx_sreg_nctaid_x()                                                      \
           : (d) == 1 ? __nvvm_read_ptx_sreg_nctaid_y()                                                      \
                      : __nvvm_read_ptx_sreg_nctaid_z()))
#define LANE     __nvvm_read_ptx_sreg_tid_x()
#define LPO_MATH __attribute__((device))
extern "C" {
LPO_MATH float expf(float);
LPO_MATH float logf(float);
LPO_MATH float erfcf(float);
LPO_MATH float sqrtf(float);
LPO_MATH float fmaf(float, float, float);
LPO_MATH float fmaxf(float, float);
LPO_MATH double exp(double);
LPO_MATH double log(double);
LPO_MATH double sqrt(double);
LPO_MATH double fma(double, double, double);
}
static LPO_MATH inline float exp(float x) {
    return expf(x);
}
static LPO_MATH inline float erfc(float x) {
    return erfcf(x);
}
static LPO_MATH inline float sqrt(float x) {
    return sqrtf(x);
}
static LPO_MATH inline float fma(float a, float b, float c) {
    return fmaf(a, b, c);
}
static LPO_MATH inline float fmax(float a, float b) {
    return fmaxf(a, b);
}
#endif
#define FN_ALONE FN
#define GLOBAL
#define LOCAL_PTR
#define LOCAL_ARG
#define LOCAL_POOL(p) extern LOCAL float p[]
#ifdef __CUDACC_RTC__ /* has no headers */
typedef unsigned char uint8_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#else
#include <stddef.h>
#include <stdint.h>
#endif
typedef long long i64;
typedef unsigned long long u64;
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
struct float8 {
    float v[8];
};
FN float8 SET8(float f) {
    float8 x;
    for (int i = 0; i < 8; i++) x.v[i] = f;
    return x;
}
FN float8 LOAD8(const float *p) {
    float8 x;
    for (int i = 0; i < 8; i++) x.v[i] = p[i];
    return x;
}
FN void STORE8(float *p, float8 x) {
    for (int i = 0; i < 8; i++) p[i] = x.v[i];
}
FN float8 FMA8(float8 x, float8 y, float8 sum) {
    for (int i = 0; i < 8; i++) sum.v[i] = fma(x.v[i], y.v[i], sum.v[i]);
    return sum;
}
FN float8 MAD8(float f, float8 x, float8 sum) {
    for (int i = 0; i < 8; i++) sum.v[i] = fma(f, x.v[i], sum.v[i]);
    return sum;
}
template <typename To, typename From> FN To lpo_as(From v) {
    union {
        From from;
        To to;
    } u;
    u.from = v;
    return u.to;
}
#define BITS_FLOAT(u) lpo_as<float>((uint)(u))
#define FLOAT_BITS(f) lpo_as<uint>((float)(f))
#endif

/* Of kernels/op.h. */
#define F32  0
#define BF16 1
#define F64  2
#define F16  5

#define LOWEST                                                                                               \
    (-3.402823466e+38f) /* below every score: stands for minus infinity, of which NaNs are made              \
                         */

#define TENSOR(x)    GLOBAL uchar *x##_base, i64 x##_at, int x##_type
#define HAS(x)       (x##_at >= 0)
#define AT(type, x)  ((GLOBAL type *)(x##_base + x##_at))
#define GET(x, i)    lpo_get(x##_base + x##_at, x##_type, i)
#define PUT(x, i, v) lpo_put(x##_base + x##_at, x##_type, i, v)
#define ROUND(x, v)  (x##_type == BF16 ? BITS_FLOAT((uint)lpo_bf16(v) << 16) : (v))

FN ushort lpo_bf16(float f) {
    uint u = FLOAT_BITS(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (ushort)((u >> 16) | 0x40u);
    return (ushort)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
FN float lpo_get(const GLOBAL uchar *p, int type, i64 i) {
    if (type == BF16) return BITS_FLOAT((uint)((const GLOBAL ushort *)p)[i] << 16);
    return ((const GLOBAL float *)p)[i];
}
FN void lpo_put(GLOBAL uchar *p, int type, i64 i, float v) {
    if (type == BF16)
        ((GLOBAL ushort *)p)[i] = lpo_bf16(v);
    else
        ((GLOBAL float *)p)[i] = v;
}
FN i64 lpo_min(i64 a, i64 b) {
    return a < b ? a : b;
}
FN i64 lpo_max(i64 a, i64 b) {
    return a > b ? a : b;
}

/* The sequence that a row lies in: the last that begins at or before it. */
FN i64 lpo_sequence_of(const GLOBAL int *cu, i64 n_seq, i64 row) {
    i64 low = 0, high = n_seq;
    while (high - low > 1) {
        i64 mid = (low + high) / 2;
        if (cu[mid] <= row)
            low = mid;
        else
            high = mid;
    }
    return low;
}

/* The keys that query `row` sees: [to[0], to[1]) of its own sequence and [to[2], to[3]) of the rows it goes
 * on from. Inside 0..rows whatever the tables say; empty for a row past the end. */
FN void lpo_view_of(int *to, const GLOBAL int *cu, const GLOBAL int *prefix, i64 n_seq, i64 row, i64 rows,
                    i64 causal) {
    i64 s = lpo_sequence_of(cu, n_seq, row), a = lpo_max(0, lpo_min(rows, cu[s])),
        b = lpo_max(a, lpo_min(rows, cu[s + 1])), pa = 0, pb = 0;
    if (causal) b = lpo_min(b, row + 1);
    if (prefix) {
        pa = lpo_max(0, lpo_min(rows, prefix[2 * s]));
        pb = lpo_max(pa, lpo_min(rows, pa + prefix[2 * s + 1]));
    }
    if (row >= rows) b = a, pb = pa;
    to[0] = (int)a;
    to[1] = (int)b;
    to[2] = (int)pa;
    to[3] = (int)pb;
}

/* Sum over a group of `threads` items (a power of two); all of them get it. buf: one float an item. */
FN float lpo_group_sum(LOCAL_PTR float *buf, int threads, int lane, float v) {
    buf[lane] = v;
    BARRIER;
    for (int s = threads / 2; s > 0; s /= 2) {
        if (lane < s) buf[lane] += buf[lane + s];
        BARRIER;
    }
    float sum = buf[0];
    BARRIER;
    return sum;
}
FN float lpo_group_max(LOCAL_PTR float *buf, int threads, int lane, float v) {
    buf[lane] = v;
    BARRIER;
    for (int s = threads / 2; s > 0; s /= 2) {
        if (lane < s) buf[lane] = fmax(buf[lane], buf[lane + s]);
        BARRIER;
    }
    float max = buf[0];
    BARRIER;
    return max;
}
FN double lpo_group_sum_f64(LOCAL_PTR double *buf, int threads, int lane, double v) {
    buf[lane] = v;
    BARRIER;
    for (int s = threads / 2; s > 0; s /= 2) {
        if (lane < s) buf[lane] += buf[lane + s];
        BARRIER;
    }
    double sum = buf[0];
    BARRIER;
    return sum;
}
