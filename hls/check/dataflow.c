/* SPDX-License-Identifier: Apache-2.0 */
/* dataflow.c -- canonical DATAFLOW regions: declarations of channels, then calls of void functions, each
 * channel written by one call and read by one later call. What is not of this form the tools accept and then
 * run one call after the other, or wire up into a deadlock; so it is an error here. A region is a function's
 * body, or a loop's: from 0, by 1, to a constant or argument. A channel is a local array, structure or
 * scalar; an array partitioned completely is one channel an element. */
#include "check.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_PROCESSES = 64, WHOLE = -1 };

typedef struct region {
    check_program *program;
    const check_pragma *pragma;
    json_t *processes[MAX_PROCESSES];
    int n_processes;
} region;

static json_t *find(json_t *n, const char *kind) {
    json_t *child, *found;
    size_t i;
    if (check_is(n, kind)) return n;
    json_array_foreach(json_object_get(n, "inner"), i, child) if ((found = find(child, kind))) return found;
    return NULL;
}

static bool is_conditional(const json_t *s) {
    return check_is(s, "IfStmt") || check_is(s, "SwitchStmt") || check_is(s, "ConditionalOperator");
}

static void take_call(region *r, json_t *call) {
    for (size_t i = 1; i < check_children(call); i++) {
        json_t *arg = check_child(call, i);
        if (find(arg, "ConditionalOperator"))
            check_report_at(arg, "dataflow-conditional", "a choice among a call's arguments",
                            "choose inside the called function");
        if (find(arg, "CallExpr"))
            check_report_at(arg, "dataflow-return", "a call within a call",
                            "let the inner one write a channel");
    }
    if (strcmp(check_type(call), "void") != 0)
        check_report_at(call, "dataflow-return", "a call that returns a value",
                        "return void and write to a channel");
    else if (r->n_processes < MAX_PROCESSES)
        r->processes[r->n_processes++] = call;
}

/* Calls under a condition still write and read channels: only the condition is wrong. */
static void take_calls_below(region *r, json_t *n) {
    json_t *child;
    size_t i;
    if (check_is(n, "CallExpr") && r->n_processes < MAX_PROCESSES) r->processes[r->n_processes++] = n;
    json_array_foreach(json_object_get(n, "inner"), i, child) take_calls_below(r, child);
}

static void take_statement(region *r, json_t *s) {
    json_t *decl;
    size_t i;
    s = check_bare(s);
    if (check_is(s, "NullStmt")) return;
    if (check_is(s, "CallExpr")) {
        take_call(r, s);
    } else if (check_is(s, "DeclStmt")) {
        json_array_foreach(json_object_get(s, "inner"), i, decl) {
            if (!check_is(decl, "VarDecl") || !check_children(decl)) continue;
            bool is_call = find(decl, "CallExpr") != NULL;
            check_report_at(decl, is_call ? "dataflow-return" : "dataflow-statement",
                            check_text(decl, "name"),
                            is_call ? "return void and write to a channel"
                                    : "declare it bare, and set it inside a called function");
        }
    } else if (is_conditional(s)) {
        check_report_at(s, "dataflow-conditional", "a condition in the region",
                        "decide inside the called functions");
        take_calls_below(r, s);
    } else if (find(s, "CallExpr") && !check_is_loop(s)) {
        check_report_at(s, "dataflow-return", "a call whose value is used",
                        "return void and write to a channel");
    } else {
        check_report_at(s, "dataflow-statement", "more than declarations and calls",
                        "move it into a called function");
    }
}

static bool is_zero(json_t *e) {
    long long v;
    return check_constant(e, &v) && v == 0 && check_is(check_bare(e), "IntegerLiteral");
}

