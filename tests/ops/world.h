/* SPDX-License-Identifier: Apache-2.0 */
/* world.h -- what every op test needs: a tape on a device, inputs and parameters with known random contents,
 * and reading back as doubles. Contents depend on the seed and the order of calls only, and are rounded to
 * bf16 first, so that the same recording in f64, f32 or bf16 starts from the very same numbers. */
#ifndef TEST_OPS_WORLD_H
#define TEST_OPS_WORLD_H
#include "base/rng.h"
#include "graph/tape.h"
#include "kernels/number.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VARS = 32 };

typedef struct world {
    lpo_placement place;
    lpo_device *params_on; /* where parameters live; NULL = device 0 */
    lpo_tape *tape;
    int32_t dtype;
    lpo_rng rng;
    lpo_val var[MAX_VARS]; /* what gradients are asked of: inputs and trainable parameters */
    int n_vars;
    lpo_param param[MAX_VARS];
    int n_params;
} world;

static inline void must(lpo_status s, const lpo_error *e) {
    cr_assert_eq(s, LPO_OK, "%s", e->msg);
}

static inline int64_t volume(int ndim, const int64_t *shape) {
    int64_t n = 1;
    for (int i = 0; i < ndim; i++) n *= shape[i];
    return n;
}

/* doubles <-> a tensor's bytes */
static inline void *pack(int32_t dtype, const double *v, int64_t n) {
    unsigned char *p = malloc((size_t)n * lpo_dtype_bytes(dtype) + 1);
    for (int64_t i = 0; i < n; i++) {
        if (dtype == LPO_F64) ((double *)p)[i] = v[i];
        if (dtype == LPO_F32) ((float *)p)[i] = (float)v[i];
        if (dtype == LPO_BF16) ((uint16_t *)p)[i] = lpo_f32_to_bf16((float)v[i]);
        if (dtype == LPO_I32) ((int32_t *)p)[i] = (int32_t)v[i];
    }
    return p;
}
static inline double unpack(int32_t dtype, const void *p, int64_t i) {
    if (dtype == LPO_F64) return ((const double *)p)[i];
    if (dtype == LPO_F32) return (double)((const float *)p)[i];
    if (dtype == LPO_BF16) return (double)lpo_bf16_to_f32(((const uint16_t *)p)[i]);
    return (double)((const int32_t *)p)[i];
}

static inline void world_open(world *w, int32_t dtype, uint64_t seed, int n_devices, lpo_device **device) {
    *w = (world){.dtype = dtype, .rng = lpo_rng_init(seed, 1)};
    w->place.n_devices = n_devices;
    for (int i = 0; i < n_devices; i++) w->place.device[i] = device[i];
    lpo_error e = {0};
    must(lpo_tape_create(&w->tape, &w->place, &e), &e);
}

static inline lpo_device *open_device(const char *name) {
    lpo_error e = {0};
    lpo_device *d;
    must(lpo_device_open(&d, name, &e), &e);
    return d;
}

static inline void world_close(world *w) {
    for (int i = 0; i < w->n_params; i++) {
        const lpo_driver *d = lpo_device_driver(lpo_buffer_device(w->param[i].data));
        d->release(w->param[i].data);
        if (w->param[i].grad) d->release(w->param[i].grad);
    }
    lpo_tape_destroy(w->tape);
}

