/* SPDX-License-Identifier: Apache-2.0 */
/* set.c -- the buffers of one run: made to measure, filled, sent, fetched, carried to another link. */
#include "device/fpga/card.h"

#include <string.h>

/* A port that a job does not use must still point somewhere. */
enum { UNUSED_BYTES = 4096 };

void *fpga_pointer(const lpo_fpga_job *j, int a) {
    void *p;
    memcpy(&p, (const char *)j->args + fpga_row(j->unit)->args[a].struct_offset, sizeof p);
    return p;
}

static bool is_global(const lpo_fpga_job *j, int a) {
    return fpga_row(j->unit)->args[a].kind == HLS_GLOBAL;
}
static bool is_input(const lpo_fpga_job *j, int a) {
    return fpga_row(j->unit)->args[a].dir == HLS_IN;
}
static bool is_used(const lpo_fpga_job *j, int a) {
    return j->used >> a & 1;
}

/* In host memory the kernel works on the caller's bytes where it may. */
static bool needs_buffer(const fpga_link *link, const lpo_fpga_job *j, int a) {
    if (!is_global(j, a)) return false;
    return !link->host_memory || (is_used(j, a) && is_input(j, a) && !j->borrow);
}

/* Buffers and run, not what is resident. */
static void close_set(fpga_set *s) {
    for (int a = 0; a < FPGA_MAX_ARGS; a++) s->link->release(&s->buffer[a]);
    s->link->run_close(s->run);
}

void fpga_set_clear(fpga_set *s) {
    if (!s->link) return;
    for (int a = 0; a < FPGA_MAX_ARGS; a++) fpga_set_resident(s, a, NULL);
    close_set(s);
    s->run = NULL;
    s->link = NULL;
    s->unsent = 0;
}

/* What is resident stays so, as the bytes move along; other threads may be forgetting it meanwhile. */
lpo_status fpga_set_move(fpga_set *s, fpga_unit *u, const fpga_link *link, void *handle, lpo_error *err) {
    const lpo_hls_kernel *row = fpga_row(u);
    fpga_set to = {.link = link};
    lpo_status st = link->run_open(&to.run, handle, u->kernel->id, u->index, err);
    if (st) return st;
    for (int a = 0; a < row->n_args && s->link && !st; a++) {
        if (!s->buffer[a].host) continue;
        st = link->alloc(&to.buffer[a], handle, u->kernel->id, u->index, a, s->buffer[a].size_bytes, err);
        if (st || row->args[a].dir == HLS_OUT) continue;
        memcpy(to.buffer[a].host, s->buffer[a].host, s->buffer[a].size_bytes);
        to.unsent |= UINT64_C(1) << a;
    }
    if (st) {
        close_set(&to);
        return st;
    }
    if (s->link) close_set(s);
    s->link = link;
    s->run = to.run;
    s->unsent = to.unsent;
    memcpy(s->buffer, to.buffer, sizeof s->buffer);
    return LPO_OK;
}

lpo_status fpga_set_place(fpga_set *s, const lpo_fpga_job *j, lpo_error *err) {
    fpga_unit *u = j->unit;
    const fpga_link *link = u->kernel->link;
    void *handle = link == u->kernel->card->link ? u->kernel->card->handle : NULL;
    if (s->link != link) {
        lpo_status st = fpga_set_move(s, u, link, handle, err);
        if (st) return st;
    }
    for (int a = 0; a < fpga_row(u)->n_args; a++) {
        size_t need = is_used(j, a) ? j->size_bytes[a] : UNUSED_BYTES;
        if (!needs_buffer(link, j, a) || (s->buffer[a].host && s->buffer[a].size_bytes >= need)) continue;
        link->release(&s->buffer[a]);
        fpga_set_resident(s, a, NULL);
        lpo_status st = link->alloc(&s->buffer[a], handle, u->kernel->id, u->index, a, need, err);
        if (st) return st;
    }
    return LPO_OK;
}

