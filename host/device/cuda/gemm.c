/* SPDX-License-Identifier: Apache-2.0 */
/* gemm.c -- a LPO_GPU_GEMM launch as a cuBLASLt product. Ours is row-major with any strides, cuBLASLt's is
 * column-major, so it is told the transposed product: C^T = B^T A^T. The algorithm is asked for once per form
 * (sizes, strides, types, alignment) and kept, so two runs of a process use the same one and, the heuristic
 * being a table, so do two processes; split sums go through the workspace in f32, never through C's type.
 * f32 operands are computed strictly: no TF32, no emulation. */
#include "device/cuda/api.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { N_PLANS = 1024 };

/* What an algorithm was chosen for. All of one type, so that it compares and hashes as bytes. */
typedef struct form {
    int64_t rows, cols, depth;             /* of C^T: n, m, k */
    int64_t trans_a, trans_b, ld_a, ld_b;  /* a is our B, b is our A */
    int64_t ld_c, type_ab, type_c;         /* cuBLASLt's types */
    int64_t bias, add;                     /* present */
    int64_t batch, from_a, from_b, from_c; /* how many; elements from one matrix to the next */
    int64_t align_a, align_b, align_c, align_bias;
} form;

typedef struct plan {
    form form;
    bool made, refused;
    cublas_product product;
    cublas_layout a, b, c;
    cublas_algo algo;
} plan;

struct cuda_gemm {
    const cublas_api *lt;
    cublas_handle handle;
    plan plan[N_PLANS]; /* by hash of the form; a later form in the same place takes it */
};

cuda_gemm *cuda_gemm_create(const cuda_set *set) {
    if (!set->lt_name[0]) return NULL;
    cuda_gemm *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    g->lt = &set->lt;
    if (g->lt->Create(&g->handle)) {
        free(g);
        return NULL;
    }
    return g;
}

static void plan_clear(const cublas_api *lt, plan *p) {
    if (p->product) lt->ProductDestroy(p->product);
    if (p->a) lt->LayoutDestroy(p->a);
    if (p->b) lt->LayoutDestroy(p->b);
    if (p->c) lt->LayoutDestroy(p->c);
    memset(p, 0, sizeof *p);
}

void cuda_gemm_destroy(cuda_gemm *g) {
    if (!g) return;
    for (int i = 0; i < N_PLANS; i++) plan_clear(g->lt, &g->plan[i]);
    g->lt->Destroy(g->handle);
    free(g);
}

static int64_t type_of(int32_t dtype) {
    return dtype == LPO_F32 ? CUBLAS_REAL_32F : dtype == LPO_BF16 ? CUBLAS_REAL_16BF : -1;
}

static int64_t alignment(cuda_ptr p) {
    const cuda_ptr lowest = p & (~p + 1);
    return lowest == 0 || lowest > 256 ? 256 : (int64_t)lowest;
}

/* A matrix of rows x cols whose element (r, c) lies at r*row + c*col, column-major for cuBLASLt: as it is or
 * transposed. False: neither. Where a dimension is 1 its stride is nobody's, but the other's must hold it. */
static bool layout(int64_t *trans, int64_t *ld, int64_t rows, int64_t cols, int64_t row, int64_t col) {
    *trans = !((row == 1 || rows == 1) && (col >= rows || cols == 1));
    if (*trans && !((col == 1 || cols == 1) && (row >= cols || rows == 1))) return false;
    const int64_t stored = *trans ? cols : rows, step = *trans ? row : col;
    *ld = step > stored ? step : stored;
    return true;
}