static inline double *noise(world *w, int64_t n, double mean, double scale) {
    double *v = malloc((size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++)
        v[i] = (double)lpo_bf16_to_f32(lpo_f32_to_bf16((float)(mean + scale * lpo_rng_normal(&w->rng))));
    return v;
}

/* A random input whose gradient is wanted. */
static inline lpo_val variable(world *w, int64_t rows, int64_t cols) {
    int64_t shape[] = {rows, cols};
    double *v = noise(w, rows * cols, 0, 1);
    void *p = pack(w->dtype, v, rows * cols);
    lpo_val x = lpo_tape_input(w->tape, w->dtype, 2, shape, p);
    lpo_tape_want_grad(w->tape, x);
    w->var[w->n_vars++] = x;
    free(p);
    free(v);
    return x;
}

/* A random parameter of 1 or 2 dimensions (cols 0: a vector), with its gradient zeroed. */
static inline lpo_val parameter(world *w, int64_t rows, int64_t cols, double mean, double scale,
                                bool trainable) {
    lpo_param *p = &w->param[w->n_params++];
    int64_t n = cols ? rows * cols : rows;
    int32_t grad_dtype = w->dtype == LPO_F64 ? LPO_F64 : LPO_F32;
    *p = (lpo_param){
        .name = "p", .dtype = w->dtype, .ndim = cols ? 2 : 1, .shape = {rows, cols}, .trainable = trainable};
    lpo_device *dev = w->params_on ? w->params_on : w->place.device[0];
    const lpo_driver *d = lpo_device_driver(dev);
    lpo_error e = {0};
    double *v = noise(w, n, mean, scale);
    void *bytes = pack(w->dtype, v, n);
    must(d->alloc(&p->data, dev, (size_t)n * lpo_dtype_bytes(w->dtype), &e), &e);
    must(d->upload(p->data, 0, bytes, (size_t)n * lpo_dtype_bytes(w->dtype), &e), &e);
    free(bytes);
    memset(v, 0, (size_t)n * sizeof *v);
    bytes = pack(grad_dtype, v, n);
    must(d->alloc(&p->grad, dev, (size_t)n * lpo_dtype_bytes(grad_dtype), &e), &e);
    must(d->upload(p->grad, 0, bytes, (size_t)n * lpo_dtype_bytes(grad_dtype), &e), &e);
    free(bytes);
    free(v);
    lpo_val x = lpo_tape_param(w->tape, p);
    if (trainable) w->var[w->n_vars++] = x;
    return x;
}

static inline lpo_val weight(world *w, int64_t rows, int64_t cols) {
    return parameter(w, rows, cols, 0, 0.5, true);
}
static inline lpo_val gain(world *w, int64_t n) {
    return parameter(w, n, 0, 1, 0.25, true);
}

static inline lpo_val ints(world *w, int64_t rows, int64_t cols, const int32_t *v) {
    int64_t shape[] = {rows, cols};
    return lpo_tape_input(w->tape, LPO_I32, cols ? 2 : 1, shape, v);
}

static inline int64_t count(const world *w, lpo_val x) {
    int64_t n = 1, d;
    for (int i = 0; !lpo_val_dim(w->tape, x, i, &d); i++) n *= d;
    return n;
}

/* malloc'd doubles of a value. */
static inline double *fetch(world *w, lpo_val x) {
    int64_t n = count(w, x);
    int32_t dtype = lpo_val_dtype(w->tape, x);
    void *p = malloc((size_t)n * 8 + 1);
    lpo_error e = {0};
    must(lpo_tape_read(p, w->tape, x, &e), &e);
    double *v = malloc((size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++) v[i] = unpack(dtype, p, i);
    free(p);
    return v;
}

static inline void store(world *w, lpo_val x, const double *v) {
    void *p = pack(lpo_val_dtype(w->tape, x), v, count(w, x));
    lpo_error e = {0};
    must(lpo_tape_write(w->tape, x, p, &e), &e);
    free(p);
}

/* A random gradient for y, the same numbers on every device and in every dtype. */
static inline lpo_val seed_of(world *w, lpo_val y) {
    int64_t shape[4], n = 1;
    int nd = 0;
    while (nd < 4 && !lpo_val_dim(w->tape, y, nd, &shape[nd])) n *= shape[nd++];
    w->rng = lpo_rng_init(77, 2);
    double *v = noise(w, n, 0, 1);
    void *p = pack(lpo_val_dtype(w->tape, y), v, n);
    lpo_val dy = lpo_tape_input(w->tape, lpo_val_dtype(w->tape, y), nd, shape, p);
    free(p);
    free(v);
    return dy;
}
#endif
