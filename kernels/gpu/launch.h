/* SPDX-License-Identifier: Apache-2.0 */
/* launch.h -- how an op becomes launches of the dialect's kernels: the same for every driver that runs them.
 * A driver gives lpo_gpu_lower a call and a function that enqueues; it gets back launches in order, each a
 * row of the kernel table with its arguments filled in. Arguments of a kernel, in order: for each tensor its
 * buffer, the byte at which it begins (i64, negative: absent) and its dtype (i32); then integers (i64); then
 * reals (f64); then, where local_bytes is not 0 and the language wants it as an argument, the group's memory.
 * A launch has `groups` groups of the kernel's `threads` items in one dimension. */
#ifndef LPO_KERNELS_GPU_LAUNCH_H
#define LPO_KERNELS_GPU_LAUNCH_H
#include "kernels/op.h"

/* X(ID, file, name, threads, tensors, integers, reals) */
#define LPO_GPU_KERNELS(X)                                                                                   \
    X(ADD, add, "lpo_add", 256, 3, 1, 0)                                                                     \
    X(DROPOUT, dropout, "lpo_dropout", 256, 2, 2, 1)                                                         \
    X(ACT, act, "lpo_act", 256, 2, 3, 0)                                                                     \
    X(ACT_BWD, act, "lpo_act_bwd", 256, 3, 3, 0)                                                             \
    X(ROPE, rope, "lpo_rope", 256, 4, 5, 0)                                                                  \
    X(NORM, norm, "lpo_norm", 64, 6, 2, 1)                                                                   \
    X(NORM_BWD, norm, "lpo_norm_bwd", 64, 6, 2, 0)                                                           \
    X(NORM_BWD_COLUMNS, norm, "lpo_norm_bwd_columns", 64, 5, 2, 0)                                           \
    X(COLUMNS, norm, "lpo_columns", 64, 2, 2, 0)                                                             \
    X(COLUMNS_ADD, norm, "lpo_columns_add", 64, 2, 2, 0)                                                     \
    X(EMBED, embed, "lpo_embed", 64, 3, 2, 0)                                                                \
    X(EMBED_BWD, embed, "lpo_embed_bwd", 64, 3, 3, 0)                                                        \
    X(ROWMIX, rowmix, "lpo_rowmix", 64, 5, 4, 0)                                                             \
    X(ROWMIX_BWD, rowmix, "lpo_rowmix_bwd", 64, 4, 4, 0)                                                     \
    X(ADAMW, adamw, "lpo_adamw", 256, 6, 1, 8)                                                               \
    X(SQNORM, sqnorm, "lpo_sqnorm", 64, 2, 1, 0)                                                             \
    X(SQNORM_ADD, sqnorm, "lpo_sqnorm_add", 64, 2, 1, 0)                                                     \
    X(FILL, cast, "lpo_fill", 256, 1, 1, 1)                                                                  \
    X(CAST, cast, "lpo_cast", 256, 2, 1, 0)                                                                  \
    X(LEVELS, cast, "lpo_levels", 256, 3, 3, 0)                                                              \
    X(SPLIT, cast, "lpo_split", 256, 4, 1, 0)                                                                \
    X(CHECK_IDS, check, "lpo_check_ids", 64, 2, 4, 0)                                                        \
    X(CHECK_CU, check, "lpo_check_cu", 64, 2, 4, 0)                                                          \
    X(CHECK_PREFIX, check, "lpo_check_prefix", 64, 3, 2, 0)                                                  \
    X(CHECK_SLOTS, check, "lpo_check_slots", 64, 4, 4, 0)                                                    \
    X(GEMM, gemm, "lpo_gemm", 64, 4, 12, 0)                                                                  \
    X(FEW, few, "lpo_few", 64, 4, 3, 0)                                                                      \
    X(LOGPROB_CHUNK, logprob, "lpo_logprob_chunk", 64, 3, 2, 0)                                              \
    X(LOGPROB_JOIN, logprob, "lpo_logprob_join", 64, 6, 2, 0)                                                \
    X(LOGPROB_GRAD, logprob, "lpo_logprob_grad", 256, 5, 4, 0)                                               \
    X(ATTN, attn, "lpo_attn", 64, 5, 6, 1)                                                                   \
    X(ATTN_DELTA, attn, "lpo_attn_delta", 64, 3, 3, 0)                                                       \
    X(ATTN_DQ, attn, "lpo_attn_dq", 64, 7, 6, 1)                                                             \
    X(ATTN_DKV, attn, "lpo_attn_dkv", 64, 7, 6, 1)                                                           \
    X(SCORES_SOFTMAX, scores, "lpo_scores_softmax", 64, 5, 7, 1)                                             \
    X(SCORES_GRAD, scores, "lpo_scores_grad", 64, 8, 7, 1)                                                   \
    X(SCORES_PUT, scores, "lpo_scores_put", 64, 2, 3, 0)                                                     \
    X(ATTN_APPEND, attn_cached, "lpo_attn_append", 64, 5, 6, 0)                                              \
    X(ATTN_CACHED, attn_cached, "lpo_attn_cached", 64, 6, 6, 1)                                              \
    X(PREP_RGB, preprocess, "lpo_prep_rgb", 64, 2, 8, 0)                                                     \
    X(PREP_HORZ, preprocess, "lpo_prep_horz", 64, 5, 3, 0)                                                   \
    X(PREP_VERT, preprocess, "lpo_prep_vert", 64, 5, 2, 0)                                                   \
    X(PREP_FINISH, preprocess, "lpo_prep_finish", 64, 2, 6, 0)                                               \
    X(REDUCE_PAIRS, reduce, "lpo_reduce_pairs", 64, 6, 4, 3)                                                 \
    X(REDUCE_BATCH, reduce, "lpo_reduce_batch", 64, 2, 1, 0)

