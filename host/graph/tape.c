/* SPDX-License-Identifier: Apache-2.0 */
/* tape.c -- life of a tape and recording. The first mistake is kept in t->err with the op and the shapes that
 * caused it; from then on every call returns LPO_NONE, so model code needs no checks and lpo_tape_plan
 * reports it. */
#include "graph/record.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

lpo_status lpo_tape_create(lpo_tape **out, const lpo_placement *placement, lpo_error *err) {
    *out = NULL;
    if (placement->n_devices < 1 || placement->n_devices > LPO_MAX_DEVICES)
        return lpo_fail(err, LPO_EINVAL, "tape: %d devices in the placement, not 1 to %d",
                        placement->n_devices, LPO_MAX_DEVICES);
    lpo_tape *t = calloc(1, sizeof *t);
    if (t) t->staging = lpo_arena_create((size_t)1 << 20);
    if (!t || !t->staging) {
        free(t);
        return lpo_fail(err, LPO_ENOMEM, "tape: out of memory");
    }
    t->placement = *placement;
    for (int i = 0; i < placement->n_devices; i++) {
        lpo_device_info info;
        lpo_device_driver(placement->device[i])->info(&info, placement->device[i]);
        t->host_memory[i] = info.host_memory;
    }
    *out = t;
    return LPO_OK;
}

void lpo_tape_destroy(lpo_tape *t) {
    if (!t) return;
    for (int i = 0; i < t->placement.n_devices; i++) {
        if (t->arena[i]) lpo_device_driver(t->placement.device[i])->release(t->arena[i]);
        free(t->holes[i]);
    }
    lpo_arena_destroy(t->staging);
    free(t->values);
    free(t->nodes);
    free(t->params);
    free(t->storages);
    free(t->items);
    free(t->item_at);
    free(t->ends_at);
    free(t->bounce);
    free(t);
}

void lpo_tape_reset(lpo_tape *t) {
    t->err = (lpo_error){0};
    t->n_values = t->n_nodes = t->n_params = 0;
    t->segment = t->n_segments = 0;
    t->backward_done = t->planned = false;
    lpo_arena_reset(t->staging);
}

bool lpo_tape_grow(lpo_tape *t, void *array_ptr, int32_t *cap, int32_t need, size_t item_bytes) {
    if (need <= *cap) return true;
    int32_t want = *cap < 64 ? 64 : *cap > INT32_MAX / 2 ? INT32_MAX : *cap * 2;
    if (want < need) want = need;
    void *old;
    memcpy(&old, array_ptr, sizeof old);
    void *p = realloc(old, (size_t)want * item_bytes);
    if (!p) {
        lpo_tape_fail(t, LPO_ENOMEM, "tape: out of memory");
        return false;
    }
    memcpy(array_ptr, &p, sizeof p);
    *cap = want;
    return true;
}

void lpo_tape_fail(lpo_tape *t, lpo_status code, const char *fmt, ...) {
    if (t->err.code) return;
    va_list ap;
    va_start(ap, fmt);
    t->err.code = code;
    vsnprintf(t->err.msg, sizeof t->err.msg, fmt, ap);
    va_end(ap);
}

int64_t lpo_type_count(const lpo_type *t) {
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++) n *= t->shape[i];
    return n;
}

size_t lpo_type_bytes(const lpo_type *t) {
    return (size_t)lpo_type_count(t) * lpo_dtype_bytes(t->dtype);
}

static int describe_type(char *out, size_t size_bytes, const lpo_type *type) {
    static const char *const name[LPO_N_DTYPES] = {"f32", "bf16", "f64", "i32", "u8", "f16", "i64"};
    int used = snprintf(out, size_bytes, "%s[", name[type->dtype]);
    for (int i = 0; i < type->ndim && (size_t)used < size_bytes; i++)
        used += snprintf(out + used, size_bytes - (size_t)used, "%s%lld", i ? "," : "",
                         (long long)type->shape[i]);
    if ((size_t)used < size_bytes) used += snprintf(out + used, size_bytes - (size_t)used, "]");
    return used;
}

