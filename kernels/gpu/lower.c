/* SPDX-License-Identifier: Apache-2.0 */
/* lower.c -- the kernel table, and the lowerings of the ops that touch each element once. */
#include "kernels/gpu/lower.h"

#include <math.h>

const lpo_gpu_kernel_form lpo_gpu_kernel_forms[LPO_GPU_N_KERNELS] = {
#define LPO_X(id, file, name, threads, tensors, ints, reals)                                                 \
    [LPO_GPU_##id] = {name, LPO_GPU_FILE_##file, threads, tensors, ints, reals},
    LPO_GPU_KERNELS(LPO_X)
#undef LPO_X
};

enum { SCRATCH_ALIGN = 256, FLAT = 256 };

int lpo_gpu_go(lpo_gpu_call *c, lpo_gpu_launch l) {
    if (l.local_bytes > c->local_bytes) c->local_bytes = l.local_bytes;
    if (!c->emit) return 0;
    for (int d = 0; d < 3; d++)
        if (!l.groups[d]) l.groups[d] = 1;
    return c->emit(c->ctx, &l);
}

lpo_gpu_tensor lpo_gpu_scratch(lpo_gpu_call *c, int32_t dtype, int64_t count) {
    lpo_gpu_tensor t = {c->scratch.buffer, c->scratch.offset_bytes + c->scratch_bytes, dtype};
    size_t bytes = (size_t)count * lpo_dtype_bytes(dtype);
    c->scratch_bytes += (bytes + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
    return t;
}

int lpo_gpu_check_ids(lpo_gpu_call *c, lpo_gpu_tensor ids, int64_t n, int64_t low, int64_t high,
                      lpo_gpu_fault fault) {
    if (n == 0) return 0;
    return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_CHECK_IDS,
                                          .tensor = {c->status, ids},
                                          .n = {n, low, high, fault}});
}

static int add(lpo_gpu_call *c) {
    const lpo_karg *y = &c->k.arg[0], *a = &c->k.arg[1], *b = &c->k.arg[2];
    const int64_t n = lpo_karg_count(y);
    if (!lpo_gpu_float(y) || !lpo_gpu_float(a) || !lpo_gpu_float(b) || !lpo_gpu_vector(a, n) ||
        !lpo_gpu_vector(b, n))
        return -1;
    if (n == 0) return 0;
    return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_ADD,
                                          .groups = {lpo_gpu_groups(n, FLAT)},
                                          .tensor = {lpo_gpu_arg(c, 0), lpo_gpu_arg(c, 1), lpo_gpu_arg(c, 2)},
                                          .n = {n}});
}

static int dropout(lpo_gpu_call *c) {
    const int64_t n = lpo_karg_count(&c->k.arg[0]);
    const double share = c->k.attrs.value;
    if (!lpo_gpu_float(&c->k.arg[0]) || !lpo_gpu_float(&c->k.arg[1]) || !lpo_gpu_vector(&c->k.arg[1], n) ||
        !(share >= 0 && share < 1))
        return -1;
    if (n == 0) return 0;
    return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_DROPOUT,
                                          .groups = {lpo_gpu_groups(n, FLAT)},
                                          .tensor = {lpo_gpu_arg(c, 0), lpo_gpu_arg(c, 1)},
                                          .n = {n, (int64_t)c->k.attrs.seed},
                                          .real = {share}});
}

