/* SPDX-License-Identifier: Apache-2.0 */
/* train_partial.c -- what a resumed run over a data file may change: where the backbone is, with a warning,
 * and what changes no bit; nothing else. */
#include "base/file.h"
#include "train/partial.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(call) cr_assert_eq(call, LPO_OK, "%s", err.msg)

static lpo_error err;
static char dir[] = "/tmp/leanpo-partial-XXXXXX", out[64], warned[512];

static void on_log(void *user, lpo_log_level level, const char *line) {
    (void)user;
    if (level == LPO_LOG_WARN) snprintf(warned, sizeof warned, "%s", line);
}

/* Opens the run; one line is written when it is new. */
static lpo_status go(const char *place, const char *dtype, bool drop_backbone) {
    static const lpo_partial_file file = {"answers.jsonl", NULL, false};
    const lpo_record_census census = {.size_bytes = 10, .hash = 7};
    lpo_partial_state state;
    lpo_partial *p;
    json_t *identity;
    lpo_status s = lpo_partial_identity(&identity, dir, NULL, place, NULL, dtype, &census, &err);
    if (s) return s;
    if (drop_backbone) json_object_del(identity, "backbone");
    const lpo_partial_options o = {.out = out,
                                   .command = "test",
                                   .files = &file,
                                   .n_files = 1,
                                   .identity = identity,
                                   .data_bytes = 10,
                                   .resume = true};
    warned[0] = 0;
    s = lpo_partial_open(&p, &state, &o, &err);
    if (!s && !state.counts) {
        MUST(lpo_partial_put(p, 0, json_pack("{si}", "n", 1), &err));
        MUST(lpo_partial_commit(p, json_object(), 5, 1, false, &err));
    }
    if (!s) json_decref(state.counts);
    if (!s) lpo_partial_close(p);
    json_decref(identity);
    return s;
}

Test(train_partial, place_of_a_resumed_run) {
    cr_assert(mkdtemp(dir));
    snprintf(out, sizeof out, "%s/out.jsonl", dir);
    lpo_log_set(on_log, NULL);
    MUST(go("backbone=cpu,preprocess=csim", "f32", false));
    MUST(go("auto", "f32", false)); /* here auto is the CPU, and preprocessing is the same bits anywhere */
    cr_expect_str_eq(warned, "");
    MUST(go("opencl:1", "f32", false));
    cr_expect(strstr(warned, "begun with the backbone on cpu, now on opencl:1"), "%s", warned);
    cr_expect_eq(go("auto", "bf16", false), LPO_EINVAL);
    cr_expect(strstr(err.msg, "dtype"), "%s", err.msg);
    cr_expect_eq(go("backbone", "f32", false), LPO_OK, "a device nobody has shows when it is opened");
    cr_expect_eq(go("rescore=cpu", "f32", false), LPO_EINVAL);
    lpo_dir_remove(dir, NULL);
}

/* A run begun by a version that did not note the backbone goes on without a word. */
Test(train_partial, place_unknown) {
    cr_assert(mkdtemp(dir));
    snprintf(out, sizeof out, "%s/out.jsonl", dir);
    lpo_log_set(on_log, NULL);
    MUST(go("cpu", NULL, true));
    MUST(go("opencl", NULL, false));
    cr_expect_str_eq(warned, "");
    lpo_dir_remove(dir, NULL);
}
