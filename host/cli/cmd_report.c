/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_report.c -- a run folder as a page of curves. */
#include "cli.h"
#include "leanpo/report.h"

#include <stdio.h>
#include <string.h>

int cmd_report(int argc, char **argv) {
    const char *run = NULL, *out = NULL;
    int n_rest, rc;
    const cli_option opts[] = {
        {"run", CLI_STR, &run, "RUN", "run folder of leanpo train"},
        {"out", CLI_STR, &out, "F.html", "default RUN/report.html"},
        {0},
    };
    if ((rc = cli_parse("report", opts, argc, argv, &n_rest, NULL, NULL))) return rc;
    if (!run && n_rest == 1) {
        run = argv[1];
        n_rest = 0;
    }
    if (!run || n_rest) return cli_usage("report", "give one run folder: --run RUN");
    char path[4096];
    snprintf(path, sizeof path, "%s/report.html", run);
    lpo_report_run one = {"Curves", run};
    lpo_page *page;
    lpo_error err;
    lpo_status s = lpo_page_open(&page, out ? out : path, run, &err);
    if (!s) {
        lpo_page_run(page, &one);
        s = lpo_page_close(page, &err);
    }
    if (s) return cli_fail("report", &err);
    puts(out ? out : path);
    return CLI_OK;
}
