/* SPDX-License-Identifier: Apache-2.0 */
/* fpga.c -- see fpga.h: opening, submitting and waiting. card.h tells how the parts work together. */
#include "device/fpga/card.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The preprocess kernel's arrays take 5.2 MB, a sanitizer's account of them more. */
enum { STACK_BYTES = 16 << 20, TIMEOUT_MS = 20000 };

/* ---- opening ---- */

static lpo_status make_units(fpga_card *c, lpo_error *err) {
    for (int i = 0; i < LPO_HLS_N_KERNELS; i++) {
        fpga_kernel *k = &c->kernel[i];
        *k = (fpga_kernel){.card = c, .id = i, .link = c->link, .n_units = c->link->units(c->handle, i)};
        if (!k->n_units) {
            k->absent = k->retired = true;
            k->link = &fpga_link_inproc;
            k->n_units = 1;
        }
        k->unit = calloc((size_t)k->n_units, sizeof *k->unit);
        if (!k->unit) {
            k->n_units = 0;
            return lpo_fail(err, LPO_ENOMEM, "out of memory for compute units");
        }
        for (int u = 0; u < k->n_units; u++) {
            k->unit[u].kernel = k;
            k->unit[u].index = u;
            k->unit[u].tail = &k->unit[u].head;
            pthread_cond_init(&k->unit[u].more, NULL);
        }
    }
    return LPO_OK;
}

static lpo_status open_card(lpo_fpga *f, const fpga_link *link, int index, lpo_error *err) {
    fpga_card *c = &f->card[f->n_cards];
    *c = (fpga_card){.fpga = f, .link = link, .index = index};
    lpo_status st = link->open(&c->handle, c->name, index, f->container, f->path, err);
    if (st) return st;
    f->n_cards++;
    return make_units(c, err);
}

/* "fpga": -1, all of them. */
static lpo_status parse_index(int *index, const char *device, lpo_error *err) {
    char *end;
    *index = -1;
    if (!strcmp(device, "fpga")) return LPO_OK;
    long v = !strncmp(device, "fpga:", 5) && device[5] ? strtol(device + 5, &end, 10) : -1;
    if (v < 0 || *end || v > 9999)
        return lpo_fail(err, LPO_EINVAL, "device \"%.40s\": write csim, fpga (every card) or fpga:INDEX",
                        device);
    *index = (int)v;
    return LPO_OK;
}

static lpo_status open_cards(lpo_fpga *f, const char *device, const char *xclbin, lpo_error *err) {
    int index, n;
    lpo_status st = parse_index(&index, device, err);
    if (!st) st = fpga_container_open(&f->container, &f->path, xclbin, err);
    if (!st) st = fpga_xrt_prepare(&n, f->container, f->path, err);
    if (!st && (n < 1 || index >= n))
        st = lpo_fail(err, LPO_ENOTFOUND, "device \"%s\": XRT sees %d card%s for %.300s", device, n,
                      n == 1 ? "" : "s", f->path);
    if (!st && index >= 0) return open_card(f, &fpga_link_xrt, index, err);
    /* Every card: one that does not open is left out while another does. */
    lpo_error why;
    for (int i = 0; !st && i < n && i < FPGA_MAX_CARDS; i++) {
        if (!open_card(f, &fpga_link_xrt, i, &why)) continue;
        if (why.code == LPO_ENOMEM || (i == n - 1 && !f->n_cards))
            st = lpo_fail(err, why.code, "%s", why.msg);
        else
            lpo_log(LPO_LOG_WARN, "%s: going on without it", why.msg);
    }
    return st;
}

lpo_status lpo_fpga_open(lpo_fpga **out, const char *device, const char *xclbin, lpo_error *err) {
    *out = NULL;
    lpo_fpga *f = calloc(1, sizeof *f);
    if (!f) return lpo_fail(err, LPO_ENOMEM, "out of memory");
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    const char *ms = getenv("LEANPO_FPGA_TIMEOUT_MS"), *every = getenv("LEANPO_FPGA_VERIFY");
    f->timeout_ms = ms && atoi(ms) > 0 ? atoi(ms) : TIMEOUT_MS;
    f->verify_every = every && atoi(every) > 0 ? (unsigned)atoi(every) : 0;
    lpo_status st = !strcmp(device, "csim") ? open_card(f, &fpga_link_inproc, 0, err)
                                            : open_cards(f, device, xclbin, err);
    if (st) {
        lpo_fpga_close(f);
        return st;
    }
    if (f->n_cards > 1)
        snprintf(f->name, sizeof f->name, "%d cards like %s", f->n_cards, f->card[0].name);
    else
        snprintf(f->name, sizeof f->name, "%s", f->card[0].name);
    *out = f;
    return LPO_OK;
}

