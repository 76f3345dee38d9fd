/* SPDX-License-Identifier: Apache-2.0 */
/* run.c -- submit a planned range, move bytes between host and tape, time steps.
 * Only one device has work in flight: before an item of another device runs, the last one is waited for. That
 * one rule covers copies, storages shared by two host-memory devices, and arena bytes reused after a copy. */
#include "graph/record.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now_s(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static lpo_status copy_run(lpo_tape *t, const lpo_item *it, lpo_error *err) {
    const char *from = ((lpo_buffer_head *)it->from.buffer)->host;
    char *to = ((lpo_buffer_head *)it->to.buffer)->host;
    const lpo_driver *src = lpo_device_driver(lpo_buffer_device(it->from.buffer));
    const lpo_driver *dst = lpo_device_driver(lpo_buffer_device(it->to.buffer));
    if (from)
        return dst->upload(it->to.buffer, it->to.offset_bytes, from + it->from.offset_bytes, it->size_bytes,
                           err);
    if (to)
        return src->download(to + it->to.offset_bytes, it->from.buffer, it->from.offset_bytes, it->size_bytes,
                             err);
    if (t->bounce_bytes < it->size_bytes) {
        free(t->bounce);
        t->bounce_bytes = 0;
        t->bounce = malloc(it->size_bytes);
        if (!t->bounce)
            return lpo_fail(err, LPO_ENOMEM, "tape: out of memory for a copy of %zu bytes", it->size_bytes);
        t->bounce_bytes = it->size_bytes;
    }
    lpo_status s = src->download(t->bounce, it->from.buffer, it->from.offset_bytes, it->size_bytes, err);
    return s ? s : dst->upload(it->to.buffer, it->to.offset_bytes, t->bounce, it->size_bytes, err);
}

static lpo_status device_wait(lpo_tape *t, int32_t d, lpo_error *err) {
    if (d < 0) return LPO_OK;
    lpo_device *dev = t->placement.device[d];
    return lpo_device_driver(dev)->wait(dev, err);
}

/* Attention's rules assume equally long sequences; where the host knows cu, the true ratio of row pairs
 * corrects them. */
static double pairs_ratio(const lpo_tape *t, const lpo_node *n) {
    if (n->op != LPO_OP_ATTN && n->op != LPO_OP_ATTN_BWD) return 1;
    const int k = n->op == LPO_OP_ATTN ? 3 : 5;
    const lpo_value *cu = &t->values[t->values[n->arg[k]].root];
    const lpo_value *prefix = n->arg[k + 1] < 0 ? NULL : &t->values[t->values[n->arg[k + 1]].root];
    if (!cu->staged || (prefix && !prefix->staged)) return 1;
    const int32_t *at = cu->staged, *shared = prefix ? prefix->staged : NULL;
    int64_t S = lpo_type_count(&cu->type) - 1;
    double T = (double)t->values[n->arg[0]].type.shape[0], pairs = 0;
    for (int64_t s = 0; s < S; s++) {
        const double len = at[s + 1] - at[s];
        pairs += len * len;
        if (shared) pairs += len * shared[2 * s + 1] * (n->attrs.causal ? 2 : 1); /* all of it is seen */
    }
    return pairs * (double)S / (T * T);
}

static void work_of(double *flops, double *bytes, const lpo_tape *t, const lpo_item *it) {
    *flops = 0;
    *bytes = 2.0 * (double)it->size_bytes;
    if (it->device < 0) return;
    const lpo_node *n = &t->nodes[it->node];
    lpo_type type[LPO_MAX_ARGS];
    *bytes = 0;
    for (int k = 0; k < LPO_MAX_ARGS; k++) {
        type[k] = n->arg[k] < 0 ? (lpo_type){.dtype = -1} : t->values[n->arg[k]].type;
        if (n->arg[k] >= 0) *bytes += (double)lpo_type_bytes(&type[k]);
    }
    const lpo_rule *r = &lpo_rules[n->op];
    *flops = r->flops ? r->flops(type, &n->attrs) * pairs_ratio(t, n) : (double)lpo_type_count(&type[0]);
}

static void report(lpo_tape *t, const lpo_item *it, double start_s) {
    double flops, bytes, seconds = now_s() - start_s;
    work_of(&flops, &bytes, t, it);
    const bool is_copy = it->device < 0;
    t->trace(t->trace_user, is_copy ? LPO_N_OPS : t->nodes[it->node].op, is_copy ? -1 : it->device, start_s,
             seconds, flops, bytes);
}

void lpo_tape_work(double *flops, double *bytes, const lpo_tape *t, int first, int last) {
    *flops = *bytes = 0;
    if (!t->planned) return;
    if (last < 0 || last > t->n_nodes) last = t->n_nodes;
    for (int32_t j = t->item_at[first]; j < t->item_at[last]; j++) {
        double f, b;
        work_of(&f, &b, t, &t->items[j]);
        *flops += f;
        *bytes += b;
    }
}

