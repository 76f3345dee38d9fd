/* SPDX-License-Identifier: Apache-2.0 */
/* op.h -- the one table of coarse ops and the one calling form of every kernel.
 * A kernel is `int NAME(const lpo_kcall *)`: all tensors are contiguous, row-major, in the kernel's own
 * memory; outputs come first in `arg`. kernels/ref computes everything in double and rounds at the store
 * (dtype f64, f32, bf16: the truth); kernels/cpu computes in float (dtype f32, bf16). An argument marked ?
 * may be absent (data NULL). `+=` outputs accumulate, all others are overwritten. The result never depends on
 * the number of threads. Tables are checked: ids inside the table, cu[0] = 0, rising, cu[S] = T (sequences
 * may be empty); a call that breaks this returns -1 and has written nothing. Letters: T rows (tokens or
 * patches), K/N in/out features, H model width, V vocabulary, S sequences, R rows out. */
#ifndef LPO_KERNELS_OP_H
#define LPO_KERNELS_OP_H
#include <stddef.h>
#include <stdint.h>

typedef enum lpo_dtype {
    LPO_F32,
    LPO_BF16,
    LPO_F64,
    LPO_I32,
    LPO_U8,
    LPO_F16,
    LPO_I64,
    LPO_N_DTYPES
} lpo_dtype;

/* clang-format off */
/* X(ID, name, n_args, bitmask of outputs, bitmask of args both read and written). Arguments:
 *
 * LINEAR       y[T,N]; x[T,K], w[N,K], b[N]?                     y = x w^T + b
 * LINEAR_DX    dx[T,K]; dy[T,N], w[N,K]                          dx = dy w
 * LINEAR_DW    dw[N,K]+=, db[N]?+=; dy[T,N], x[T,K]              dw += dy^T x, db += column sums of dy (dw, db f32 or f64)
 * NORM         y[T,K], mean[T], rstd[T]; x[T,K], w[K], b[K]?     attrs rms, eps. rms: mean is 0, and x*rstd is rounded to x's
 *                                                                dtype before the weight (HF's order). mean, rstd f32/f64
 * NORM_BWD     dx[T,K], dw[K]?+=, db[K]?+=; dy[T,K], x, w, mean[T], rstd[T]
 * ROPE         y[T,W]; x[T,W], cos[T,d/2], sin[T,d/2]            attrs n_rot heads of d_head at the start of each row are rotated
 *                                                                (rotate_half pairs i, i+d/2), the rest is copied; attr inverse
 *                                                                flips the sine (= backward). y may be x
 * ATTN         o[T,n_q*d], lse[n_q,T]; qkv[T,(n_q+2n_kv)*d], cu[S+1] i32, prefix[S,2] i32?
 *                                                                attrs n_q, n_kv, d_head, scale, causal; even: all sequences
 *                                                                are equally long (a hint; a lie is a bad table). Rows of qkv are
 *                                                                q heads | k heads | v heads. lse f32/f64. prefix (row, n):
 *                                                                before its own keys sequence s attends to rows row.. row+n-1
 *                                                                in full; n 0: none, else they lie within one earlier
 *                                                                sequence. So two continuations of one beginning need its
 *                                                                rows once
 * ATTN_BWD     dqkv; do, qkv, o, lse, cu, prefix?
 * ATTN_CACHED  o[T,n_q*d], cache[slots,max_len,2,n_kv*d] (appended); qkv, cu[S+1], slot[S] i32, past[S] i32
 *                                                                causal; sequence s has past[s] rows in its slot already, its
 *                                                                T_s new k, v rows are written behind them, forward only.
 *                                                                Slots lie end to end and a sequence may run on into those
 *                                                                behind its own, which the caller keeps free: with max_len 1
 *                                                                slot is the row where it begins
 * ACT          y; x                                              attr act. SILU_MUL: x[T,2N] is gate|up, y[T,N] = silu(gate)*up
 * ACT_BWD      dx; dy, x
 * ADD          y; a, b                                           y may be a
 * DROPOUT      y; x                                              attrs value in [0, 1), seed: y = x/(1-value), or 0 where
 *                                                                lpo_dropped(seed, element, value); its own gradient. y may be x
 * EMBED        y[T,H]; table[V,H], ids[T] i32
 * EMBED_BWD    dtable[V,H]+=; dy[T,H], ids[T]
 * ROWMIX       y[R,H]; a[Ra,H], b[Rb,H]?, idx[R,C] i32, w[R,C]? f32
 *                                                                y[r] = sum_c w[r,c] * row(idx[r,c]); rows 0..Ra-1 are a's,
 *                                                                Ra.. are b's, negative = nothing; w absent = 1
 * ROWMIX_BWD   da[Ra,H]?, db[Rb,H]?; dy[R,H], idx, w?            an absent da keeps its shape: db's rows are numbered from Ra
 * LOGPROB      logp[T], lse[T], entropy[T]?, hit[T] i32?; h[T,H], w[V,H], target[T] i32
 *                                                                logp = (h w^T)[target] - lse; hit = the arg-max is the target.
 *                                                                Logits exist in chunks only; attr n_valid > 0: ids >= n_valid
 *                                                                are masked out. Outputs f32/f64. A negative target is a row
 *                                                                not scored: logp 0, no gradient
 * LOGPROB_BWD  dh[T,H], dw[V,H]?+=; dlogp[T], lse, h, w, target
 * ADAMW        p, m, v (all updated), p_low?; g, gnorm2[1] f64?  attrs lr, beta1, beta2, eps, weight_decay, bias1, bias2
 *                                                                (1 - beta^t), g_scale, max_norm (> 0: g scaled by min(1,
 *                                                                max_norm/(sqrt(gnorm2)*g_scale + 1e-6))). p_low = p rounded
 *                                                                (bf16). p f32/f64
 * SQNORM       out[1] f64 +=; x                                  sum of squares, fixed order
 * FILL         y                                                 attr value
 * CAST         y; x                                              between f32, bf16, f64, f16 (alike: a copy); round to
 *                                                                nearest even
 * LEVELS       y[T,K]; x[T,K] u8, value[C,256] f32               what bytes stand for: C equal parts of a row, each with its
 *                                                                own 256 values. y f32
 */
