/* SPDX-License-Identifier: Apache-2.0 */
/* prep_gpu.h -- kernels/gpu/preprocess.cl on a GPU as an engine of the frame pool. */
#ifndef LPO_TRAIN_PREP_GPU_H
#define LPO_TRAIN_PREP_GPU_H
#include "media/prep_engine.h"

/* device: "opencl", "cuda:1", ...: it is opened once more, for this stage alone, and closed with the engine.
 * A device that does not run the dialect's kernels is LPO_EUNSUPPORTED. */
lpo_status lpo_prep_gpu_create(lpo_prep_engine **out, const char *device, lpo_error *err);
#endif