const char *lpo_fpga_name(const lpo_fpga *f) {
    return f->name;
}
int lpo_fpga_cards(const lpo_fpga *f) {
    return f->n_cards;
}
const char *lpo_fpga_card_name(const lpo_fpga *f, int i) {
    return f->card[i].name;
}

static void stop_unit(fpga_unit *u) {
    pthread_mutex_lock(&fpga_of(u)->lock);
    fpga_of(u)->stopping = true; /* its thread ends when its queue is empty */
    pthread_cond_signal(&u->more);
    pthread_mutex_unlock(&fpga_of(u)->lock);
}
/* All are joined before any is cleared: the last job of one may still reset the card under the others. */
static void join_unit(fpga_unit *u) {
    if (u->has_thread) pthread_join(u->thread, NULL);
}
static void clear_unit(fpga_unit *u) {
    for (int s = 0; s < FPGA_SETS; s++) fpga_set_clear(&u->set[s]);
    pthread_cond_destroy(&u->more);
}

static void each_unit(lpo_fpga *f, void (*act)(fpga_unit *u)) {
    for (int c = 0; c < f->n_cards; c++)
        for (int k = 0; k < LPO_HLS_N_KERNELS; k++)
            for (int u = 0; u < f->card[c].kernel[k].n_units; u++) act(&f->card[c].kernel[k].unit[u]);
}

