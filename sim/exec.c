/* SPDX-License-Identifier: Apache-2.0 */
/* exec.c -- commands to compute units, their contexts and registers.
 * A command buffer holds an ERT start packet: header word, compute unit mask words, then the register map. It
 * goes to the allowed unit with the shortest queue; its header's state field is how XRT learns the end. */
#include "shim.h"

#include <errno.h>
#include <ert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xrt.h>

/* Not in xrt.h of this version, but XRT's core calls them. */
XCL_DRIVER_DLLESPEC int xclRegRead(xclDeviceHandle handle, uint32_t ip, uint32_t offset, uint32_t *value);
XCL_DRIVER_DLLESPEC int xclRegWrite(xclDeviceHandle handle, uint32_t ip, uint32_t offset, uint32_t value);

/* A unit that hangs is the last choice. */
static bool less_loaded(const unit *a, const unit *b) {
    return a->lost != b->lost ? a->lost < b->lost : a->queued < b->queued;
}

/* The unit a packet goes to, -1: its mask names none. */
static int choose(const card *c, const struct ert_start_kernel_cmd *k) {
    const uint32_t *mask = &k->cu_mask;
    int best = -1;
    for (int i = 0; i < c->n_units && i < 32 * (1 + (int)k->extra_cu_masks); i++)
        if (mask[i / 32] >> (i % 32) & 1 && (best < 0 || less_loaded(&c->unit[i], &c->unit[best]))) best = i;
    return best;
}

static void add_faults(unit *u, wire_command *m, job *j) {
    const char *name = strchr(u->name, ':') ? strchr(u->name, ':') + 1 : u->name;
    u->runs++;
    if (fault_now("hang", name, u->runs)) m->fault = FAULT_HANG;
    if (fault_now("abort", name, u->runs)) m->fault = FAULT_ABORT;
    if (fault_now("late", name, u->runs)) m->fault = FAULT_LATE;
    for (int a = 0; a < u->n_memory; a++) /* the last output */
        if (u->memory[a].output) memcpy(&j->output, m->payload + u->memory[a].offset, sizeof j->output);
    j->flip = fault_now("flip", name, u->runs);
}

/* xrt::run::abort. A run that has begun cannot be stopped without the card: it is lost, as one that times
 * out. */
static int abort_run(card *c, store *s) {
    struct ert_abort_cmd *k = (struct ert_abort_cmd *)s->host;
    store *target = s->size >= sizeof *k ? store_of(c, (unsigned)k->exec_bo_handle) : NULL;
    for (job *j = c->job; target && j < c->job + MAX_JOBS; j++)
        if (j->command == target) link_give_up(c, j, ERT_CMD_STATE_ABORT);
    k->state = ERT_CMD_STATE_COMPLETED;
    c->n_done++;
    pthread_cond_broadcast(&c->done);
    return 0;
}

static int submit(card *c, store *s) {
    if (!s || s->device || !s->host) return -EINVAL;
    struct ert_start_kernel_cmd *k = (struct ert_start_kernel_cmd *)s->host;
    if (k->opcode == ERT_ABORT) return abort_run(c, s);
    if (k->opcode != ERT_START_CU) return -ENOTSUP;
    if (!c->alive) return -EIO;
    size_t words = k->count, masks = 1 + k->extra_cu_masks;
    if (words < masks || (words + 1) * 4 > s->size || (words - masks) * 4 > WIRE_REGS) return -EINVAL;
    int cu = choose(c, k), slot = 0;
    while (slot < MAX_JOBS && (c->job[slot].command || c->job[slot].lost)) slot++;
    if (cu < 0) return -EINVAL;
    if (slot == MAX_JOBS) return -EBUSY;
    wire_command m;
    size_t size = (words - masks) * 4;
    memset(&m, 0, sizeof m); /* registers that are not given are 0 */
    m.type = WIRE_RUN;
    m.cu = (uint32_t)cu;
    m.job = (uint32_t)slot;
    memcpy(m.payload, k->data + masks - 1, size);
    job *j = &c->job[slot];
    *j = (job){.unit = cu, .order = c->n_submitted++};
    add_faults(&c->unit[cu], &m, j);
    k->state = ERT_CMD_STATE_RUNNING;
    int e = link_send(c, &m, size, -1);
    if (e) return e;
    if (trace_on()) j->banks = trace_banks(c, &c->unit[cu], m.payload);
    s->refs++; /* the program may free it while it runs */
    j->command = s;
    if (!c->unit[cu].queued++) c->unit[cu].progress_s = now_s();
    return 0;
}

