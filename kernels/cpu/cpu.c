/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.c -- the thread count, the instruction set, and the checks of index tables. */
#include "kernels/cpu/cpu.h"

#include <omp.h>
#include <stdatomic.h>

static atomic_int n_threads;

void lpo_kernels_cpu_threads(int n) {
    atomic_store(&n_threads, n > 0 ? n : omp_get_max_threads());
}

int lpo_cpu_threads(void) {
    int n = atomic_load(&n_threads);
    if (n) return n;
    int expected = 0;
    atomic_compare_exchange_strong(&n_threads, &expected, omp_get_max_threads());
    return atomic_load(&n_threads);
}

static _Atomic(const lpo_simd *) chosen;

bool lpo_simd_runs(const lpo_simd *s) {
#if defined __x86_64__
    if (s == &lpo_simd_avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("fma");
    if (s == &lpo_simd_avx2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __builtin_cpu_supports("f16c");
#endif
    return s == &lpo_simd_base;
}

void lpo_simd_set(const lpo_simd *s) {
    atomic_store(&chosen, s);
}

const lpo_simd *lpo_simd_get(void) {
    const lpo_simd *s = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (s) return s;
    s = &lpo_simd_base;
#if defined __x86_64__
    if (lpo_simd_runs(&lpo_simd_avx2)) s = &lpo_simd_avx2;
    if (lpo_simd_runs(&lpo_simd_avx512)) s = &lpo_simd_avx512;
#endif
    atomic_store(&chosen, s);
    return s;
}

bool lpo_cpu_cu_ok(const lpo_karg *cu, int64_t T) {
    if (!lpo_is_i32(cu) || cu->shape[0] < 1) return false;
    const int32_t *p = cu->data;
    const int64_t S = cu->shape[0] - 1;
    for (int64_t s = 0; s < S; s++)
        if (p[s] > p[s + 1]) return false;
    return p[0] == 0 && p[S] == T;
}

bool lpo_cpu_ids_ok(const lpo_karg *ids, int64_t n, int64_t low, int64_t high) {
    if (!lpo_is_i32(ids) || lpo_karg_count(ids) != n) return false;
    const int32_t *p = ids->data;
    for (int64_t i = 0; i < n; i++)
        if (p[i] < low || p[i] >= high) return false;
    return true;
}