void lpo_describe(char *out, size_t size_bytes, const lpo_tape *t, lpo_op op, const lpo_val *arg) {
    const lpo_op_form *f = &lpo_op_forms[op];
    int used = snprintf(out, size_bytes, "%s(", f->name);
    bool first = true;
    for (int i = 0; i < f->n_args && (size_t)used < size_bytes; i++) {
        if ((f->out & ~f->inout) >> i & 1u) continue;
        used += snprintf(out + used, size_bytes - (size_t)used, "%s", first ? "" : ", ");
        first = false;
        if ((size_t)used >= size_bytes) break;
        bool there = arg[i] >= 0 && arg[i] < t->n_values;
        used += there ? describe_type(out + used, size_bytes - (size_t)used, &t->values[arg[i]].type)
                      : snprintf(out + used, size_bytes - (size_t)used, "-");
    }
    if ((size_t)used < size_bytes) snprintf(out + used, size_bytes - (size_t)used, ")");
}

/* A type the tape can hold: known dtype, 1 to 4 positive dimensions, a size that fits. */
static bool type_ok(const lpo_type *type) {
    if (type->dtype < 0 || type->dtype >= LPO_N_DTYPES || type->ndim < 1 || type->ndim > LPO_MAX_DIMS)
        return false;
    int64_t n = 1;
    for (int i = 0; i < type->ndim; i++) {
        if (type->shape[i] < 1 || type->shape[i] > ((int64_t)1 << 46) / n) return false;
        n *= type->shape[i];
    }
    return true;
}

lpo_val lpo_value_add(lpo_tape *t, lpo_val_kind kind, const lpo_type *type) {
    if (t->err.code) return LPO_NONE;
    if (!type_ok(type)) {
        lpo_tape_fail(t, LPO_EINVAL,
                      "tape: a tensor of %d dimensions [%lld, ...] and dtype %d cannot be recorded",
                      type->ndim, (long long)(type->ndim > 0 ? type->shape[0] : 0), type->dtype);
        return LPO_NONE;
    }
    if (!lpo_tape_grow(t, &t->values, &t->cap_values, t->n_values + 1, sizeof *t->values)) return LPO_NONE;
    lpo_val v = t->n_values++;
    t->values[v] =
        (lpo_value){.type = *type, .kind = kind, .root = v, .grad = LPO_NONE, .remat = LPO_NONE, .node = -1};
    t->planned = false;
    return v;
}

static lpo_type make_type(int32_t dtype, int ndim, const int64_t *shape) {
    lpo_type type = {.dtype = dtype, .ndim = ndim};
    for (int i = 0; i < ndim && i < LPO_MAX_DIMS; i++) type.shape[i] = shape[i];
    return type;
}

lpo_val lpo_view(lpo_tape *t, lpo_val x, const lpo_type *type) {
    if (x < 0 || x >= t->n_values) return LPO_NONE;
    lpo_value *from = &t->values[x];
    if (from->type.ndim == type->ndim &&
        !memcmp(from->type.shape, type->shape, sizeof(int64_t) * (size_t)type->ndim))
        return x;
    lpo_val root = from->root;
    lpo_val v = lpo_value_add(t, t->values[root].kind, type);
    if (v >= 0) t->values[v].root = root;
    return v;
}

lpo_val lpo_tape_input(lpo_tape *t, int32_t dtype, int ndim, const int64_t *shape, const void *data) {
    lpo_type type = make_type(dtype, ndim, shape);
    lpo_val v = lpo_value_add(t, LPO_VAL_INPUT, &type);
    if (v < 0 || !data) return v;
    void *p = lpo_arena_alloc(t->staging, 1, lpo_type_bytes(&type));
    if (!p) {
        lpo_tape_fail(t, LPO_ENOMEM, "tape: out of memory for an input of %zu bytes", lpo_type_bytes(&type));
        return LPO_NONE;
    }
    t->values[v].staged = memcpy(p, data, lpo_type_bytes(&type));
    return v;
}

