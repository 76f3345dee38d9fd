/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_demo.c -- the whole loop on the moving-shapes world, measured: see demo.h. Every number printed is in
 * OUT/demo.json, every picture in OUT/report.html. */
#include "demo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void name_seed(const demo *d, demo_seed *e, uint64_t seed) {
    e->seed = seed;
    snprintf(e->dir, sizeof e->dir, "%.2000s/seed-%llu", d->out, (unsigned long long)seed);
    snprintf(e->world, sizeof e->world, "%.2100s/world", e->dir);
}

/* Seeds side by side, a process each, `jobs` at a time: small models keep one core busy better than several.
 * Results are the same bits at any number of threads. */
static lpo_status run_seeds(demo *d, lpo_error *err) {
    int running = 0, started = 0;
    pid_t child[DEMO_SEEDS];
    lpo_status s = LPO_OK;
    while ((started < d->n_seeds && !s) || running) {
        if (started < d->n_seeds && running < d->jobs && !s && !cli_interrupted(NULL)) {
            fflush(NULL);
            child[started] = fork();
            if (child[started] == 0) {
                d->status[started] = demo_run_seed(d, &d->seed[started], &d->err[started]);
                _exit(0);
            }
            if (child[started] < 0) return lpo_fail(err, LPO_ENOMEM, "cannot start a process for a seed");
            started++;
            running++;
            continue;
        }
        int how;
        const pid_t ended = wait(&how);
        if (ended < 0 && errno == EINTR) continue;
        if (ended < 0) break;
        running--;
        for (int i = 0; i < started && !s; i++) {
            if (child[i] != ended) continue;
            if (WIFSIGNALED(how))
                s = lpo_fail(err, LPO_EIO,
                             "seed %llu: its process was ended by signal %d; run the same again to go on",
                             (unsigned long long)d->seed[i].seed, WTERMSIG(how));
            else if (d->status[i]) {
                *err = d->err[i];
                s = d->status[i];
            }
        }
    }
    return s;
}

static lpo_status run(demo *d, lpo_error *err) {
    const double t0 = demo_now();
    lpo_status s = LPO_OK;
    for (int i = 0; i < d->n_seeds; i++) name_seed(d, &d->seed[i], d->first_seed + (uint64_t)i);
    if (d->n_seeds > 1)
        s = run_seeds(d, err);
    else
        s = demo_run_seed(d, &d->seed[0], err);
    d->seconds = demo_now() - t0;
    if (!s) s = demo_write_json(d, err);
    return s ? s : demo_write_report(d, err);
}

/* What a seed's process fills and the first one reads. */
static bool share(demo *d) {
    typedef struct all {
        demo_seed seed[DEMO_SEEDS];
        lpo_status status[DEMO_SEEDS];
        lpo_error err[DEMO_SEEDS];
    } all;
    all *a = mmap(NULL, sizeof *a, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (a == MAP_FAILED) return false;
    d->seed = a->seed;
    d->status = a->status;
    d->err = a->err;
    return true;
}

int cmd_demo(int argc, char **argv) {
    demo d = {.out = "out/demo",
              .place = "cpu", /* not auto: what is compared is placed alike */
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
        {"place", CLI_STR, &d.place, "SPEC", "stage=device,... (default cpu)"},
        {"jobs", CLI_INT, &d.jobs, "N", "seeds run side by side (default: as many as there are cores)"},
        {"threads", CLI_INT, &d.n_threads, "N", "of each seed (default: the cores shared out)"},
        {"quick", CLI_FLAG, &d.quick, NULL, "a tenth of everything: checks the machinery, teaches little"},
        {0},
    };
    if ((rc = cli_parse("demo", opts, argc, argv, &n_rest, NULL, NULL))) return rc;
    if (n_rest) return cli_usage("demo", "unexpected argument \"%s\"", argv[1]);
    if (d.n_seeds < 1 || d.n_seeds > DEMO_SEEDS)
        return cli_usage("demo", "--seeds %d: give 1 to %d", d.n_seeds, DEMO_SEEDS);
    if (d.quick) d.n_sft = 200, d.n_pairs = 80, d.n_probe = 30, d.n_heldout = 40;
    if (strlen(d.out) > 2000) return cli_usage("demo", "--out: the path is too long");
    const int cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (d.jobs < 1) d.jobs = cores < d.n_seeds ? cores : d.n_seeds;
    if (d.n_seeds > 1 && d.n_threads < 1) d.n_threads = cores / d.jobs > 1 ? cores / d.jobs : 1;
    lpo_error err = {0};
    lpo_status s = share(&d) ? run(&d, &err) : lpo_fail(&err, LPO_ENOMEM, "out of memory");
    if (!s) {
        demo_print(&d);
        printf("%s/report.html  (%.0f s)\n", d.out, d.seconds);
    }
    return s ? cli_fail("demo", &err) : CLI_OK;
}
