/* SPDX-License-Identifier: Apache-2.0 */
/* dataflow.c -- source to source, for bounded FIFOs. In the block that holds `#pragma HLS DATAFLOW`, a call
 *     load(a, s, n);
 * becomes a process of that region, which runs at the block's end:
 *     R.add("load", [&] { [&](auto &s) { load(a, s, n); }(::leanpo::share(s)); });
 * An argument that several calls name passes through share(): a stream as it is, a value as const, so that a
 * result handed from one process to another other than by a stream does not compile; an array that is a
 * channel neither. `#pragma HLS STREAM variable=s depth=4` becomes a call that sets the depth.
 * Tokens are enough for this: the text is preprocessed, and statements that are neither declarations nor
 * calls are refused, not guessed at. Edits are replacements of byte ranges; lines keep their numbers. */
#include "xclbin/dataflow.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef enum { WORD, NUMBER, TEXT, PUNCT, DIRECTIVE } token_kind;

typedef struct token {
    token_kind kind;
    size_t at, n;
    int match; /* of ( [ {: the closing token, and back; -1: none */
} token;

typedef struct edit {
    size_t at, n; /* bytes replaced */
    int order;    /* of edits at one place */
    char *text;
} edit;

enum { MAX_SHARED = 64, MAX_DEPTH = 512 };

typedef struct rewrite {
    const char *text, *where;
    size_t size;
    token *t;
    int n, room;
    edit *edits;
    int n_edits, edit_room, n_regions;
    lpo_error *err;
} rewrite;

static int word_char(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (c & 0x80);
}

static int is(const rewrite *r, int i, const char *s) {
    return i >= 0 && i < r->n && r->t[i].n == strlen(s) && !memcmp(r->text + r->t[i].at, s, r->t[i].n);
}

static int same(const rewrite *r, int i, int j) {
    return r->t[i].n == r->t[j].n && !memcmp(r->text + r->t[i].at, r->text + r->t[j].at, r->t[i].n);
}

static int one_of(const rewrite *r, int i, const char *const *list) {
    while (*list && !is(r, i, *list)) list++;
    return *list != NULL;
}

/* The number of a line marker `# 12 "vadd.cpp" 2` at i, and where its name is quoted; -1: it is none. */
static int line_marker(const rewrite *r, size_t i, const char **open, const char **close) {
    int line = 0;
    if (r->text[i] != '#' || (i && r->text[i - 1] != '\n')) return -1;
    if (++i >= r->size || r->text[i++] != ' ') return -1;
    for (; i < r->size && isdigit((unsigned char)r->text[i]) && line < 100000000; i++)
        line = 10 * line + (r->text[i] - '0');
    if (r->size - i < 3 || r->text[i] != ' ' || r->text[i + 1] != '"') return -1;
    *open = r->text + i + 2;
    *close = memchr(*open, '"', r->size - i - 2);
    return *close ? line : -1;
}

/* File and line of a byte, by the line marker before it. */
static lpo_status refuse(const rewrite *r, size_t at, const char *what) {
    const char *file = r->where;
    int line = 1, file_n = (int)strlen(file);
    for (size_t i = 0; i < at; i++) {
        const char *open, *close;
        int mark = line_marker(r, i, &open, &close);
        if (r->text[i] == '\n') line++;
        if (mark < 0) continue;
        file = open;
        file_n = (int)(close - open);
        line = mark - 1;
    }
    return lpo_fail(r->err, LPO_EUNSUPPORTED, "%.*s:%d: %s", file_n, file, line, what);
}

static lpo_status no_memory(const rewrite *r) {
    return lpo_fail(r->err, LPO_ENOMEM, "%s: out of memory", r->where);
}

/* ---- tokens ---- */

static size_t end_of_quoted(const rewrite *r, size_t at) {
    char quote = r->text[at++];
    for (; at < r->size && r->text[at] != quote && r->text[at] != '\n'; at++)
        if (r->text[at] == '\\') at++;
    return at < r->size ? at + 1 : r->size;
}

/* R"x( ... )x", `at` at the quote. */
static size_t end_of_raw(const rewrite *r, size_t at) {
    char close[20] = ")";
    size_t n = 1;
    for (at++; at < r->size && r->text[at] != '(' && n < 18; at++) close[n++] = r->text[at];
    close[n++] = '"';
    const char *end = at < r->size ? memmem(r->text + at, r->size - at, close, n) : NULL;
    return end ? (size_t)(end - r->text) + n : r->size;
}

static size_t end_of_line(const rewrite *r, size_t at) {
    const char *end = memchr(r->text + at, '\n', r->size - at);
    return end ? (size_t)(end - r->text) : r->size;
}