static int act(lpo_gpu_call *c) {
    const bool bwd = c->op == LPO_OP_ACT_BWD;
    const lpo_karg *out = &c->k.arg[bwd ? 1 : 0], *x = &c->k.arg[bwd ? 2 : 1], *dx = &c->k.arg[0];
    const int act_of = c->k.attrs.act;
    const int64_t n = lpo_karg_count(out), cols = out->ndim == 2 ? out->shape[1] : n;
    if (!lpo_gpu_float(out) || !lpo_gpu_float(x) || !lpo_gpu_float(dx) || act_of < 0 ||
        act_of > LPO_ACT_SILU_MUL)
        return -1;
    if (act_of == LPO_ACT_SILU_MUL ? out->ndim != 2 || !lpo_gpu_matrix(x, out->shape[0], 2 * cols)
                                   : !lpo_gpu_vector(x, n))
        return -1;
    if (bwd && !lpo_gpu_vector(dx, lpo_karg_count(x))) return -1;
    if (n == 0) return 0;
    return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = bwd ? LPO_GPU_ACT_BWD : LPO_GPU_ACT,
                                          .groups = {lpo_gpu_groups(n, FLAT)},
                                          .tensor = {lpo_gpu_arg(c, 0), lpo_gpu_arg(c, 1), lpo_gpu_arg(c, 2)},
                                          .n = {n, cols, act_of}});
}

static int adamw(lpo_gpu_call *c) {
    const lpo_karg *p = &c->k.arg[0], *m = &c->k.arg[1], *v = &c->k.arg[2], *low = &c->k.arg[3],
                   *g = &c->k.arg[4], *norm2 = &c->k.arg[5];
    const lpo_attrs *a = &c->k.attrs;
    const int64_t n = lpo_karg_count(p);
    if (!lpo_gpu_is(p, LPO_F32) || !lpo_gpu_is(m, LPO_F32) || !lpo_gpu_is(v, LPO_F32) ||
        !lpo_gpu_float_or_absent(low) || !lpo_gpu_float(g) || !lpo_gpu_is_or_absent(norm2, LPO_F64))
        return -1;
    if (!lpo_gpu_vector(m, n) || !lpo_gpu_vector(v, n) || !lpo_gpu_vector(low, n) || !lpo_gpu_vector(g, n))
        return -1;
    if (n == 0) return 0;
    return lpo_gpu_go(
        c, (lpo_gpu_launch){.kernel = LPO_GPU_ADAMW,
                            .groups = {lpo_gpu_groups(n, FLAT)},
                            .tensor = {lpo_gpu_arg(c, 0), lpo_gpu_arg(c, 1), lpo_gpu_arg(c, 2),
                                       lpo_gpu_arg(c, 3), lpo_gpu_arg(c, 4), lpo_gpu_arg(c, 5)},
                            .n = {n},
                            .real = {a->beta1, a->beta2, 1 - a->lr * a->weight_decay, a->lr / a->bias1,
                                     1 / sqrt(a->bias2), a->eps, a->g_scale, a->max_norm}});
}

static int sqnorm(lpo_gpu_call *c) {
    enum { PER_GROUP = 4096 }; /* of sqnorm.cl */
    const lpo_karg *out = &c->k.arg[0], *x = &c->k.arg[1];
    const int64_t n = lpo_karg_count(x), parts = (n + PER_GROUP - 1) / PER_GROUP;
    if (!lpo_gpu_is(out, LPO_F64) || lpo_karg_count(out) < 1 || !lpo_gpu_float(x)) return -1;
    if (n == 0) return 0;
    lpo_gpu_tensor part = lpo_gpu_scratch(c, LPO_F64, parts);
    int rc = lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_SQNORM,
                                            .groups = {(uint32_t)parts},
                                            .tensor = {part, lpo_gpu_arg(c, 1)},
                                            .n = {n}});
    return rc ? rc
              : lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_SQNORM_ADD,
                                               .tensor = {lpo_gpu_arg(c, 0), part},
                                               .n = {parts}});
}

static bool is_real(const lpo_karg *a) {
    return lpo_gpu_float(a) || lpo_gpu_is(a, LPO_F64) || lpo_gpu_is(a, LPO_F16);
}

static int fill(lpo_gpu_call *c) {
    const int64_t n = lpo_karg_count(&c->k.arg[0]);
    if (!is_real(&c->k.arg[0])) return -1;
    if (n == 0) return 0;
    return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_FILL,
                                          .groups = {lpo_gpu_groups(n, FLAT)},
                                          .tensor = {lpo_gpu_arg(c, 0)},
                                          .n = {n},
                                          .real = {c->k.attrs.value}});
}

