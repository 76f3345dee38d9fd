/* SPDX-License-Identifier: Apache-2.0 */
/* link.c -- the card process: started with a container, heard by one thread, ended with the device.
 * The thread that hears is also the one that starts the process: the kernel's parent-death signal follows the
 * thread, and a user's thread may end long before the device is closed. */
#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <ert.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { START_S = 20 };

int link_send(card *c, wire_command *m, size_t payload_bytes, int fd) {
    char control[CMSG_SPACE(sizeof fd)];
    struct iovec io = {m, WIRE_HEAD + payload_bytes};
    struct msghdr h = {.msg_iov = &io, .msg_iovlen = 1};
    if (fd >= 0) {
        memset(control, 0, sizeof control);
        h.msg_control = control;
        h.msg_controllen = sizeof control;
        struct cmsghdr *k = CMSG_FIRSTHDR(&h);
        k->cmsg_level = SOL_SOCKET;
        k->cmsg_type = SCM_RIGHTS;
        k->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(k), &fd, sizeof fd);
    }
    ssize_t n;
    do n = sendmsg(c->socket, &h, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

void link_map(card *c, const store *s) {
    wire_command m = {.type = WIRE_MAP, .address = s->address, .size = s->span};
    if (c->alive) link_send(c, &m, 0, s->fd);
}

/* What a run that did not end well may have half written must not pass for a result. */
static void poison(card *c, const job *j) {
    const struct ert_start_kernel_cmd *k = (const struct ert_start_kernel_cmd *)j->command->host;
    const uint8_t *regs = (const uint8_t *)(k->data + k->extra_cu_masks);
    size_t size = (k->count - 1 - k->extra_cu_masks) * 4;
    const unit *u = &c->unit[j->unit];
    uint64_t at;
    for (int a = 0; a < u->n_memory; a++) {
        if (!u->memory[a].output || u->memory[a].offset + sizeof at > size) continue;
        memcpy(&at, regs + u->memory[a].offset, sizeof at);
        store *s = store_at(c, at);
        if (s) memset(s->device + (at - s->address), 0xa5, s->span - (at - s->address));
    }
}

/* Ends a job with an ERT state. Lock held. */
static void finish(card *c, job *j, unsigned state) {
    if (c->poison && state != ERT_CMD_STATE_COMPLETED) poison(c, j);
    store *spoiled = j->flip && state == ERT_CMD_STATE_COMPLETED ? store_at(c, j->output) : NULL;
    if (spoiled) spoiled->device[j->output - spoiled->address] ^= 0x10;
    free(j->banks);
    j->banks = NULL;
    uint32_t *header = (uint32_t *)j->command->host;
    c->unit[j->unit].queued--;
    c->unit[j->unit].progress_s = now_s();
    __atomic_store_n(header, (*header & ~15u) | state, __ATOMIC_RELEASE);
    store_drop(c, j->command);
    j->command = NULL;
    c->n_done++;
    pthread_cond_broadcast(&c->done);
}

void link_give_up(card *c, job *j, unsigned state) {
    wire_command m = {.type = WIRE_CANCEL, .cu = (uint32_t)j->unit, .job = (uint32_t)(j - c->job)};
    finish(c, j, state);
    j->lost = true;
    c->unit[j->unit].lost++;
    if (c->alive) link_send(c, &m, 0, -1);
}

/* The oldest run of each unit where nothing has moved for the allowed time is lost. */
static void look_at_clock(card *c) {
    double now = now_s();
    for (int u = 0; u < c->n_units; u++) {
        if (!c->unit[u].queued || now - c->unit[u].progress_s < 1e-3 * c->timeout_ms) continue;
        job *oldest = NULL;
        for (job *j = c->job; j < c->job + MAX_JOBS; j++)
            if (j->command && j->unit == u && (!oldest || j->order < oldest->order)) oldest = j;
        if (!oldest) continue;
        card_say("%s: no end after %d ms; load the container again to reset the card", c->unit[u].name,
                 c->timeout_ms);
        link_give_up(c, oldest, ERT_CMD_STATE_TIMEOUT);
    }
}

static void end_of_card(card *c, int status) {
    char how[64];
    snprintf(how, sizeof how, WIFSIGNALED(status) ? "signal %d" : "exit %d",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    c->alive = false;
    c->start_failed |= c->starting;
    for (int i = 0; i < MAX_JOBS; i++) {
        c->job[i].lost = false;
        if (!c->job[i].command) continue;
        if (c->closing)
            card_say("reset or closed while %s was running", c->unit[c->job[i].unit].name);
        else
            card_say("the card ended (%s) while %s was running; load the container again to reset it", how,
                     c->unit[c->job[i].unit].name);
        finish(c, &c->job[i], ERT_CMD_STATE_ABORT);
    }
    pthread_cond_broadcast(&c->done);
}

static const char *card_path(char *buf, size_t size) {
    const char *set = getenv("LEANPO_CARD");
    Dl_info me;
    if (set && *set) return set;
    /* sim/xrt/lib/libxrt_swemu.so.2 -> sim/bin/leanpo-card */
    if (!dladdr((void *)(uintptr_t)link_start, &me) || !me.dli_fname) return "leanpo-card";
    const char *slash = strrchr(me.dli_fname, '/');
    snprintf(buf, size, "%.*s/../../bin/leanpo-card", slash ? (int)(slash - me.dli_fname) : 1,
             slash ? me.dli_fname : ".");
    return buf;
}

static int spawn_card(card *c, int end) {
    char buf[4096];
    const char *path = card_path(buf, sizeof buf);
    char *argv[] = {(char *)path, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, end, WIRE_FD);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    pid_t pid = 0;
    int e = posix_spawn(&pid, path, &files, &attr, argv, environ);
    pthread_mutex_lock(&c->lock);
    c->pid = e ? 0 : pid;
    pthread_mutex_unlock(&c->lock);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    if (e) card_say("cannot run %s: %s (LEANPO_CARD names another)", path, strerror(e));
    return e;
}

static void take_reply(card *c, const wire_reply *r) {
    if (r->job == WIRE_NO_JOB) {
        c->start_failed |= (int)r->failed;
        c->n_ready++;
        pthread_cond_broadcast(&c->done);
    } else if (r->job < MAX_JOBS && c->job[r->job].command) {
        if (trace_on()) trace_run(c, &c->job[r->job], r);
        finish(c, &c->job[r->job], ERT_CMD_STATE_COMPLETED);
    } else if (r->job < MAX_JOBS && c->job[r->job].lost) { /* it came to an end after all */
        c->job[r->job].lost = false;
        c->unit[c->job[r->job].unit].lost--;
    }
}

typedef struct start_args {
    card *c;
    int end;
} start_args;

static void *hear(void *arg) {
    start_args a = *(start_args *)arg;
    card *c = a.c;
    free(arg);
    int e = spawn_card(c, a.end), status = 0;
    pid_t pid = c->pid; /* written by this thread alone */
    close(a.end);
    wire_reply r;
    ssize_t n;
    while (!e && (wire_expect(c->socket), (n = recv(c->socket, &r, sizeof r, 0)) == sizeof r ||
                                              (n < 0 && (errno == EINTR || errno == EAGAIN)))) {
        pthread_mutex_lock(&c->lock);
        if (n > 0) take_reply(c, &r);
        if (c->timeout_ms) look_at_clock(c);
        pthread_mutex_unlock(&c->lock);
    }
    siginfo_t ended;
    if (!e)
        while (waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOWAIT) < 0 && errno == EINTR) continue;
    pthread_mutex_lock(&c->lock);
    if (!e) waitpid(pid, &status, 0); /* under the lock: nobody kills a number that is another's already */
    c->pid = 0;
    end_of_card(c, status);
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

static int start_process(card *c) {
    int pair[2];
    sigset_t all, old;
    start_args *a = malloc(sizeof *a);
    if (!a || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
        free(a);
        return -errno;
    }
    *a = (start_args){c, pair[1]};
    c->socket = pair[0];
    c->alive = c->starting = true;
    c->closing = false;
    c->start_failed = c->n_ready = 0;
    if (c->timeout_ms) { /* how often the clock is looked at while nothing comes */
        long us = c->timeout_ms < 400 ? c->timeout_ms * 250L + 1 : 100000;
        struct timeval tick = {0, us};
        setsockopt(c->socket, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof tick);
    }
    sigfillset(&all); /* the program's signals are for its own threads */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int e = pthread_create(&c->reader, NULL, hear, a);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!e) return 0;
    free(a);
    close(pair[0]);
    close(pair[1]);
    c->socket = -1;
    c->alive = c->starting = false;
    return -e;
}

int link_start(card *c, int image_fd) {
    int e = start_process(c);
    if (e) return e;
    pthread_mutex_lock(&c->lock);
    wire_command m = {.type = WIRE_IMAGE};
    e = link_send(c, &m, 0, image_fd);
    m.type = WIRE_REGISTERS;
    if (!e) e = link_send(c, &m, 0, c->registers_fd);
    m.type = WIRE_CU;
    for (int i = 0; i < c->n_units && !e; i++) {
        m.cu = (uint32_t)i;
        strcpy((char *)m.payload, c->unit[i].name);
        e = link_send(c, &m, strlen(c->unit[i].name) + 1, -1);
    }
    for (store *s = c->stores; s && !e; s = s->next) link_map(c, s);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += START_S;
    while (!e && c->n_ready < c->n_units && !c->start_failed)
        if (pthread_cond_timedwait(&c->done, &c->lock, &until)) e = -ETIMEDOUT;
    if (e == -ETIMEDOUT) card_say("the shared object does not finish loading in %d s", START_S);
    if (c->start_failed) e = -EINVAL;
    c->starting = false;
    pthread_mutex_unlock(&c->lock);
    if (e) link_stop(c);
    return e;
}

void link_stop(card *c) {
    if (c->socket < 0) return;
    pthread_mutex_lock(&c->lock);
    c->closing = true;
    if (c->pid > 0) kill(c->pid, SIGKILL); /* what it runs has no say, nor has a constructor that hangs */
    pthread_mutex_unlock(&c->lock);
    shutdown(c->socket, SHUT_WR); /* one that has not begun yet finds the end at once */
    pthread_join(c->reader, NULL);
    close(c->socket);
    c->socket = -1;
}
