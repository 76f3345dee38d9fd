/* SPDX-License-Identifier: Apache-2.0 */
/* backward.c -- record the gradient steps of what stands on the tape.
 *
 * Two sweeps. Forwards: which values lie on a path from something trainable (needs_grad)? What does not, gets
 * no step: a frozen tower costs nothing. Backwards: each node whose output received a gradient and needs one
 * records its rule; contributions to a value used several times are summed as they come, so the order, and
 * with it every bit, is that of the tape.
 *
 * Recomputation is lazy: a rule asks for the forward values it reads with lpo_saved(), and a value whose
 * segment was dropped is re-recorded there and then, with exactly the ancestors it needs, down to what was
 * kept. The forward copy then has no reader left after the forward pass, and the memory plan frees it. */
#include "graph/record.h"

#include <string.h>

bool lpo_needs(const lpo_tape *t, lpo_val v) {
    return v >= 0 && t->values[t->values[v].root].needs_grad;
}

lpo_val lpo_temp_like(lpo_tape *t, lpo_val v) {
    if (t->err.code) return LPO_NONE;
    lpo_type type = t->values[v].type;
    lpo_val x = lpo_value_add(t, LPO_VAL_TEMP, &type);
    if (x >= 0) t->values[x].hidden = true;
    return x;
}

static void mark_needs(lpo_tape *t) {
    for (int32_t i = 0; i < t->n_values; i++) {
        lpo_value *v = &t->values[i];
        v->needs_grad = v->want_grad || (v->kind == LPO_VAL_PARAM && v->param && v->param->trainable);
    }
    for (int32_t i = 0; i < t->n_nodes; i++) {
        const lpo_node *n = &t->nodes[i];
        bool needs = false;
        for (int k = 0; k < lpo_op_forms[n->op].n_args; k++)
            if (lpo_rules[n->op].diff >> k & 1u) needs |= lpo_needs(t, n->arg[k]);
        if (needs) t->values[n->arg[0]].needs_grad = true;
    }
}

static bool dropped(const lpo_tape *t, lpo_val root) {
    const lpo_value *v = &t->values[root];
    return v->node >= 0 && t->nodes[v->node].segment && !v->seg_keep;
}

static void recompute(lpo_tape *t, int32_t node) {
    lpo_node n = t->nodes[node]; /* a copy: recording moves the array */
    const lpo_op_form *f = &lpo_op_forms[n.op];
    lpo_val arg[LPO_MAX_ARGS];
    for (int k = 0; k < LPO_MAX_ARGS; k++) {
        arg[k] = n.arg[k];
        if (arg[k] >= 0 && (!(f->out >> k & 1u) || f->inout >> k & 1u)) arg[k] = lpo_saved(t, arg[k]);
    }
    for (int k = 0; k < f->n_args && !t->err.code; k++) {
        if (n.arg[k] < 0 || !((f->out & ~f->inout) >> k & 1u)) continue;
        arg[k] = lpo_temp_like(t, n.arg[k]);
        if (arg[k] >= 0 && dropped(t, n.arg[k])) t->values[n.arg[k]].remat = arg[k];
    }
    lpo_emit(t, n.op, &n.attrs, arg);
}

lpo_val lpo_saved(lpo_tape *t, lpo_val v) {
    if (t->err.code || v < 0) return LPO_NONE;
    lpo_val root = t->values[v].root;
    if (!dropped(t, root)) return v;
    if (t->values[root].remat < 0) recompute(t, t->values[root].node);
    if (t->err.code) return LPO_NONE;
    lpo_type type = t->values[v].type;
    return lpo_view(t, t->values[root].remat, &type);
}

/* The accumulating gradient of a parameter's root value, in the parameter's own shape. */
static lpo_val param_grad(lpo_tape *t, lpo_val root) {
    if (t->err.code) return LPO_NONE;
    if (t->values[root].grad >= 0) return t->values[root].grad;
    lpo_param *p = t->values[root].param;
    lpo_type type = t->values[root].type;
    type.dtype = type.dtype == LPO_F64 ? LPO_F64 : LPO_F32;
    if (!p->grad || p->grad_offset_bytes > lpo_buffer_bytes(p->grad) ||
        lpo_buffer_bytes(p->grad) - p->grad_offset_bytes < lpo_type_bytes(&type)) {
        lpo_tape_fail(t, LPO_EINVAL,
                      "tape: parameter %s is trainable but has no gradient memory, or too little",
                      p->name ? p->name : "(unnamed)");
        return LPO_NONE;
    }
    lpo_val g = lpo_value_add(t, LPO_VAL_GRAD, &type);
    if (g < 0) return g;
    t->values[g].param = p;
    t->values[g].buffer = p->grad;
    t->values[g].offset_bytes = p->grad_offset_bytes;
    t->values[root].grad = g;
    return g;
}

