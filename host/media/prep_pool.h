/* SPDX-License-Identifier: Apache-2.0 */
/* prep_pool.h -- renders frames on worker threads while the caller decodes the next ones.
 * A frame is borrowed only during the decoder's callback, so putting one copies its planes into a slot. There
 * are two slots a worker: a bounded queue, and put waits when all are full. Each frame's result has its own
 * place, so the bytes do not depend on the number of threads.
 * With an engine the device is the worker: put hands the frame to it and no threads are started. */
#ifndef LPO_MEDIA_PREP_POOL_H
#define LPO_MEDIA_PREP_POOL_H
#include "media/prep_view.h"

typedef struct lpo_prep_pool lpo_prep_pool;

/* n_threads 1: put renders at once in the caller, no threads. The views stay the caller's and outlive the
 * pool. */
lpo_status lpo_prep_pool_create(lpo_prep_pool **out, lpo_prep_view *views, int n_views, int n_threads,
                                const lpo_prep_engine *engine, lpo_error *err);
/* Frame i of the sampled ones; a change of size replans the views once all earlier frames are done. */
lpo_status lpo_prep_pool_put(lpo_prep_pool *p, const lpo_frame *frame, int i, lpo_error *err);
/* Every frame put is rendered, or the engine says why one is not. */
lpo_status lpo_prep_pool_finish(lpo_prep_pool *p, lpo_error *err);
/* Waits for every frame put, and frees. NULL accepted. */
void lpo_prep_pool_destroy(lpo_prep_pool *p);
#endif
