/* SPDX-License-Identifier: Apache-2.0 */
/* trial.h -- the devices that `auto` asks do the run's own next micro-batch, forward and backward, with
 * everything in memory that the run will keep there. */
#ifndef LPO_TRAIN_TRIAL_H
#define LPO_TRAIN_TRIAL_H
#include "train/run.h"

/* r has its model on the CPU, its data and its choice pending: fills the trials, makes the choice, and moves
 * the model to where it will be. Nothing that the run computes later depends on a trial but by the choice. A
 * candidate that fails is no error. LPO_ECANCELED: progress said so. */
lpo_status lpo_trials(lpo_run *r, lpo_error *err);
#endif
