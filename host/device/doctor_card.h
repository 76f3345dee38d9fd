/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_card.h -- doctor's look at FPGA cards: XRT, its variables, the software card, a real card. */
#ifndef LPO_DEVICE_DOCTOR_CARD_H
#define LPO_DEVICE_DOCTOR_CARD_H
#include "leanpo/doctor.h"

enum { LPO_DOCTOR_CARD_FINDINGS = 10 };

/* Exactly LPO_DOCTOR_CARD_FINDINGS findings. root stands before /sys, /dev, /lib and /opt: "" but in tests.
 */
void lpo_doctor_card(lpo_finding out[LPO_DOCTOR_CARD_FINDINGS], const char *root);

/* doctor.c: the first of the libraries (ended by NULL) that can be opened. */
void lpo_doctor_library(lpo_finding *f, const char *name, const char *const *sonames, const char *fix);
#endif