lpo_val lpo_tape_param(lpo_tape *t, lpo_param *p) {
    if (t->err.code) return LPO_NONE;
    for (int32_t i = 0; i < t->n_params; i++)
        if (t->values[t->params[i]].param == p) return t->params[i];
    lpo_type type = make_type(p->dtype, p->ndim, p->shape);
    if (!type_ok(&type) || !p->data || lpo_buffer_bytes(p->data) < lpo_type_bytes(&type)) {
        lpo_tape_fail(t, LPO_EINVAL, "tape: parameter %s has no memory, or less than its shape needs",
                      p->name ? p->name : "(unnamed)");
        return LPO_NONE;
    }
    if (!lpo_tape_grow(t, &t->params, &t->cap_params, t->n_params + 1, sizeof *t->params)) return LPO_NONE;
    lpo_val v = lpo_value_add(t, LPO_VAL_PARAM, &type);
    if (v < 0) return v;
    t->values[v].param = p;
    t->values[v].buffer = p->data;
    t->params[t->n_params++] = v;
    return v;
}

lpo_val lpo_tape_extern(lpo_tape *t, lpo_buffer *b, int32_t dtype, int ndim, const int64_t *shape) {
    lpo_type type = make_type(dtype, ndim, shape);
    lpo_val v = lpo_value_add(t, LPO_VAL_EXTERN, &type);
    if (v < 0) return v;
    if (!b || lpo_buffer_bytes(b) < lpo_type_bytes(&type)) {
        lpo_tape_fail(t, LPO_EINVAL, "tape: an extern tensor of %zu bytes in a buffer of %zu",
                      lpo_type_bytes(&type), b ? lpo_buffer_bytes(b) : 0);
        return LPO_NONE;
    }
    t->values[v].buffer = b;
    return v;
}

lpo_val lpo_tape_reshape(lpo_tape *t, lpo_val x, int ndim, const int64_t *shape) {
    if (t->err.code) return LPO_NONE;
    lpo_type type = make_type(0, ndim, shape);
    if (x < 0 || x >= t->n_values || !type_ok(&type) ||
        lpo_type_count(&type) != lpo_type_count(&t->values[x].type)) {
        char from[64] = "-", to[64];
        if (x >= 0 && x < t->n_values) describe_type(from, sizeof from, &t->values[x].type);
        if (ndim < 1 || ndim > LPO_MAX_DIMS)
            snprintf(to, sizeof to, "%d dimensions", ndim);
        else
            describe_type(to, sizeof to, &type);
        lpo_tape_fail(t, LPO_EINVAL, "reshape: %s cannot become the shape of %s", from, to);
        return LPO_NONE;
    }
    type.dtype = t->values[x].type.dtype;
    return lpo_view(t, x, &type);
}

int32_t lpo_emit(lpo_tape *t, lpo_op op, const lpo_attrs *attrs, const lpo_val *arg) {
    if (t->err.code || !lpo_tape_grow(t, &t->nodes, &t->cap_nodes, t->n_nodes + 1, sizeof *t->nodes))
        return -1;
    int32_t i = t->n_nodes++;
    lpo_node *n = &t->nodes[i];
    *n = (lpo_node){.op = op, .segment = t->segment};
    if (attrs) n->attrs = *attrs;
    const lpo_op_form *f = &lpo_op_forms[op];
    for (int k = 0; k < LPO_MAX_ARGS; k++) {
        n->arg[k] = k < f->n_args ? arg[k] : LPO_NONE;
        if (n->arg[k] < 0 || !(f->out >> k & 1u)) continue;
        lpo_value *v = &t->values[n->arg[k]];
        if (v->kind == LPO_VAL_TEMP && v->node < 0) v->node = i;
    }
    t->planned = false;
    return i;
}

