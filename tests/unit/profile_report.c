/* SPDX-License-Identifier: Apache-2.0 */
/* A run's section of the report: what its timing.jsonl becomes. */
#include "base/file.h"
#include "profile/chart.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char dir[64];

static void make_dir(void) {
    strcpy(dir, "/tmp/leanpo-report-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
}
static void drop_dir(void) {
    lpo_dir_remove(dir, NULL);
}
TestSuite(profile_report, .init = make_dir, .fini = drop_dir);

static void put(const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    cr_assert_eq(lpo_file_write(path, text, strlen(text), NULL), LPO_OK);
}

/* The first step, a slow one, warms up and is left out. Of the other two's 4 s: 1 waiting, 1 forward, 1
 * backward, .5 reduction, so .5 is the rest. Stages stand under the device --place names. */
Test(profile_report, split) {
    lpo_report_bar bar[LPO_RUN_SPLIT];
    lpo_error err;
    int n;
    put("config.json", "{\"place\": \"backbone=cpu,preprocess=csim,reduce=csim\"}");
    put("timing.jsonl",
        "{\"step\":1,\"time/step_s\":9,\"time/data_wait_s\":9}\n"
        "{\"step\":2,\"time/step_s\":2,\"time/data_wait_s\":1,\"time/forward_s\":0.5,\"time/reduce_s\":0.5}\n"
        "{\"step\":3,\"time/step_s\":2,\"time/forward_s\":0.5,\"time/backward_s\":1}\n");
    cr_assert_eq(lpo_run_split(bar, &n, dir, &err), LPO_OK, "%s", err.msg);
    static const struct {
        const char *device, *stage;
        double share;
    } want[] = {{"host", "waiting for data", .25}, {"host", "recording", 0}, {"host", "the rest", .125},
                {"cpu", "forward", .25},           {"cpu", "backward", .25}, {"cpu", "optimizer", 0},
                {"csim", "reduction", .125}};
    cr_assert_eq(n, 7);
    for (int i = 0; i < n; i++) {
        cr_assert_str_eq(bar[i].group, want[i].device);
        cr_assert_str_eq(bar[i].label, want[i].stage);
        cr_assert_float_eq(bar[i].value, want[i].share, 1e-12);
    }
}

/* A run that says where its stages were is believed before its --place; who chose, and why, is told. */
Test(profile_report, settled_place) {
    lpo_report_bar bar[LPO_RUN_SPLIT];
    char why[LPO_RUN_WHY_BYTES];
    int n;
    put("config.json",
        "{\"place\":\"auto\",\"run\":{\"placement\":{\"auto\":true,\"backbone\":\"cuda\",\"reduce\":"
        "\"cpu\",\"reason\":\"it is faster\"}}}");
    put("timing.jsonl", "{\"step\":1,\"time/step_s\":1,\"time/forward_s\":1}\n");
    cr_assert_eq(lpo_run_split(bar, &n, dir, NULL), LPO_OK);
    cr_expect_str_eq(bar[3].label, "forward");
    cr_expect_str_eq(bar[3].group, "cuda");
    lpo_run_why(why, dir);
    cr_expect_str_eq(why, "auto put the backbone on cuda: it is faster");
    put("config.json", "{\"place\":\"cuda\",\"run\":{\"placement\":{\"auto\":false,\"backbone\":\"cuda\","
                       "\"reason\":\"\"}}}");
    lpo_run_why(why, dir);
    cr_expect_str_eq(why, "");
}

/* Without times there is no split, and no error. */
Test(profile_report, no_timing) {
    lpo_report_bar bar[LPO_RUN_SPLIT];
    int n = 7;
    cr_assert_eq(lpo_run_split(bar, &n, dir, NULL), LPO_OK);
    cr_assert_eq(n, 0);
}

/* The page has the charts, and a step told twice is drawn as told last: throughput never goes back in time.
 */
Test(profile_report, charts) {
    char path[128], *text;
    size_t size;
    lpo_error err;
    lpo_page *p;
    put("metrics.jsonl", "{\"step\":1,\"loss\":1}\n{\"step\":2,\"loss\":0.5}\n");
    put("timing.jsonl", "{\"step\":1,\"records_per_s\":10}\n{\"step\":2,\"records_per_s\":1000}\n"
                        "{\"step\":2,\"records_per_s\":20}\n");
    snprintf(path, sizeof path, "%s/report.html", dir);
    cr_assert_eq(lpo_page_open(&p, path, "run", &err), LPO_OK);
    lpo_page_run(p, &(lpo_report_run){"Curves", dir});
    cr_assert_eq(lpo_page_close(p, &err), LPO_OK, "%s", err.msg);
    cr_assert_eq(lpo_file_read(&text, &size, path, 1 << 20, &err), LPO_OK);
    cr_assert_not_null(strstr(text, "throughput (records a second)"));
    cr_assert_not_null(strstr(text, ">20</text>")); /* the axis ends at 20 */
    cr_assert_null(strstr(text, ">1000</text>"));
    free(text);
}
