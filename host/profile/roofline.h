/* SPDX-License-Identifier: Apache-2.0 */
/* roofline.h -- what a device can do at best, measured here and now: the matrix product that training is made
 * of, and adding long vectors, which is memory alone. */
#ifndef LPO_PROFILE_ROOFLINE_H
#define LPO_PROFILE_ROOFLINE_H
#include "leanpo/status.h"

typedef struct lpo_roofline {
    double flops_s, bf16_flops_s; /* 512 x 1024 x 1024 product; 0: not measured */
    double bytes_s;               /* two streams read, one written */
} lpo_roofline;

/* About a second on `device` ("cpu"). */
lpo_status lpo_roofline_measure(lpo_roofline *out, const char *device, lpo_error *err);
#endif