/* Record a forward op. arg holds the inputs (and extern outputs); `want` are the outputs to make. Returns
 * output 0. */
static lpo_val record(lpo_tape *t, lpo_op op, const lpo_attrs *attrs, lpo_val arg[LPO_MAX_ARGS],
                      unsigned want) {
    if (t->err.code) return LPO_NONE;
    const lpo_op_form *f = &lpo_op_forms[op];
    const lpo_rule *r = &lpo_rules[op];
    lpo_type type[LPO_MAX_ARGS];
    const char *wrong = NULL;
    for (int i = 0; i < LPO_MAX_ARGS; i++) {
        type[i] = (lpo_type){.dtype = -1};
        if (i >= f->n_args || want >> i & 1u) continue;
        if (arg[i] >= 0 && arg[i] < t->n_values)
            type[i] = t->values[arg[i]].type;
        else if (arg[i] != LPO_NONE || !(r->optional >> i & 1u))
            wrong = "an argument is missing";
    }
    if (!wrong) wrong = r->shape(type, attrs);
    if (wrong) {
        char text[320];
        lpo_describe(text, sizeof text, t, op, arg);
        lpo_tape_fail(t, LPO_EINVAL, "step %d, %s: %s", t->n_nodes, text, wrong);
        return LPO_NONE;
    }
    for (int i = 0; i < f->n_args; i++) {
        if (!(want >> i & 1u)) continue;
        arg[i] = lpo_value_add(t, LPO_VAL_TEMP, &type[i]);
        if (arg[i] >= 0) t->values[arg[i]].hidden = i > 0;
    }
    return lpo_emit(t, op, attrs, arg) < 0 ? LPO_NONE : arg[0];
}

lpo_val lpo_tape_linear(lpo_tape *t, lpo_val x, lpo_val w, lpo_val b) {
    lpo_val arg[LPO_MAX_ARGS] = {LPO_NONE, x, w, b};
    return record(t, LPO_OP_LINEAR, &(lpo_attrs){0}, arg, 0x1);
}

lpo_val lpo_tape_norm(lpo_tape *t, lpo_val x, lpo_val w, lpo_val b, bool rms, double eps) {
    lpo_val arg[LPO_MAX_ARGS] = {LPO_NONE, LPO_NONE, LPO_NONE, x, w, b};
    return record(t, LPO_OP_NORM, &(lpo_attrs){.rms = rms, .eps = eps}, arg, 0x7);
}

lpo_val lpo_tape_rope(lpo_tape *t, lpo_val x, lpo_val cos, lpo_val sin, int n_rot, int d_head) {
    lpo_val arg[LPO_MAX_ARGS] = {LPO_NONE, x, cos, sin};
    return record(t, LPO_OP_ROPE, &(lpo_attrs){.n_rot = n_rot, .d_head = d_head}, arg, 0x1);
}

/* Are all sequences equally long? Known where cu was given with its data. */
static bool is_even(const lpo_tape *t, lpo_val cu) {
    if (t->err.code || cu < 0 || cu >= t->n_values) return false;
    const lpo_value *v = &t->values[t->values[cu].root];
    const int32_t *at = v->staged;
    if (!at || v->type.dtype != LPO_I32) return false;
    for (int64_t s = 1; s + 1 < lpo_type_count(&v->type); s++)
        if (at[s + 1] - at[s] != at[1] - at[0]) return false;
    return true;
}

lpo_val lpo_tape_attn(lpo_tape *t, lpo_val qkv, lpo_val cu, lpo_val prefix, int n_q, int n_kv, int d_head,
                      float scale, bool causal) {
    lpo_val arg[LPO_MAX_ARGS] = {LPO_NONE, LPO_NONE, qkv, cu, prefix};
    lpo_attrs a = {.n_q = n_q, .n_kv = n_kv, .d_head = d_head, .scale = scale, .causal = causal};
    a.even = is_even(t, cu);
    return record(t, LPO_OP_ATTN, &a, arg, 0x3);
}

