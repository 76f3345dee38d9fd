/* SPDX-License-Identifier: Apache-2.0 */
/* constructs.c -- what a kernel may not contain, whatever its pragmas: memory from a heap, calls that lead
 * outside, recursion, pointers that no memory port can follow, sizes known only at run time; and loops whose
 * longest run nobody stated. */
#include "check.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_CALLS = 64 }; /* deeper is recursion, which has its own rule */

typedef struct context {
    check_program *program;
    check_fn *fn;
} context;

static bool is_one_of(const char *name, const char *const *list) {
    for (; *list; list++)
        if (strcmp(name, *list) == 0) return true;
    return false;
}

static void check_call(context *c, json_t *call) {
    static const char *const heap[] = {"malloc", "calloc",           "realloc",       "free",
                                       "alloca", "__builtin_alloca", "aligned_alloc", NULL};
    json_t *decl = check_referred(check_child(call, 0));
    const char *name = check_text(decl, "name");
    if (!check_is(decl, "FunctionDecl")) {
        check_report_at(call, "function-pointer", "a call through a pointer",
                        "call the function by its name, or switch over opcodes");
        return;
    }
    if (is_one_of(name, heap)) {
        check_report_at(call, "alloc", name, "a card has no heap: declare an array of the largest size");
        return;
    }
    if (check_callee(c->program, call, c->fn->unit)) return;
    json_t *unit = c->program->units[c->fn->unit], *child;
    const char *where = "";
    size_t i;
    json_array_foreach(json_object_get(unit, "inner"), i,
                       child) if (strcmp(check_text(child, "id"), check_text(decl, "id")) == 0) where =
        check_text(child, "_file");
    /* A library function clang knows by itself is "implicit" and lies nowhere. */
    if (!*where || check_is_system(where) || strncmp(name, "__builtin_", 10) == 0)
        check_report_at(call, "os-call", name,
                        "the C library is not on the card: write it out, or move it to the host");
    else
        check_report_at(call, "undefined-call", name, "define it in the kernel's folder");
}

/* Does the type hold "(*", then ")" and an argument list? */
static bool is_function_pointer(const char *type) {
    for (const char *s = type; (s = strstr(s, "(*")); s += 2) {
        const char *end = strchr(s, ')');
        if (end && end[1] == '(') return true;
    }
    return false;
}
static bool is_pointer_to_pointer(const char *type) {
    for (const char *s = type; (s = strchr(s, '*')); s++) {
        const char *next = s + 1;
        while (*next == ' ' || strncmp(next, "const", 5) == 0 || strncmp(next, "restrict", 8) == 0)
            next += *next == ' ' ? 1 : *next == 'c' ? 5 : 8;
        if (*next == '*') return true;
    }
    return false;
}
static bool is_variable_array(const char *type) {
    for (const char *s = type; (s = strchr(s, '[')); s++)
        if (s[1] != ']' && (s[1] < '0' || s[1] > '9')) return true;
    return false;
}

static void check_type_of(json_t *n) {
    const char *type = check_type(n), *what = check_text(n, "name");
    if (is_function_pointer(type))
        check_report_at(n, "function-pointer", what, "call functions by name, or switch over opcodes");
    if (is_pointer_to_pointer(type))
        check_report_at(n, "pointer-to-pointer", what, "pass one flat buffer and offsets into it");
    if (is_variable_array(type))
        check_report_at(n, "vla", what, "give the array its largest size as a constant");
}

/* The type behind a pointer, without qualifiers; "" when it is no plain pointer. */
static void pointee(const char *type, char out[128]) {
    const char *star = strrchr(type, '*');
    *out = 0;
    if (!star || strchr(type, '(')) return;
    if (strncmp(type, "const ", 6) == 0) type += 6;
    if (strncmp(type, "volatile ", 9) == 0) type += 9;
    int n = (int)(star - type);
    while (n > 0 && type[n - 1] == ' ') n--;
    snprintf(out, 128, "%.*s", n, type);
}
static bool is_native(const char *type) {
    static const char *const native[] = {"bool",
                                         "_Bool",
                                         "char",
                                         "signed char",
                                         "unsigned char",
                                         "short",
                                         "unsigned short",
                                         "int",
                                         "unsigned int",
                                         "long",
                                         "unsigned long",
                                         "long long",
                                         "unsigned long long",
                                         "float",
                                         "double",
                                         "int8_t",
                                         "uint8_t",
                                         "int16_t",
                                         "uint16_t",
                                         "int32_t",
                                         "uint32_t",
                                         "int64_t",
                                         "uint64_t",
                                         "size_t",
                                         NULL};
    return is_one_of(type, native);
}
static void check_cast(json_t *n) {
    const char *kind = check_text(n, "castKind");
    char from[128], to[128];
    if (strcmp(kind, "IntegralToPointer") == 0 || strcmp(kind, "PointerToIntegral") == 0)
        check_report_at(n, "pointer-cast", "an address as a number",
                        "use the buffer's argument and an index");
    if (strcmp(kind, "BitCast") != 0 && strcmp(kind, "LValueBitCast") != 0) return;
    pointee(check_type(check_child(n, 0)), from);
    pointee(check_type(n), to);
    if (!is_native(from) || !is_native(to))
        check_report_at(n, "pointer-cast", "a pointer to something else than a number, cast",
                        "only native types may be cast into each other");
}

static bool is_counter(json_t *e, const char *id) {
    return strcmp(check_text(check_referred(e), "id"), id) == 0;
}