lpo_status lpo_tape_run(lpo_tape *t, int first, int last, lpo_error *err) {
    if (!t->planned) return lpo_fail(err, LPO_EINVAL, "tape: run before plan, or recorded on since");
    if (last < 0) last = t->n_nodes;
    if (first < 0 || first > last || last > t->n_nodes)
        return lpo_fail(err, LPO_EINVAL, "tape: steps %d to %d of %d", first, last, t->n_nodes);
    int32_t busy = -1; /* the device with work in flight */
    for (int32_t j = t->item_at[first]; j < t->item_at[last]; j++) {
        const lpo_item *it = &t->items[j];
        double start_s = t->trace ? now_s() : 0;
        lpo_status s = it->device != busy ? device_wait(t, busy, err) : LPO_OK;
        if (!s && it->device < 0) {
            busy = -1;
            s = copy_run(t, it, err);
        } else if (!s) {
            busy = it->device;
            lpo_device *dev = t->placement.device[busy];
            s = lpo_device_driver(dev)->submit(dev, &it->step, err);
        }
        if (!s && t->trace) {
            s = device_wait(t, busy, err);
            report(t, it, start_s);
        }
        if (s) {
            char text[200];
            const lpo_node *n = &t->nodes[it->node];
            lpo_describe(text, sizeof text, t, n->op, n->arg);
            device_wait(t, busy, NULL);
            return lpo_fail_in(err, s, "step %d, %s", it->node, text);
        }
    }
    return device_wait(t, busy, err);
}

/* The bytes the host may touch: a fixed buffer, or a storage that stands to the end. NULL buffer: neither. */
static lpo_place host_place(const lpo_tape *t, lpo_val x) {
    const lpo_value *v = &t->values[t->values[x].root];
    if (v->buffer) return (lpo_place){.buffer = v->buffer, .offset_bytes = v->offset_bytes, .storage = -1};
    if (!t->planned || v->home < 0) return (lpo_place){.storage = -1};
    const lpo_storage *own = &t->storages[v->home], *s = own->merged >= 0 ? &t->storages[own->merged] : own;
    if (own->last < t->n_nodes) return (lpo_place){.storage = -1};
    return (lpo_place){.buffer = t->arena[s->device], .offset_bytes = s->offset_bytes, .storage = v->home};
}

lpo_status lpo_tape_write(lpo_tape *t, lpo_val x, const void *src, lpo_error *err) {
    if (t->err.code) {
        if (err) *err = t->err;
        return t->err.code;
    }
    lpo_val_kind kind = x >= 0 && x < t->n_values ? t->values[x].kind : LPO_VAL_TEMP;
    if (kind == LPO_VAL_TEMP || kind == LPO_VAL_GRAD)
        return lpo_fail(err, LPO_EINVAL, "tape: only inputs, parameters and externs are written by the host");
    lpo_value *v = &t->values[t->values[x].root];
    size_t size = lpo_type_bytes(&v->type);
    if (kind == LPO_VAL_INPUT && !t->planned) {
        if (!v->staged) v->staged = lpo_arena_alloc(t->staging, 1, size);
        if (!v->staged)
            return lpo_fail(err, LPO_ENOMEM, "tape: out of memory for an input of %zu bytes", size);
        memcpy(v->staged, src, size);
        return LPO_OK;
    }
    if (kind == LPO_VAL_INPUT && v->staged) memcpy(v->staged, src, size); /* what the next plan uploads */
    lpo_place p = host_place(t, x);
    return lpo_device_driver(lpo_buffer_device(p.buffer))->upload(p.buffer, p.offset_bytes, src, size, err);
}

lpo_status lpo_tape_read(void *dst, lpo_tape *t, lpo_val x, lpo_error *err) {
    if (t->err.code) {
        if (err) *err = t->err;
        return t->err.code;
    }
    if (x < 0 || x >= t->n_values)
        return lpo_fail(err, LPO_EINVAL, "tape: read of a value that is not on the tape");
    lpo_place p = host_place(t, x);
    if (!p.buffer)
        return lpo_fail(err, LPO_EINVAL,
                        "tape: value %d may have been overwritten; call lpo_tape_keep before lpo_tape_plan",
                        x);
    return lpo_device_driver(lpo_buffer_device(p.buffer))
        ->download(dst, p.buffer, p.offset_bytes, lpo_type_bytes(&t->values[x].type), err);
}

size_t lpo_tape_arena_bytes(const lpo_tape *t) {
    size_t sum = 0;
    for (int d = 0; d < t->placement.n_devices; d++) sum += t->top_bytes[d];
    return sum;
}
