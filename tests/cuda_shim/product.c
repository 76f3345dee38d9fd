/* SPDX-License-Identifier: Apache-2.0 */
/* product.c -- libcublasLt: descriptions as they are given, a heuristic that names what it was asked about,
 * and the product by its definition: column-major, f32 sums in the order of k. */
#include "shim.h"

#include "kernels/number.h"

#include <stdlib.h>
#include <string.h>

enum { OK, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };

struct cublas_handle_of {
    int open;
};
struct cublas_product_of {
    int compute, trans_a, trans_b, epilogue;
    cuda_ptr bias;
};
struct cublas_layout_of {
    int type;
    uint64_t rows, cols;
    int64_t ld, from;
    int32_t batch;
};
struct cublas_preference_of {
    uint64_t workspace_bytes, means;
    uint32_t reduction, align[4];
};

static size_t bytes_of(int type) {
    return type == CUBLAS_REAL_32F ? 4 : 2;
}

/* How often an algorithm was asked for, and how many products were queued: tests read them. */
SHIM_EXPORT long cuda_shim_heuristics, cuda_shim_products;

SHIM_EXPORT int cublasLtCreate(cublas_handle *out);
int cublasLtCreate(cublas_handle *out) {
    const char *lt = shim_env("LT");
    if (lt && !strcmp(lt, "none")) return NOT_INITIALIZED;
    *out = calloc(1, sizeof **out);
    return OK;
}

SHIM_EXPORT int cublasLtDestroy(cublas_handle h);
int cublasLtDestroy(cublas_handle h) {
    free(h);
    return OK;
}

SHIM_EXPORT int cublasLtMatmulDescCreate(cublas_product *out, int compute, int scale);
int cublasLtMatmulDescCreate(cublas_product *out, int compute, int scale) {
    if (scale != CUBLAS_REAL_32F) return NOT_SUPPORTED;
    *out = calloc(1, sizeof **out);
    (*out)->compute = compute;
    (*out)->epilogue = 1;
    return OK;
}

SHIM_EXPORT int cublasLtMatmulDescDestroy(cublas_product p);
int cublasLtMatmulDescDestroy(cublas_product p) {
    free(p);
    return OK;
}

SHIM_EXPORT int cublasLtMatmulDescSetAttribute(cublas_product p, int what, const void *v, size_t size_bytes);
int cublasLtMatmulDescSetAttribute(cublas_product p, int what, const void *v, size_t size_bytes) {
    void *at = what == CUBLAS_PRODUCT_COMPUTE    ? (void *)&p->compute
               : what == CUBLAS_PRODUCT_TRANS_A  ? (void *)&p->trans_a
               : what == CUBLAS_PRODUCT_TRANS_B  ? (void *)&p->trans_b
               : what == CUBLAS_PRODUCT_EPILOGUE ? (void *)&p->epilogue
               : what == CUBLAS_PRODUCT_BIAS     ? (void *)&p->bias
                                                 : NULL;
    if (!at || size_bytes != (what == CUBLAS_PRODUCT_BIAS ? sizeof(cuda_ptr) : sizeof(int)))
        return INVALID_VALUE;
    memcpy(at, v, size_bytes);
    return OK;
}

SHIM_EXPORT int cublasLtMatrixLayoutCreate(cublas_layout *out, int type, uint64_t rows, uint64_t cols,
                                           int64_t ld);
int cublasLtMatrixLayoutCreate(cublas_layout *out, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    if (!rows || !cols || ld < (int64_t)rows) return INVALID_VALUE;
    *out = malloc(sizeof **out);
    **out = (struct cublas_layout_of){type, rows, cols, ld, 0, 1};
    return OK;
}

SHIM_EXPORT int cublasLtMatrixLayoutSetAttribute(cublas_layout l, int what, const void *v, size_t size_bytes);
int cublasLtMatrixLayoutSetAttribute(cublas_layout l, int what, const void *v, size_t size_bytes) {
    if (what == CUBLAS_LAYOUT_BATCH && size_bytes == sizeof l->batch)
        memcpy(&l->batch, v, size_bytes);
    else if (what == CUBLAS_LAYOUT_FROM && size_bytes == sizeof l->from)
        memcpy(&l->from, v, size_bytes);
    else
        return INVALID_VALUE;
    return l->batch < 1 ? INVALID_VALUE : OK;
}

SHIM_EXPORT int cublasLtMatrixLayoutDestroy(cublas_layout l);
int cublasLtMatrixLayoutDestroy(cublas_layout l) {
    free(l);
    return OK;
}

SHIM_EXPORT int cublasLtMatmulPreferenceCreate(cublas_preference *out);
int cublasLtMatmulPreferenceCreate(cublas_preference *out) {
    *out = calloc(1, sizeof **out);
    (*out)->means = ~(uint64_t)0;
    return OK;
}