/* From a constant, to a constant, by a constant: the tools count such a loop themselves. */
static bool is_constant_loop(json_t *loop) {
    long long v;
    if (check_is(loop, "DoStmt")) return check_constant(check_child(loop, 1), &v) && v == 0;
    if (!check_is(loop, "ForStmt")) return false;
    json_t *start = check_child(check_child(loop, 0), 0), *end = check_child(loop, 2),
           *step = check_child(loop, 3);
    const char *id = check_text(start, "id");
    if (!check_is(start, "VarDecl") || !check_constant(check_child(start, 0), &v)) return false;
    if (!check_is(end, "BinaryOperator") || !strchr("<>!", check_text(end, "opcode")[0])) return false;
    bool is_left = is_counter(check_child(end, 0), id) && check_constant(check_child(end, 1), &v);
    bool is_right = is_counter(check_child(end, 1), id) && check_constant(check_child(end, 0), &v);
    bool is_step = check_is(step, "UnaryOperator") ||
                   (check_is(step, "CompoundAssignOperator") && check_constant(check_child(step, 1), &v));
    return (is_left || is_right) && is_step && is_counter(check_child(step, 0), id);
}

/* A header's loop is a node of every file that includes it, while its pragma was read once. */
static bool is_same_place(const json_t *a, const json_t *b) {
    return a && strcmp(check_text(a, "_file"), check_text(b, "_file")) == 0 &&
           json_equal(json_object_get(a, "range"), json_object_get(b, "range"));
}

static void check_loop(context *c, json_t *loop) {
    if (is_constant_loop(loop)) return;
    for (int i = 0; i < c->program->n_pragmas; i++) {
        check_pragma *g = &c->program->pragmas[i];
        if (strcmp(g->directive, "LOOP_TRIPCOUNT") == 0 && is_same_place(g->owner, loop)) return;
    }
    check_report_at(loop, "tripcount", "the loop's bound is not constant",
                    "state its largest count inside its braces: #pragma HLS LOOP_TRIPCOUNT max = N");
}

/* The tools unroll whatever lies inside a pipelined loop, called functions too; a bound they do not know
 * stops them. */
static void check_unrolled(context *c, json_t *n, int depth) {
    json_t *child;
    size_t i;
    check_fn *f = check_is(n, "CallExpr") ? check_callee(c->program, n, c->fn->unit) : NULL;
    if (check_is_loop(n) && !is_constant_loop(n))
        check_report_at(n, "unroll", "a loop of variable bound would have to be unrolled",
                        "loop to the constant maximum, and test inside");
    if (f && depth < MAX_CALLS) check_unrolled(&(context){c->program, f}, f->body, depth + 1);
    json_array_foreach(json_object_get(n, "inner"), i, child) check_unrolled(c, child, depth);
}
static void check_unrolling(context *c, const check_pragma *g) {
    if (check_option_value(g, "off")) return;
    if (strcmp(g->directive, "PIPELINE") == 0 && g->compound == g->fn->body)
        check_unrolled(c, g->fn->body, 0);
    if (!g->owner) return;
    if (strcmp(g->directive, "PIPELINE") == 0) check_unrolled(c, check_loop_body(g->owner), 0);
    if (strcmp(g->directive, "UNROLL") == 0 && !check_option_value(g, "factor"))
        check_unrolled(c, g->owner, 0);
}

static void visit(context *c, json_t *n) {
    json_t *child;
    size_t i;
    if (check_is(n, "CallExpr")) check_call(c, n);
    if (check_is(n, "CXXNewExpr") || check_is(n, "CXXDeleteExpr"))
        check_report_at(n, "alloc", "new or delete",
                        "a card has no heap: declare an array of the largest size");
    if (check_is(n, "GotoStmt") || check_is(n, "IndirectGotoStmt"))
        check_report_at(n, "goto", "goto", "use a loop and a condition");
    if (check_is(n, "GCCAsmStmt"))
        check_report_at(n, "asm", "assembly", "a card has no instructions: write it in C");
    if (check_is(n, "VarDecl") || check_is(n, "ParmVarDecl") || check_is(n, "MemberExpr")) check_type_of(n);
    if (check_is(n, "CStyleCastExpr") || check_is(n, "ImplicitCastExpr") ||
        check_is(n, "CXXReinterpretCastExpr"))
        check_cast(n);
    if (check_is_loop(n)) check_loop(c, n);
    json_array_foreach(json_object_get(n, "inner"), i, child) visit(c, child);
}

static void descend(context *c, json_t *n);

/* Depth first along the calls: what is reached belongs to the kernel; what is reached from itself recurs. */
static void reach(check_program *p, check_fn *f) {
    context c = {p, f};
    if (f->is_used) return;
    f->is_used = f->is_open = true;
    descend(&c, f->body);
    f->is_open = false;
}
static void descend(context *c, json_t *n) {
    json_t *child;
    size_t i;
    check_fn *f = check_is(n, "CallExpr") ? check_callee(c->program, n, c->fn->unit) : NULL;
    if (f) f->is_called = true;
    if (f && f->is_open) check_report_at(n, "recursion", f->name, "a circuit has no call stack: use a loop");
    if (f) reach(c->program, f);
    json_array_foreach(json_object_get(n, "inner"), i, child) descend(c, child);
}

void check_constructs(check_program *p) {
    for (int i = 0; i < p->n_fns; i++)
        if (strcmp(check_text(p->fns[i].decl, "storageClass"), "static") != 0) reach(p, &p->fns[i]);
    for (int i = 0; i < p->n_fns; i++) {
        context c = {p, &p->fns[i]};
        if (!c.fn->is_used) continue;
        for (int k = 0; k < c.fn->n_params; k++) check_type_of(c.fn->params[k]);
        visit(&c, c.fn->body);
    }
    for (int i = 0; i < p->n_pragmas; i++)
        if (p->pragmas[i].fn && p->pragmas[i].fn->is_used)
            check_unrolling(&(context){p, p->pragmas[i].fn}, &p->pragmas[i]);
}