static bool form_of(form *f, const lpo_gpu_launch *l, const cuda_ptr at[4]) {
    const lpo_gpu_tensor *c = &l->tensor[0], *a = &l->tensor[1], *b = &l->tensor[2], *bias = &l->tensor[3];
    const int64_t m = l->n[0], n = l->n[1], k = l->n[2];
    *f = (form){.rows = n,
                .cols = m,
                .depth = k,
                .ld_c = l->n[7] > n ? l->n[7] : n,
                .type_ab = type_of(a->dtype),
                .type_c = type_of(c->dtype),
                .bias = bias->buffer != NULL,
                .add = l->n[8] != 0,
                .batch = l->groups[2] > 1 ? l->groups[2] : 1,
                .from_a = l->n[10],
                .from_b = l->n[9],
                .from_c = l->n[11],
                .align_a = alignment(at[2] | (cuda_ptr)l->n[10] * lpo_dtype_bytes(b->dtype)),
                .align_b = alignment(at[1] | (cuda_ptr)l->n[9] * lpo_dtype_bytes(a->dtype)),
                .align_c = alignment(at[0] | (cuda_ptr)l->n[11] * lpo_dtype_bytes(c->dtype)),
                .align_bias = bias->buffer ? alignment(at[3]) : 256};
    if (m < 1 || n < 1 || k < 1 || (l->n[7] < n && m > 1)) return false;
    if (f->type_ab < 0 || f->type_c < 0 || a->dtype != b->dtype ||
        (bias->buffer && bias->dtype != c->dtype) || (a->dtype == LPO_F32 && c->dtype != LPO_F32))
        return false;
    return layout(&f->trans_a, &f->ld_a, n, k, l->n[6], l->n[5]) &&
           layout(&f->trans_b, &f->ld_b, k, m, l->n[4], l->n[3]);
}

static int product_set(const cublas_api *lt, cublas_product p, int what, int32_t v) {
    return lt->ProductSet(p, what, &v, sizeof v);
}

/* 0, or why cuBLASLt has no algorithm. means: the arithmetic it may use; 0: any. */
static int choose(cuda_gemm *g, plan *p, uint64_t means) {
    const cublas_api *lt = g->lt;
    const form *f = &p->form;
    const uint64_t workspace = CUDA_GEMM_WORKSPACE;
    const uint32_t reduction = CUBLAS_REDUCTION_COMPUTE_TYPE;
    const uint32_t align[] = {(uint32_t)f->align_a, (uint32_t)f->align_b, (uint32_t)f->align_c,
                              (uint32_t)f->align_c};
    cublas_preference pref;
    cublas_choice choice;
    int n = 0, rc = lt->PreferenceCreate(&pref);
    if (rc) return rc;
    rc = lt->PreferenceSet(pref, CUBLAS_PREFER_WORKSPACE, &workspace, sizeof workspace);
    if (!rc) rc = lt->PreferenceSet(pref, CUBLAS_PREFER_REDUCTION, &reduction, sizeof reduction);
    for (int i = 0; i < 4 && !rc; i++)
        rc = lt->PreferenceSet(pref, CUBLAS_PREFER_ALIGN_A + i, &align[i], sizeof align[i]);
    if (!rc && means) rc = lt->PreferenceSet(pref, CUBLAS_PREFER_MEANS, &means, sizeof means);
    if (!rc) rc = lt->Heuristic(g->handle, p->product, p->a, p->b, p->c, p->c, pref, 1, &choice, &n);
    if (!rc && (n < 1 || choice.state || choice.workspace_bytes > CUDA_GEMM_WORKSPACE)) rc = -1;
    if (!rc) p->algo = choice.algo;
    lt->PreferenceDestroy(pref);
    return rc;
}

static int set_batch(const cublas_api *lt, cublas_layout l, int64_t batch, int64_t from) {
    const int32_t n = (int32_t)batch;
    if (batch == 1) return 0;
    const int rc = lt->LayoutSet(l, CUBLAS_LAYOUT_BATCH, &n, sizeof n);
    return rc ? rc : lt->LayoutSet(l, CUBLAS_LAYOUT_FROM, &from, sizeof from);
}

static int set_bias(const cublas_api *lt, plan *p, cuda_ptr bias) {
    return p->form.bias ? lt->ProductSet(p->product, CUBLAS_PRODUCT_BIAS, &bias, sizeof bias) : 0;
}

