/* SPDX-License-Identifier: Apache-2.0 */
/* optimizer.c -- see optimizer.h. Steps go straight to the driver: there is nothing to plan, every tensor is
 * there for the whole run. The queue is in order, so the norm's sum is too: the same bits each time. */
#include "train/optimizer.h"

#include "base/arena.h"
#include "tensor/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOMENT_1, MOMENT_2, MASTER, N_KINDS };
static const char *const KIND[N_KINDS] = {"m", "v", "master"};

typedef struct slot {
    lpo_param *p;
    int64_t n;
    size_t offset_bytes[N_KINDS]; /* into state; MASTER only for bf16 */
} slot;

struct lpo_optimizer {
    lpo_adamw opt;
    lpo_device *device;
    const lpo_driver *driver;
    lpo_buffer *state, *norm2; /* norm2: one f64 */
    size_t state_bytes;
    slot *slots;
    int n_slots, n_kinds; /* 3 with masters, else 2 */
    int32_t dtype;        /* of the state */
    int64_t n_values;
};

static lpo_dtensor view(lpo_buffer *b, size_t offset_bytes, int32_t dtype, int64_t n) {
    return (lpo_dtensor){.buffer = b, .offset_bytes = offset_bytes, .dtype = dtype, .ndim = 1, .shape = {n}};
}
static lpo_dtensor state_view(const lpo_optimizer *o, const slot *s, int kind) {
    return view(o->state, s->offset_bytes[kind], o->dtype, s->n);
}
static lpo_dtensor grad_view(const lpo_optimizer *o, const slot *s) {
    return view(s->p->grad, s->p->grad_offset_bytes, o->dtype, s->n);
}

/* The update of step t, t >= 1. */
static lpo_step adamw(const lpo_optimizer *o, const slot *s, double lr, int64_t t) {
    const lpo_dtensor stored = view(s->p->data, 0, s->p->dtype, s->n);
    lpo_step step = {.op = LPO_OP_ADAMW,
                     .attrs = {.lr = lr,
                               .beta1 = o->opt.beta1,
                               .beta2 = o->opt.beta2,
                               .eps = o->opt.eps,
                               .weight_decay = s->p->ndim > 1 ? o->opt.weight_decay : 0,
                               .bias1 = 1 - pow(o->opt.beta1, (double)t),
                               .bias2 = 1 - pow(o->opt.beta2, (double)t),
                               .g_scale = 1,
                               .max_norm = o->opt.max_grad_norm}};
    step.arg[0] = o->n_kinds > MASTER ? state_view(o, s, MASTER) : stored;
    step.arg[1] = state_view(o, s, MOMENT_1);
    step.arg[2] = state_view(o, s, MOMENT_2);
    if (o->n_kinds > MASTER) step.arg[3] = stored;
    step.arg[4] = grad_view(o, s);
    step.arg[5] = view(o->norm2, 0, LPO_F64, 1);
    return step;
}

static lpo_status unsupported(const lpo_optimizer *o, lpo_error *err) {
    return lpo_fail(err, LPO_EUNSUPPORTED,
                    "device %s cannot run the optimizer's steps; train on another (--place)",
                    o->driver->name);
}

/* Known before the first step, not after it. */
static lpo_status check_device(lpo_optimizer *o, lpo_error *err) {
    const lpo_step step = adamw(o, &o->slots[0], 0, 1);
    return o->driver->supports(o->device, &step) ? LPO_OK : unsupported(o, err);
}

static lpo_status submit(lpo_optimizer *o, const lpo_step *step, lpo_error *err) {
    if (!o->driver->supports(o->device, step)) return unsupported(o, err);
    return o->driver->submit(o->device, step, err);
}

static lpo_status fill_zero(lpo_optimizer *o, lpo_dtensor x, lpo_error *err) {
    lpo_step s = {.op = LPO_OP_FILL, .arg = {x}};
    return submit(o, &s, err);
}

static lpo_status collect(lpo_optimizer *o, lpo_model *m, lpo_error *err) {
    int n_params;
    lpo_param *const *params = lpo_model_params(m, &n_params);
    o->slots = calloc((size_t)n_params + 1, sizeof *o->slots);
    if (!o->slots) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    for (int i = 0; i < n_params; i++) {
        lpo_param *p = params[i];
        if (!p->trainable) continue;
        slot *s = &o->slots[o->n_slots++];
        s->p = p;
        s->n = 1;
        for (int k = 0; k < p->ndim; k++) s->n *= p->shape[k];
        o->n_values += s->n;
        if (!o->device) {
            o->device = lpo_buffer_device(p->data);
            o->driver = lpo_device_driver(o->device);
            o->dtype = p->dtype == LPO_F64 ? LPO_F64 : LPO_F32;
            o->n_kinds = p->dtype == LPO_BF16 ? N_KINDS : MASTER;
        }
        if (lpo_buffer_device(p->data) != o->device || lpo_buffer_device(p->grad) != o->device)
            return lpo_fail(err, LPO_EUNSUPPORTED, "parameter %s is not on the device of the others",
                            p->name);
        for (int k = 0; k < o->n_kinds; k++) {
            s->offset_bytes[k] = o->state_bytes;
            o->state_bytes += ((size_t)s->n * lpo_dtype_bytes(o->dtype) + 63) & ~(size_t)63;
        }
    }
    return o->n_slots ? LPO_OK : lpo_fail(err, LPO_EINVAL, "no parameter is trainable (see --train-groups)");
}

