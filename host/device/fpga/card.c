/* SPDX-License-Identifier: Apache-2.0 */
/* card.c -- a unit's thread, and what happens when a card does not do its work. */
#include "device/fpga/card.h"

#include "base/clock.h"
#include "base/trace.h"

#include <stdio.h>
#include <string.h>

void fpga_card_enter(fpga_card *c) {
    pthread_mutex_lock(&c->fpga->lock);
    while (c->taken) pthread_cond_wait(&c->fpga->changed, &c->fpga->lock);
    c->users++;
    pthread_mutex_unlock(&c->fpga->lock);
}

void fpga_card_leave(fpga_card *c) {
    pthread_mutex_lock(&c->fpga->lock);
    c->users--;
    if (c->taken) pthread_cond_broadcast(&c->fpga->changed);
    pthread_mutex_unlock(&c->fpga->lock);
}

static void take(fpga_card *c) {
    pthread_mutex_lock(&c->fpga->lock);
    while (c->taken) pthread_cond_wait(&c->fpga->changed, &c->fpga->lock);
    c->taken = true;
    while (c->users) pthread_cond_wait(&c->fpga->changed, &c->fpga->lock);
    pthread_mutex_unlock(&c->fpga->lock);
}

static void give(fpga_card *c) {
    pthread_mutex_lock(&c->fpga->lock);
    c->taken = false;
    pthread_cond_broadcast(&c->fpga->changed);
    pthread_mutex_unlock(&c->fpga->lock);
}

static void count(fpga_unit *u, uint64_t *field) {
    pthread_mutex_lock(&fpga_of(u)->lock);
    ++*field;
    pthread_mutex_unlock(&fpga_of(u)->lock);
}

/* Off the card with what jobs under way need; a set without a job has nothing to lose. */
static void evacuate(fpga_card *c, fpga_set *s, fpga_unit *u) {
    lpo_error err;
    if (s->link != c->link) return;
    if (!s->job) {
        fpga_set_clear(s);
    } else if (fpga_set_move(s, u, &fpga_link_inproc, NULL, &err)) {
        fpga_set_clear(s);
        s->job->status = lpo_fail_in(&err, LPO_ENOMEM, "saving a job's inputs from a card that is reset");
        s->job->err = err;
    }
}

/* Its jobs on this card go on in process; new ones to other cards while there are any. */
static void retire(fpga_kernel *k) {
    k->link = &fpga_link_inproc;
    pthread_mutex_lock(&k->card->fpga->lock);
    k->retired = true;
    pthread_mutex_unlock(&k->card->fpga->lock);
}

static void reset(fpga_card *c) {
    lpo_fpga *f = c->fpga;
    lpo_error err;
    for (int k = 0; k < LPO_HLS_N_KERNELS; k++)
        for (int u = 0; u < c->kernel[k].n_units; u++)
            for (int s = 0; s < FPGA_SETS; s++)
                evacuate(c, &c->kernel[k].unit[u].set[s], &c->kernel[k].unit[u]);
    c->link->close(c->handle);
    c->handle = NULL;
    c->generation++;
    if (!c->link->open(&c->handle, c->name, c->index, f->container, f->path, &err)) return;
    lpo_log(LPO_LOG_WARN,
            "card %d does not come back (%s): its work goes on in this process, with the same results",
            c->index, err.msg);
    for (int k = 0; k < LPO_HLS_N_KERNELS; k++) retire(&c->kernel[k]);
}

void fpga_card_recover(fpga_card *c, lpo_fpga_job *j, const char *why) {
    fpga_kernel *k = j->unit->kernel;
    const char *name = fpga_row(j->unit)->name;
    take(c);
    if (j->generation == c->generation && k->link == c->link) {
        reset(c);
        if (++j->tries > 1 && k->link == c->link) {
            retire(k);
            lpo_log(LPO_LOG_WARN,
                    "card %d failed twice at one run of %s (%s): %s goes on in this process, with the same "
                    "results",
                    c->index, name, why, name);
        } else if (k->link == c->link) {
            lpo_log(LPO_LOG_INFO, "card %d, %s: %s; the card was reset, the run is repeated", c->index, name,
                    why);
            count(j->unit, &c->fpga->stats[k->id].retries);
        }
    }
    give(c);
}

static bool is_verified(lpo_fpga *f, const fpga_set *s) {
    static unsigned n;
    return f->verify_every && !s->link->host_memory &&
           __atomic_fetch_add(&n, 1, __ATOMIC_RELAXED) % f->verify_every == 0;
}

