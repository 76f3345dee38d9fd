/* SPDX-License-Identifier: Apache-2.0 */
/* run.h -- a training run with everything open: what train.c steps and run.c sets up.
 * RUN holds config.json, metrics.jsonl, timing.jsonl, events.out.tfevents.*, quarantine*.jsonl,
 * checked*.json, ref_logps*.safetensors and checkpoints/. A run is the same numbers however often it was
 * killed on the way: whatever a step reads comes from the last checkpoint, the data or the options. */
#ifndef LPO_TRAIN_RUN_H
#define LPO_TRAIN_RUN_H
#include "train/checkpoint.h"
#include "train/choice.h"
#include "train/events.h"
#include "train/heldout.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/session.h"

typedef struct lpo_run {
    lpo_train_options *o; /* with what --resume took over */
    const char *out;      /* RUN */
    int lock_fd;
    bool resumed;                                      /* going on from the checkpoint `origin` */
    char origin[LPO_PATH_BYTES], last[LPO_PATH_BYTES]; /* the checkpoint resumed from; the newest one */
    lpo_run_state state;

    lpo_place place;   /* of every stage, nothing left open */
    lpo_choice choice; /* how the backbone came to its device */
    lpo_session session;
    lpo_dataset *data, *eval_data;
    uint64_t data_hash, eval_hash;
    lpo_loss *loss;
    bool pairs; /* training reads rejected responses */
    lpo_reference ref;
    lpo_heldout heldout; /* its data is eval_data, or a head of data opened for it */
    lpo_engine engine;
    lpo_optimizer *optimizer;
    lpo_schedule schedule;
    lpo_loader *loader;
    int64_t batch, micro, total_steps;

    lpo_lines *metrics, *timing;
    lpo_events *events;
    lpo_progress_fn *progress;
    void *user;
} lpo_run;

/* From options to the first step: everything that can be refused is refused before
 * config.json is written: until then the folder holds no run. known: a choice made before, which stands, or
 * NULL. r is zeroed storage; close it whatever open returned. */
lpo_status lpo_run_open(lpo_run *r, const lpo_train_options *o, const lpo_choice *known,
                        lpo_progress_fn *progress, void *user, lpo_error *err);
void lpo_run_close(lpo_run *r);

/* The run's model on a device, as training starts from it; and what trains it, with memory for the gradients.
 */
lpo_status lpo_run_model(lpo_model **out, lpo_run *r, const char *device, lpo_error *err);
lpo_status lpo_run_optimizer(lpo_optimizer **out, lpo_run *r, lpo_model *m, lpo_error *err);

/* "RUN/name" into LPO_PATH_BYTES. */
lpo_status lpo_run_path(char *out, const lpo_run *r, const char *name, lpo_error *err);
/* A whole checkpoint of the state after r->state.step steps; prunes older ones. The last save of a process
 * also lets go of the checkpoint it was resumed from. */
lpo_status lpo_run_save(lpo_run *r, bool is_last, lpo_error *err);
#endif
