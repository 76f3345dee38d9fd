/* SPDX-License-Identifier: Apache-2.0 */
/* optimizer.h -- AdamW over a model's trainable parameters, on the device they live on.
 * One buffer holds, for each parameter in the model's order, its first and second moment and, when the model
 * is stored in bf16, an f32 master copy that the stored value is rounded from. Norms and biases (one
 * dimension) are not decayed. */
#ifndef LPO_TRAIN_OPTIMIZER_H
#define LPO_TRAIN_OPTIMIZER_H
#include "model/model.h"

typedef struct lpo_adamw {
    double beta1, beta2, eps, weight_decay, max_grad_norm; /* max_grad_norm 0: no clipping */
} lpo_adamw;

typedef struct lpo_optimizer lpo_optimizer;
/* Moments are zero, master copies are the parameters as they are. The model has its trainable set and
 * gradients; it is borrowed. LPO_EINVAL when nothing is trainable. */
lpo_status lpo_optimizer_create(lpo_optimizer **out, lpo_model *m, const lpo_adamw *o, lpo_error *err);
void lpo_optimizer_destroy(lpo_optimizer *o);           /* NULL accepted */
int64_t lpo_optimizer_n_params(const lpo_optimizer *o); /* trainable values */

/* Global 2-norm of the gradients, in f64. The next lpo_optimizer_step clips by it. */
lpo_status lpo_optimizer_grad_norm(double *norm, lpo_optimizer *o, lpo_error *err);
/* One update at rate lr; t counts updates from 1 (it corrects the moments' bias). */
lpo_status lpo_optimizer_step(lpo_optimizer *o, double lr, int64_t t, lpo_error *err);

/* Tensors NAME.m, NAME.v and, for bf16 models, NAME.master. Loading wants exactly the same set. */
lpo_status lpo_optimizer_save(lpo_optimizer *o, const char *path, lpo_error *err);
lpo_status lpo_optimizer_load(lpo_optimizer *o, const char *path, lpo_error *err);
#endif
