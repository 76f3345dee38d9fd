/* SPDX-License-Identifier: Apache-2.0 */
/* kernels_case.h -- one call run through the reference and the fast set and compared.
 * A case is built once with random inputs; every run gets its own copy of all arguments, so in-out arguments
 * start equal. The fast set runs with 1, 2, 3 and 4 threads and must give the same bits each time. Scratch is
 * exactly as large as the kernel asked for, poisoned, and fenced. */
#ifndef LPO_TESTS_KERNELS_CASE_H
#define LPO_TESTS_KERNELS_CASE_H
#include <criterion/criterion.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cpu/cpu.h"
#include "kernels/number.h"
#include "kernels/op.h"

static uint64_t case_state = 88172645463325252u;
static inline double case_uniform(void) { /* xorshift64, in [-1, 1) */
    case_state ^= case_state << 13;
    case_state ^= case_state >> 7;
    case_state ^= case_state << 17;
    return (double)(int64_t)case_state * 0x1p-63;
}

static inline double case_get(const lpo_karg *a, int64_t i) {
    switch (a->dtype) {
    case LPO_F64: return ((double *)a->data)[i];
    case LPO_F32: return (double)((float *)a->data)[i];
    case LPO_BF16: return (double)lpo_bf16_to_f32(((uint16_t *)a->data)[i]);
    case LPO_F16: return (double)lpo_f16_to_f32(((uint16_t *)a->data)[i]);
    case LPO_U8: return (double)((uint8_t *)a->data)[i];
    default: return (double)((int32_t *)a->data)[i];
    }
}
static inline void case_put(const lpo_karg *a, int64_t i, double v) {
    switch (a->dtype) {
    case LPO_F64: ((double *)a->data)[i] = v; break;
    case LPO_F32: ((float *)a->data)[i] = (float)v; break;
    case LPO_BF16: ((uint16_t *)a->data)[i] = lpo_f32_to_bf16((float)v); break;
    case LPO_F16: ((uint16_t *)a->data)[i] = lpo_f32_to_f16((float)v); break;
    case LPO_U8: ((uint8_t *)a->data)[i] = (uint8_t)(128 + 127 * v); break;
    default: ((int32_t *)a->data)[i] = (int32_t)v;
    }
}

static inline size_t case_bytes(const lpo_karg *a) {
    return (size_t)lpo_karg_count(a) * lpo_dtype_bytes(a->dtype);
}

/* A tensor of uniform values in [-scale, scale). */
static inline lpo_karg case_tensor(int32_t dtype, double scale, int ndim, ...) {
    lpo_karg a = {.dtype = dtype, .ndim = ndim};
    va_list ap;
    va_start(ap, ndim);
    for (int i = 0; i < ndim; i++) a.shape[i] = va_arg(ap, int);
    va_end(ap);
    a.data = malloc(case_bytes(&a) + 1);
    for (int64_t i = 0; i < lpo_karg_count(&a); i++) case_put(&a, i, scale * case_uniform());
    return a;
}
static inline lpo_karg case_ints(int n, const int32_t *v) {
    lpo_karg a = {.dtype = LPO_I32, .ndim = 1, .shape = {n}};
    a.data = malloc(case_bytes(&a) + 1);
    memcpy(a.data, v, case_bytes(&a));
    return a;
}
static inline lpo_karg case_ids(int n, int low, int high) { /* [low, high) */
    lpo_karg a = {.dtype = LPO_I32, .ndim = 1, .shape = {n}};
    a.data = malloc(case_bytes(&a) + 1);
    for (int i = 0; i < n; i++)
        ((int32_t *)a.data)[i] = low + (int32_t)((case_uniform() + 1) / 2 * (high - low));
    return a;
}
static inline void case_free(lpo_kcall *c) {
    for (int i = 0; i < LPO_MAX_ARGS; i++) free(c->arg[i].data);
    memset(c, 0, sizeof *c);
}
static inline lpo_kcall case_copy(const lpo_kcall *c) {
    lpo_kcall d = *c;
    for (int i = 0; i < LPO_MAX_ARGS; i++) {
        if (!c->arg[i].data) continue;
        d.arg[i].data = malloc(case_bytes(&c->arg[i]) + 1);
        memcpy(d.arg[i].data, c->arg[i].data, case_bytes(&c->arg[i]));
    }
    return d;
}