lpo_val lpo_weight_grad(lpo_tape *t, lpo_val v) {
    if (t->err.code || !lpo_needs(t, v)) return LPO_NONE;
    lpo_val root = t->values[v].root;
    if (t->values[root].kind != LPO_VAL_PARAM) {
        lpo_tape_fail(t, LPO_EUNSUPPORTED,
                      "tape: the gradient of a weight that is not a parameter is not recorded; "
                      "make it an lpo_param");
        return LPO_NONE;
    }
    lpo_type type = t->values[v].type;
    return lpo_view(t, param_grad(t, root), &type);
}

/* A parameter read as data (a newline row, learned positions): its f32 gradient takes the contribution in
 * place. */
static void contribute_to_param(lpo_tape *t, lpo_val root, lpo_val g) {
    lpo_val acc = param_grad(t, root);
    if (acc < 0) return;
    lpo_type type = t->values[acc].type;
    if (t->values[g].type.dtype != type.dtype) {
        lpo_val c = lpo_temp_like(t, acc);
        lpo_emit(t, LPO_OP_CAST, NULL, (lpo_val[LPO_MAX_ARGS]){c, g});
        g = c;
    }
    lpo_emit(t, LPO_OP_ADD, NULL, (lpo_val[LPO_MAX_ARGS]){acc, acc, g});
}

void lpo_contribute(lpo_tape *t, lpo_val v, lpo_val g) {
    if (t->err.code || !lpo_needs(t, v)) return;
    lpo_val root = t->values[v].root;
    lpo_type type = t->values[root].type;
    g = lpo_view(t, g, &type);
    if (g < 0) return;
    if (t->values[root].kind == LPO_VAL_PARAM) {
        contribute_to_param(t, root, g);
        return;
    }
    lpo_val old = t->values[root].grad;
    if (old >= 0) {
        lpo_val sum = lpo_temp_like(t, root);
        lpo_emit(t, LPO_OP_ADD, NULL, (lpo_val[LPO_MAX_ARGS]){sum, old, g});
        g = sum;
    }
    if (!t->err.code) t->values[root].grad = g;
}

/* Gradients the host may ask for: wanted ones stay to the end, views see their root's in their own shape. */
static void publish(lpo_tape *t, int32_t n_values) {
    for (int32_t i = 0; i < n_values && !t->err.code; i++) {
        lpo_val root = t->values[i].root, g = t->values[root].grad;
        if (g < 0) continue;
        if (t->values[root].want_grad) lpo_tape_keep(t, g);
        if (root == i) continue;
        lpo_type type = t->values[i].type;
        type.dtype = t->values[g].type.dtype;
        lpo_val view = lpo_view(t, g, &type);
        t->values[i].grad = view;
    }
}

void lpo_tape_backward(lpo_tape *t, lpo_val y, lpo_val dy) {
    if (t->err.code) return;
    if (t->backward_done || t->segment) {
        lpo_tape_fail(t, LPO_EINVAL,
                      t->segment ? "tape: backward inside an open segment"
                                 : "tape: backward was recorded already");
        return;
    }
    if (y < 0 || y >= t->n_values || dy < 0 || dy >= t->n_values ||
        lpo_type_count(&t->values[y].type) != lpo_type_count(&t->values[dy].type) ||
        t->values[y].type.dtype != t->values[dy].type.dtype) {
        lpo_tape_fail(t, LPO_EINVAL, "tape: backward needs a y and a dy of y's shape and dtype");
        return;
    }
    t->backward_done = true;
    int32_t n_forward = t->n_nodes, n_values = t->n_values;
    mark_needs(t);
    lpo_tape_keep(t, y);
    lpo_contribute(t, y, dy);
    for (int32_t i = n_forward - 1; i >= 0 && !t->err.code; i--) {
        lpo_node n = t->nodes[i];
        lpo_val out = n.arg[0];
        if (t->values[out].kind != LPO_VAL_TEMP || t->values[out].grad < 0 || !t->values[out].needs_grad)
            continue;
        if (!lpo_rules[n.op].backward) {
            lpo_tape_fail(t, LPO_EUNSUPPORTED, "tape: a gradient reaches step %d, %s, which has none", i,
                          lpo_op_forms[n.op].name);
            return;
        }
        lpo_rules[n.op].backward(t, &n, t->values[out].grad);
    }
    publish(t, n_values);
}
