/* SPDX-License-Identifier: Apache-2.0 */
/* effects.c -- which of a function's pointers it reads through and which it writes through, calls included:
 * DATAFLOW needs to know a channel's writer and its reader. A pointer variable set from a parameter counts as
 * that parameter. */
#include "check.h"
#include <string.h>

/* Under a dereference, an element, a member or pointer arithmetic lies the variable. */
json_t *check_root(json_t *e, const json_t *aliases) {
    while (e) {
        e = check_bare(e);
        if (check_is(e, "DeclRefExpr")) {
            json_t *decl = json_object_get(e, "referencedDecl"), *of;
            while ((of = json_object_get(aliases, check_text(decl, "id")))) decl = of;
            return decl;
        }
        if (check_is(e, "BinaryOperator")) /* pointer + index, index + pointer */
            e = check_child(e, check_is_pointer(check_type(check_child(e, 0))) ? 0 : 1);
        else if (check_is(e, "ArraySubscriptExpr") || check_is(e, "MemberExpr") ||
                 check_is(e, "UnaryOperator") || check_is(e, "CStyleCastExpr"))
            e = check_child(e, 0);
        else
            return NULL;
    }
    return NULL;
}

typedef struct walk {
    check_program *program;
    check_fn *fn;
    json_t *aliases;
    bool changed;
} walk;

static void note(walk *w, json_t *expr, int effect) {
    const char *id = check_text(check_root(expr, w->aliases), "id");
    for (int i = 0; i < w->fn->n_params; i++) {
        if (strcmp(check_text(w->fn->params[i], "id"), id) != 0) continue;
        w->changed |= (w->fn->effects[i] | effect) != w->fn->effects[i];
        w->fn->effects[i] |= effect;
    }
}

static void visit(walk *w, json_t *n);

/* The indices of a place, without reading the place itself. */
static void visit_place(walk *w, json_t *e) {
    e = check_bare(e);
    if (check_is(e, "ArraySubscriptExpr")) visit(w, check_child(e, 1));
    if (check_is(e, "BinaryOperator"))
        visit(w, check_child(e, check_is_pointer(check_type(check_child(e, 0))) ? 1 : 0));
    if (!check_is(e, "DeclRefExpr") && check_children(e)) visit_place(w, check_child(e, 0));
}

static void visit_call(walk *w, json_t *call) {
    check_fn *f = check_callee(w->program, call, w->fn->unit);
    for (size_t i = 1; i < check_children(call); i++) {
        json_t *arg = check_child(call, i);
        if (!check_is_pointer(check_type(arg))) {
            visit(w, arg);
            continue;
        }
        note(w, arg, f && i <= CHECK_MAX_PARAMS ? f->effects[i - 1] : CHECK_READS | CHECK_WRITES);
        visit_place(w, arg);
    }
}

static void visit(walk *w, json_t *n) {
    const char *op = check_text(n, "opcode");
    json_t *child;
    size_t i;
    if (check_is(n, "CallExpr")) {
        visit_call(w, n);
        return;
    }
    bool is_assign =
        (check_is(n, "BinaryOperator") && strcmp(op, "=") == 0) || check_is(n, "CompoundAssignOperator");
    bool is_step = check_is(n, "UnaryOperator") && (strcmp(op, "++") == 0 || strcmp(op, "--") == 0);
    if (is_assign || is_step) {
        json_t *place = check_child(n, 0);
        bool is_address = check_is_pointer(check_type(place)); /* p = q moves a pointer, and writes nothing */
        if (!is_address) note(w, place, strcmp(op, "=") == 0 ? CHECK_WRITES : CHECK_READS | CHECK_WRITES);
        visit_place(w, place);
        if (is_assign) visit(w, check_child(n, 1));
        return;
    }
    if (check_is(n, "ImplicitCastExpr") && strcmp(check_text(n, "castKind"), "LValueToRValue") == 0 &&
        !check_is_pointer(check_type(n))) {
        note(w, check_child(n, 0), CHECK_READS);
        visit_place(w, check_child(n, 0));
        return;
    }
    if (check_is(n, "VarDecl") && check_is_pointer(check_type(n)) && !strchr(check_type(n), '[')) {
        json_t *of = check_root(check_child(n, 0), w->aliases);
        if (of) json_object_set(w->aliases, check_text(n, "id"), of);
    }
    json_array_foreach(json_object_get(n, "inner"), i, child) visit(w, child);
}

void check_effects(check_program *p) {
    bool changed = true;
    while (changed) { /* effects only grow, so this ends, recursion or not */
        changed = false;
        for (int i = 0; i < p->n_fns; i++) {
            walk w = {p, &p->fns[i], json_object(), false};
            visit(&w, w.fn->body);
            changed |= w.changed;
            json_decref(w.aliases);
        }
    }
}