/* clang-format on */
#define LPO_OP_LIST(X)                                                                                       \
    X(LINEAR, "linear", 4, 0x1, 0)                                                                           \
    X(LINEAR_DX, "linear_dx", 3, 0x1, 0)                                                                     \
    X(LINEAR_DW, "linear_dw", 4, 0x3, 0x3)                                                                   \
    X(NORM, "norm", 6, 0x7, 0)                                                                               \
    X(NORM_BWD, "norm_bwd", 8, 0x7, 0x6)                                                                     \
    X(ROPE, "rope", 4, 0x1, 0)                                                                               \
    X(ATTN, "attn", 5, 0x3, 0)                                                                               \
    X(ATTN_BWD, "attn_bwd", 7, 0x1, 0)                                                                       \
    X(ATTN_CACHED, "attn_cached", 6, 0x3, 0x2)                                                               \
    X(ACT, "act", 2, 0x1, 0)                                                                                 \
    X(ACT_BWD, "act_bwd", 3, 0x1, 0)                                                                         \
    X(ADD, "add", 3, 0x1, 0)                                                                                 \
    X(DROPOUT, "dropout", 2, 0x1, 0)                                                                         \
    X(EMBED, "embed", 3, 0x1, 0)                                                                             \
    X(EMBED_BWD, "embed_bwd", 3, 0x1, 0x1)                                                                   \
    X(ROWMIX, "rowmix", 5, 0x1, 0)                                                                           \
    X(ROWMIX_BWD, "rowmix_bwd", 5, 0x3, 0)                                                                   \
    X(LOGPROB, "logprob", 7, 0xf, 0)                                                                         \
    X(LOGPROB_BWD, "logprob_bwd", 7, 0x3, 0x2)                                                               \
    X(ADAMW, "adamw", 6, 0xf, 0x7)                                                                           \
    X(SQNORM, "sqnorm", 2, 0x1, 0x1)                                                                         \
    X(FILL, "fill", 1, 0x1, 0)                                                                               \
    X(CAST, "cast", 2, 0x1, 0)                                                                               \
    X(LEVELS, "levels", 3, 0x1, 0)

typedef enum lpo_op {
#define LPO_X(id, name, n_args, out, inout) LPO_OP_##id,
    LPO_OP_LIST(LPO_X)
#undef LPO_X
        LPO_N_OPS
} lpo_op;

typedef enum lpo_act { LPO_ACT_QUICK_GELU, LPO_ACT_GELU_TANH, LPO_ACT_GELU, LPO_ACT_SILU_MUL } lpo_act;

/* One flat struct: an op reads the fields its line above names. */
typedef struct lpo_attrs {
    int32_t rms, act, inverse, n_rot, n_q, n_kv, d_head, causal, even, n_valid;
    float scale;
    double eps, value;
    double lr, beta1, beta2, weight_decay, bias1, bias2, g_scale, max_norm;
    uint64_t seed;
} lpo_attrs;

enum { LPO_MAX_ARGS = 8, LPO_MAX_DIMS = 4 };

typedef struct lpo_karg {
    void *data;
    int32_t dtype, ndim;
    int64_t shape[LPO_MAX_DIMS];
} lpo_karg;

typedef struct lpo_kcall {
    lpo_karg arg[LPO_MAX_ARGS];
    lpo_attrs attrs;
    void *scratch; /* 64-byte aligned, lpo_*_scratch_bytes() of it, contents undefined */
} lpo_kcall;

typedef int lpo_kernel_fn(const lpo_kcall *c); /* 0, or negative for a dtype/shape it was not built for */
/* Scratch a call needs, from shapes and attrs alone (data may be NULL). */
typedef size_t lpo_scratch_fn(const lpo_kcall *c);

typedef struct lpo_kernel {
    lpo_kernel_fn *run;      /* NULL: this set does not have the op */
    lpo_scratch_fn *scratch; /* NULL: none */
} lpo_kernel;

extern const lpo_kernel lpo_kernels_ref[LPO_N_OPS]; /* kernels/ref/table.c */
extern const lpo_kernel lpo_kernels_cpu[LPO_N_OPS]; /* kernels/cpu/table.c */

static inline size_t lpo_dtype_bytes(int32_t t) {
    static const uint8_t size[LPO_N_DTYPES] = {4, 2, 8, 4, 1, 2, 8};
    return t >= 0 && t < LPO_N_DTYPES ? size[t] : 0;
}
/* Is element i dropped, when a share of all is? By a counter (splitmix64): no state, no mask in memory. */
static inline int lpo_dropped(uint64_t seed, int64_t i, double share) {
    uint64_t z = seed + ((uint64_t)i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53 < share;
}
static inline int64_t lpo_karg_count(const lpo_karg *a) {
    int64_t n = 1;
    for (int i = 0; i < a->ndim; i++) n *= a->shape[i];
    return n;
}
#endif