static lpo_status init_state(lpo_optimizer *o, lpo_error *err) {
    lpo_status st = LPO_OK;
    for (int i = 0; i < o->n_slots && !st; i++) {
        const slot *s = &o->slots[i];
        st = fill_zero(o, state_view(o, s, MOMENT_1), err);
        if (!st) st = fill_zero(o, state_view(o, s, MOMENT_2), err);
        if (!st && o->n_kinds > MASTER) {
            lpo_step cast = {.op = LPO_OP_CAST,
                             .arg = {state_view(o, s, MASTER), view(s->p->data, 0, s->p->dtype, s->n)}};
            st = submit(o, &cast, err);
        }
    }
    return st ? st : o->driver->wait(o->device, err);
}

lpo_status lpo_optimizer_create(lpo_optimizer **out, lpo_model *m, const lpo_adamw *opt, lpo_error *err) {
    *out = NULL;
    lpo_optimizer *o = calloc(1, sizeof *o);
    if (!o) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    o->opt = *opt;
    lpo_status s = collect(o, m, err);
    if (!s) s = o->driver->alloc(&o->state, o->device, o->state_bytes, err);
    if (!s) s = o->driver->alloc(&o->norm2, o->device, sizeof(double), err);
    if (!s) s = check_device(o, err);
    if (!s) s = init_state(o, err);
    if (s) {
        lpo_optimizer_destroy(o);
        return s;
    }
    *out = o;
    return LPO_OK;
}

void lpo_optimizer_destroy(lpo_optimizer *o) {
    if (!o) return;
    if (o->driver) {
        o->driver->release(o->norm2);
        o->driver->release(o->state);
    }
    free(o->slots);
    free(o);
}

int64_t lpo_optimizer_n_params(const lpo_optimizer *o) {
    return o->n_values;
}

lpo_status lpo_optimizer_grad_norm(double *norm, lpo_optimizer *o, lpo_error *err) {
    double norm2 = 0;
    lpo_status st = o->driver->upload(o->norm2, 0, &norm2, sizeof norm2, err);
    for (int i = 0; i < o->n_slots && !st; i++) {
        lpo_step step = {.op = LPO_OP_SQNORM,
                         .arg = {view(o->norm2, 0, LPO_F64, 1), grad_view(o, &o->slots[i])}};
        st = submit(o, &step, err);
    }
    if (!st) st = o->driver->wait(o->device, err);
    if (!st) st = o->driver->download(&norm2, o->norm2, 0, sizeof norm2, err);
    *norm = sqrt(norm2);
    return st;
}

lpo_status lpo_optimizer_step(lpo_optimizer *o, double lr, int64_t t, lpo_error *err) {
    lpo_status st = LPO_OK;
    for (int i = 0; i < o->n_slots && !st; i++) {
        const lpo_step step = adamw(o, &o->slots[i], lr, t);
        st = submit(o, &step, err);
    }
    return st ? st : o->driver->wait(o->device, err);
}

/* The state where the host can read it: the device's own memory when it is shared, else a copy in *own. */
static lpo_status host_state(const char **data, char **own, lpo_optimizer *o, lpo_error *err) {
    *own = NULL;
    *data = ((lpo_buffer_head *)o->state)->host;
    if (*data) return LPO_OK;
    *data = *own = malloc(o->state_bytes);
    if (!*own)
        return lpo_fail(err, LPO_ENOMEM, "out of memory for %zu bytes of optimizer state", o->state_bytes);
    return o->driver->download(*own, o->state, 0, o->state_bytes, err);
}

lpo_status lpo_optimizer_save(lpo_optimizer *o, const char *path, lpo_error *err) {
    const char *data;
    char *own = NULL;
    int n = 0;
    lpo_arena *names = lpo_arena_create(0);
    lpo_tensor_info *info = calloc((size_t)o->n_slots * N_KINDS, sizeof *info);
    lpo_status s = names && info ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "out of memory");
    if (!s) s = host_state(&data, &own, o, err);
    for (int i = 0; i < o->n_slots && !s; i++)
        for (int k = 0; k < o->n_kinds; k++) {
            const slot *at = &o->slots[i];
            lpo_tensor_info *t = &info[n++];
            t->name = lpo_arena_printf(names, "%s.%s", at->p->name, KIND[k]);
            t->dtype = o->dtype;
            t->ndim = at->p->ndim;
            memcpy(t->shape, at->p->shape, sizeof at->p->shape);
            t->data = data + at->offset_bytes[k];
            t->size_bytes = (size_t)at->n * lpo_dtype_bytes(o->dtype);
            if (!t->name) s = lpo_fail(err, LPO_ENOMEM, "out of memory");
        }
    if (!s) s = lpo_safetensors_write(path, info, n, NULL, NULL, err);
    free(own);
    free(info);
    lpo_arena_destroy(names);
    return s;
}

lpo_status lpo_optimizer_load(lpo_optimizer *o, const char *path, lpo_error *err) {
    lpo_safetensors *f;
    lpo_status s = lpo_safetensors_open(&f, path, err);
    if (s) return s;
    for (int i = 0; i < o->n_slots && !s; i++)
        for (int k = 0; k < o->n_kinds && !s; k++) {
            const slot *at = &o->slots[i];
            char name[320];
            snprintf(name, sizeof name, "%s.%s", at->p->name, KIND[k]);
            const lpo_tensor_info *t = lpo_safetensors_find(f, name);
            const size_t want = (size_t)at->n * lpo_dtype_bytes(o->dtype);
            if (!t || t->dtype != o->dtype || t->size_bytes != want)
                s = lpo_fail(err, LPO_EFORMAT,
                             "%s: tensor %s is missing or has another shape or type; was the run started "
                             "with other --train-groups or --dtype?",
                             path, name);
            else
                s = o->driver->upload(o->state, at->offset_bytes[k], t->data, want, err);
        }
    lpo_safetensors_close(f);
    return s;
}