typedef enum lpo_gpu_kernel {
#define LPO_X(id, file, name, threads, tensors, ints, reals) LPO_GPU_##id,
    LPO_GPU_KERNELS(LPO_X)
#undef LPO_X
        LPO_GPU_N_KERNELS
} lpo_gpu_kernel;

/* X(file): one program each, dialect.h in front. */
#define LPO_GPU_FILES(X)                                                                                     \
    X(add)                                                                                                   \
    X(act)                                                                                                   \
    X(dropout)                                                                                               \
    X(rope)                                                                                                  \
    X(norm)                                                                                                  \
    X(embed)                                                                                                 \
    X(rowmix)                                                                                                \
    X(adamw)                                                                                                 \
    X(sqnorm)                                                                                                \
    X(cast)                                                                                                  \
    X(check)                                                                                                 \
    X(gemm)                                                                                                  \
    X(few)                                                                                                   \
    X(logprob)                                                                                               \
    X(attn)                                                                                                  \
    X(scores)                                                                                                \
    X(attn_cached)                                                                                           \
    X(preprocess)                                                                                            \
    X(reduce)

typedef enum lpo_gpu_file {
#define LPO_X(file) LPO_GPU_FILE_##file,
    LPO_GPU_FILES(LPO_X)
#undef LPO_X
        LPO_GPU_N_FILES
} lpo_gpu_file;

enum { LPO_GPU_MAX_TENSORS = 8, LPO_GPU_MAX_INTS = 12, LPO_GPU_MAX_REALS = 8 };

typedef struct lpo_gpu_kernel_form {
    const char *name;
    int file, threads, n_tensors, n_ints, n_reals;
} lpo_gpu_kernel_form;

typedef struct lpo_gpu_source {
    const char *name; /* "attn" */
    const char *text;
    size_t size_bytes;
} lpo_gpu_source;

extern const lpo_gpu_kernel_form lpo_gpu_kernel_forms[LPO_GPU_N_KERNELS];
extern const lpo_gpu_source lpo_gpu_dialect, lpo_gpu_sources[LPO_GPU_N_FILES]; /* embedded by the build */

typedef struct lpo_gpu_tensor {
    void *buffer; /* the driver's own handle; NULL: absent */
    size_t offset_bytes;
    int32_t dtype;
} lpo_gpu_tensor;

typedef struct lpo_gpu_launch {
    lpo_gpu_kernel kernel;
    uint32_t groups[3]; /* 0: 1 */
    uint32_t local_bytes;
    lpo_gpu_tensor tensor[LPO_GPU_MAX_TENSORS];
    int64_t n[LPO_GPU_MAX_INTS];
    double real[LPO_GPU_MAX_REALS];
} lpo_gpu_launch;

/* What a table that failed its check on the device was. Written to `status` (one i32, 0 before). */
typedef enum lpo_gpu_fault {
    LPO_GPU_FAULT_NONE,
    LPO_GPU_FAULT_IDS,
    LPO_GPU_FAULT_CU,
    LPO_GPU_FAULT_SLOTS,
    LPO_GPU_FAULT_TARGET,
    LPO_GPU_FAULT_ROWS,
    LPO_GPU_FAULT_PREFIX
} lpo_gpu_fault;

/* Whether the device's products leave its other arithmetic far behind. Then attention over few long sequences
 * is computed by whole products, and a gradient of logits is rounded to the weights' type so that its
 * products are of one type. Always, and in small pieces, is for tests. */
typedef enum lpo_gpu_products {
    LPO_GPU_PRODUCTS_NEVER,
    LPO_GPU_PRODUCTS_WHERE_LONG,
    LPO_GPU_PRODUCTS_ALWAYS
} lpo_gpu_products;

typedef struct lpo_gpu_call {
    lpo_op op;
    lpo_kcall k; /* data: the driver's handle of the buffer, NULL: absent; scratch: unused */
    size_t offset_bytes[LPO_MAX_ARGS];
    lpo_gpu_tensor scratch, status;
    lpo_gpu_products products;
    int (*emit)(void *ctx, const lpo_gpu_launch *l); /* negative stops; NULL: check only */
    void *ctx;
    size_t scratch_bytes; /* out: what the call needs, also when only checked */
    uint32_t local_bytes; /* out: the largest of any launch, static arrays not counted */
} lpo_gpu_call;

/* 0, or negative: the dialect has no kernel for these dtypes or shapes (nothing was emitted), or emit's own.
 */
int lpo_gpu_lower(lpo_gpu_call *c);
#endif
