/* SPDX-License-Identifier: Apache-2.0 */
/* kernels_gradient.c -- the reference's backward kernels are the derivatives of its forward kernels.
 * In f64: L = sum(r * y) for a random r, dL/dx by central differences with step 1e-5, whose own error is near
 * step^2 + 1e-16/step = 1e-10 for functions of size 1: 1e-7 leaves room for third derivatives. */
#include "kernels_case.h"

static const double STEP = 1e-5, TOLERANCE = 1e-7;

/* Calls share tensors here, so every tensor is released once, by address, when the test ends. */
static void *owned[256];
static int n_owned;
static lpo_karg own(lpo_karg a) {
    cr_assert_lt(n_owned, 256);
    return owned[n_owned++] = a.data, a;
}
static void release(void) {
    while (n_owned) free(owned[--n_owned]);
}
TestSuite(kernels_gradient, .fini = release);

/* L of a forward call whose first argument is y. */
static double loss(lpo_op op, lpo_kcall *c, const lpo_karg *r) {
    cr_assert_eq(case_run(&lpo_kernels_ref[op], c), 0);
    double sum = 0;
    for (int64_t i = 0; i < lpo_karg_count(r); i++) sum += case_get(r, i) * case_get(&c->arg[0], i);
    return sum;
}

/* got (holding `before` beforehand) grew by, or is, dL/d arg[which]. */
static void check(lpo_op op, lpo_kcall *c, int which, const lpo_karg *r, const lpo_karg *got, double before) {
    for (int64_t i = 0; i < lpo_karg_count(&c->arg[which]); i++) {
        const double x = case_get(&c->arg[which], i);
        case_put(&c->arg[which], i, x + STEP);
        const double above = loss(op, c, r);
        case_put(&c->arg[which], i, x - STEP);
        const double below = loss(op, c, r);
        case_put(&c->arg[which], i, x);
        const double want = (above - below) / (2 * STEP), have = case_get(got, i) - before;
        cr_assert(fabs(want - have) <= TOLERANCE * (1 + fabs(want)), "%s: d arg %d [%lld] is %.9g, not %.9g",
                  case_ops[op].name, which, (long long)i, have, want);
    }
}

static lpo_karg real(double scale, int rows, int cols) {
    return own(case_tensor(LPO_F64, scale, 2, rows, cols));
}
static lpo_karg list(double scale, int n) {
    return own(case_tensor(LPO_F64, scale, 1, n));
}
static lpo_karg filled(lpo_karg a, double v) {
    for (int64_t i = 0; i < lpo_karg_count(&a); i++) case_put(&a, i, v);
    return a;
}

static lpo_karg copy_of(const lpo_karg *a) { /* what a forward call saved: later calls overwrite it */
    lpo_karg b = own(case_tensor(a->dtype, 0, 1, (int)lpo_karg_count(a)));
    memcpy(b.data, a->data, case_bytes(a));
    void *data = b.data;
    b = *a;
    b.data = data;
    return b;
}

static void backward(lpo_op op, lpo_kcall *c) {
    cr_assert_eq(case_run(&lpo_kernels_ref[op], c), 0);
}

Test(kernels_gradient, linear) {
    lpo_kcall f = {.arg = {real(1, 3, 5), real(1, 3, 4), real(1, 5, 4), list(1, 5)}};
    const lpo_karg r = real(1, 3, 5);
    lpo_kcall dx = {.arg = {real(1, 3, 4), r, f.arg[2]}};
    lpo_kcall dw = {.arg = {filled(real(1, 5, 4), 7), filled(list(1, 5), 7), r, f.arg[1]}};
    backward(LPO_OP_LINEAR_DX, &dx);
    backward(LPO_OP_LINEAR_DW, &dw);
    check(LPO_OP_LINEAR, &f, 1, &r, &dx.arg[0], 0);
    check(LPO_OP_LINEAR, &f, 2, &r, &dw.arg[0], 7);
    check(LPO_OP_LINEAR, &f, 3, &r, &dw.arg[1], 7);
}

Test(kernels_gradient, norm) {
    for (int rms = 0; rms < 2; rms++) {
        lpo_kcall f = {.arg = {real(1, 3, 6), list(1, 3), list(1, 3), real(1, 3, 6), list(1, 6), list(1, 6)},
                       .attrs = {.rms = rms, .eps = 1e-2}};
        const lpo_karg r = real(1, 3, 6);
        loss(LPO_OP_NORM, &f, &r);
        lpo_kcall b = {.arg = {real(1, 3, 6), filled(list(1, 6), 3), filled(list(1, 6), 3), r, f.arg[3],
                               f.arg[4], copy_of(&f.arg[1]), copy_of(&f.arg[2])},
                       .attrs = f.attrs};
        backward(LPO_OP_NORM_BWD, &b);
        check(LPO_OP_NORM, &f, 3, &r, &b.arg[0], 0);
        check(LPO_OP_NORM, &f, 4, &r, &b.arg[1], 3);
        check(LPO_OP_NORM, &f, 5, &r, &b.arg[2], 3);
    }
}

