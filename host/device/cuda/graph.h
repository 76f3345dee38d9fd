/* SPDX-License-Identifier: Apache-2.0 */
/* graph.h -- inside the CUDA driver: launches that repeat. A decode step is some hundred launches of
 * microseconds each, the same ones with the same arguments every time, and launching them one by one takes
 * longer than running them. A sequence of launches that comes for the second time is captured as a CUDA
 * graph and from then on replayed as one. */
#ifndef LPO_DEVICE_CUDA_GRAPH_H
#define LPO_DEVICE_CUDA_GRAPH_H
#include "device/cuda/api.h"

typedef struct cuda_graphs cuda_graphs;
/* Queue one launch on the stream. */
typedef lpo_status cuda_launch_fn(void *ctx, const lpo_gpu_launch *l, lpo_error *err);

/* NULL: the driver has no graphs, or no memory: launch one by one. */
cuda_graphs *cuda_graphs_create(const cuda_api *cu, cuda_stream stream, cuda_launch_fn *launch, void *ctx);
/* What is held back is dropped. The functions below take NULL. */
void cuda_graphs_destroy(cuda_graphs *g);
/* Queue a launch, or hold it back as long as all since the last settle are the beginning of a sequence seen
 * before; with the sequence's last launch all of it is queued. The context is current. */
lpo_status cuda_graphs_add(cuda_graphs *g, const lpo_gpu_launch *l, lpo_error *err);
/* All that was added is queued now: before waiting, before bytes move, before memory goes. */
lpo_status cuda_graphs_settle(cuda_graphs *g, lpo_error *err);
/* Drop what names this memory; 0: everything. Nothing is held back. */
void cuda_graphs_forget(cuda_graphs *g, cuda_ptr memory);
#endif
