/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoint folders: only whole ones are found, damage of any byte sends the run to the one before. */
#include "base/file.h"
#include "train/checkpoint.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char run[64], path[LPO_PATH_BYTES];
static void setup(void) {
    strcpy(run, "/tmp/lpo_runXXXXXX");
    cr_assert(mkdtemp(run));
}
static void teardown(void) {
    lpo_dir_remove(run, NULL);
}
TestSuite(train_checkpoint, .init = setup, .fini = teardown);

static lpo_run_state state_of(int64_t step) {
    return (lpo_run_state){.step = step,
                           .seed = UINT64_MAX,
                           .metrics_bytes = 100 * step,
                           .has_base = true,
                           .base_chosen = -1.0 / 3,
                           .loss = NAN,
                           .n_objective = 2,
                           .objective = {0.1, -INFINITY}};
}

static void save(int64_t step) {
    char tmp[LPO_PATH_BYTES], file[LPO_PATH_BYTES + 32];
    lpo_error err;
    lpo_run_state st = state_of(step);
    cr_assert_eq(lpo_checkpoint_begin(tmp, run, step, &err), LPO_OK, "%s", err.msg);
    snprintf(file, sizeof file, "%s/weights", tmp);
    cr_assert_eq(lpo_file_write(file, "weights!", 8, &err), LPO_OK);
    cr_assert_eq(lpo_checkpoint_commit(path, run, &st, &err), LPO_OK, "%s", err.msg);
}

static void damage(int64_t step, const char *name, long at) {
    char file[256];
    snprintf(file, sizeof file, "%s/checkpoints/step-%lld/%s", run, (long long)step, name);
    FILE *f = fopen(file, "r+b");
    cr_assert(f);
    fseek(f, at, SEEK_SET);
    int c = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(c ^ 1, f);
    fclose(f);
}

/* State comes back bit for bit, infinities and NaN too. */
Test(train_checkpoint, round_trip) {
    lpo_run_state got, want = state_of(7);
    lpo_error err;
    save(7);
    cr_assert_eq(lpo_checkpoint_latest(path, &got, run, &err), LPO_OK, "%s", err.msg);
    cr_assert_eq(got.step, 7);
    cr_assert_eq(got.seed, UINT64_MAX);
    cr_assert_eq(got.metrics_bytes, 700);
    cr_assert_eq(got.base_chosen, want.base_chosen);
    cr_assert(isnan(got.loss));
    cr_assert(got.n_objective == 2 && got.objective[0] == 0.1 && got.objective[1] == -INFINITY);
}

/* Steps are compared as numbers (10 after 9), an interrupted save is no checkpoint and is cleared away. */
Test(train_checkpoint, newest_whole_one) {
    char tmp[LPO_PATH_BYTES];
    lpo_run_state got;
    cr_assert_eq(lpo_checkpoint_latest(path, &got, run, NULL), LPO_ENOTFOUND);
    save(9);
    save(10);
    cr_assert_eq(lpo_checkpoint_begin(tmp, run, 11, NULL), LPO_OK);
    cr_assert_eq(lpo_checkpoint_latest(path, &got, run, NULL), LPO_OK);
    cr_assert_eq(got.step, 10);
    cr_assert_not(lpo_path_exists(tmp));
}

/* One bit flipped anywhere -- in a tensor file, in state.json, in a file cut short -- is found, and the
 * checkpoint before is used. */
Test(train_checkpoint, damage_falls_back) {
    lpo_run_state got;
    for (int64_t i = 1; i <= 4; i++) save(i);
    damage(4, "weights", 3);
    damage(3, "state.json", 40);
    char file[256];
    snprintf(file, sizeof file, "%s/checkpoints/step-2/weights", run);
    cr_assert_eq(truncate(file, 4), 0);
    cr_assert_eq(lpo_checkpoint_latest(path, &got, run, NULL), LPO_OK);
    cr_assert_eq(got.step, 1);
    snprintf(file, sizeof file, "%s/checkpoints/step-4.damaged", run);
    cr_assert(lpo_path_exists(file));
}

/* Pruning keeps the newest, and the one in use whatever its age. */
Test(train_checkpoint, prune) {
    lpo_run_state got;
    char file[256], in_use[256];
    for (int i = 1; i <= 5; i++) save(i * 5);
    snprintf(in_use, sizeof in_use, "%s/checkpoints/step-10", run);
    cr_assert_eq(lpo_checkpoint_prune(run, 2, in_use, NULL), LPO_OK);
    for (int i = 1; i <= 5; i++) {
        snprintf(file, sizeof file, "%s/checkpoints/step-%d", run, i * 5);
        cr_assert_eq(lpo_path_exists(file), i >= 4 || i == 2, "%s", file);
    }
    cr_assert_eq(lpo_checkpoint_prune(run, 2, NULL, NULL), LPO_OK);
    cr_assert_not(lpo_path_exists(in_use));
    cr_assert_eq(lpo_checkpoint_latest(path, &got, run, NULL), LPO_OK);
}
