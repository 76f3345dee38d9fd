/* SPDX-License-Identifier: Apache-2.0 */
/* prep_device.h -- the preprocess kernel of an opened card as an engine of the frame pool. */
#ifndef LPO_TRAIN_PREP_DEVICE_H
#define LPO_TRAIN_PREP_DEVICE_H
#include "device/fpga/fpga.h"
#include "media/prep_engine.h"

/* Borrows f until the engine is closed (lpo_prep_engine_close). */
lpo_status lpo_prep_device_create(lpo_prep_engine **out, lpo_fpga *f, lpo_error *err);
/* Opens the card too, and closes it with the engine. */
lpo_status lpo_prep_device_open(lpo_prep_engine **out, const char *device, const char *xclbin,
                                lpo_error *err);
#endif