static void make(cuda_gemm *g, plan *p, const form *f, cuda_ptr bias) {
    const cublas_api *lt = g->lt;
    plan_clear(lt, p);
    p->form = *f;
    p->made = true;
    int rc = lt->ProductCreate(
        &p->product, f->type_ab == CUBLAS_REAL_32F ? CUBLAS_IN_32F_STRICT : CUBLAS_IN_32F, CUBLAS_REAL_32F);
    if (!rc) rc = product_set(lt, p->product, CUBLAS_PRODUCT_TRANS_A, (int32_t)f->trans_a);
    if (!rc) rc = product_set(lt, p->product, CUBLAS_PRODUCT_TRANS_B, (int32_t)f->trans_b);
    if (!rc && f->bias) rc = product_set(lt, p->product, CUBLAS_PRODUCT_EPILOGUE, CUBLAS_PLUS_BIAS);
    if (!rc) rc = set_bias(lt, p, bias); /* its alignment is part of the choice */
    const uint64_t a_rows = (uint64_t)(f->trans_a ? f->depth : f->rows),
                   a_cols = (uint64_t)(f->trans_a ? f->rows : f->depth);
    const uint64_t b_rows = (uint64_t)(f->trans_b ? f->cols : f->depth),
                   b_cols = (uint64_t)(f->trans_b ? f->depth : f->cols);
    if (!rc) rc = lt->LayoutCreate(&p->a, (int)f->type_ab, a_rows, a_cols, f->ld_a);
    if (!rc) rc = lt->LayoutCreate(&p->b, (int)f->type_ab, b_rows, b_cols, f->ld_b);
    if (!rc) rc = lt->LayoutCreate(&p->c, (int)f->type_c, (uint64_t)f->rows, (uint64_t)f->cols, f->ld_c);
    if (!rc) rc = set_batch(lt, p->a, f->batch, f->from_a);
    if (!rc) rc = set_batch(lt, p->b, f->batch, f->from_b);
    if (!rc) rc = set_batch(lt, p->c, f->batch, f->from_c);
    if (!rc) {
        rc = choose(g, p, 0);
        /* Not every form has a strict algorithm; one without matrix units is as good. */
        if (rc && f->type_ab == CUBLAS_REAL_32F &&
            !product_set(lt, p->product, CUBLAS_PRODUCT_COMPUTE, CUBLAS_IN_32F))
            rc = choose(g, p, CUBLAS_MEANS_PLAIN_32F);
    }
    p->refused = rc != 0;
    if (rc)
        lpo_log(LPO_LOG_INFO, "cuda: cuBLASLt has no product of %lld x %lld x %lld, types %lld to %lld (%d)",
                (long long)f->cols, (long long)f->rows, (long long)f->depth, (long long)f->type_ab,
                (long long)f->type_c, rc);
}

int cuda_gemm_go(cuda_gemm *g, const lpo_gpu_launch *l, cuda_ptr workspace, cuda_stream stream) {
    enum {
        NOT_NOW = 7,
        ARCH = 8,
        NOT_SUPPORTED = 15
    }; /* what it says when an algorithm does not fit after all */
    const float one = 1.0f, zero = 0.0f;
    cuda_ptr at[4];
    form f;
    for (int i = 0; i < 4; i++) at[i] = cuda_at(&l->tensor[i]);
    if (!form_of(&f, l, at)) return 1;
    plan *p = &g->plan[XXH64(&f, sizeof f, 0) % N_PLANS];
    if (!p->made || memcmp(&p->form, &f, sizeof f)) make(g, p, &f, at[3]);
    if (p->refused) return 1;
    int rc = set_bias(g->lt, p, at[3]);
    if (!rc)
        rc = g->lt->Matmul(g->handle, p->product, &one, (const void *)at[2], p->a, (const void *)at[1], p->b,
                           f.add ? &one : &zero, (const void *)at[0], p->c, (void *)at[0], p->c, &p->algo,
                           (void *)workspace, CUDA_GEMM_WORKSPACE, stream);
    p->refused = rc == NOT_NOW || rc == ARCH || rc == NOT_SUPPORTED;
    return p->refused ? 1 : -rc;
}
