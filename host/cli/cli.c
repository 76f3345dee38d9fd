/* SPDX-License-Identifier: Apache-2.0 */
/* cli.c -- options, progress, signals. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool same_name(const char *a, const char *b, size_t n_b) {
    size_t i = 0;
    for (; i < n_b && a[i]; i++)
        if (a[i] != b[i] && !((a[i] == '-' || a[i] == '_') && (b[i] == '-' || b[i] == '_'))) return false;
    return i == n_b && !a[i];
}

static void print_help(const char *command, const cli_option *opts) {
    for (const cli_command *c = cli_commands; c->name; c++)
        if (!strcmp(c->name, command)) printf("leanpo %s %s\n  %s\n\n", c->name, c->args, c->summary);
    for (const cli_option *o = opts; o->name; o++) {
        char head[64];
        snprintf(head, sizeof head, "--%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        printf("  %-28s %s\n", head, o->help);
    }
}

/* Levenshtein distance of short names, for "did you mean". */
static int distance(const char *a, size_t n, const char *b) {
    int row[64];
    size_t m = strlen(b);
    if (n > 60 || m > 60) return 99;
    for (size_t j = 0; j <= m; j++) row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diag = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int best = diag + (a[i - 1] != b[j - 1]);
            diag = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

static int unknown_option(const char *command, const cli_option *opts, const char *name, size_t n) {
    const cli_option *near = NULL;
    int best = 3;
    for (const cli_option *o = opts; o->name; o++) {
        int d = distance(name, n, o->name);
        if (d < best) {
            best = d;
            near = o;
        }
    }
    if (near)
        return cli_usage(command, "unknown option --%.*s (did you mean --%s?)", (int)n, name, near->name);
    return cli_usage(command, "unknown option --%.*s (leanpo %s --help lists them)", (int)n, name, command);
}

static int set_option(const char *command, const cli_option *o, const char *value) {
    char *end;
    errno = 0;
    long long i = 0;
    double r = 0;
    if (o->kind == CLI_INT || o->kind == CLI_I64 || o->kind == CLI_U64 || o->kind == CLI_COUNT) {
        i = strtoll(value, &end, 0);
        if (o->kind == CLI_U64 && value[0] != '-') i = (long long)strtoull(value, &end, 0);
        bool range = o->kind == CLI_INT ? i == (int)i : o->kind != CLI_U64 || value[0] != '-';
        if (end == value || *end || errno || !range)
            return cli_usage(command, "--%s %s: not a whole number in range", o->name, value);
        if (o->kind == CLI_COUNT && i < 1)
            return cli_usage(command, "--%s %s: give at least 1", o->name, value);
    }
    if (o->kind == CLI_REAL || o->kind == CLI_RATE) {
        r = strtod(value, &end);
        if (end == value || *end || !isfinite(r))
            return cli_usage(command, "--%s %s: not a number", o->name, value);
        if (o->kind == CLI_RATE && r <= 0)
            return cli_usage(command, "--%s %s: give a number above 0", o->name, value);
    }
    switch (o->kind) {
    case CLI_FLAG: *(int *)o->dst = 1; break;
    case CLI_INT: *(int *)o->dst = (int)i; break;
    case CLI_I64:
    case CLI_COUNT: *(int64_t *)o->dst = i; break;
    case CLI_U64: *(uint64_t *)o->dst = (uint64_t)i; break;
    case CLI_REAL:
    case CLI_RATE: *(double *)o->dst = r; break;
    case CLI_STR: *(const char **)o->dst = value; break;
    case CLI_LIST: {
        cli_list *list = o->dst;
        if (list->n == CLI_MAX_LIST)
            return cli_usage(command, "--%s: at most %d of them", o->name, CLI_MAX_LIST);
        list->item[list->n++] = value;
        break;
    }
    }
    return CLI_OK;
}

int cli_parse(const char *command, const cli_option *opts, int argc, char **argv, int *n_rest,
              cli_extra_fn *extra, void *user) {
    int rest = 0;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (a[0] != '-' || a[1] != '-' || !a[2]) {
            if (a[0] == '-' && !strcmp(a, "-h")) return print_help(command, opts), -1;
            if (a[0] == '-' && a[1] && a[1] != '-')
                return cli_usage(command, "unknown option %s (options are long: --name)", a);
            argv[++rest] = argv[i];
            continue;
        }
        const char *name = a + 2, *eq = strchr(name, '=');
        size_t n = eq ? (size_t)(eq - name) : strlen(name);
        if (same_name("help", name, n)) return print_help(command, opts), -1;
        const cli_option *o = opts;
        while (o->name && !same_name(o->name, name, n)) o++;
        const char *value = eq ? eq + 1 : i + 1 < argc ? argv[i + 1] : NULL;
        if (!o->name) {
            char key[128];
            snprintf(key, sizeof key, "%.*s", (int)n, name);
            int taken = extra ? extra(user, key, value) : 0;
            if (taken < 0) return CLI_USAGE;
            if (taken == 0) return unknown_option(command, opts, name, n);
            if (!eq) i++;
            continue;
        }
        if (o->kind == CLI_FLAG) {
            if (eq) return cli_usage(command, "--%s takes no value", o->name);
            *(int *)o->dst = 1;
            continue;
        }
        if (!value) return cli_usage(command, "--%s needs a value (%s)", o->name, o->arg);
        if (set_option(command, o, value)) return CLI_USAGE;
        if (!eq) i++;
    }
    *n_rest = rest;
    return CLI_OK;
}