static size_t end_of_token(const rewrite *r, size_t at, token_kind *kind) {
    const char *p = r->text;
    size_t start = at;
    char c = p[at], next = at + 1 < r->size ? p[at + 1] : 0;
    *kind = PUNCT;
    if (isdigit((unsigned char)c) || (c == '.' && isdigit((unsigned char)next))) {
        *kind = NUMBER; /* with digit separators 1'000 and exponents 1e-3 */
        for (at++; at < r->size; at++)
            if (!word_char(p[at]) && p[at] != '.' &&
                !(p[at] == '\'' && at + 1 < r->size && word_char(p[at + 1])) &&
                !((p[at] == '+' || p[at] == '-') && strchr("eEpP", p[at - 1])))
                break;
        return at;
    }
    if (word_char(c)) {
        *kind = WORD;
        while (at < r->size && word_char(p[at])) at++;
        if (at == r->size || (p[at] != '"' && p[at] != '\'') || at - start > 3) return at;
        if (p[at] == '"' && p[at - 1] == 'R') return *kind = TEXT, end_of_raw(r, at);
        if (at - start > 2 || !strchr("uUL8", p[at - 1])) return at;
        c = p[at]; /* u8"...", L'x' */
    }
    if (c == '"' || c == '\'') return *kind = TEXT, end_of_quoted(r, at);
    if (c == ':' && next == ':') return at + 2;
    if (c == '-' && next == '>') return at + 2;
    return at + 1;
}

static lpo_status add_token(rewrite *r, token_kind kind, size_t at, size_t end) {
    if (r->n == r->room) {
        int room = r->room ? 2 * r->room : 4096;
        token *grown = realloc(r->t, (size_t)room * sizeof *grown);
        if (!grown) return no_memory(r);
        r->t = grown;
        r->room = room;
    }
    r->t[r->n++] = (token){kind, at, end - at, -1};
    return LPO_OK;
}

static lpo_status tokenize(rewrite *r) {
    int line_start = 1;
    for (size_t at = 0; at < r->size;) {
        char c = r->text[at], next = at + 1 < r->size ? r->text[at + 1] : 0;
        token_kind kind = DIRECTIVE;
        size_t end;
        if (isspace((unsigned char)c)) {
            line_start |= c == '\n';
            at++;
            continue;
        }
        if (c == '/' && (next == '/' || next == '*')) {
            const char *stop =
                next == '*' && at + 2 < r->size ? memmem(r->text + at + 2, r->size - at - 2, "*/", 2) : NULL;
            at = next == '/' ? end_of_line(r, at) : stop ? (size_t)(stop - r->text) + 2 : r->size;
            continue;
        }
        end = c == '#' && line_start ? end_of_line(r, at) : end_of_token(r, at, &kind);
        lpo_status st = add_token(r, kind, at, end);
        if (st) return st;
        line_start = 0;
        at = end;
    }
    return LPO_OK;
}

static lpo_status match_brackets(rewrite *r) {
    int stack[MAX_DEPTH], depth = 0;
    for (int i = 0; i < r->n; i++) {
        if (r->t[i].kind != PUNCT || r->t[i].n != 1) continue;
        const char *all = "([{)]}", *c = strchr(all, r->text[r->t[i].at]);
        if (!c || !*c) continue;
        if (c - all < 3) {
            if (depth == MAX_DEPTH) return refuse(r, r->t[i].at, "brackets nested more than 512 deep");
            stack[depth++] = i;
        } else {
            if (!depth || r->text[r->t[stack[depth - 1]].at] != *(c - 3))
                return refuse(r, r->t[i].at, "a bracket without its partner");
            r->t[i].match = stack[--depth];
            r->t[stack[depth]].match = i;
        }
    }
    return depth ? refuse(r, r->t[stack[depth - 1]].at, "a bracket that is not closed") : LPO_OK;
}

/* ---- edits ---- */

static lpo_status replace(rewrite *r, size_t at, size_t n, char *text) {
    if (r->n_edits == r->edit_room) {
        int room = r->edit_room ? 2 * r->edit_room : 64;
        edit *grown = realloc(r->edits, (size_t)room * sizeof *grown);
        if (!grown) {
            free(text);
            return no_memory(r);
        }
        r->edits = grown;
        r->edit_room = room;
    }
    if (!text) return no_memory(r);
    r->edits[r->n_edits] = (edit){at, n, r->n_edits, text};
    r->n_edits++;
    return LPO_OK;
}