/* The inverse rotation is the transpose, and so the gradient, for any table. */
Test(kernels_gradient, rope) {
    lpo_kcall f = {.arg = {real(1, 3, 12), real(1, 3, 12), real(1, 3, 2), real(1, 3, 2)},
                   .attrs = {.n_rot = 2, .d_head = 4}};
    const lpo_karg r = real(1, 3, 12);
    lpo_kcall b = {.arg = {real(1, 3, 12), r, f.arg[2], f.arg[3]}, .attrs = f.attrs};
    b.attrs.inverse = 1;
    backward(LPO_OP_ROPE, &b);
    check(LPO_OP_ROPE, &f, 1, &r, &b.arg[0], 0);
}

Test(kernels_gradient, attn) {
    const int32_t cu[] = {0, 4, 4, 5, 8};
    for (int causal = 0; causal < 2; causal++) {
        lpo_kcall f = {.arg = {real(1, 8, 12), real(1, 4, 8), real(1, 8, 24), own(case_ints(5, cu))},
                       .attrs = {.n_q = 4, .n_kv = 2, .d_head = 3, .scale = 0.7f, .causal = causal}};
        const lpo_karg r = real(1, 8, 12);
        loss(LPO_OP_ATTN, &f, &r);
        lpo_kcall b = {.arg = {real(1, 8, 24), r, f.arg[2], copy_of(&f.arg[0]), copy_of(&f.arg[1]), f.arg[3]},
                       .attrs = f.attrs};
        backward(LPO_OP_ATTN_BWD, &b);
        check(LPO_OP_ATTN, &f, 2, &r, &b.arg[0], 0);
    }
}

Test(kernels_gradient, act) {
    for (int act = 0; act <= LPO_ACT_SILU_MUL; act++) {
        const int width = act == LPO_ACT_SILU_MUL ? 14 : 7;
        lpo_kcall f = {.arg = {real(1, 4, 7), real(3, 4, width)}, .attrs = {.act = act}};
        const lpo_karg r = real(1, 4, 7);
        lpo_kcall b = {.arg = {real(1, 4, width), r, f.arg[1]}, .attrs = f.attrs};
        backward(LPO_OP_ACT_BWD, &b);
        check(LPO_OP_ACT, &f, 1, &r, &b.arg[0], 0);
    }
}

Test(kernels_gradient, embed_and_rowmix) {
    lpo_kcall f = {.arg = {real(1, 9, 3), real(1, 5, 3), own(case_ids(9, 0, 5))}};
    const lpo_karg r = real(1, 9, 3);
    lpo_kcall b = {.arg = {filled(real(1, 5, 3), 2), r, f.arg[2]}};
    backward(LPO_OP_EMBED_BWD, &b);
    check(LPO_OP_EMBED, &f, 1, &r, &b.arg[0], 2);

    lpo_karg idx = own(case_ids(18, -2, 9));
    idx.ndim = 2;
    idx.shape[0] = 9;
    idx.shape[1] = 2;
    lpo_kcall m = {.arg = {real(1, 9, 3), real(1, 5, 3), real(1, 4, 3), idx, real(1, 9, 2)}};
    lpo_kcall n = {.arg = {real(1, 5, 3), real(1, 4, 3), r, idx, m.arg[4]}};
    backward(LPO_OP_ROWMIX_BWD, &n);
    check(LPO_OP_ROWMIX, &m, 1, &r, &n.arg[0], 0);
    check(LPO_OP_ROWMIX, &m, 2, &r, &n.arg[1], 0);
}

/* Masked ids and unscored rows included. */
Test(kernels_gradient, logprob) {
    const int32_t goal[] = {0, 6, -100, 3};
    lpo_kcall f = {
        .arg = {list(1, 4), list(1, 4), {0}, {0}, real(1, 4, 3), real(1, 9, 3), own(case_ints(4, goal))},
        .attrs = {.n_valid = 7}};
    const lpo_karg r = list(1, 4);
    loss(LPO_OP_LOGPROB, &f, &r);
    lpo_kcall b = {
        .arg = {real(1, 4, 3), filled(real(1, 9, 3), 1), r, copy_of(&f.arg[1]), f.arg[4], f.arg[5], f.arg[6]},
        .attrs = f.attrs};
    backward(LPO_OP_LOGPROB_BWD, &b);
    check(LPO_OP_LOGPROB, &f, 4, &r, &b.arg[0], 0);
    check(LPO_OP_LOGPROB, &f, 5, &r, &b.arg[1], 1);
}
