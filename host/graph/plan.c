/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c -- from a recording to something that runs: give each node a device, each value its storages, each
 * crossing a copy; then lay the storages out (layout.c) and bind buffers.
 *
 * A value has one storage where it is written and one replica on every other device that reads it, copied
 * once, before the first reader. Devices whose buffers are host memory read each other's storages without a
 * copy. Parameters, their gradients and externs may change between runs, so on a foreign device they are
 * copied for each node that reads or writes them. */
#include "graph/record.h"

#include <stdlib.h>
#include <string.h>

static bool near_device(const lpo_tape *t, int32_t a, int32_t b) {
    return a == b || (t->host_memory[a] && t->host_memory[b]);
}

static bool near_buffer(const lpo_tape *t, const lpo_buffer *b, int32_t device) {
    const lpo_buffer_head *h = (const lpo_buffer_head *)b;
    return h->device == t->placement.device[device] || (t->host_memory[device] && h->host);
}

static void fill_step(lpo_step *s, const lpo_tape *t, const lpo_node *n, lpo_buffer *present) {
    *s = (lpo_step){.op = n->op, .attrs = n->attrs};
    for (int k = 0; k < lpo_op_forms[n->op].n_args; k++) {
        if (n->arg[k] < 0) continue;
        const lpo_type *type = &t->values[n->arg[k]].type;
        s->arg[k] = (lpo_dtensor){.buffer = present, .dtype = type->dtype, .ndim = type->ndim};
        memcpy(s->arg[k].shape, type->shape, sizeof type->shape);
    }
}

/* Each node to the first device that supports it. */
static void place(lpo_tape *t) {
    for (int32_t i = 0; i < t->n_nodes; i++) {
        lpo_node *n = &t->nodes[i];
        n->device = -1;
        for (int32_t d = 0; d < t->placement.n_devices && n->device < 0; d++) {
            lpo_device *dev = t->placement.device[d];
            lpo_buffer_head probe = {.device = dev};
            lpo_step s;
            fill_step(&s, t, n, (lpo_buffer *)&probe);
            if (lpo_device_driver(dev)->supports(dev, &s)) n->device = d;
        }
        if (n->device >= 0) continue;
        char text[320];
        lpo_describe(text, sizeof text, t, n->op, n->arg);
        lpo_tape_fail(t, LPO_EUNSUPPORTED,
                      "step %d, %s: no device of the placement supports it; add ref to the placement", i,
                      text);
        return;
    }
}

static int32_t storage_add(lpo_tape *t, int32_t device, int32_t first, int32_t last, size_t size_bytes) {
    if (!lpo_tape_grow(t, &t->storages, &t->cap_storages, t->n_storages + 1, sizeof *t->storages)) return -1;
    t->storages[t->n_storages] = (lpo_storage){
        .device = device, .first = first, .last = last, .merged = -1, .next = -1, .size_bytes = size_bytes};
    return t->n_storages++;
}

static void item_add(lpo_tape *t, const lpo_item *item) {
    if (lpo_tape_grow(t, &t->items, &t->cap_items, t->n_items + 1, sizeof *t->items))
        t->items[t->n_items++] = *item;
}

static void copy_add(lpo_tape *t, int32_t node, lpo_place to, lpo_place from, size_t size_bytes) {
    lpo_item c = {.device = -1, .node = node, .from = from, .to = to, .size_bytes = size_bytes};
    item_add(t, &c);
}

/* Inputs stand to the end of the tape, so that any of them may be read back, and a tape run again. */
static void store_inputs(lpo_tape *t) {
    for (int32_t i = 0; i < t->n_values; i++) {
        lpo_value *v = &t->values[i];
        v->home = -1;
        for (int d = 0; d < LPO_MAX_DEVICES; d++) v->at[d] = -1;
    }
    for (int32_t i = 0; i < t->n_nodes + 1; i++) {
        for (int k = 0; k < LPO_MAX_ARGS && i < t->n_nodes; k++) {
            lpo_val a = t->nodes[i].arg[k];
            if (a < 0) continue;
            lpo_value *v = &t->values[t->values[a].root];
            if (v->kind != LPO_VAL_INPUT || v->home >= 0) continue;
            int32_t d = t->nodes[i].device;
            v->home = v->at[d] = storage_add(t, d, 0, t->n_nodes, lpo_type_bytes(&v->type));
        }
    }
    for (int32_t i = 0; i < t->n_values; i++) {
        lpo_value *v = &t->values[i];
        if (v->kind == LPO_VAL_INPUT && v->root == i && v->home < 0)
            v->home = v->at[0] = storage_add(t, 0, 0, t->n_nodes, lpo_type_bytes(&v->type));
    }
}