/* A finished run in the trace: measured, and what it would take on hardware where the kernel says it. */
static void record(const lpo_fpga_job *j, double start_s, double modelled_s) {
    const fpga_unit *u = j->unit;
    char device[24], name[48];
    if (!lpo_trace_on()) return;
    bool here = j->set->link == &fpga_link_inproc;
    snprintf(device, sizeof device, here ? "csim" : "fpga:%d", u->kernel->card->index);
    snprintf(name, sizeof name, "%s_%d", fpga_row(u)->name, u->index + 1);
    const char *stage = u->kernel->id == LPO_HLS_reward_reduce ? "reduce" : fpga_row(u)->name;
    lpo_span s = {.stage = stage, .device = device, .name = name, .start_s = start_s};
    s.seconds = lpo_now_s() - start_s;
    for (int a = 0; a < fpga_row(u)->n_args; a++) s.bytes += (double)j->size_bytes[a];
    lpo_trace_put(&s);
    if (modelled_s <= 0) return;
    s.seconds = modelled_s;
    s.modelled = true;
    lpo_trace_put(&s);
}

/* One attempt; false: it failed on the card, why in words. */
static bool attempt(lpo_fpga_job *j, char why[300]) {
    fpga_unit *u = j->unit;
    fpga_card *c = u->kernel->card;
    fpga_set *s = j->set;
    lpo_fpga_stats *stats = &c->fpga->stats[u->kernel->id];
    lpo_error err = {.msg = ""};
    lpo_status st = LPO_OK;
    if (!j->started || j->generation != c->generation || s->link != u->kernel->link) {
        j->generation = c->generation;
        st = fpga_set_place(s, j, &err);
        if (!st) st = fpga_set_start(s, j, &err);
        j->started = !st;
    }
    fpga_end end = FPGA_ABORT;
    double modelled_s = 0, start_s = lpo_now_s();
    if (!st) end = s->link->wait(s->run, c->fpga->timeout_ms, &modelled_s);
    if (!st && end == FPGA_DONE) st = fpga_set_fetch(s, j, &err);
    if (!st && end == FPGA_DONE && is_verified(c->fpga, s)) st = fpga_set_verify(s, j, &err);
    j->started = false;
    if (!st && end == FPGA_DONE) {
        record(j, start_s, modelled_s);
        pthread_mutex_lock(&c->fpga->lock);
        stats->modelled_s += modelled_s;
        stats->bytes_up += j->bytes_up;
        stats->bytes_down += j->bytes_down;
        stats->fallbacks += s->link != c->link;
        pthread_mutex_unlock(&c->fpga->lock);
        return true;
    }
    if (s->link == &fpga_link_inproc || !s->link) { /* nowhere left to go */
        j->status = st ? st : LPO_EDEVICE;
        j->err = err;
        return true;
    }
    if (end == FPGA_TIMEOUT)
        snprintf(why, 300, "no answer for %d ms", c->fpga->timeout_ms);
    else
        snprintf(why, 300, "%s", st ? err.msg : "the kernel aborted");
    count(u, end == FPGA_TIMEOUT ? &stats->timeouts : &stats->aborts);
    return false;
}

static void finish(lpo_fpga_job *j) {
    fpga_unit *u = j->unit;
    fpga_card *c = u->kernel->card;
    char why[300];
    for (;;) {
        fpga_card_enter(c);
        bool ended = j->status || attempt(j, why);
        fpga_card_leave(c);
        if (ended) return;
        fpga_card_recover(c, j, why);
    }
}

void fpga_count_jobs(const fpga_unit *u) {
    char name[48];
    int n = 0;
    if (!lpo_trace_on()) return;
    for (int i = 0; i < u->kernel->n_units; i++)
        for (int k = 0; k < FPGA_SETS; k++) n += u->kernel->unit[i].set[k].job != NULL;
    snprintf(name, sizeof name, "queue:jobs:%s", fpga_row(u)->name);
    lpo_trace_count(name, n);
}

void *fpga_unit_serve(void *unit) {
    fpga_unit *u = unit;
    lpo_fpga *f = fpga_of(u);
    lpo_trace_thread("compute unit");
    pthread_mutex_lock(&f->lock);
    for (;;) {
        while (!u->head && !f->stopping) pthread_cond_wait(&u->more, &f->lock);
        lpo_fpga_job *j = u->head;
        if (!j) break;
        if (!(u->head = j->next)) u->tail = &u->head;
        pthread_mutex_unlock(&f->lock);
        finish(j);
        pthread_mutex_lock(&f->lock);
        j->set->job = NULL;
        fpga_count_jobs(u);
        j->done = true; /* its waiter may free it now */
        pthread_cond_broadcast(&f->changed);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}