lpo_val lpo_tape_attn_cached(lpo_tape *t, lpo_val qkv, lpo_val cache, lpo_val cu, lpo_val slot, lpo_val past,
                             int n_q, int n_kv, int d_head, float scale) {
    lpo_val arg[LPO_MAX_ARGS] = {LPO_NONE, cache, qkv, cu, slot, past};
    lpo_attrs a = {.n_q = n_q, .n_kv = n_kv, .d_head = d_head, .scale = scale, .causal = 1};
    if (!t->err.code && cache >= 0 && cache < t->n_values && t->values[cache].kind != LPO_VAL_EXTERN)
        lpo_tape_fail(t, LPO_EINVAL, "attn_cached: the cache must be an lpo_tape_extern value");
    return record(t, LPO_OP_ATTN_CACHED, &a, arg, 0x1);
}

lpo_val lpo_tape_act(lpo_tape *t, lpo_val x, lpo_act act) {
    lpo_val arg[LPO_MAX_ARGS] = {LPO_NONE, x};
    return record(t, LPO_OP_ACT, &(lpo_attrs){.act = (int32_t)act}, arg, 0x1);
}

lpo_val lpo_tape_add(lpo_tape *t, lpo_val a, lpo_val b) {
    lpo_val arg[LPO_MAX_ARGS] = {LPO_NONE, a, b};
    return record(t, LPO_OP_ADD, &(lpo_attrs){0}, arg, 0x1);
}

lpo_val lpo_tape_embed(lpo_tape *t, lpo_val table, lpo_val ids) {
    lpo_val arg[LPO_MAX_ARGS] = {LPO_NONE, table, ids};
    return record(t, LPO_OP_EMBED, &(lpo_attrs){0}, arg, 0x1);
}

lpo_val lpo_tape_levels(lpo_tape *t, lpo_val x, lpo_val value) {
    lpo_val arg[LPO_MAX_ARGS] = {LPO_NONE, x, value};
    return record(t, LPO_OP_LEVELS, &(lpo_attrs){0}, arg, 0x1);
}

lpo_val lpo_tape_rowmix(lpo_tape *t, lpo_val a, lpo_val b, lpo_val idx, lpo_val w) {
    lpo_val arg[LPO_MAX_ARGS] = {LPO_NONE, a, b, idx, w};
    return record(t, LPO_OP_ROWMIX, &(lpo_attrs){0}, arg, 0x1);
}

lpo_val lpo_tape_dropout(lpo_tape *t, lpo_val x, double share, uint64_t seed) {
    lpo_val arg[LPO_MAX_ARGS] = {LPO_NONE, x};
    return record(t, LPO_OP_DROPOUT, &(lpo_attrs){.value = share, .seed = seed}, arg, 0x1);
}

lpo_val lpo_tape_cast(lpo_tape *t, lpo_val x, int32_t dtype) {
    if (t->err.code) return LPO_NONE;
    bool there = x >= 0 && x < t->n_values;
    if (there && t->values[x].type.dtype == dtype) return x;
    lpo_type type = there ? t->values[x].type : (lpo_type){0};
    bool from =
        type.dtype == LPO_F32 || type.dtype == LPO_BF16 || type.dtype == LPO_F64 || type.dtype == LPO_F16;
    bool to = dtype == LPO_F32 || dtype == LPO_BF16 || dtype == LPO_F64 || dtype == LPO_F16;
    lpo_val arg[LPO_MAX_ARGS] = {LPO_NONE, x};
    if (!there || !from || !to) {
        char text[128];
        lpo_describe(text, sizeof text, t, LPO_OP_CAST, arg);
        lpo_tape_fail(t, LPO_EINVAL, "step %d, %s: only f32, bf16, f64 and f16 are cast to each other",
                      t->n_nodes, text);
        return LPO_NONE;
    }
    type.dtype = dtype;
    arg[0] = lpo_value_add(t, LPO_VAL_TEMP, &type);
    return lpo_emit(t, LPO_OP_CAST, NULL, arg) < 0 ? LPO_NONE : arg[0];
}