static lpo_place in_storage(lpo_tape *t, int32_t s, int32_t node) {
    if (s >= 0 && t->storages[s].last < node) t->storages[s].last = node;
    return (lpo_place){.storage = s};
}

/* Where node i finds an argument that is a parameter, a gradient or an extern. */
static lpo_place use_fixed(lpo_tape *t, lpo_val root, int32_t i, bool reads) {
    lpo_value *v = &t->values[root];
    int32_t d = t->nodes[i].device;
    lpo_place home = {.buffer = v->buffer, .offset_bytes = v->offset_bytes, .storage = -1};
    if (near_buffer(t, v->buffer, d)) return home;
    bool fresh = v->at[d] < 0 || t->storages[v->at[d]].first != i;
    if (fresh) v->at[d] = storage_add(t, d, i, i, lpo_type_bytes(&v->type));
    lpo_place p = in_storage(t, v->at[d], i);
    if (fresh && reads) copy_add(t, i, p, home, lpo_type_bytes(&v->type));
    return p;
}

/* Where node i finds a temporary or an input that it reads. */
static lpo_place use_value(lpo_tape *t, lpo_val root, int32_t i) {
    lpo_value *v = &t->values[root];
    int32_t d = t->nodes[i].device;
    if (v->home < 0) {
        lpo_tape_fail(t, LPO_EINVAL, "step %d, %s: reads a value that no earlier step writes", i,
                      lpo_op_forms[t->nodes[i].op].name);
        return (lpo_place){.storage = -1};
    }
    if (near_device(t, t->storages[v->home].device, d)) return in_storage(t, v->home, i);
    if (v->at[d] < 0) {
        lpo_place from = in_storage(t, v->home, i);
        v->at[d] = storage_add(t, d, i, i, lpo_type_bytes(&v->type));
        copy_add(t, i, (lpo_place){.storage = v->at[d]}, from, lpo_type_bytes(&v->type));
    }
    return in_storage(t, v->at[d], i);
}

static lpo_place use_written(lpo_tape *t, lpo_val root, int32_t i) {
    lpo_value *v = &t->values[root];
    int32_t d = t->nodes[i].device;
    if (v->kind != LPO_VAL_TEMP) return use_fixed(t, root, i, false);
    if (v->node == i)
        v->home = v->at[d] = storage_add(t, d, i, v->keep ? t->n_nodes : i, lpo_type_bytes(&v->type));
    return in_storage(t, v->home, i);
}

static void store_node(lpo_tape *t, int32_t i) {
    const lpo_node *n = &t->nodes[i];
    const lpo_op_form *f = &lpo_op_forms[n->op];
    lpo_item item = {.device = n->device, .node = i};
    fill_step(&item.step, t, n, NULL);
    for (int k = 0; k < LPO_MAX_ARGS; k++) item.arg[k].storage = -1;
    /* What is read first, so that the write of a value both read and written finds its copy made. */
    for (int pass = 0; pass < 2; pass++) {
        for (int k = 0; k < f->n_args; k++) {
            bool reads = !(f->out >> k & 1u) || f->inout >> k & 1u;
            if (n->arg[k] < 0 || reads != (pass == 0)) continue;
            lpo_val root = t->values[n->arg[k]].root;
            lpo_val_kind kind = t->values[root].kind;
            if (!reads)
                item.arg[k] = use_written(t, root, i);
            else if (kind == LPO_VAL_TEMP || kind == LPO_VAL_INPUT)
                item.arg[k] = use_value(t, root, i);
            else
                item.arg[k] = use_fixed(t, root, i, true);
        }
    }
    item_add(t, &item);
    for (int k = 0; k < f->n_args; k++) {
        if (n->arg[k] < 0 || !(f->out >> k & 1u)) continue;
        const lpo_value *v = &t->values[t->values[n->arg[k]].root];
        if (v->kind == LPO_VAL_TEMP || item.arg[k].buffer) continue;
        lpo_place home = {.buffer = v->buffer, .offset_bytes = v->offset_bytes, .storage = -1};
        copy_add(t, i, home, item.arg[k], lpo_type_bytes(&v->type));
    }
}