static int by_place(const void *a, const void *b) {
    const edit *x = a, *y = b;
    return x->at != y->at ? (x->at > y->at) - (x->at < y->at) : x->order - y->order;
}

static lpo_status apply(rewrite *r, char **out, size_t *out_bytes) {
    size_t at = 0;
    FILE *f = open_memstream(out, out_bytes);
    if (!f) return no_memory(r);
    if (r->n_edits) qsort(r->edits, (size_t)r->n_edits, sizeof *r->edits, by_place);
    for (int i = 0; i < r->n_edits; i++) {
        fwrite(r->text + at, 1, r->edits[i].at - at, f);
        fputs(r->edits[i].text, f);
        at = r->edits[i].at + r->edits[i].n;
    }
    fwrite(r->text + at, 1, r->size - at, f);
    int bad = ferror(f);
    return fclose(f) || bad ? no_memory(r) : LPO_OK;
}

/* ---- pragmas ---- */

/* Is directive i `#pragma HLS name`? *rest: what follows. Case does not matter to the tools. */
static int pragma(const rewrite *r, int i, const char *name, const char **rest) {
    const char *p = r->text + r->t[i].at + 1, *end = r->text + r->t[i].at + r->t[i].n;
    const char *const words[] = {"pragma", "hls", name};
    if (r->t[i].kind != DIRECTIVE) return 0;
    for (int w = 0; w < 3; w++) {
        size_t n = strlen(words[w]);
        while (p < end && isspace((unsigned char)*p)) p++;
        if ((size_t)(end - p) < n || strncasecmp(p, words[w], n) || (p + n < end && word_char(p[n])))
            return 0;
        p += n;
    }
    *rest = p;
    return 1;
}

/* key=VALUE (spaces around = allowed) in [p, end); VALUE ends at a space. NULL: absent. */
static const char *option(const char *p, const char *end, const char *key, size_t *n) {
    size_t key_n = strlen(key);
    for (; p < end; p++) {
        if (!isspace((unsigned char)p[-1]) || (size_t)(end - p) < key_n || strncasecmp(p, key, key_n))
            continue;
        const char *q = p + key_n;
        while (q < end && isspace((unsigned char)*q)) q++;
        if (q == end || *q++ != '=') continue;
        while (q < end && isspace((unsigned char)*q)) q++;
        const char *stop = q;
        while (stop < end && !isspace((unsigned char)*stop)) stop++;
        *n = (size_t)(stop - q);
        return *n ? q : NULL;
    }
    return NULL;
}

/* The body of the object-like macro [*p, *p + *n), when it is one at token i: pragmas are not expanded by the
 * preprocessor, but the tools do. */
static void expand(const rewrite *r, int i, const char **p, size_t *n) {
    for (int hops = 0; hops < 8; hops++) {
        int d = i;
        while (--d >= 0) {
            const char *s = r->text + r->t[d].at, *end = s + r->t[d].n;
            if (r->t[d].kind != DIRECTIVE || r->t[d].n < 9 + *n || memcmp(s, "#define ", 8) ||
                memcmp(s + 8, *p, *n) || s[8 + *n] != ' ')
                continue;
            for (s += 9 + *n; s < end && *s == ' ';) s++;
            *p = s;
            *n = (size_t)(end - s);
            break;
        }
        if (d < 0) return;
    }
}

static lpo_status set_depth(rewrite *r, int i, const char *rest, int in_block) {
    const char *end = r->text + r->t[i].at + r->t[i].n;
    size_t name_n, depth_n;
    const char *name = option(rest, end, "variable", &name_n), *depth = option(rest, end, "depth", &depth_n);
    char *text = NULL;
    if (!depth) return LPO_OK;
    if (!name || !in_block) return refuse(r, r->t[i].at, "a STREAM pragma needs variable= and a function");
    if (memchr(name, ',', name_n)) return refuse(r, r->t[i].at, "STREAM: one variable a pragma, please");
    expand(r, i, &depth, &depth_n);
    if (asprintf(&text, "::leanpo::set_depth(%.*s, %.*s, \"%.*s\");", (int)name_n, name, (int)depth_n, depth,
                 (int)name_n, name) < 0)
        text = NULL;
    return replace(r, r->t[i].at, r->t[i].n, text);
}

/* ---- statements ---- */

static const char *const control[] = {"if", "for", "while", "do", "switch", "goto", "try", "case", NULL};
static const char *const declares[] = {
    "static",   "const",   "constexpr", "unsigned", "signed",        "int",      "char",   "short",
    "long",     "float",   "double",    "bool",     "auto",          "void",     "struct", "class",
    "union",    "enum",    "typename",  "volatile", "thread_local",  "register", "using",  "typedef",
    "decltype", "alignas", "extern",    "wchar_t",  "static_assert", "char16_t", NULL};
