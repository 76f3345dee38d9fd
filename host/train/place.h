/* SPDX-License-Identifier: Apache-2.0 */
/* place.h -- `--place stage=device,...`: the stages of a run and which kinds of device each may be on. A
 * stage that gets a new kind gets it in the table here and is opened in session.c. */
#ifndef LPO_TRAIN_PLACE_H
#define LPO_TRAIN_PLACE_H
#include "leanpo/status.h"

#include <stdbool.h>

/* X(stage, kinds); NULL: any driver of the registry (device/driver.h). */
#define LPO_STAGE_LIST(X)                                                                                    \
    X(decode, "cpu")                                                                                         \
    X(preprocess, "cpu, csim, fpga, opencl, cuda")                                                           \
    X(backbone, NULL)                                                                                        \
    X(reduce, "cpu, csim, fpga, opencl, cuda")

typedef enum lpo_stage {
#define LPO_X(stage, kinds) LPO_STAGE_##stage,
    LPO_STAGE_LIST(LPO_X)
#undef LPO_X
        LPO_N_STAGES
} lpo_stage;

enum { LPO_PLACE_BYTES = 64 };
typedef struct lpo_place {
    char device[LPO_N_STAGES][LPO_PLACE_BYTES]; /* "cpu", "fpga:1", ...; "auto" when left open */
} lpo_place;

/* spec: stage=device,...; a device without a stage is the backbone's; NULL, "" and "auto" leave all open. A
 * stage nobody knows is LPO_EINVAL, a device that is nothing for its stage LPO_EUNSUPPORTED. Whether there is
 * such a device shows when it is opened. */
lpo_status lpo_place_parse(lpo_place *out, const char *spec, lpo_error *err);

const char *lpo_stage_name(lpo_stage s);
/* Is device ("fpga:1") of the kind ("fpga")? */
bool lpo_place_is(const char *device, const char *kind);
#endif