void fpga_set_fill(fpga_set *s, const lpo_fpga_job *j) {
    for (int a = 0; a < fpga_row(j->unit)->n_args; a++) {
        if (!is_global(j, a) || !is_input(j, a) || !is_used(j, a) || !needs_buffer(s->link, j, a)) continue;
        const void *from = fpga_pointer(j, a);
        bool resident = j->resident >> a & 1;
        if (resident && fpga_resident(s, a) == from && s->resident[a].size_bytes == j->size_bytes[a])
            continue;
        memcpy(s->buffer[a].host, from, j->size_bytes[a]);
        s->resident[a].size_bytes = j->size_bytes[a];
        fpga_set_resident(s, a, resident ? from : NULL);
        s->unsent |= UINT64_C(1) << a;
    }
}

lpo_status fpga_set_start(fpga_set *s, lpo_fpga_job *j, lpo_error *err) {
    fpga_buffer view[FPGA_MAX_ARGS] = {{0}};
    for (int a = 0; a < fpga_row(j->unit)->n_args; a++) {
        if (!is_global(j, a)) continue;
        if (!needs_buffer(s->link, j, a)) {
            view[a].host = is_used(j, a) ? fpga_pointer(j, a) : NULL;
            continue;
        }
        view[a] = s->buffer[a];
        if (!is_input(j, a) || !is_used(j, a) || !(s->unsent >> a & 1)) continue;
        lpo_status st = s->link->sync(&s->buffer[a], j->size_bytes[a], true, err);
        if (st) return st;
        s->unsent &= ~(UINT64_C(1) << a);
        if (!s->link->host_memory) j->bytes_up += j->size_bytes[a];
    }
    return s->link->start(s->run, j->args, view, err);
}

lpo_status fpga_set_fetch(const fpga_set *s, lpo_fpga_job *j, lpo_error *err) {
    if (s->link->host_memory) return LPO_OK;
    for (int a = 0; a < fpga_row(j->unit)->n_args; a++) {
        if (!is_global(j, a) || is_input(j, a) || !is_used(j, a)) continue;
        lpo_status st = s->link->sync(&s->buffer[a], j->size_bytes[a], false, err);
        if (st) return st;
        memcpy(fpga_pointer(j, a), s->buffer[a].host, j->size_bytes[a]);
        j->bytes_down += j->size_bytes[a];
    }
    return LPO_OK;
}

lpo_status fpga_set_verify(const fpga_set *s, const lpo_fpga_job *j, lpo_error *err) {
    const lpo_hls_kernel *row = fpga_row(j->unit);
    fpga_buffer view[FPGA_MAX_ARGS] = {{0}};
    void *run = NULL;
    double modelled_s;
    lpo_status st = fpga_link_inproc.run_open(&run, NULL, j->unit->kernel->id, 0, err);
    for (int a = 0; a < row->n_args && !st; a++) {
        if (!is_global(j, a) || !is_used(j, a)) continue;
        if (is_input(j, a)) {
            view[a] = s->buffer[a];
            continue;
        }
        st = fpga_link_inproc.alloc(&view[a], NULL, j->unit->kernel->id, 0, a, j->size_bytes[a], err);
        /* Bytes the kernel does not write stay equal. */
        if (!st) memcpy(view[a].host, s->buffer[a].host, j->size_bytes[a]);
    }
    if (!st) st = fpga_link_inproc.start(run, j->args, view, err);
    if (!st) fpga_link_inproc.wait(run, 0, &modelled_s);
    for (int a = 0; a < row->n_args; a++) {
        if (!is_global(j, a) || is_input(j, a) || !view[a].host) continue;
        if (!st && memcmp(view[a].host, s->buffer[a].host, j->size_bytes[a]))
            st = lpo_fail(err, LPO_EDEVICE, "its %s is not what it should be", row->args[a].name);
        fpga_link_inproc.release(&view[a]);
    }
    fpga_link_inproc.run_close(run);
    return st;
}