static const char *const not_values[] = {"true", "false", "nullptr", "this", NULL};

/* The token after a name like ::a::b<c>::d that begins at i; `to` when there is none. */
static int after_name(const rewrite *r, int i, int to) {
    if (is(r, i, "::")) i++;
    for (;; i++) {
        if (is(r, i, "template")) i++;
        if (i >= to || r->t[i].kind != WORD) return to;
        i++;
        if (is(r, i, "<")) {
            int depth = 0;
            for (; i < to; i++) {
                if (r->t[i].match > i) i = r->t[i].match;
                depth += is(r, i, "<") - is(r, i, ">");
                if (!depth) break;
            }
            i++;
        }
        if (!is(r, i, "::")) return i < to ? i : to;
    }
}

static int is_call(const rewrite *r, int i, int end, int *open) {
    *open = after_name(r, i, end);
    return !one_of(r, i, declares) && is(r, *open, "(") && r->t[*open].match == end - 1;
}

static int is_declaration(const rewrite *r, int i, int end) {
    if (one_of(r, i, declares)) return 1;
    int p = after_name(r, i, end);
    while (is(r, p, "*") || is(r, p, "&") || is(r, p, "const")) p++;
    return p > i && p < end && r->t[p].kind == WORD;
}

typedef struct region_call {
    int from, open, end; /* name, its (, the ; */
} region_call;

/* Is `name` a value named in the arguments of call c? */
static int mentions(const rewrite *r, const region_call *c, int name) {
    for (int i = c->open + 1; i < c->end - 1; i++)
        if (r->t[i].kind == WORD && same(r, i, name) && !is(r, i - 1, ".") && !is(r, i - 1, "->") &&
            !is(r, i - 1, "::") && !is(r, i + 1, "::"))
            return 1;
    return 0;
}

/* The argument that begins at i, when it is a variable: x, &x, x[...]; -1 otherwise. *next: the next. */
static int plain_argument(const rewrite *r, int i, int close, int *next) {
    int end = i;
    while (end < close && !is(r, end, ",")) end = r->t[end].match > end ? r->t[end].match + 1 : end + 1;
    *next = end + 1;
    if (is(r, i, "&")) i++;
    if (i >= end || r->t[i].kind != WORD || one_of(r, i, not_values)) return -1;
    int p = i + 1;
    while (p < end && is(r, p, "[")) p = r->t[p].match + 1;
    return p == end ? i : -1;
}

static void put_token(FILE *f, const rewrite *r, int i) {
    fwrite(r->text + r->t[i].at, 1, r->t[i].n, f);
}

static lpo_status rewrite_call(rewrite *r, const region_call *calls, int n_calls, const region_call *c) {
    int names[MAX_SHARED], n_names = 0, n_shared = 0, next;
    char *text = NULL;
    size_t size;
    for (int i = c->open + 1; i < c->end - 1; i = next) {
        int v = plain_argument(r, i, c->end - 1, &next), known = v < 0;
        for (int k = 0; k < n_names && !known; k++) known = same(r, names[k], v);
        if (known) continue;
        if (n_names == MAX_SHARED) return refuse(r, r->t[i].at, "a call of more than 64 variables");
        names[n_names++] = v;
    }
    FILE *f = open_memstream(&text, &size);
    if (!f) return no_memory(r);
    for (int k = 0; k < n_names; k++) {
        fputs("::leanpo::label(", f), put_token(f, r, names[k]);
        fputs(", \"", f), put_token(f, r, names[k]);
        fputs("\"); ", f);
        int uses = 0;
        for (int j = 0; j < n_calls; j++) uses += mentions(r, &calls[j], names[k]);
        if (uses > 1) names[n_shared++] = names[k];
    }
    fputs("leanpo_region_.add(\"", f);
    for (int i = c->from; i < c->open; i++)
        if (r->t[i].kind != TEXT && r->t[i].kind != DIRECTIVE) put_token(f, r, i);
    fputs("\", [&] { [&](", f);
    for (int k = 0; k < n_shared; k++) fputs(k ? ", auto &" : "auto &", f), put_token(f, r, names[k]);
    fputs(") { ", f);
    lpo_status st = fclose(f) ? no_memory(r) : replace(r, r->t[c->from].at, 0, text);
    if (st || !(f = open_memstream(&text, &size))) return st ? st : no_memory(r);
    fputs("; }(", f);
    for (int k = 0; k < n_shared; k++)
        fputs(k ? ", ::leanpo::share(" : "::leanpo::share(", f), put_token(f, r, names[k]), fputs(")", f);
    fputs("); });", f);
    return fclose(f) ? no_memory(r) : replace(r, r->t[c->end].at, 1, text);
}