static inline int case_run(const lpo_kernel *k, lpo_kcall *c) {
    const size_t size = k->scratch ? k->scratch(c) : 0, fence = 64;
    char *scratch = aligned_alloc(64, (size + fence + 63) / 64 * 64);
    memset(scratch, 0xff, size + fence); /* NaN in every float format */
    c->scratch = scratch;
    int rc = k->run(c);
    for (size_t i = 0; i < fence; i++)
        cr_assert_eq((unsigned char)scratch[size + i], 0xff, "scratch overrun");
    free(scratch);
    c->scratch = NULL;
    return rc;
}

enum { CASE_THREADS = 4 };
static const struct {

    const char *name;
} case_ops[] = {
#define LPO_X(id, name, n, out, inout) {name},
    LPO_OP_LIST(LPO_X)
#undef LPO_X
};

/* The fast set under one instruction set, at 1 to 4 threads, against the reference's results. */
static inline void case_compare_one(lpo_op op, const lpo_kcall *c, const lpo_kcall *ref, double tolerance,
                                    const char *what) {
    lpo_kcall first = {0};
    for (int n = 1; n <= CASE_THREADS; n++) {
        lpo_kcall fast = case_copy(c);
        lpo_kernels_cpu_threads(n);
        cr_assert_eq(case_run(&lpo_kernels_cpu[op], &fast), 0, "%s %s: cpu refuses", case_ops[op].name, what);
        for (int i = 0; i < LPO_MAX_ARGS; i++) {
            const lpo_karg *r = &ref->arg[i], *f = &fast.arg[i];
            if (!r->data) continue;
            if (n > 1) {
                cr_assert(memcmp(f->data, first.arg[i].data, case_bytes(f)) == 0,
                          "%s %s: arg %d differs at %d threads", case_ops[op].name, what, i, n);
                continue;
            }
            for (int64_t j = 0; j < lpo_karg_count(r); j++) {
                const double want = case_get(r, j), got = case_get(f, j);
                if (want == got) continue;
                cr_assert(fabs(got - want) <= tolerance * (1 + fabs(want)),
                          "%s %s: arg %d element %lld: %.9g, not %.9g", case_ops[op].name, what, i,
                          (long long)j, got, want);
            }
        }
        if (n == 1)
            first = fast;
        else
            case_free(&fast);
    }
    case_free(&first);
}

#ifdef CASE_DEVICE
/* The device's results against the reference's, twice: the second run must give the same bits. */
static void case_compare_device(lpo_op op, const lpo_kcall *c, const lpo_kcall *ref, double tolerance,
                                const char *what);
#endif

/* |fast - ref| <= tolerance * (1 + |ref|) for every element of every argument, so that inputs are seen
 * untouched as well; under every instruction set this machine runs; same bits at every thread count. Frees c.
 */
static inline void case_compare(lpo_op op, lpo_kcall *c, double tolerance, const char *what) {
    const lpo_simd *sets[] = {
        &lpo_simd_base,
#if defined __x86_64__
        &lpo_simd_avx2,
        &lpo_simd_avx512,
#endif
    };
    lpo_kcall ref = case_copy(c);
    cr_assert_eq(case_run(&lpo_kernels_ref[op], &ref), 0, "%s %s: ref refuses", case_ops[op].name, what);
#ifdef CASE_DEVICE
    case_compare_device(op, c, &ref, tolerance, what);
    case_free(&ref);
    case_free(c);
    return;
#endif
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (!lpo_simd_runs(sets[i])) continue;
        char with[96];
        snprintf(with, sizeof with, "%s, set %zu", what, i);
        lpo_simd_set(sets[i]);
        case_compare_one(op, c, &ref, tolerance, with);
    }
    lpo_simd_set(NULL);
    case_free(&ref);
    case_free(c);
}
#endif