int xclExecBuf(xclDeviceHandle handle, xclBufferHandle bo) {
    card *c = handle;
    pthread_mutex_lock(&c->lock);
    int e = submit(c, store_of(c, bo));
    pthread_mutex_unlock(&c->lock);
    if (e == -EIO) card_say("the card has ended; load the container again to reset it");
    return e;
}

/* Each thread counts the completions it has seen: two waiters never steal one another's. */
int xclExecWait(xclDeviceHandle handle, int timeout_ms) {
    static _Thread_local unsigned long seen[MAX_CARDS];
    card *c = handle;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    long ns = until.tv_nsec + timeout_ms % 1000 * 1000000L;
    until.tv_sec += timeout_ms / 1000 + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_mutex_lock(&c->lock);
    while (c->n_done == seen[c->index])
        if (pthread_cond_timedwait(&c->done, &c->lock, &until)) break;
    int news = c->n_done != seen[c->index];
    seen[c->index] = c->n_done;
    pthread_mutex_unlock(&c->lock);
    return news;
}

int xclOpenContext(xclDeviceHandle handle, const xuid_t id, unsigned ip, bool shared) {
    card *c = handle;
    int e = 0;
    pthread_mutex_lock(&c->lock);
    if (memcmp(id, c->uuid, sizeof c->uuid)) {
        e = -EBUSY; /* another container is loaded */
    } else if (ip < (unsigned)c->n_units) {
        unit *u = &c->unit[ip];
        if (u->exclusive || (!shared && u->shared))
            e = -EBUSY;
        else
            ++*(shared ? &u->shared : &u->exclusive);
    }
    pthread_mutex_unlock(&c->lock);
    return e;
}

int xclCloseContext(xclDeviceHandle handle, const xuid_t id, unsigned ip) {
    card *c = handle;
    (void)id;
    pthread_mutex_lock(&c->lock);
    if (ip < (unsigned)c->n_units) {
        unit *u = &c->unit[ip];
        if (u->exclusive)
            u->exclusive = 0;
        else if (u->shared)
            u->shared--;
    }
    pthread_mutex_unlock(&c->lock);
    return 0;
}

static bool reachable(const card *c, uint32_t ip, uint32_t offset) {
    return c->registers && ip < (uint32_t)c->n_units && offset % 4 == 0 && offset <= WIRE_REGS - 4;
}

int xclRegRead(xclDeviceHandle handle, uint32_t ip, uint32_t offset, uint32_t *value) {
    card *c = handle;
    if (!reachable(c, ip, offset)) return -EINVAL;
    *value = __atomic_load_n((uint32_t *)(c->registers + (size_t)ip * WIRE_REGS + offset), __ATOMIC_ACQUIRE);
    return 0;
}

/* Writing ap_start to the control register runs the unit with its registers as they stand: a user-managed
 * kernel. */
int xclRegWrite(xclDeviceHandle handle, uint32_t ip, uint32_t offset, uint32_t value) {
    card *c = handle;
    if (!reachable(c, ip, offset)) return -EINVAL;
    __atomic_store_n((uint32_t *)(c->registers + (size_t)ip * WIRE_REGS + offset), value, __ATOMIC_RELEASE);
    if (offset || !(value & 1)) return 0;
    pthread_mutex_lock(&c->lock);
    wire_command m = {.type = WIRE_RUN, .cu = ip, .job = WIRE_NO_JOB};
    int e = c->alive ? link_send(c, &m, 0, -1) : -EIO;
    pthread_mutex_unlock(&c->lock);
    return e;
}
