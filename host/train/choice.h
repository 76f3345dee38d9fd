/* SPDX-License-Identifier: Apache-2.0 */
/* choice.h -- where `--place auto` puts the backbone, and why. GPUs whose drivers find their device nodes are
 * candidates; each shows its time for a micro-batch of the run (trial.h); the CPU stays unless one is clearly
 * faster, so that noise does not decide. A run remembers its choice in config.json: resumed, it is the same.
 */
#ifndef LPO_TRAIN_CHOICE_H
#define LPO_TRAIN_CHOICE_H
#include "base/json.h"
#include "train/place.h"

#include <stdbool.h>
#include <stdint.h>

#define LPO_CLEARLY_FASTER 1.2
enum { LPO_MAX_TRIALS = 8 };

typedef struct lpo_trial {
    char device[LPO_PLACE_BYTES];
    double seconds;  /* median of the forward and backward passes of one micro-batch */
    bool unfinished; /* it took more than `seconds`, which was too much already */
    char why[320];   /* it cannot do the run; "": it can */
} lpo_trial;

typedef struct lpo_choice {
    bool automatic; /* ours, not the user's */
    bool pending;   /* trial[] is to be filled */
    char device[LPO_PLACE_BYTES];
    char reason[900];
    char note[400]; /* of devices that are none to ask */
    int n;
    lpo_trial trial[LPO_MAX_TRIALS]; /* [0] is the CPU */
    int64_t fallbacks;               /* times that a device was given up for the CPU */
} lpo_choice;

/* The candidates. No driver is asked whose device nodes are not there. Without candidates the choice is made:
 * the CPU. */
void lpo_choice_ask(lpo_choice *c);
/* From the trials. */
void lpo_choice_make(lpo_choice *c);
/* The CPU from now on: why the device it was on is given up. */
void lpo_choice_fall_back(lpo_choice *c, const char *why);

/* To the log: where and why. Before: as the run began. */
void lpo_choice_say(const lpo_choice *c, bool before);

/* {"auto", "reason", "trials", "fallbacks", and the device of every stage}; NULL: out of memory. */
json_t *lpo_choice_to_json(const lpo_choice *c, const lpo_place *p);
/* The choice of a run begun earlier; false: there is none. */
bool lpo_choice_from_json(lpo_choice *c, const json_t *o);
#endif