/* An op that may write over its input takes the input's bytes when it is the last to read them. */
static void merge_storages(lpo_tape *t) {
    for (int32_t i = 0; i < t->n_storages; i++) t->storages[i].end = t->storages[i].last;
    for (int32_t j = 0; j < t->n_items; j++) {
        lpo_item *it = &t->items[j];
        int alias_in = it->device < 0 ? 0 : lpo_rules[it->step.op].alias_in;
        int32_t out = it->arg[0].storage;
        if (!alias_in || out < 0 || t->storages[out].first != it->node || t->storages[out].merged >= 0)
            continue;
        for (int k = 1; k <= alias_in; k++) {
            int32_t in = it->arg[k].storage;
            if (in < 0) continue;
            if (t->storages[in].merged >= 0) in = t->storages[in].merged;
            lpo_storage *from = &t->storages[in];
            if (in == out || from->end != it->node || from->device != t->storages[out].device ||
                from->size_bytes != t->storages[out].size_bytes)
                continue;
            t->storages[out].merged = in;
            from->end = t->storages[out].last;
            if (k == 2) { /* the kernel's y may be a, not b */
                lpo_place p = it->arg[1];
                it->arg[1] = it->arg[2];
                it->arg[2] = p;
            }
            break;
        }
    }
}

/* A result that nothing on the tape reads is for the host. */
static void keep_results(lpo_tape *t) {
    for (int32_t i = 0; i < t->n_values; i++) {
        const lpo_value *v = &t->values[i];
        if (v->kind != LPO_VAL_TEMP || v->root != i || v->home < 0 || v->hidden) continue;
        lpo_storage *s = &t->storages[v->home];
        if (s->last == s->first) s->last = t->n_nodes;
    }
}

static void make_arenas(lpo_tape *t) {
    for (int d = 0; d < t->placement.n_devices; d++) {
        lpo_device *dev = t->placement.device[d];
        if (!t->top_bytes[d] || (t->arena[d] && lpo_buffer_bytes(t->arena[d]) >= t->top_bytes[d])) continue;
        lpo_device_driver(dev)->release(t->arena[d]);
        t->arena[d] = NULL;
        lpo_error e = {0};
        if (!lpo_device_driver(dev)->alloc(&t->arena[d], dev, t->top_bytes[d], &e)) continue;
        lpo_tape_fail(t, e.code ? e.code : LPO_ENOMEM, "tape of %d steps: %.400s", t->n_nodes, e.msg);
        return;
    }
}

static lpo_place resolve(const lpo_tape *t, lpo_place p) {
    if (p.buffer || p.storage < 0) return p;
    const lpo_storage *s = &t->storages[p.storage];
    if (s->merged >= 0) s = &t->storages[s->merged];
    p.buffer = t->arena[s->device];
    p.offset_bytes = s->offset_bytes;
    return p;
}

static void bind(lpo_tape *t) {
    for (int32_t j = 0; j < t->n_items; j++) {
        lpo_item *it = &t->items[j];
        it->from = resolve(t, it->from);
        it->to = resolve(t, it->to);
        for (int k = 0; k < LPO_MAX_ARGS && it->device >= 0; k++) {
            lpo_place p = resolve(t, it->arg[k]);
            it->step.arg[k].buffer = p.buffer;
            it->step.arg[k].offset_bytes = p.offset_bytes;
        }
    }
}

static void upload_inputs(lpo_tape *t) {
    for (int32_t i = 0; i < t->n_values && !t->err.code; i++) {
        const lpo_value *v = &t->values[i];
        if (v->kind != LPO_VAL_INPUT || v->root != i || !v->staged) continue;
        lpo_place p = resolve(t, (lpo_place){.storage = v->home});
        lpo_error e = {0};
        lpo_status s = lpo_device_driver(lpo_buffer_device(p.buffer))
                           ->upload(p.buffer, p.offset_bytes, v->staged, lpo_type_bytes(&v->type), &e);
        if (s) lpo_tape_fail(t, s, "tape: an input: %.400s", e.msg);
    }
}

lpo_status lpo_tape_plan(lpo_tape *t, lpo_error *err) {
    t->planned = false;
    t->n_storages = t->n_items = 0;
    if (t->segment) lpo_tape_fail(t, LPO_EINVAL, "tape: planned inside an open segment");
    if (!t->err.code) place(t);
    if (!t->err.code && lpo_tape_grow(t, &t->item_at, &t->cap_item_at, t->n_nodes + 1, sizeof *t->item_at))
        store_inputs(t);
    for (int32_t i = 0; i < t->n_nodes && !t->err.code; i++) {
        t->item_at[i] = t->n_items;
        store_node(t, i);
    }
    if (!t->err.code) {
        t->item_at[t->n_nodes] = t->n_items;
        keep_results(t);
        merge_storages(t);
        if (lpo_layout(t)) make_arenas(t);
    }
    if (!t->err.code) {
        bind(t);
        upload_inputs(t);
    }
    if (t->err.code) {
        if (err) *err = t->err;
        return t->err.code;
    }
    t->planned = true;
    return LPO_OK;
}
