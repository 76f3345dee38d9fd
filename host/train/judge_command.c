/* SPDX-License-Identifier: Apache-2.0 */
/* judge_command.c -- a judge that is a program: one JSON object a line goes to its standard input,
 * {"id":7,"record":"v3-colour","question":...,"answer":...,"candidate":...}, and one a line comes back in any
 * order, {"id":7,"score":0.5}. A few requests are under way at a time. When nothing usable arrives for the
 * timeout, the program hangs: it is killed and started anew. Whatever goes wrong is charged to the oldest
 * request under way, which goes to the end of the queue with a new id, so that a late reply to the old one is
 * known for what it is. */
#include "base/clock.h"
#include "base/json.h"
#include "train/judge.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { MAX_LINE = 1 << 20, MORE_RESTARTS = 3 }; /* than retries, without a usable reply between them */

typedef struct request {
    int ask, tries; /* index; attempts begun before this one */
    int64_t id;
} request;

typedef struct command {
    const lpo_pairs_options *o;
    lpo_judge_tally *tally;
    pid_t pid; /* 0: not running */
    int to, from;
    int64_t next_id;
    int restarts;              /* in a row */
    bool started_once, useful; /* ever; this one has replied */
    char *in;                  /* bytes read, not yet a line */
    size_t n_in, cap_in;
    char *out; /* bytes to write */
    size_t n_out, cap_out;
    request *queue; /* ring of [n] asks waiting */
    int head, waiting, cap_queue;
    request *flying; /* [judge_parallel], oldest first */
    int n_flying;
    double deadline;
    char last[200]; /* what went wrong last */
} command;

static lpo_status command_open(void **self, const lpo_pairs_options *o, lpo_judge_tally *t, lpo_error *err) {
    command *c = calloc(1, sizeof *c);
    if (c) c->flying = calloc((size_t)o->judge_parallel, sizeof *c->flying);
    if (!c || !c->flying) {
        free(c);
        return lpo_fail(err, LPO_ENOMEM, "out of memory");
    }
    c->o = o;
    c->tally = t;
    c->next_id = 1;
    *self = c;
    return LPO_OK;
}

/* Ends the program and reads its status; the whole process group, so that a shell's children go too. */
static int stop(command *c) {
    int status = 0;
    if (!c->pid) return 0;
    close(c->to);
    close(c->from);
    kill(-c->pid, SIGKILL);
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR) {
    }
    c->pid = 0;
    c->n_in = c->n_out = 0;
    return status;
}

static void command_close(void *self) {
    command *c = self;
    stop(c);
    free(c->in);
    free(c->out);
    free(c->queue);
    free(c->flying);
    free(c);
}

static lpo_status start(command *c, lpo_error *err) {
    int down[2] = {-1, -1}, up[2] = {-1, -1};
    if (pipe2(down, O_CLOEXEC) || pipe2(up, O_CLOEXEC)) {
        if (down[0] >= 0) close(down[0]), close(down[1]);
        return lpo_fail(err, LPO_EIO, "judge: no pipe: %s", strerror(errno));
    }
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, normal;
    sigemptyset(&none);
    sigemptyset(&normal);
    sigaddset(&normal, SIGPIPE);
    sigaddset(&normal, SIGINT);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, down[0], 0);
    posix_spawn_file_actions_adddup2(&files, up[1], 1);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &normal);
    char *argv[] = {"sh", "-c", (char *)(uintptr_t)c->o->judge_cmd, NULL};
    int bad = posix_spawn(&c->pid, "/bin/sh", &files, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    close(down[0]);
    close(up[1]);
    if (bad) {
        close(down[1]);
        close(up[0]);
        c->pid = 0;
        return lpo_fail(err, LPO_EIO, "judge: cannot start /bin/sh: %s", strerror(bad));
    }
    c->to = down[1];
    c->from = up[0];
    fcntl(c->to, F_SETFL, O_NONBLOCK);
    fcntl(c->from, F_SETFL, O_NONBLOCK);
    if (c->started_once) {
        atomic_fetch_add(&c->tally->restarts, 1);
        c->restarts++;
    }
    c->started_once = true;
    c->useful = false;
    return LPO_OK;
}

static bool reserve(char **p, size_t *cap, size_t need) {
    if (need <= *cap) return true;
    size_t grown = *cap ? *cap : 4096;
    while (grown < need) grown *= 2;
    char *q = realloc(*p, grown);
    if (!q) return false;
    *p = q;
    *cap = grown;
    return true;
}

