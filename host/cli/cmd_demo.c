/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_demo.c -- the whole loop on the moving-shapes world, measured: see demo.h. Every number printed is in
 * OUT/demo.json, every picture in OUT/report.html. */
#include "demo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static lpo_status run(demo *d, lpo_error *err) {
    const double t0 = demo_now();
    lpo_status s = LPO_OK;
    for (int i = 0; i < d->n_seeds && !s; i++) {
        demo_seed *e = &d->seed[i];
        e->seed = d->first_seed + (uint64_t)i;
        snprintf(e->dir, sizeof e->dir, "%.2000s/seed-%llu", d->out, (unsigned long long)e->seed);
        snprintf(e->world, sizeof e->world, "%.2100s/world", e->dir);
        s = demo_run_seed(d, e, err);
    }
    d->seconds = demo_now() - t0;
    if (!s) s = demo_write_json(d, err);
    return s ? s : demo_write_report(d, err);
}

int cmd_demo(int argc, char **argv) {
    demo d = {.out = "out/demo",
              .first_seed = 1,
              .n_seeds = 1,
              .n_sft = 2500,
              .n_pairs = 800,
              .n_probe = 150,
              .n_heldout = 200};
    int n_rest, rc;
    const cli_option opts[] = {
        {"out", CLI_STR, &d.out, "DIR",
         "folder for everything made (default out/demo); a stopped demo goes on there"},
        {"seed", CLI_U64, &d.first_seed, "S", "the first seed (default 1)"},
        {"seeds", CLI_INT, &d.n_seeds, "N", "seeds S to S+N-1: worlds, models and training (default 1)"},
        {"full", CLI_FLAG, &d.full, NULL, "every objective and the ablations of the data"},
        {"place", CLI_STR, &d.place, "SPEC", "stage=device,..."},
        {"threads", CLI_INT, &d.n_threads, "N", "default: all"},
        {"quick", CLI_FLAG, &d.quick, NULL, "a tenth of everything: checks the machinery, teaches little"},
        {0},
    };
    if ((rc = cli_parse("demo", opts, argc, argv, &n_rest, NULL, NULL))) return rc;
    if (n_rest) return cli_usage("demo", "unexpected argument \"%s\"", argv[1]);
    if (d.n_seeds < 1 || d.n_seeds > DEMO_SEEDS)
        return cli_usage("demo", "--seeds %d: give 1 to %d", d.n_seeds, DEMO_SEEDS);
    if (d.quick) d.n_sft = 200, d.n_pairs = 80, d.n_probe = 30, d.n_heldout = 40;
    if (strlen(d.out) > 2000) return cli_usage("demo", "--out: the path is too long");
    d.seed = calloc((size_t)d.n_seeds, sizeof *d.seed);
    lpo_error err = {0};
    lpo_status s = d.seed ? run(&d, &err) : lpo_fail(&err, LPO_ENOMEM, "out of memory");
    if (!s) {
        demo_print(&d);
        printf("%s/report.html  (%.0f s)\n", d.out, d.seconds);
    }
    free(d.seed);
    return s ? cli_fail("demo", &err) : CLI_OK;
}
