/* SPDX-License-Identifier: Apache-2.0 */
/* prep_engine.c -- an engine by the name of its device: a card's kernel or a GPU's. */
#include "leanpo/prep.h"
#include "train/place.h"
#include "train/prep_device.h"
#include "train/prep_gpu.h"

lpo_status lpo_prep_engine_open(lpo_prep_engine **out, const char *device, const char *xclbin,
                                lpo_error *err) {
    if (lpo_place_is(device, "csim") || lpo_place_is(device, "fpga"))
        return lpo_prep_device_open(out, device, xclbin, err);
    return lpo_prep_gpu_create(out, device, err);
}

void lpo_prep_engine_close(lpo_prep_engine *e) {
    if (e) e->close(e->self);
}
