/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.jsonl: whole lines, cut back exactly to where a checkpoint was. */
#include "base/file.h"
#include "train/metrics.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[64];
static void setup(void) {
    strcpy(path, "/tmp/lpo_metricsXXXXXX");
    close(mkstemp(path));
}
static void teardown(void) {
    unlink(path);
}
TestSuite(train_metrics, .init = setup, .fini = teardown);

static void put(lpo_lines *l, int64_t step, double loss) {
    lpo_scalars s = {.step = step};
    lpo_scalars_add(&s, "loss", loss);
    cr_assert_eq(lpo_lines_put(l, &s, NULL), LPO_OK);
}

/* What is not a number becomes JSON's null: a line must stay parseable however badly the run went. */
Test(train_metrics, lines) {
    lpo_lines *l;
    char *text;
    size_t n;
    cr_assert_eq(lpo_lines_open(&l, path, -1, NULL), LPO_OK);
    put(l, 1, 0.25);
    put(l, 2, NAN);
    cr_assert_eq(lpo_lines_sync(l, NULL), LPO_OK);
    cr_assert_eq(lpo_file_read(&text, &n, path, 4096, NULL), LPO_OK);
    cr_assert_str_eq(text, "{\"step\": 1, \"loss\": 0.25}\n{\"step\": 2, \"loss\": null}\n");
    cr_assert_eq(lpo_lines_bytes(l), (int64_t)n);
    free(text);
    lpo_lines_close(l);
}

/* Reopened at an offset, later lines vanish and new ones follow at once: the file of a run that never
 * stopped. */
Test(train_metrics, cut_back_to_the_checkpoint) {
    lpo_lines *l;
    char *text;
    size_t n;
    cr_assert_eq(lpo_lines_open(&l, path, 0, NULL), LPO_OK);
    put(l, 1, 1);
    int64_t at = lpo_lines_bytes(l);
    put(l, 2, 2);
    lpo_lines_close(l);
    cr_assert_eq(lpo_lines_open(&l, path, at, NULL), LPO_OK);
    cr_assert_eq(lpo_lines_bytes(l), at);
    put(l, 2, 3);
    lpo_lines_close(l);
    cr_assert_eq(lpo_file_read(&text, &n, path, 4096, NULL), LPO_OK);
    cr_assert_str_eq(text, "{\"step\": 1, \"loss\": 1}\n{\"step\": 2, \"loss\": 3}\n");
    free(text);
}

/* A full disk is an error that says so. /dev/full answers every write with ENOSPC. */
Test(train_metrics, disk_full) {
    lpo_lines *l;
    lpo_error err;
    lpo_scalars s = {.step = 1};
    cr_assert_eq(lpo_lines_open(&l, "/dev/full", -1, &err), LPO_OK);
    cr_assert_eq(lpo_lines_put(l, &s, &err), LPO_EIO);
    cr_assert(strstr(err.msg, "/dev/full") && strstr(err.msg, "free some space"), "%s", err.msg);
    lpo_lines_close(l);
}