lpo_val lpo_tape_logprob(lpo_tape *t, lpo_val h, lpo_val w, lpo_val target, int n_valid, lpo_val *entropy,
                         lpo_val *hit) {
    lpo_val arg[LPO_MAX_ARGS] = {LPO_NONE, LPO_NONE, LPO_NONE, LPO_NONE, h, w, target};
    unsigned want = 0x3u | (entropy ? 0x4u : 0) | (hit ? 0x8u : 0);
    lpo_val logp = record(t, LPO_OP_LOGPROB, &(lpo_attrs){.n_valid = n_valid}, arg, want);
    if (entropy) *entropy = logp < 0 ? LPO_NONE : arg[2];
    if (hit) *hit = logp < 0 ? LPO_NONE : arg[3];
    for (int i = 2; i < 4 && logp >= 0; i++)
        if (want >> i & 1u) t->values[arg[i]].hidden = false;
    return logp;
}

void lpo_tape_segment_begin(lpo_tape *t) {
    if (t->segment) {
        lpo_tape_fail(t, LPO_EINVAL, "tape: segments do not nest; one is open at step %d", t->n_nodes);
        return;
    }
    t->segment = ++t->n_segments;
}

void lpo_tape_segment_end(lpo_tape *t, const lpo_val *keep, int n_keep) {
    if (t->err.code) return;
    if (!t->segment) {
        lpo_tape_fail(t, LPO_EINVAL, "tape: segment_end without a begin, at step %d", t->n_nodes);
        return;
    }
    t->segment = 0;
    for (int i = 0; i < n_keep; i++) {
        if (keep[i] < 0 || keep[i] >= t->n_values) continue;
        int32_t node = t->values[t->values[keep[i]].root].node;
        if (node < 0) continue; /* no step made it: nothing drops it */
        /* An op's by-products are small beside what it would cost to run it again for them. */
        const lpo_node *n = &t->nodes[node];
        for (int k = 0; k < lpo_op_forms[n->op].n_args; k++)
            if (lpo_op_forms[n->op].out >> k & 1u && n->arg[k] >= 0) t->values[n->arg[k]].seg_keep = true;
    }
}

void lpo_tape_want_grad(lpo_tape *t, lpo_val x) {
    if (t->err.code || x < 0 || x >= t->n_values) return;
    if (t->backward_done)
        lpo_tape_fail(t, LPO_EINVAL, "tape: want_grad after backward has no effect; call it before");
    else
        t->values[t->values[x].root].want_grad = true;
}

void lpo_tape_keep(lpo_tape *t, lpo_val x) {
    if (x < 0 || x >= t->n_values) return;
    lpo_value *v = &t->values[t->values[x].root];
    if (v->keep) return;
    v->keep = true;
    t->planned = false;
}

int lpo_tape_n_steps(const lpo_tape *t) {
    return t->n_nodes;
}

lpo_val lpo_tape_grad(const lpo_tape *t, lpo_val x) {
    return x < 0 || x >= t->n_values ? LPO_NONE : t->values[x].grad;
}

int lpo_val_dim(const lpo_tape *t, lpo_val x, int axis, int64_t *out) {
    if (x < 0 || x >= t->n_values || axis < 0 || axis >= t->values[x].type.ndim) return -1;
    *out = t->values[x].type.shape[axis];
    return 0;
}

int32_t lpo_val_dtype(const lpo_tape *t, lpo_val x) {
    return x < 0 || x >= t->n_values ? -1 : t->values[x].type.dtype;
}

void lpo_tape_trace(lpo_tape *t, lpo_tape_trace_fn *fn, void *user) {
    t->trace = fn;
    t->trace_user = user;
}
