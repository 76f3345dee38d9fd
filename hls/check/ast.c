/* SPDX-License-Identifier: Apache-2.0 */
/* ast.c -- reads clang's JSON tree and answers questions about nodes.
 * clang prints a file and a line only where they differ from those printed just before, so places are
 * resolved in one walk in the order of printing, which jansson keeps. A place inside a macro is where the
 * macro is used. */
#include "check.h"
#include <string.h>

typedef struct place {
    json_t *file;
    int line;
} place;

static void resolve_place(json_t *at, place *last) {
    json_t *spelling = json_object_get(at, "spellingLoc"), *expansion = json_object_get(at, "expansionLoc");
    if (spelling) {
        resolve_place(spelling, last);
        resolve_place(expansion, last);
        json_object_set(at, "_file", json_object_get(expansion, "_file"));
        json_object_set(at, "_line", json_object_get(expansion, "_line"));
        return;
    }
    if (!json_object_get(at, "offset")) return;
    if (json_object_get(at, "file")) last->file = json_object_get(at, "file");
    if (json_object_get(at, "line")) last->line = (int)json_integer_value(json_object_get(at, "line"));
    if (last->file) json_object_set(at, "_file", last->file);
    json_object_set_new(at, "_line", json_integer(last->line));
}

static void resolve(json_t *node, place *last) {
    json_t *loc = json_object_get(node, "loc"), *range = json_object_get(node, "range"), *inner, *child;
    size_t i;
    if (loc) resolve_place(loc, last);
    json_t *begin = json_object_get(range, "begin"), *end = json_object_get(range, "end");
    if (begin) resolve_place(begin, last);
    if (end) resolve_place(end, last);
    json_t *at = loc && json_object_get(loc, "_line") ? loc : begin;
    if (at && json_object_get(at, "_line")) {
        json_object_set(node, "_file", json_object_get(at, "_file"));
        json_object_set(node, "_line", json_object_get(at, "_line"));
        json_object_set(node, "_begin", json_object_get(begin, "_line"));
        json_object_set(node, "_end", json_object_get(end, "_line"));
    }
    inner = json_object_get(node, "inner");
    json_array_foreach(inner, i, child) resolve(child, last);
}

json_t *check_ast_load(FILE *in) {
    json_t *tree = json_loadf(in, JSON_DISABLE_EOF_CHECK, NULL);
    place last = {NULL, 0};
    if (tree) resolve(tree, &last);
    return tree;
}

const char *check_text(const json_t *node, const char *key) {
    const char *s = json_string_value(json_object_get(node, key));
    return s ? s : "";
}
bool check_is(const json_t *node, const char *kind) {
    return strcmp(check_text(node, "kind"), kind) == 0;
}
const char *check_type(const json_t *node) {
    const json_t *type = json_object_get(node, "type");
    const char *plain = check_text(type, "desugaredQualType");
    return *plain ? plain : check_text(type, "qualType");
}
json_t *check_child(const json_t *node, size_t i) {
    return json_array_get(json_object_get(node, "inner"), i);
}
size_t check_children(const json_t *node) {
    return json_array_size(json_object_get(node, "inner"));
}

json_t *check_bare(json_t *e) {
    while (check_is(e, "ImplicitCastExpr") || check_is(e, "ParenExpr") || check_is(e, "ConstantExpr"))
        e = check_child(e, 0);
    return e;
}
json_t *check_referred(json_t *e) {
    e = check_bare(e);
    return check_is(e, "DeclRefExpr") ? json_object_get(e, "referencedDecl") : NULL;
}

bool check_is_pointer(const char *type) {
    return strchr(type, '*') || strchr(type, '[') || strchr(type, '&');
}
bool check_is_loop(const json_t *n) {
    return check_is(n, "ForStmt") || check_is(n, "WhileStmt") || check_is(n, "DoStmt");
}
json_t *check_loop_body(const json_t *loop) {
    return check_child(loop, check_is(loop, "DoStmt") ? 0 : check_children(loop) - 1);
}

bool check_constant(json_t *e, long long *value) {
    long long a, b;
    e = check_bare(e);
    if (check_is(e, "IntegerLiteral")) {
        sscanf(check_text(e, "value"), "%lld", value);
        return true;
    }
    if (check_is(e, "CStyleCastExpr")) return check_constant(check_child(e, 0), value);
    *value = -1; /* constant, but which one does not matter to any rule */
    if (check_is(e, "UnaryExprOrTypeTraitExpr")) return true;
    if (check_is(e, "DeclRefExpr")) return check_is(json_object_get(e, "referencedDecl"), "EnumConstantDecl");
    if (check_is(e, "UnaryOperator"))
        return strchr("-~+", check_text(e, "opcode")[0]) && check_constant(check_child(e, 0), &a);
    return check_is(e, "BinaryOperator") && check_constant(check_child(e, 0), &a) &&
           check_constant(check_child(e, 1), &b);
}

bool check_is_system(const char *file) {
    return strncmp(file, "/usr/", 5) == 0 || strncmp(file, "/lib/", 5) == 0;
}

static void add_function(check_program *p, json_t *decl, int unit, bool is_c) {
    json_t *child;
    size_t i;
    if (p->n_fns == CHECK_MAX_FUNCTIONS || check_is_system(check_text(decl, "_file"))) return;
    check_fn f = {.name = check_text(decl, "name"),
                  .file = check_text(decl, "_file"),
                  .decl = decl,
                  .unit = unit,
                  .is_c = is_c};
    json_array_foreach(json_object_get(decl, "inner"), i, child) {
        if (check_is(child, "ParmVarDecl") && f.n_params < CHECK_MAX_PARAMS) f.params[f.n_params++] = child;
        if (check_is(child, "CompoundStmt")) f.body = child;
    }
    if (!f.body) return;
    f.first_line = (int)json_integer_value(json_object_get(f.body, "_line"));
    f.last_line = (int)json_integer_value(json_object_get(f.body, "_end"));
    p->fns[p->n_fns++] = f;
}

static void collect(check_program *p, json_t *scope, int unit, bool is_c) {
    json_t *decl;
    size_t i;
    json_array_foreach(json_object_get(scope, "inner"), i, decl) {
        /* Of a template only what was made of it for some type. */
        bool is_pattern =
            check_is(scope, "FunctionTemplateDecl") && !check_is(check_child(decl, 0), "TemplateArgument");
        if (check_is(decl, "FunctionDecl") && !is_pattern) add_function(p, decl, unit, is_c);
        if (check_is(decl, "FunctionTemplateDecl")) collect(p, decl, unit, false);
        if (check_is(decl, "LinkageSpecDecl"))
            collect(p, decl, unit, strcmp(check_text(decl, "language"), "C") == 0);
        if (check_is(decl, "NamespaceDecl")) collect(p, decl, unit, is_c);
    }
}
void check_ast_functions(check_program *p, int unit) {
    collect(p, p->units[unit], unit, false);
}

check_fn *check_callee(check_program *p, json_t *call, int unit) {
    const char *name = check_text(check_referred(check_child(call, 0)), "name");
    check_fn *elsewhere = NULL;
    for (int i = 0; i < p->n_fns; i++) {
        check_fn *f = &p->fns[i];
        if (strcmp(f->name, name) != 0) continue;
        if (f->unit == unit) return f;
        if (strcmp(check_text(f->decl, "storageClass"), "static") != 0) elsewhere = f;
    }
    return elsewhere;
}
