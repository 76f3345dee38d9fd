/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_profile.c -- where the time goes: of a few training steps made for it, of a run that was traced, or of
 * any other command. Training happens in a folder of its own that is removed again: nothing of it is kept but
 * what --out asks for. */
#include "cli.h"
#include "leanpo/profile.h"
#include "leanpo/train.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct profile {
    const char *run, *out;
    int steps, ops, json, no_roofline;
} profile;

static int print(const profile *p, const char *trace, int last_steps, int tail) {
    const lpo_profile_options o = {trace, last_steps, tail, p->no_roofline};
    char *text, *json, path[4096];
    lpo_error err;
    if (lpo_profile_read(&text, &json, &o, &err)) return cli_fail("profile", &err);
    int rc = puts(p->json ? json : text) < 0 || fflush(stdout) ? CLI_FAILED : CLI_OK;
    if (p->out) {
        snprintf(path, sizeof path, "%s/profile.json", p->out);
        FILE *f = fopen(path, "w");
        if (!f || fputs(json, f) < 0 || fputc('\n', f) < 0) rc = CLI_FAILED;
        if (f && fclose(f)) rc = CLI_FAILED;
        if (rc) fprintf(stderr, "leanpo profile: %s: %s\n", path, strerror(errno));
        if (!rc) fprintf(stderr, "%s/trace.json opens in ui.perfetto.dev or chrome://tracing\n", p->out);
    }
    free(text);
    free(json);
    return rc;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

/* A folder for the run: beside what is to be kept, so that keeping is a rename, else where temporary files
 * are. */
static int make_folder(char path[4096], const profile *p) {
    const char *base = p->out ? p->out : getenv("TMPDIR");
    if (p->out && mkdir(p->out, 0777) && errno != EEXIST) {
        fprintf(stderr, "leanpo profile: %s: cannot make the folder: %s\n", p->out, strerror(errno));
        return CLI_FAILED;
    }
    snprintf(path, 4096, "%s/leanpo-profile-XXXXXX", base && *base ? base : "/tmp");
    if (mkdtemp(path)) return CLI_OK;
    fprintf(stderr, "leanpo profile: %s: cannot make the folder: %s\n", path, strerror(errno));
    return CLI_FAILED;
}

static int keep_trace(char trace[4200], const profile *p, const char *made) {
    snprintf(trace, 4200, "%s", made);
    if (!p->out) return CLI_OK;
    snprintf(trace, 4200, "%s/trace.json", p->out);
    if (!rename(made, trace)) return CLI_OK;
    fprintf(stderr, "leanpo profile: %s: %s\n", trace, strerror(errno));
    return CLI_FAILED;
}

/* Warm-up and measured steps, alike in number, and a few more that keep the loader at work till the end: it
 * is that many batches ahead. */
enum { TAIL = 4 };

static int train(const profile *p, lpo_train_options *o) {
    char folder[4096], made[4200], trace[4200], card[4200], steps[32];
    lpo_train_result r;
    lpo_error err;
    int rc = make_folder(folder, p);
    if (rc) return rc;
    snprintf(steps, sizeof steps, "%d", 2 * p->steps + TAIL);
    snprintf(made, sizeof made, "%s/trace.json", folder);
    snprintf(card, sizeof card, "%s/card.jsonl", folder);
    setenv("LEANPO_CARD_TRACE", card, 0); /* a software card, if one is used, tells its part */
    lpo_status s = lpo_train_options_set(o, "out", folder, &err);
    if (!s) s = lpo_train_options_set(o, "max_steps", steps, &err);
    if (!s) s = lpo_train_options_set(o, "trace", p->ops ? "ops" : "stages", &err);
    if (!s) s = lpo_train(&r, o, cli_interrupted, cli_progress, NULL, &err);
    if (s) rc = cli_fail("profile", &err);
    if (!rc) rc = keep_trace(trace, p, made);
    if (!rc) rc = print(p, trace, p->steps, TAIL);
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return rc;
}

/* Any command under the eye of the tracer: argv[0] is its name. */
static int watch(const profile *p, int argc, char **argv) {
    char folder[4096], made[4200], trace[4200];
    lpo_error err;
    const cli_command *c = cli_commands;
    while (c->name && strcmp(c->name, argv[0])) c++;
    if (!c->name || c->run == cmd_profile) return cli_usage("profile", "-- %s: no such command", argv[0]);
    int rc = make_folder(folder, p);
    if (rc) return rc;
    snprintf(made, sizeof made, "%s/trace.json", folder);
    lpo_profile_start();
    rc = c->run(argc, argv);
    if (!rc && lpo_profile_save(made, &err)) rc = cli_fail("profile", &err);
    if (!rc) rc = keep_trace(trace, p, made);
    if (!rc) rc = print(p, trace, 0, 0);
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return rc;
}

int cmd_profile(int argc, char **argv) {
    profile p = {0};
    int n_rest, rc, own = 1;
    const cli_option opts[] = {
        {"steps", CLI_INT, &p.steps, "N",
         "steps measured, after as many of warm-up (5); of --run: the last N"},
        {"run", CLI_STR, &p.run, "RUN", "a run traced before (train --trace stages), or a trace.json"},
        {"ops", CLI_FLAG, &p.ops, NULL, "times of single ops too; each is waited for, so the step is slower"},
        {"out", CLI_STR, &p.out, "DIR", "keep trace.json (for Perfetto) and profile.json there"},
        {"json", CLI_FLAG, &p.json, NULL, "the figures as JSON"},
        {"no-roofline", CLI_FLAG, &p.no_roofline, NULL, "do not measure what this machine can do (a second)"},
        {0},
    };
    while (own < argc && strcmp(argv[own], "--")) own++;
    lpo_train_options *o = lpo_train_options_create();
    if (!o) return cli_usage("profile", "out of memory");
    /* Before the user's flags, which win: nothing saved, nothing evaluated. */
    lpo_error err;
    rc = lpo_train_options_set(o, "save_steps", "-1", &err) ||
                 lpo_train_options_set(o, "displacement_size", "0", &err)
             ? cli_fail("profile", &err)
             : CLI_OK;
    if (!rc) rc = cli_parse("profile", opts, own, argv, &n_rest, cli_train_option, o);
    if (rc == -1) puts("\nand every option of leanpo train (leanpo train --help)");
    if (!rc && n_rest)
        rc = cli_usage("profile", "unexpected argument \"%s\" (a command stands after --)", argv[1]);
    if (!rc && (p.steps < 0 || p.steps > 1000000))
        rc = cli_usage("profile", "--steps %d: give 1 or more", p.steps);
    if (!rc) {
        if (!p.run && !p.steps) p.steps = 5;
        if (own + 1 < argc)
            rc = watch(&p, argc - own - 1, argv + own + 1);
        else
            rc = p.run ? print(&p, p.run, p.steps, 0) : train(&p, o);
    }
    lpo_train_options_destroy(o);
    return rc;
}