void lpo_fpga_close(lpo_fpga *f) {
    if (!f) return;
    each_unit(f, stop_unit);
    each_unit(f, join_unit);
    each_unit(f, clear_unit);
    for (int c = 0; c < f->n_cards; c++) {
        for (int k = 0; k < LPO_HLS_N_KERNELS; k++) free(f->card[c].kernel[k].unit);
        f->card[c].link->close(f->card[c].handle);
    }
    lpo_xclbin_close(f->container);
    free(f->path);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

/* ---- jobs ---- */

static lpo_status check(const lpo_hls_kernel *k, const void *args, const size_t *size_bytes, uint64_t *used,
                        lpo_error *err) {
    *used = 0;
    for (int a = 0; a < k->n_args; a++) {
        if (k->args[a].kind != HLS_GLOBAL) continue;
        void *p;
        memcpy(&p, (const char *)args + k->args[a].struct_offset, sizeof p);
        if (!p != !size_bytes[a])
            return lpo_fail(err, LPO_EINVAL, "%s: argument %s has %s", k->name, k->args[a].name,
                            p ? "a pointer and no size" : "a size and no pointer");
        if (size_bytes[a] > (size_t)4 << 30)
            return lpo_fail(err, LPO_ELIMIT, "%s: argument %s has %zu bytes, over 4 GiB", k->name,
                            k->args[a].name, size_bytes[a]);
        if (p) *used |= UINT64_C(1) << a;
    }
    return LPO_OK;
}

/* A set of the least busy unit, on cards that work while there is one; under the lock. NULL: all are in use.
 */
static fpga_set *pick(fpga_unit **unit, lpo_fpga *f, int kernel) {
    fpga_set *best = NULL;
    int least = FPGA_SETS, n_working = 0;
    for (int c = 0; c < f->n_cards; c++) n_working += !f->card[c].kernel[kernel].retired;
    for (int c = 0; c < f->n_cards; c++) {
        if (n_working && f->card[c].kernel[kernel].retired) continue;
        for (int i = 0; i < f->card[c].kernel[kernel].n_units; i++) {
            fpga_unit *u = &f->card[c].kernel[kernel].unit[i];
            fpga_set *empty = NULL;
            int busy = 0;
            for (int s = 0; s < FPGA_SETS; s++) {
                busy += u->set[s].job != NULL;
                if (!u->set[s].job && !empty) empty = &u->set[s];
            }
            if (empty && busy < least) least = busy, best = empty, *unit = u;
        }
    }
    return best;
}

static bool start_thread(fpga_unit *u) {
    pthread_attr_t attr;
    if (u->has_thread) return true;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    u->has_thread = !pthread_create(&u->thread, &attr, fpga_unit_serve, u);
    pthread_attr_destroy(&attr);
    return u->has_thread;
}

static lpo_status assign(lpo_fpga_job *j, lpo_fpga *f, int kernel, lpo_error *err) {
    lpo_status st = LPO_OK;
    pthread_mutex_lock(&f->lock);
    while (!(j->set = pick(&j->unit, f, kernel))) pthread_cond_wait(&f->changed, &f->lock);
    fpga_kernel *k = j->unit->kernel;
    if (!start_thread(j->unit)) {
        st = lpo_fail(err, LPO_ENOMEM, "%s: cannot start a thread", lpo_hls_kernels[kernel].name);
    } else {
        j->set->job = j;
        f->stats[kernel].jobs++;
    }
    bool say = !st && k->absent && !k->absent_said;
    k->absent_said |= say;
    pthread_mutex_unlock(&f->lock);
    if (say)
        lpo_log(LPO_LOG_WARN, "%s has no kernel %s: it runs in this process, with the same results", f->path,
                lpo_hls_kernels[kernel].name);
    return st;
}

/* Fill the set and start it; what the card refuses is left to the unit's thread, which knows what to do. */
static lpo_status launch(lpo_fpga_job *j, lpo_error *err) {
    fpga_unit *u = j->unit;
    fpga_card *c = u->kernel->card;
    lpo_error why;
    lpo_status st = LPO_OK;
    fpga_card_enter(c);
    j->generation = c->generation;
    while ((st = fpga_set_place(j->set, j, &why)) && u->kernel->link != &fpga_link_inproc) {
        fpga_set_clear(j->set);
        fpga_card_leave(c);
        fpga_card_recover(c, j, why.msg);
        fpga_card_enter(c);
        j->generation = c->generation;
    }
    if (st && err) *err = why;
    if (!st) {
        fpga_set_fill(j->set, j);
        j->started = !fpga_set_start(j->set, j, &why);
    }
    fpga_card_leave(c);
    return st;
}

lpo_status lpo_fpga_submit(lpo_fpga_job **job, lpo_fpga *f, lpo_hls_kernel_id kernel, const void *args,
                           const size_t *size_bytes, uint64_t resident, bool borrow, lpo_error *err) {
    const lpo_hls_kernel *k = &lpo_hls_kernels[kernel];
    uint64_t used;
    *job = NULL;
    lpo_status st = check(k, args, size_bytes, &used, err);
    if (st) return st;
    lpo_fpga_job *j = calloc(1, sizeof *j + (k->args_bytes + 7) / 8 * 8);
    if (!j) return lpo_fail(err, LPO_ENOMEM, "out of memory for a job of %s", k->name);
    memcpy(j->args, args, k->args_bytes);
    memcpy(j->size_bytes, size_bytes, (size_t)k->n_args * sizeof *size_bytes);
    j->used = used;
    j->resident = resident;
    j->borrow = borrow;
    if ((st = assign(j, f, (int)kernel, err))) {
        free(j);
        return st;
    }
    st = launch(j, err);
    pthread_mutex_lock(&f->lock);
    if (st) {
        j->set->job = NULL;
        pthread_cond_broadcast(&f->changed);
    } else {
        fpga_count_jobs(j->unit);
        *j->unit->tail = j;
        j->unit->tail = &j->next;
        pthread_cond_signal(&j->unit->more);
    }
    pthread_mutex_unlock(&f->lock);
    if (st)
        free(j);
    else
        *job = j;
    return st;
}

lpo_status lpo_fpga_wait(lpo_fpga_job *j, lpo_error *err) {
    if (!j) return LPO_OK;
    lpo_fpga *f = fpga_of(j->unit);
    pthread_mutex_lock(&f->lock);
    while (!j->done) pthread_cond_wait(&f->changed, &f->lock);
    pthread_mutex_unlock(&f->lock);
    lpo_status st = j->status;
    if (st && err) *err = j->err;
    free(j);
    return st;
}

void lpo_fpga_forget(lpo_fpga *f, const void *host) {
    pthread_mutex_lock(&f->lock);
    for (int c = 0; c < f->n_cards; c++)
        for (int k = 0; k < LPO_HLS_N_KERNELS; k++)
            for (int u = 0; u < f->card[c].kernel[k].n_units; u++)
                for (int s = 0; s < FPGA_SETS; s++) {
                    fpga_set *set = &f->card[c].kernel[k].unit[u].set[s];
                    for (int a = 0; a < FPGA_MAX_ARGS; a++)
                        if (fpga_resident(set, a) == host) fpga_set_resident(set, a, NULL);
                }
    pthread_mutex_unlock(&f->lock);
}

void lpo_fpga_get_stats(lpo_fpga_stats *out, lpo_fpga *f, lpo_hls_kernel_id kernel) {
    const int first = kernel == LPO_HLS_N_KERNELS ? 0 : (int)kernel,
              end = kernel == LPO_HLS_N_KERNELS ? LPO_HLS_N_KERNELS : (int)kernel + 1;
    *out = (lpo_fpga_stats){0};
    pthread_mutex_lock(&f->lock);
    for (int k = first; k < end; k++) {
        const lpo_fpga_stats *s = &f->stats[k];
        out->jobs += s->jobs, out->retries += s->retries, out->timeouts += s->timeouts;
        out->aborts += s->aborts, out->fallbacks += s->fallbacks;
        out->bytes_up += s->bytes_up, out->bytes_down += s->bytes_down;
        out->modelled_s += s->modelled_s;
    }
    pthread_mutex_unlock(&f->lock);
}
