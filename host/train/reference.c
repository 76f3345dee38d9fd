/* SPDX-License-Identifier: Apache-2.0 */
/* reference.c -- see reference.h. */
#include "train/reference.h"

#include "base/file.h"
#include "tensor/safetensors.h"

#include <stdlib.h>
#include <string.h>

void lpo_reference_clear(lpo_reference *r) {
    free(r->t_w);
    free(r->t_l);
    free(r->start_w);
    free(r->start_l);
    *r = (lpo_reference){0};
}

/* Append the rows of one side. */
static bool append(float **t, int64_t *start, int64_t at, const double *row, const int64_t *row_start,
                   int32_t n) {
    const int64_t have = start[at], more = row_start[n];
    float *grown = realloc(*t, (size_t)(have + more + 1) * sizeof *grown);
    if (!grown) return false;
    *t = grown;
    for (int64_t i = 0; i < more; i++) grown[have + i] = (float)row[i];
    for (int32_t i = 0; i < n; i++) start[at + i + 1] = have + row_start[i + 1];
    return true;
}

static lpo_status collect(lpo_reference *r, lpo_engine *e, lpo_loader *loader, bool both,
                          lpo_progress_fn *progress, void *user, lpo_error *err) {
    lpo_batch *b;
    lpo_status s;
    int64_t done = 0;
    while (!(s = lpo_loader_next(&b, loader, NULL, err))) {
        lpo_rows rows;
        s = lpo_engine_forward(&rows, e, b, 0, b->n_samples, both, false, err);
        if (!s && (!append(&r->t_w, r->start_w, done, rows.t_w, rows.start_w, rows.n) ||
                   !append(&r->t_l, r->start_l, done, rows.t_l, rows.start_l, rows.n)))
            s = lpo_fail(err, LPO_ENOMEM, "out of memory for the reference's log-probabilities");
        done += b->n_samples;
        lpo_loader_release(loader, b);
        if (!s && progress && progress(user, "reference", done, r->n))
            s = lpo_fail(err, LPO_ECANCELED, "interrupted while computing the reference's log-probabilities");
        if (s) return s;
    }
    return s == LPO_EEND ? LPO_OK : s;
}

lpo_status lpo_reference_compute(lpo_reference *out, lpo_engine *e, lpo_dataset *d, const lpo_recipe *recipe,
                                 const lpo_loader_options *lo, bool both, lpo_progress_fn *progress,
                                 void *user, lpo_error *err) {
    lpo_loader *loader = NULL;
    lpo_loader_options opt = *lo;
    *out = (lpo_reference){.n = lpo_dataset_count(d)};
    out->start_w = calloc((size_t)out->n + 1, sizeof *out->start_w);
    out->start_l = calloc((size_t)out->n + 1, sizeof *out->start_l);
    opt.shuffle = false;
    opt.first_step = opt.n_steps = 0;
    lpo_status s = out->start_w && out->start_l ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "out of memory");
    if (!s) s = lpo_loader_create(&loader, d, recipe, &opt, err);
    if (!s) s = collect(out, e, loader, both, progress, user, err);
    lpo_loader_destroy(loader);
    if (s) lpo_reference_clear(out);
    return s;
}

static lpo_tensor_info info(const char *name, int32_t dtype, const void *data, int64_t n) {
    return (lpo_tensor_info){.name = name,
                             .dtype = dtype,
                             .ndim = 1,
                             .shape = {n},
                             .data = data,
                             .size_bytes = (size_t)n * lpo_dtype_bytes(dtype)};
}

lpo_status lpo_reference_save(const lpo_reference *r, const char *path, const char *key, lpo_error *err) {
    const lpo_tensor_info t[] = {info("start_chosen", LPO_I64, r->start_w, r->n + 1),
                                 info("start_rejected", LPO_I64, r->start_l, r->n + 1),
                                 info("chosen", LPO_F32, r->t_w, r->start_w[r->n]),
                                 info("rejected", LPO_F32, r->t_l, r->start_l[r->n])};
    const char *const meta[] = {"key", key, NULL};
    return lpo_safetensors_write(path, t, 4, meta, NULL, err);
}

/* A tensor of n values of dtype (n < 0: any number), copied. */
static void *take(int64_t *n, const lpo_safetensors *f, const char *name, int32_t dtype) {
    const lpo_tensor_info *t = lpo_safetensors_find(f, name);
    if (!t || t->dtype != dtype || t->ndim != 1 || (*n >= 0 && t->shape[0] != *n)) return NULL;
    *n = t->shape[0];
    void *copy = malloc(t->size_bytes + 1);
    if (copy) memcpy(copy, t->data, t->size_bytes);
    return copy;
}

static bool starts_hold(const int64_t *start, int64_t n, int64_t total) {
    if (start[0] != 0 || start[n] != total) return false;
    for (int64_t i = 0; i < n; i++)
        if (start[i] > start[i + 1]) return false;
    return true;
}

lpo_status lpo_reference_load(lpo_reference *out, const char *path, const char *key, lpo_error *err) {
    lpo_safetensors *f;
    int64_t n = -1, n_w = -1, n_l = -1;
    *out = (lpo_reference){0};
    if (!lpo_path_exists(path)) return lpo_fail(err, LPO_ENOTFOUND, "%s: not there", path);
    lpo_status s = lpo_safetensors_open(&f, path, err);
    if (s) return s;
    const char *have = lpo_safetensors_meta(f, "key");
    if (!have || strcmp(have, key) != 0) {
        lpo_safetensors_close(f);
        return lpo_fail(err, LPO_ENOTFOUND, "%s: made from another model or data set", path);
    }
    out->start_w = take(&n, f, "start_chosen", LPO_I64);
    out->start_l = take(&n, f, "start_rejected", LPO_I64);
    out->t_w = take(&n_w, f, "chosen", LPO_F32);
    out->t_l = take(&n_l, f, "rejected", LPO_F32);
    out->n = n - 1;
    lpo_safetensors_close(f);
    if (out->start_w && out->start_l && out->t_w && out->t_l && n > 0 &&
        starts_hold(out->start_w, n - 1, n_w) && starts_hold(out->start_l, n - 1, n_l))
        return LPO_OK;
    lpo_reference_clear(out);
    return lpo_fail(err, LPO_EFORMAT, "%s: damaged; remove it, it is computed again", path);
}
