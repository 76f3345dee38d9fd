/* SPDX-License-Identifier: Apache-2.0 */
/* clock.h -- the one clock of durations. */
#ifndef LPO_BASE_CLOCK_H
#define LPO_BASE_CLOCK_H
/* Seconds on a clock that only moves forward; only differences mean anything. Any thread. */
double lpo_now_s(void);
#endif
