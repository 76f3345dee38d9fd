/* SPDX-License-Identifier: Apache-2.0 */
/* advice.h -- what an FPGA card would change for this run, in its own numbers: measured CPU time against a
 * model of link and kernel (pcie.h). All per step. */
#ifndef LPO_PROFILE_ADVICE_H
#define LPO_PROFILE_ADVICE_H
#include "profile/summary.h"

typedef struct lpo_advice {
    /* preprocessing */
    bool has_frames;
    bool from_cache;    /* no frame was decoded in the window: the figures are of the whole trace, once */
    double frames;      /* a step, or all */
    const char *device; /* that renders them now; "cpu" is compared with a card, others are not */
    double cpu_s;       /* measured, there: threads' seconds of preprocessing */
    double up_s, kernel_s, down_s, card_s; /* modelled; card_s: the three side by side */
    double gain_s;                         /* modelled, of a step, at most */
    bool preprocess_pays;
    /* reduction */
    bool has_reduce;
    double calls, tokens; /* a step */
    const char *reduce_device;
    double reduce_s; /* measured, as the step sees it */
    double reduce_up_s, reduce_kernel_s, reduce_down_s, reduce_card_s;
    bool reduce_pays;
    /* what not to do */
    double logits_bytes, logits_s, logps_s;
} lpo_advice;

void lpo_advice_make(lpo_advice *out, const lpo_summary *s);
#endif