SHIM_EXPORT int cublasLtMatmulPreferenceDestroy(cublas_preference p);
int cublasLtMatmulPreferenceDestroy(cublas_preference p) {
    free(p);
    return OK;
}

SHIM_EXPORT int cublasLtMatmulPreferenceSetAttribute(cublas_preference p, int what, const void *v,
                                                     size_t size_bytes);
int cublasLtMatmulPreferenceSetAttribute(cublas_preference p, int what, const void *v, size_t size_bytes) {
    if (what == CUBLAS_PREFER_WORKSPACE && size_bytes == 8)
        memcpy(&p->workspace_bytes, v, 8);
    else if (what == CUBLAS_PREFER_MEANS && size_bytes == 8)
        memcpy(&p->means, v, 8);
    else if (what == CUBLAS_PREFER_REDUCTION && size_bytes == 4)
        memcpy(&p->reduction, v, 4);
    else if (what >= CUBLAS_PREFER_ALIGN_A && what <= CUBLAS_PREFER_ALIGN_D && size_bytes == 4)
        memcpy(&p->align[what - CUBLAS_PREFER_ALIGN_A], v, 4);
    else
        return INVALID_VALUE;
    return OK;
}

/* What cuBLASLt takes of what it may be asked; sizes must fit together. */
static int check(const shim_product *p, cublas_product d, cublas_layout a, cublas_layout b, cublas_layout c) {
    const uint64_t b_depth = d->trans_b ? b->cols : b->rows, b_cols = d->trans_b ? b->rows : b->cols;
    if (p->rows != c->rows || b_cols != c->cols || b_depth != p->depth) return INVALID_VALUE;
    if (a->batch != c->batch || b->batch != c->batch) return INVALID_VALUE;
    if (a->type != b->type) return NOT_SUPPORTED;
    if (a->type == CUBLAS_REAL_32F && c->type != CUBLAS_REAL_32F) return NOT_SUPPORTED;
    if (a->type == CUBLAS_REAL_16BF && d->compute != CUBLAS_IN_32F) return NOT_SUPPORTED;
    return OK;
}

static shim_product describe(cublas_product d, cublas_layout a, cublas_layout b, cublas_layout c) {
    return (shim_product){.rows = d->trans_a ? a->cols : a->rows,
                          .cols = c->cols,
                          .depth = d->trans_a ? a->rows : a->cols,
                          .ld_a = a->ld,
                          .ld_b = b->ld,
                          .ld_c = c->ld,
                          .trans_a = d->trans_a,
                          .trans_b = d->trans_b,
                          .type_a = a->type,
                          .type_b = b->type,
                          .type_c = c->type,
                          .batch = c->batch,
                          .from_a = a->from,
                          .from_b = b->from,
                          .from_c = c->from,
                          .bias = d->epilogue == CUBLAS_PLUS_BIAS ? d->bias : 0};
}

SHIM_EXPORT int cublasLtMatmulAlgoGetHeuristic(cublas_handle h, cublas_product d, cublas_layout a,
                                               cublas_layout b, cublas_layout c, cublas_layout out,
                                               cublas_preference p, int most, cublas_choice *choice, int *n);
int cublasLtMatmulAlgoGetHeuristic(cublas_handle h, cublas_product d, cublas_layout a, cublas_layout b,
                                   cublas_layout c, cublas_layout out, cublas_preference p, int most,
                                   cublas_choice *choice, int *n) {
    const shim_product what = describe(d, a, b, c);
    const char *lt = shim_env("LT");
    *n = 0;
    cuda_shim_heuristics++;
    if (!h || c != out || most < 1 || p->reduction != CUBLAS_REDUCTION_COMPUTE_TYPE) return INVALID_VALUE;
    for (int i = 0; i < 4; i++)
        if (!p->align[i]) return INVALID_VALUE;
    if (a->type == CUBLAS_REAL_32F && d->compute != CUBLAS_IN_32F_STRICT &&
        p->means != CUBLAS_MEANS_PLAIN_32F)
        shim_abort("a product of f32 that may lose bits on the way");
    if (lt && !strcmp(lt, "loose") && d->compute == CUBLAS_IN_32F_STRICT) return NOT_SUPPORTED;
    int rc = lt && !strcmp(lt, "refuse") ? NOT_SUPPORTED : check(&what, d, a, b, c);
    if (rc) return rc;
    *choice =
        (cublas_choice){.algo.data = {what.rows, what.cols, what.depth, (uint64_t)what.ld_a,
                                      (uint64_t)what.ld_b, (uint64_t)what.ld_c, p->align[0], p->align[1]},
                        .workspace_bytes = p->workspace_bytes};
    *n = 1;
    return OK;
}

SHIM_EXPORT int cublasLtMatmul(cublas_handle h, cublas_product d, const void *alpha, const void *a,
                               cublas_layout al, const void *b, cublas_layout bl, const void *beta,
                               const void *c, cublas_layout cl, void *out, cublas_layout ol,
                               const cublas_algo *algo, void *workspace, size_t workspace_bytes,
                               cuda_stream s);
