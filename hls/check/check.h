/* SPDX-License-Identifier: Apache-2.0 */
/* check.h -- what the parts of hls-check share: a program (the files of one kernel) as clang sees it.
 * The syntax tree is clang's own JSON; every node that has a place got "_file", "_line" and "_end" (its last
 * line) when it was read. Pragmas are not in that tree: they come from the preprocessed text and meet it by
 * file and line. */
#ifndef LPO_HLS_CHECK_H
#define LPO_HLS_CHECK_H
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

enum { CHECK_MAX_FUNCTIONS = 2048, CHECK_MAX_PARAMS = 64, CHECK_MAX_PRAGMAS = 2048, CHECK_MAX_OPTIONS = 16 };
enum { CHECK_MAX_UNITS = 32, CHECK_MAX_WORD = 64, CHECK_MAX_PATH = 1024 };
enum { CHECK_READS = 1, CHECK_WRITES = 2 };

typedef struct check_fn {
    const char *name, *file;
    json_t *decl, *body;
    json_t *params[CHECK_MAX_PARAMS];
    int n_params, unit, first_line, last_line;
    int effects[CHECK_MAX_PARAMS]; /* CHECK_READS | CHECK_WRITES of what a pointer leads to */
    bool is_c, is_called;          /* is_c: extern "C" in C++ */
    bool is_open;                  /* on the path of a walk along the calls */
    bool is_used;                  /* part of the kernel: reached from a function others can call */
} check_fn;

typedef struct check_option {
    char name[CHECK_MAX_WORD], value[CHECK_MAX_WORD]; /* value "" for a bare word */
} check_option;

typedef struct check_pragma {
    char file[CHECK_MAX_PATH], text[512],
        directive[CHECK_MAX_WORD]; /* directive in capitals; "" unless an HLS pragma */
    int line, n_options;
    check_option options[CHECK_MAX_OPTIONS];
    bool malformed;   /* more than name = value and bare words */
    check_fn *fn;     /* whose body holds it, or NULL */
    json_t *compound; /* the innermost braces around it */
    json_t *owner;    /* the loop whose braces those are, or NULL */
} check_pragma;

typedef struct check_program {
    json_t *units[CHECK_MAX_UNITS];
    int n_units, n_fns, n_pragmas;
    check_fn fns[CHECK_MAX_FUNCTIONS];
    check_pragma pragmas[CHECK_MAX_PRAGMAS];
} check_program;

/* One violation, on stdout as file:line: rule: what: what to do; the same one is told once. */
void check_report(const char *file, int line, const char *rule, const char *what, const char *mend);
void check_report_at(const json_t *node, const char *rule, const char *what, const char *mend);

/* ast.c: the tree. */
json_t *check_ast_load(FILE *in);
void check_ast_functions(check_program *p, int unit);
bool check_is(const json_t *node, const char *kind);
const char *check_text(const json_t *node, const char *key); /* "" when absent */
const char *check_type(const json_t *node);                  /* without typedefs where clang says it */
json_t *check_child(const json_t *node, size_t i);           /* NULL past the end */
size_t check_children(const json_t *node);
json_t *check_bare(json_t *expr);     /* without parentheses and implicit casts */
json_t *check_referred(json_t *expr); /* the declaration an expression names, or NULL */
bool check_is_pointer(const char *type);
bool check_is_loop(const json_t *node);
json_t *check_loop_body(const json_t *loop);
bool check_constant(json_t *expr, long long *value);
bool check_is_system(const char *file);
check_fn *check_callee(check_program *p, json_t *call, int unit); /* NULL: not defined in the program */

/* effects.c: what a function does to what its pointers lead to. */
void check_effects(check_program *p);
json_t *check_root(json_t *expr,
                   const json_t *aliases); /* the variable an address or element belongs to, or NULL */

/* pragmas.c */
void check_pragmas_load(check_program *p, FILE *preprocessed);
void check_pragmas_place(check_program *p);
const char *check_option_value(const check_pragma *pragma,
                               const char *name); /* NULL: not there; "" for a bare word */
void check_pragmas(check_program *p);

/* constructs.c, interface.c, dataflow.c: the rules. */
void check_constructs(check_program *p);
void check_interfaces(check_program *p);
void check_dataflow(check_program *p);
#endif