static void check_form(const check_pragma *g) {
    json_t *loop = g->owner;
    if (g->compound == g->fn->body) return;
    if (!loop || !check_is(loop, "ForStmt")) {
        check_report(g->file, g->line, "dataflow-loop",
                     "DATAFLOW is neither in a function's body nor in a for loop's", "make it one of them");
        return;
    }
    json_t *start = check_child(check_child(loop, 0), 0), *end = check_child(loop, 2),
           *step = check_child(loop, 3);
    long long v;
    const char *id = check_text(start, "id"), *op = check_text(step, "opcode");
    if (!check_is(start, "VarDecl") || !is_zero(check_child(start, 0)))
        check_report_at(loop, "dataflow-loop", "the counter does not start from 0",
                        "declare it in the loop and start from 0");
    bool is_bounded = check_is(end, "BinaryOperator") && strcmp(check_text(end, "opcode"), "<") == 0 &&
                      strcmp(check_text(check_referred(check_child(end, 0)), "id"), id) == 0 &&
                      (check_constant(check_child(end, 1), &v) ||
                       check_is(check_referred(check_child(end, 1)), "ParmVarDecl"));
    if (!is_bounded)
        check_report_at(loop, "dataflow-loop", "the bound is neither a constant nor an argument",
                        "compare counter < argument");
    bool is_one = strcmp(op, "++") == 0 ||
                  (strcmp(op, "+=") == 0 && check_constant(check_child(step, 1), &v) && v == 1);
    if (!is_one)
        check_report_at(loop, "dataflow-loop", "the step is not 1",
                        "step by 1, and multiply inside the called functions");
}

/* What process p does to its argument: CHECK_READS | CHECK_WRITES. */
static int effect_of(const region *r, int p, size_t arg) {
    json_t *call = r->processes[p];
    const check_fn *f = check_callee(r->program, call, r->pragma->fn->unit);
    if (!check_is_pointer(check_type(check_child(call, arg)))) return CHECK_READS;
    return f && arg <= CHECK_MAX_PARAMS ? f->effects[arg - 1] : CHECK_READS | CHECK_WRITES;
}

static bool is_split(const region *r, const char *name) {
    for (int i = 0; i < r->program->n_pragmas; i++) {
        const check_pragma *g = &r->program->pragmas[i];
        const char *v = check_option_value(g, "variable");
        if (g->fn == r->pragma->fn && strcmp(g->directive, "ARRAY_PARTITION") == 0 && v &&
            strcmp(v, name) == 0 && check_option_value(g, "complete"))
            return true;
    }
    return false;
}

/* Which element of a completely partitioned array an argument is. */
static long long element_of(const region *r, json_t *arg, const char *name) {
    arg = check_bare(arg);
    if (!check_is(arg, "ArraySubscriptExpr") || !is_split(r, name)) return WHOLE;
    json_t *index = check_bare(check_child(arg, 1));
    if (check_is(index, "IntegerLiteral")) return strtoll(check_text(index, "value"), NULL, 10);
    /* Enumerators differ by their place in the source, which is all that matters. */
    const char *id = check_text(check_referred(index), "id");
    return *id ? strtoll(id, NULL, 16) : WHOLE;
}

static void check_channel(const region *r, json_t *decl) {
    const char *id = check_text(decl, "id"), *name = check_text(decl, "name");
    int writer = -1, n_readers = 0;
    long long readers[MAX_PROCESSES];
    for (int p = 0; p < r->n_processes; p++) {
        int effect = 0;
        long long element = WHOLE;
        for (size_t i = 1; i < check_children(r->processes[p]); i++) {
            json_t *arg = check_child(r->processes[p], i);
            if (strcmp(check_text(check_root(arg, NULL), "id"), id) != 0) continue;
            effect |= effect_of(r, p, i);
            element = element_of(r, arg, name);
        }
        if ((effect & CHECK_WRITES) && writer >= 0) {
            check_report_at(r->processes[p], "dataflow-producer", name,
                            "a channel has one writer: declare a second one");
        } else if (effect & CHECK_WRITES) {
            writer = p;
            if (n_readers)
                check_report_at(r->processes[p], "dataflow-order", name,
                                "call the writer of a channel before its reader");
        } else if (effect & CHECK_READS) {
            for (int k = 0; k < n_readers; k++)
                if (readers[k] == element || readers[k] == WHOLE || element == WHOLE)
                    check_report_at(r->processes[p], "dataflow-consumer", name,
                                    "a channel has one reader: let its writer fill two");
            readers[n_readers++] = element;
        }
    }
    if (writer < 0)
        check_report_at(decl, "dataflow-producer", name,
                        "no call writes this channel: write it or take it out");
    else if (n_readers == 0)
        check_report_at(decl, "dataflow-consumer", name,
                        "no call reads this channel: read it or take it out");
}