int cli_check_clips(const char *command, const char *model, const lpo_clip_options *c) {
    char path[4096];
    lpo_prep_options o;
    lpo_error err;
    if (!model || snprintf(path, sizeof path, "%s/config.json", model) >= (int)sizeof path ||
        access(path, R_OK) || lpo_prep_options_load(&o, model, &err))
        return CLI_OK;
    return lpo_prep_options_ask(&o, c, &err) ? cli_usage(command, "%s", err.msg) : CLI_OK;
}

static bool bar_shown;
static void end_bar(void) {
    if (bar_shown) fputc('\n', stderr);
    bar_shown = false;
}

int cli_fail(const char *command, const lpo_error *err) {
    end_bar();
    fprintf(stderr, "leanpo %s: %s\n", command, err->msg);
    return err->code == LPO_ECANCELED ? CLI_INTERRUPTED : CLI_FAILED;
}

int cli_usage(const char *command, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "leanpo %s: ", command);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    return CLI_USAGE;
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig) {
    interrupted = 1;
    signal(sig, SIG_DFL); /* a second Ctrl-C means it */
}

void cli_signals(void) {
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
    signal(SIGPIPE, SIG_IGN);
}

int cli_interrupted(void *user) {
    (void)user;
    return interrupted;
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds, as far as one wants to know them. */
static void format_left(char out[32], double s) {
    if (s < 120)
        snprintf(out, 32, "%.0f s", s);
    else if (s < 120 * 60)
        snprintf(out, 32, "%.0f min", s / 60);
    else if (s < 48 * 3600)
        snprintf(out, 32, "%.1f h", s / 3600);
    else
        snprintf(out, 32, "%.1f days", s / 86400);
}

int cli_progress(void *user, const char *what, long long done, long long total) {
    (void)user;
    return cli_progress_note(what, done, total, "");
}

int cli_progress_note(const char *what, long long done, long long total, const char *note) {
    static char current[64];
    static double start, last;
    static long long first_done, last_done; /* a resumed run begins in the middle */
    double t = now_s();
    if (strncmp(current, what, sizeof current - 1) || done < last_done) {
        end_bar();
        snprintf(current, sizeof current, "%s", what);
        start = last = t;
        first_done = done;
    }
    last_done = done;
    bool tty = isatty(STDERR_FILENO);
    if (t - start < 2 || t - last < (tty ? .1 : 10)) {
        if (!(bar_shown && done == total)) return interrupted;
    }
    last = t;
    double rate = (double)(done - first_done) / (t - start);
    char left[32];
    format_left(left, rate > 0 ? (double)(total - done) / rate : 0);
    if (total > 0 && rate > 0)
        fprintf(stderr, "%s%s: %lld of %lld (%.0f%%), %.3g/s%s, %s left%s", tty ? "\r\033[K" : "", what, done,
                total, 100.0 * (double)done / (double)total, rate, note, left, tty ? "" : "\n");
    else
        fprintf(stderr, "%s%s: %lld, %.3g/s%s%s", tty ? "\r\033[K" : "", what, done, rate, note,
                tty ? "" : "\n");
    bar_shown = tty;
    if (done == total) end_bar();
    return interrupted;
}

int cli_print_json(json_t *obj) {
    char *text = obj ? json_dumps(obj, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(obj);
    if (!text) return fprintf(stderr, "leanpo: out of memory\n"), CLI_FAILED;
    int bad = puts(text) < 0 || fflush(stdout);
    free(text);
    if (bad) fprintf(stderr, "leanpo: cannot write the result: %s\n", strerror(errno));
    return bad ? CLI_FAILED : CLI_OK;
}
