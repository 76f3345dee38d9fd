/* SPDX-License-Identifier: Apache-2.0 */
/* tape.h -- record a model once, run it on any device.
 * Model code calls lpo_tape_<op>() and gets value handles; nothing runs. lpo_tape_backward() records the
 * gradient steps of what stands on the tape, re-recording checkpointed segments. lpo_tape_plan() gives each
 * step to the first device of the placement that supports it, inserts copies where a value crosses devices,
 * and lays every temporary out in one arena per device by lifetime. lpo_tape_run() submits a range of steps.
 * Recording never fails aloud: the first mistake is kept, later calls return LPO_NONE, lpo_tape_plan reports
 * it. A tape is used by one thread; reset and reuse it for the next batch (steady shapes allocate nothing).
 */
#ifndef LPO_GRAPH_TAPE_H
#define LPO_GRAPH_TAPE_H
#include "device/driver.h"

typedef struct lpo_tape lpo_tape;
typedef int32_t lpo_val;
enum { LPO_NONE = -1 };

/* A trainable tensor, living on a device across steps. Owned by the model; the tape borrows it. */
typedef struct lpo_param {
    const char *name;
    int32_t dtype, ndim;
    int64_t shape[LPO_MAX_DIMS];
    lpo_buffer *data; /* dtype */
    lpo_buffer *grad; /* f32 (f64 on a f64 model), same shape; NULL unless allocated for training */
    size_t grad_offset_bytes;
    bool trainable; /* false: backward records no step for its gradient */
} lpo_param;

typedef struct lpo_placement {
    lpo_device *device[8]; /* in the user's order; params may live on any of them, or in host memory */
    int n_devices;
} lpo_placement;

lpo_status lpo_tape_create(lpo_tape **out, const lpo_placement *placement, lpo_error *err);
void lpo_tape_destroy(lpo_tape *t); /* NULL accepted */
void lpo_tape_reset(lpo_tape *t);   /* forget values and steps, keep memory */

/* A tensor the host fills: now (data copied, may be NULL) or later with lpo_tape_write before the steps that
 * read it run. */
lpo_val lpo_tape_input(lpo_tape *t, int32_t dtype, int ndim, const int64_t *shape, const void *data);
lpo_val lpo_tape_param(lpo_tape *t, lpo_param *p); /* the same handle for the same p */
/* A caller-owned device tensor that ops may also write (KV cache). It outlives the tape's use of it. */
lpo_val lpo_tape_extern(lpo_tape *t, lpo_buffer *b, int32_t dtype, int ndim, const int64_t *shape);

lpo_val lpo_tape_linear(lpo_tape *t, lpo_val x, lpo_val w, lpo_val b /* or LPO_NONE */);
lpo_val lpo_tape_norm(lpo_tape *t, lpo_val x, lpo_val w, lpo_val b /* or LPO_NONE */, bool rms, double eps);
lpo_val lpo_tape_rope(lpo_tape *t, lpo_val x, lpo_val cos, lpo_val sin, int n_rot, int d_head);
lpo_val lpo_tape_attn(lpo_tape *t, lpo_val qkv, lpo_val cu, lpo_val prefix /* or LPO_NONE */, int n_q,
                      int n_kv, int d_head, float scale, bool causal);
lpo_val lpo_tape_attn_cached(lpo_tape *t, lpo_val qkv, lpo_val cache, lpo_val cu, lpo_val slot, lpo_val past,
                             int n_q, int n_kv, int d_head, float scale); /* no gradient */
lpo_val lpo_tape_act(lpo_tape *t, lpo_val x, lpo_act act);
lpo_val lpo_tape_add(lpo_tape *t, lpo_val a, lpo_val b);
/* Leaves out a share of x's elements, which ones says the seed, and scales the others by 1/(1-share). */
lpo_val lpo_tape_dropout(lpo_tape *t, lpo_val x, double share, uint64_t seed);
lpo_val lpo_tape_embed(lpo_tape *t, lpo_val table, lpo_val ids);
lpo_val lpo_tape_rowmix(lpo_tape *t, lpo_val a, lpo_val b /* or LPO_NONE */, lpo_val idx,
                        lpo_val w /* or LPO_NONE */);