static int cast(lpo_gpu_call *c) {
    const int64_t n = lpo_karg_count(&c->k.arg[0]);
    if (!is_real(&c->k.arg[0]) || !is_real(&c->k.arg[1]) || !lpo_gpu_vector(&c->k.arg[1], n)) return -1;
    if (n == 0) return 0;
    return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_CAST,
                                          .groups = {lpo_gpu_groups(n, FLAT)},
                                          .tensor = {lpo_gpu_arg(c, 0), lpo_gpu_arg(c, 1)},
                                          .n = {n}});
}

static int levels(lpo_gpu_call *c) {
    const lpo_karg *y = &c->k.arg[0], *x = &c->k.arg[1], *value = &c->k.arg[2];
    const int64_t T = y->shape[0], K = y->shape[1], C = value->shape[0], n = T * K;
    if (!lpo_gpu_is(y, LPO_F32) || !lpo_gpu_is(x, LPO_U8) || !lpo_gpu_is(value, LPO_F32) || y->ndim != 2 ||
        !lpo_gpu_matrix(x, T, K) || C < 1 || K % C || !lpo_gpu_matrix(value, C, 256))
        return -1;
    if (n == 0) return 0;
    return lpo_gpu_go(c, (lpo_gpu_launch){.kernel = LPO_GPU_LEVELS,
                                          .groups = {lpo_gpu_groups(n, FLAT)},
                                          .tensor = {lpo_gpu_arg(c, 0), lpo_gpu_arg(c, 1), lpo_gpu_arg(c, 2)},
                                          .n = {n, K, K / C}});
}

int lpo_gpu_lower(lpo_gpu_call *c) {
    static lpo_gpu_lowering *const lowering[LPO_N_OPS] = {
        [LPO_OP_LINEAR] = lpo_gpu_lower_linear,
        [LPO_OP_LINEAR_DX] = lpo_gpu_lower_linear_dx,
        [LPO_OP_LINEAR_DW] = lpo_gpu_lower_linear_dw,
        [LPO_OP_NORM] = lpo_gpu_lower_norm,
        [LPO_OP_NORM_BWD] = lpo_gpu_lower_norm_bwd,
        [LPO_OP_ROPE] = lpo_gpu_lower_rope,
        [LPO_OP_ATTN] = lpo_gpu_lower_attn,
        [LPO_OP_ATTN_BWD] = lpo_gpu_lower_attn_bwd,
        [LPO_OP_ATTN_CACHED] = lpo_gpu_lower_attn_cached,
        [LPO_OP_ACT] = act,
        [LPO_OP_ACT_BWD] = act,
        [LPO_OP_ADD] = add,
        [LPO_OP_DROPOUT] = dropout,
        [LPO_OP_EMBED] = lpo_gpu_lower_embed,
        [LPO_OP_EMBED_BWD] = lpo_gpu_lower_embed_bwd,
        [LPO_OP_ROWMIX] = lpo_gpu_lower_rowmix,
        [LPO_OP_ROWMIX_BWD] = lpo_gpu_lower_rowmix_bwd,
        [LPO_OP_LOGPROB] = lpo_gpu_lower_logprob,
        [LPO_OP_LOGPROB_BWD] = lpo_gpu_lower_logprob_bwd,
        [LPO_OP_ADAMW] = adamw,
        [LPO_OP_SQNORM] = sqnorm,
        [LPO_OP_FILL] = fill,
        [LPO_OP_CAST] = cast,
        [LPO_OP_LEVELS] = levels,
    };
    c->scratch_bytes = 0;
    c->local_bytes = 0;
    if (c->op < 0 || c->op >= LPO_N_OPS || !lowering[c->op]) return -1;
    return lowering[c->op](c);
}