static void push(command *c, request r) {
    c->queue[(c->head + c->waiting++) % c->cap_queue] = r;
}

/* One attempt at flying[k] is lost: it waits for another, or goes without a score. */
static void charge(command *c, int k) {
    request r = c->flying[k];
    memmove(c->flying + k, c->flying + k + 1, (size_t)(--c->n_flying - k) * sizeof r);
    if (r.tries >= c->o->judge_retries) {
        atomic_fetch_add(&c->tally->failed, 1);
        return;
    }
    atomic_fetch_add(&c->tally->retries, 1);
    r.tries++;
    push(c, r);
}

/* The program is gone: the oldest request is charged, the others only wait again. One that replied and then
 * ended by itself may have had enough; what it left unanswered is nobody's fault. */
static void lose_program(command *c, bool hung) {
    const int status = stop(c);
    if (!c->last[0])
        snprintf(c->last, sizeof c->last,
                 WIFEXITED(status) ? "it ended with exit status %d" : "it died of signal %d",
                 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    if (c->n_flying && (hung || !c->useful)) charge(c, 0);
    while (c->n_flying) push(c, c->flying[--c->n_flying]);
}

static lpo_status send_one(command *c, const lpo_judge_ask *asks, lpo_error *err) {
    request r = c->queue[c->head];
    const lpo_judge_ask *a = &asks[r.ask];
    lpo_status s = lpo_judge_may_call(c->tally, c->o, err);
    if (s) return s;
    r.id = c->next_id++;
    json_t *o = json_pack("{sI ss ss ss ss}", "id", (json_int_t)r.id, "record", a->id, "question",
                          a->question, "answer", a->answer, "candidate", a->candidate);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    const size_t n = text ? strlen(text) : 0;
    if (!text || !reserve(&c->out, &c->cap_out, c->n_out + n + 1)) {
        free(text);
        return lpo_fail(err, LPO_ENOMEM, "out of memory");
    }
    memcpy(c->out + c->n_out, text, n);
    c->out[c->n_out + n] = '\n';
    c->n_out += n + 1;
    free(text);
    c->head = (c->head + 1) % c->cap_queue;
    c->waiting--;
    if (!c->n_flying) c->deadline = lpo_now_s() + c->o->judge_timeout_s;
    c->flying[c->n_flying++] = r;
    return LPO_OK;
}

static void bad_reply(command *c, int k, const char *line, const char *why) {
    char said[120];
    atomic_fetch_add(&c->tally->bad_replies, 1);
    atomic_fetch_add(&c->tally->bad_in_a_row, 1);
    lpo_judge_quote(said, sizeof said, line);
    snprintf(c->last, sizeof c->last, "it replied %s, %s", said, why);
    if (k < c->n_flying) charge(c, k);
}

static void take_line(command *c, lpo_judge_ask *asks, const char *line, size_t n) {
    json_t *o = json_loadb(line, n, 0, NULL);
    const bool object = json_is_object(o);
    const json_t *id = json_object_get(o, "id"), *score = json_object_get(o, "score");
    const int64_t number = json_is_integer(id) ? json_integer_value(id) : -1;
    int k = 0;
    while (k < c->n_flying && c->flying[k].id != number) k++;
    const double x = json_is_number(score) ? json_number_value(score) : -1;
    json_decref(o);
    if (k == c->n_flying && number > 0 && number < c->next_id) {
        atomic_fetch_add(&c->tally->late_replies, 1);
        return;
    }
    if (k == c->n_flying || !lpo_judge_valid(x)) {
        bad_reply(c, k == c->n_flying ? 0 : k, line,
                  !object            ? "which is no JSON object"
                  : k == c->n_flying ? "whose \"id\" is none of a request"
                                     : "whose \"score\" is no number from 0 to 1");
        return;
    }
    asks[c->flying[k].ask].score = x;
    memmove(c->flying + k, c->flying + k + 1, (size_t)(--c->n_flying - k) * sizeof *c->flying);
    c->deadline = lpo_now_s() + c->o->judge_timeout_s;
    c->restarts = 0;
    c->useful = true;
    c->last[0] = 0;
    atomic_store(&c->tally->bad_in_a_row, 0);
}

static bool out_of_patience(const command *c) {
    return atomic_load(&c->tally->bad_in_a_row) >= LPO_JUDGE_PATIENCE;
}

/* What the program has said so far; false: it has nothing more to say. */
static bool take_input(command *c, lpo_judge_ask *asks) {
    for (;;) {
        if (c->n_in > MAX_LINE || !reserve(&c->in, &c->cap_in, c->n_in + 4096 + 1)) {
            snprintf(c->last, sizeof c->last, "it wrote a line of over %d bytes", MAX_LINE);
            atomic_fetch_add(&c->tally->bad_replies, 1);
            return false;
        }
        ssize_t n = read(c->from, c->in + c->n_in, 4096);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno == EAGAIN;
        if (n == 0) return false;
        c->n_in += (size_t)n;
        char *line = c->in, *end;
        while (!out_of_patience(c) && (end = memchr(line, '\n', c->n_in - (size_t)(line - c->in)))) {
            *end = 0;
            take_line(c, asks, line, (size_t)(end - line));
            line = end + 1;
        }
        c->n_in -= (size_t)(line - c->in);
        memmove(c->in, line, c->n_in);
        if (out_of_patience(c)) return true;
    }
}

static bool give_output(command *c) {
    while (c->n_out) {
        ssize_t n = write(c->to, c->out, c->n_out);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno == EAGAIN;
        memmove(c->out, c->out + n, c->n_out -= (size_t)n);
    }
    return true;
}

/* Waits for the program to read, write, end or let its time pass. */
static void exchange(command *c, lpo_judge_ask *asks) {
    struct pollfd fd[2] = {{c->from, POLLIN, 0}, {c->n_out ? c->to : -1, POLLOUT, 0}};
    const double left_ms = 1000 * (c->deadline - lpo_now_s());
    poll(fd, 2, left_ms > LPO_JUDGE_TICK_MS ? LPO_JUDGE_TICK_MS : left_ms > 0 ? (int)left_ms + 1 : 0);
    /* A closed input is no news: what it said before counts first. */
    if (fd[1].revents & (POLLOUT | POLLERR)) give_output(c);
    if (fd[0].revents & (POLLIN | POLLHUP | POLLERR) && !take_input(c, asks)) {
        lose_program(c, false);
        return;
    }
    if (c->n_flying && lpo_now_s() >= c->deadline) {
        atomic_fetch_add(&c->tally->timeouts, 1);
        snprintf(c->last, sizeof c->last, "no usable reply within %g s (does it flush every line?)",
                 c->o->judge_timeout_s);
        lose_program(c, true);
    }
}

static lpo_status give_up(const command *c, lpo_error *err) {
    char again[64] = "";
    if (c->restarts)
        snprintf(again, sizeof again, ", started %d times without a usable reply", c->restarts + 1);
    return lpo_fail(
        err, LPO_EIO,
        "the judge \"%.200s\"%s: %s; expected for each request a line {\"id\":7,\"score\":0.5}, score "
        "from 0 to 1; once it works, --resume goes on",
        c->o->judge_cmd, again, c->last);
}

static lpo_status converse(command *c, lpo_judge_ask *asks, lpo_error *err) {
    while (c->waiting || c->n_flying) {
        lpo_status s = LPO_OK;
        if (out_of_patience(c)) return give_up(c, err);
        if (!c->pid && c->started_once && c->restarts >= c->o->judge_retries + MORE_RESTARTS)
            return give_up(c, err);
        if (!c->pid) s = start(c, err);
        while (!s && c->waiting && c->n_flying < c->o->judge_parallel) s = send_one(c, asks, err);
        if (s) return s;
        if (c->n_flying) exchange(c, asks);
        if (atomic_load(&c->tally->cancelled))
            return lpo_fail(err, LPO_ECANCELED, "the judge was told to stop");
    }
    return LPO_OK;
}

/* Writing to a program that has ended raises SIGPIPE, which is the caller's business elsewhere and nobody's
 * here. */
static lpo_status command_score(void *self, lpo_judge_ask *asks, int n, lpo_error *err) {
    command *c = self;
    request *queue = realloc(c->queue, (size_t)n * sizeof *queue);
    if (!queue) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    c->queue = queue;
    c->cap_queue = n;
    c->head = c->waiting = c->n_flying = 0;
    c->n_out = 0;
    for (int i = 0; i < n; i++) push(c, (request){.ask = i});
    sigset_t pipe_signal, before, pending;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    lpo_status s = converse(c, asks, err);
    sigpending(&pending);
    if (sigismember(&pending, SIGPIPE) && !sigismember(&before, SIGPIPE))
        sigtimedwait(&pipe_signal, NULL, &(struct timespec){0, 0});
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return s;
}

const lpo_judge_way lpo_judge_command = {command_open, command_close, command_score};