lpo_val lpo_tape_reshape(lpo_tape *t, lpo_val x, int ndim, const int64_t *shape); /* same storage */
lpo_val lpo_tape_cast(lpo_tape *t, lpo_val x, int32_t dtype);
/* The f32 that bytes stand for; nothing flows back. value: [parts of a row, 256]. */
lpo_val lpo_tape_levels(lpo_tape *t, lpo_val x, lpo_val value);
/* entropy, hit may be NULL; each is a value without gradient. Returns logp [T], f32 (f64 when h is f64). */
lpo_val lpo_tape_logprob(lpo_tape *t, lpo_val h, lpo_val w, lpo_val target, int n_valid, lpo_val *entropy,
                         lpo_val *hit);

/* Everything recorded between begin and end is dropped after the forward pass, but for the values in `keep`,
 * and recomputed in the backward one, as far as a gradient step reads it. Values read after the segment must
 * be in keep, or they are recomputed too. Segments do not nest. */
void lpo_tape_segment_begin(lpo_tape *t);
void lpo_tape_segment_end(lpo_tape *t, const lpo_val *keep, int n_keep);

/* Record the backward steps of d(sum of y*dy); dy is a value of y's shape and dtype (an input filled between
 * the two runs). Gradients of trainable parameters accumulate into lpo_param.grad, which the caller zeroes.
 * What no trainable parameter and no wanted input stands behind gets no step. Call once, after the forward is
 * recorded. */
void lpo_tape_backward(lpo_tape *t, lpo_val y, lpo_val dy);
/* The gradient of a value after lpo_tape_backward, or LPO_NONE (constants, things y does not depend on). Of a
 * parameter: what stands in lpo_param.grad. Of a value that is neither a parameter nor wanted: keep it before
 * planning to read it. */
lpo_val lpo_tape_grad(const lpo_tape *t, lpo_val x);
/* Ask, before lpo_tape_backward, for the gradient of an input. */
void lpo_tape_want_grad(lpo_tape *t, lpo_val x);
/* Keep x's memory to the end of the tape so that lpo_tape_read may be called after any later step. */
void lpo_tape_keep(lpo_tape *t, lpo_val x);

/* Where the next recorded step will stand: call it to mark a place. */
int lpo_tape_n_steps(const lpo_tape *t);

/* After recording, before the first run. A planned tape may be run again and again, with inputs rewritten in
 * between. */
lpo_status lpo_tape_plan(lpo_tape *t, lpo_error *err);
/* Steps first to last, exclusive; last -1 = all that follow. Waits at the end. */
lpo_status lpo_tape_run(lpo_tape *t, int first, int last, lpo_error *err);
lpo_status lpo_tape_write(lpo_tape *t, lpo_val x, const void *src, lpo_error *err);
/* x: an input, a parameter or its gradient, an extern, a kept value, y of backward, or a result that no step
 * reads. */
lpo_status lpo_tape_read(void *dst, lpo_tape *t, lpo_val x, lpo_error *err);

/* Bytes of the arenas of the last plan (summed over devices), for memory reports. */
size_t lpo_tape_arena_bytes(const lpo_tape *t);
int lpo_val_dim(const lpo_tape *t, lpo_val x, int axis, int64_t *out); /* 0, or -1 when out of range */
int32_t lpo_val_dtype(const lpo_tape *t, lpo_val x);

/* Profiling hook: called after each step with its op, device index and seconds (steps are then waited for one
 * by one). A copy between devices has op LPO_N_OPS and device -1. start_s is CLOCK_MONOTONIC; flops of
 * attention are exact where cu was given with its data, else they assume equally long sequences; bytes are
 * what the arguments hold. */
typedef void lpo_tape_trace_fn(void *user, lpo_op op, int device, double start_s, double seconds,
                               double flops, double bytes);
void lpo_tape_trace(lpo_tape *t, lpo_tape_trace_fn *fn, void *user);
/* The same sums for a range of steps of a planned tape, without running it. */
void lpo_tape_work(double *flops, double *bytes, const lpo_tape *t, int first, int last);
#endif