int cublasLtMatmul(cublas_handle h, cublas_product d, const void *alpha, const void *a, cublas_layout al,
                   const void *b, cublas_layout bl, const void *beta, const void *c, cublas_layout cl,
                   void *out, cublas_layout ol, const cublas_algo *algo, void *workspace,
                   size_t workspace_bytes, cuda_stream s) {
    shim_product p = describe(d, al, bl, cl);
    const uint64_t asked[] = {p.rows, p.cols, p.depth, (uint64_t)p.ld_a, (uint64_t)p.ld_b, (uint64_t)p.ld_c};
    if (!h || c != out || cl != ol || !workspace || !workspace_bytes) return INVALID_VALUE;
    int rc = check(&p, d, al, bl, cl);
    if (rc) return rc;
    if (memcmp(asked, algo->data, sizeof asked))
        shim_abort("an algorithm chosen for another form of product");
    p.a = (cuda_ptr)a;
    p.b = (cuda_ptr)b;
    p.c = (cuda_ptr)c;
    if ((p.a | (cuda_ptr)p.from_a * bytes_of(p.type_a)) % algo->data[6] ||
        (p.b | (cuda_ptr)p.from_b * bytes_of(p.type_b)) % algo->data[7])
        shim_abort("an operand less aligned than its algorithm was told");
    memcpy(&p.alpha, alpha, sizeof p.alpha);
    memcpy(&p.beta, beta, sizeof p.beta);
    cuda_shim_products++;
    return shim_queue_product(s, &p) ? EXECUTION_FAILED : OK;
}

static float get(const char *raw, int type, uint64_t i) {
    if (type == CUBLAS_REAL_32F) return ((const float *)(const void *)raw)[i];
    return lpo_bf16_to_f32(((const uint16_t *)(const void *)raw)[i]);
}

/* rows x cols of op(X) as f32, row after row. */
static float *operand(cuda_ptr at, int type, int trans, int64_t ld, uint64_t rows, uint64_t cols) {
    const uint64_t stored_rows = trans ? cols : rows, stored_cols = trans ? rows : cols;
    const size_t n = (size_t)ld * (stored_cols - 1) + stored_rows;
    char *raw = malloc(n * bytes_of(type));
    float *x = malloc(rows * cols * sizeof *x);
    shim_read(raw, at, n * bytes_of(type));
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < cols; c++) {
            const uint64_t e = trans ? c + r * (uint64_t)ld : r + c * (uint64_t)ld;
            x[r * cols + c] = get(raw, type, e);
        }
    free(raw);
    return x;
}

static void run_one(const shim_product *p) {
    float *a = operand(p->a, p->type_a, !p->trans_a, p->ld_a, p->depth, p->rows); /* A^T: a row for each k */
    float *b =
        operand(p->b, p->type_b, !p->trans_b, p->ld_b, p->cols, p->depth); /* B^T: a row for each column */
    float *bias = p->bias ? operand(p->bias, p->type_c, 0, (int64_t)p->rows, p->rows, 1) : NULL;
    float *sum = malloc(p->rows * sizeof *sum);
    const uint64_t ld = (uint64_t)p->ld_c, n = ld * (p->cols - 1) + p->rows;
    char *out = malloc(n * bytes_of(p->type_c));
    if (p->beta != 0 || ld != p->rows)
        shim_read(out, p->c, n * bytes_of(p->type_c)); /* what lies between stays */
    for (uint64_t j = 0; j < p->cols; j++) {
        memset(sum, 0, p->rows * sizeof *sum);
        for (uint64_t k = 0; k < p->depth; k++) {
            const float f = b[j * p->depth + k], *x = a + k * p->rows;
            for (uint64_t i = 0; i < p->rows; i++) sum[i] += f * x[i];
        }
        for (uint64_t i = 0; i < p->rows; i++) {
            float v = p->alpha * sum[i] + (bias ? bias[i] : 0);
            if (p->beta != 0) v += p->beta * get(out, p->type_c, j * ld + i);
            if (p->type_c == CUBLAS_REAL_32F)
                ((float *)(void *)out)[j * ld + i] = v;
            else
                ((uint16_t *)(void *)out)[j * ld + i] = lpo_f32_to_bf16(v);
        }
    }
    shim_write(p->c, out, n * bytes_of(p->type_c));
    free(out);
    free(sum);
    free(bias);
    free(b);
    free(a);
}

void shim_run_product(const shim_product *p) {
    for (int64_t i = 0; i < p->batch; i++) {
        shim_product one = *p;
        one.a += (cuda_ptr)(i * p->from_a) * bytes_of(p->type_a);
        one.b += (cuda_ptr)(i * p->from_b) * bytes_of(p->type_b);
        one.c += (cuda_ptr)(i * p->from_c) * bytes_of(p->type_c);
        run_one(&one);
    }
}
