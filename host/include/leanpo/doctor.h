/* SPDX-License-Identifier: Apache-2.0 */
/* doctor.h -- what of the machine's outside world is here: libraries and drivers found at run time, and the
 * command that mends what is not. */
#ifndef LEANPO_DOCTOR_H
#define LEANPO_DOCTOR_H
#include "leanpo/status.h"

typedef enum lpo_finding_state { LPO_FOUND, LPO_ABSENT, LPO_BROKEN } lpo_finding_state;
typedef struct lpo_finding {
    const char *name; /* "CUDA driver" */
    lpo_finding_state state;
    char detail[256]; /* version, path or what was looked for */
    const char *fix;  /* command or advice when not found, else NULL */
} lpo_finding;

/* Fill at most max findings; returns how many there are. Opens libraries, touches no device. */
LPO_API int lpo_doctor(lpo_finding *out, int max);
#endif