/* Arrays and buffers from outside the region belong to one process. */
static void check_outside(const region *r, json_t *inside) {
    json_t *owners = json_object();
    for (int p = 0; p < r->n_processes; p++)
        for (size_t i = 1; i < check_children(r->processes[p]); i++) {
            json_t *arg = check_child(r->processes[p], i), *decl = check_root(arg, NULL);
            const char *id = check_text(decl, "id");
            if (!decl || json_object_get(inside, id) || !check_is_pointer(check_type(decl))) continue;
            if (!check_is_pointer(check_type(arg))) {
                check_report_at(arg, "dataflow-statement", check_text(decl, "name"),
                                "pass the array, and read it inside the called function");
                continue;
            }
            json_t *owner = json_object_get(owners, id);
            if (!owner)
                json_object_set_new(owners, id, json_integer(p));
            else if (json_integer_value(owner) != p)
                check_report_at(r->processes[p], "dataflow-shared", check_text(decl, "name"),
                                "two calls touch what lies outside the region: give each its own, or pass it "
                                "on by a channel");
        }
    json_decref(owners);
}

/* Ports of one bundle take turns, which processes of a region cannot. */
static void check_bundles(const region *r) {
    const check_program *p = r->program;
    for (int k = 0; k < p->n_fns; k++) {
        const check_fn *top = &p->fns[k];
        json_t *call = top->is_c ? find(top->body, "CallExpr") : NULL;
        if (!call || check_callee(r->program, call, top->unit) != r->pragma->fn) continue;
        const char *bundle_of[MAX_PROCESSES] = {NULL};
        for (int i = 0; i < p->n_pragmas; i++) {
            const check_pragma *g = &p->pragmas[i];
            const char *port = check_option_value(g, "port"), *bundle = check_option_value(g, "bundle");
            if (g->fn != top || !port || !bundle) continue;
            const char *inner_id = "";
            for (size_t a = 1; a < check_children(call) && a <= (size_t)r->pragma->fn->n_params; a++)
                if (strcmp(check_text(check_referred(check_child(call, a)), "name"), port) == 0)
                    inner_id = check_text(r->pragma->fn->params[a - 1], "id");
            for (int q = 0; q < r->n_processes; q++)
                for (size_t a = 1; a < check_children(r->processes[q]); a++) {
                    if (strcmp(check_text(check_root(check_child(r->processes[q], a), NULL), "id"),
                               inner_id) != 0)
                        continue;
                    for (int before = 0; before < r->n_processes; before++)
                        if (before != q && bundle_of[before] && strcmp(bundle_of[before], bundle) == 0)
                            check_report(g->file, g->line, "bundle", bundle,
                                         "two calls of a DATAFLOW region share it and would wait for each "
                                         "other: give each its own");
                    bundle_of[q] = bundle;
                }
        }
    }
}

static void check_region(check_program *program, const check_pragma *g) {
    region r = {.program = program, .pragma = g};
    json_t *s, *decl, *inside = json_object();
    size_t i, k;
    check_form(g);
    json_array_foreach(json_object_get(g->compound, "inner"), i, s) {
        take_statement(&r, s);
        if (!check_is(s, "DeclStmt")) continue;
        json_array_foreach(json_object_get(s, "inner"), k, decl)
            json_object_set(inside, check_text(decl, "id"), decl);
    }
    const char *id;
    json_object_foreach(inside, id, decl) if (check_is(decl, "VarDecl") && !check_children(decl))
        check_channel(&r, decl);
    check_outside(&r, inside);
    check_bundles(&r);
    json_decref(inside);
}

void check_dataflow(check_program *p) {
    for (int i = 0; i < p->n_pragmas; i++)
        if (strcmp(p->pragmas[i].directive, "DATAFLOW") == 0 && p->pragmas[i].fn)
            check_region(p, &p->pragmas[i]);
}
