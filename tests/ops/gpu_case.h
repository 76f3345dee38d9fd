/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_case.h -- the kernels' own tests, run on a GPU instead of the CPU set: the same cases and the same
 * tolerances. Include it in place of kernels_case.h, then the test file. LPO_TEST_GPU names the device:
 * opencl (when not set) or cuda, which may be a real one or, through the search path that ctest sets, the
 * stand-in of tests/cuda_shim. Skips aloud without a device. */
#ifndef LPO_TESTS_GPU_CASE_H
#define LPO_TESTS_GPU_CASE_H
#define CASE_DEVICE
#include "../unit/kernels_case.h"
#include "device/gpu/gpu.h"
#include "gpu_open.h"

static void case_close(void);

static lpo_device *case_open;
static lpo_device *case_device(void) {
    if (case_open) return case_open;
    case_open = gpu_open();
#ifdef CASE_PRODUCTS
    ((lpo_gpu_device *)case_open)->products = CASE_PRODUCTS;
#endif
    atexit(case_close);
    return case_open;
}

static void case_close(void) {
    lpo_device_driver(case_open)->close(case_open);
}

/* All arguments end to end in one buffer, 256 bytes apart, so that every kernel sees offsets. */
static void case_run_device(lpo_op op, lpo_kcall *c, const char *what) {
    lpo_device *d = case_device();
    const lpo_driver *v = gpu_driver();
    lpo_error e = {0};
    lpo_step s = {.op = op, .attrs = c->attrs};
    size_t used = 256;
    lpo_buffer *b;
    for (int i = 0; i < LPO_MAX_ARGS; i++) {
        const lpo_karg *a = &c->arg[i];
        s.arg[i] = (lpo_dtensor){.offset_bytes = used, .dtype = a->dtype, .ndim = a->ndim};
        memcpy(s.arg[i].shape, a->shape, sizeof a->shape);
        if (a->data) used += (case_bytes(a) + 511) / 256 * 256;
    }
    cr_assert_eq(v->alloc(&b, d, used, &e), LPO_OK, "%s", e.msg);
    for (int i = 0; i < LPO_MAX_ARGS; i++) {
        const lpo_karg *a = &c->arg[i];
        if (!a->data) continue;
        s.arg[i].buffer = b;
        cr_assert_eq(v->upload(b, s.arg[i].offset_bytes, a->data, case_bytes(a), &e), LPO_OK, "%s", e.msg);
    }
    cr_assert(v->supports(d, &s), "%s %s: %s refuses", case_ops[op].name, what, v->name);
    cr_assert_eq(v->submit(d, &s, &e), LPO_OK, "%s", e.msg);
    cr_assert_eq(v->wait(d, &e), LPO_OK, "%s", e.msg);
    for (int i = 0; i < LPO_MAX_ARGS; i++) {
        const lpo_karg *a = &c->arg[i];
        if (a->data)
            cr_assert_eq(v->download(a->data, b, s.arg[i].offset_bytes, case_bytes(a), &e), LPO_OK, "%s",
                         e.msg);
    }
    v->release(b);
}

static void case_compare_device(lpo_op op, const lpo_kcall *c, const lpo_kcall *ref, double tolerance,
                                const char *what) {
    lpo_kcall one = case_copy(c), two = case_copy(c);
    case_run_device(op, &one, what);
    case_run_device(op, &two, what);
    for (int i = 0; i < LPO_MAX_ARGS; i++) {
        const lpo_karg *r = &ref->arg[i], *f = &one.arg[i];
        if (!r->data) continue;
        cr_assert(memcmp(f->data, two.arg[i].data, case_bytes(f)) == 0, "%s %s: arg %d: two runs, other bits",
                  case_ops[op].name, what, i);
        for (int64_t j = 0; j < lpo_karg_count(r); j++) {
            const double want = case_get(r, j), got = case_get(f, j);
            if (want == got) continue;
            cr_assert(fabs(got - want) <= tolerance * (1 + fabs(want)),
                      "%s %s: arg %d element %lld: %.9g, not %.9g", case_ops[op].name, what, i, (long long)j,
                      got, want);
        }
    }
    case_free(&one);
    case_free(&two);
}
#endif