static lpo_status run_at(rewrite *r, int i) {
    return replace(r, r->t[i].at, 0, strdup("leanpo_region_.run(); "));
}

/* One statement of the block from..close. *i moves behind it; a call goes to calls[]. */
static lpo_status statement(rewrite *r, int *i, int close, region_call *calls, int *n_calls, int *ended) {
    int from = *i, end = from, open;
    if (r->t[from].kind == DIRECTIVE || is(r, from, ";")) return ++*i, LPO_OK;
    if (is(r, from, "{") || one_of(r, from, control) || (r->t[from].kind == WORD && is(r, from + 1, ":")))
        return refuse(
            r, r->t[from].at,
            "a DATAFLOW region holds declarations and calls only: put loops, conditions and blocks in "
            "functions");
    while (end < close && !is(r, end, ";")) end = r->t[end].match > end ? r->t[end].match + 1 : end + 1;
    if (end >= close) return refuse(r, r->t[from].at, "a statement without its semicolon");
    *i = end + 1;
    if (is(r, from, "return")) {
        int after = *i;
        while (r->t[after].kind == DIRECTIVE || is(r, after, ";")) after++;
        *ended = 1;
        return after == close ? run_at(r, from)
                              : refuse(r, r->t[from].at, "a return inside a DATAFLOW region");
    }
    if (is_call(r, from, end, &open)) {
        if (*n_calls == MAX_SHARED) return refuse(r, r->t[from].at, "a region of more than 64 processes");
        calls[(*n_calls)++] = (region_call){from, open, end};
    } else if (*n_calls && !is_declaration(r, from, end)) {
        return refuse(
            r, r->t[from].at,
            "neither a declaration nor a call of a void function after a process of a DATAFLOW region");
    }
    return LPO_OK;
}

static lpo_status rewrite_region(rewrite *r, int open) {
    region_call calls[MAX_SHARED];
    int close = r->t[open].match, n_calls = 0, ended = 0;
    lpo_status st = LPO_OK;
    for (int i = open + 1; i < close && !st;) st = statement(r, &i, close, calls, &n_calls, &ended);
    if (!st) st = replace(r, r->t[open].at + 1, 0, strdup(" ::leanpo::region leanpo_region_;"));
    for (int i = 0; i < n_calls && !st; i++) st = rewrite_call(r, calls, n_calls, &calls[i]);
    if (!st && !ended) st = run_at(r, close);
    r->n_regions++;
    return st;
}

static lpo_status rewrite_all(rewrite *r) {
    int stack[MAX_DEPTH], depth = 0, last = -1;
    lpo_status st = tokenize(r);
    if (!st) st = match_brackets(r);
    for (int i = 0; i < r->n && !st; i++) {
        const char *rest;
        if (is(r, i, "{") && r->t[i].kind == PUNCT) stack[depth++] = i;
        if (is(r, i, "}") && r->t[i].kind == PUNCT) depth--;
        if (r->t[i].kind != DIRECTIVE) continue;
        if (pragma(r, i, "stream", &rest)) {
            st = set_depth(r, i, rest, depth > 0);
        } else if (pragma(r, i, "dataflow", &rest)) {
            if (!depth)
                st = refuse(r, r->t[i].at, "DATAFLOW outside a function");
            else if (stack[depth - 1] != last)
                st = rewrite_region(r, last = stack[depth - 1]);
        } else if (r->t[i].n > 7 && (!memcmp(r->text + r->t[i].at, "#define", 7) ||
                                     !memcmp(r->text + r->t[i].at, "#undef ", 7))) {
            st = replace(r, r->t[i].at, r->t[i].n, strdup("")); /* they served expand() */
        }
    }
    return st;
}

lpo_status xb_dataflow_rewrite(char **out, size_t *out_bytes, int *n_regions, const char *text,
                               size_t size_bytes, const char *where, lpo_error *err) {
    rewrite r = {.text = text, .size = size_bytes, .where = where, .err = err};
    *out = NULL;
    lpo_status st = rewrite_all(&r);
    if (!st) st = apply(&r, out, out_bytes);
    if (st) {
        free(*out);
        *out = NULL;
    }
    *n_regions = r.n_regions;
    for (int i = 0; i < r.n_edits; i++) free(r.edits[i].text);
    free(r.edits);
    free(r.t);
    return st;
}
