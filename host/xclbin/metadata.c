/* SPDX-License-Identifier: Apache-2.0 */
/* metadata.c -- a scanner for the part of XML that v++ writes: tags with quoted attributes, comments, a
 * prolog. Element text is skipped; the five named entities stay as written, since names that matter hold
 * none. Two passes over the tags: the first counts, the second fills arrays of the right size. */
#include "xclbin/metadata.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ATTRIBUTES = 24, MAX_KERNELS = 1024, MAX_ARGS = 256 };

typedef struct span {
    const char *at;
    size_t n;
} span;

typedef struct tag {
    span name;
    size_t offset; /* of '<' */
    int n, closes, empty;
    span key[MAX_ATTRIBUTES], value[MAX_ATTRIBUTES];
} tag;

typedef struct scan {
    const char *xml, *p, *end, *where;
    lpo_error *err;
} scan;

static lpo_status bad(scan *s, const char *at, const char *what) {
    return lpo_fail(s->err, LPO_EFORMAT, "%s: metadata XML, byte %zu: %s", s->where, (size_t)(at - s->xml),
                    what);
}

static int is_name(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '-' || c == ':' || c == '.';
}

static span take_name(scan *s) {
    span r = {s->p, 0};
    while (s->p < s->end && is_name(*s->p)) s->p++;
    r.n = (size_t)(s->p - r.at);
    return r;
}

static void skip_space(scan *s) {
    while (s->p < s->end && isspace((unsigned char)*s->p)) s->p++;
}

static int equal(span a, const char *b) {
    return a.n == strlen(b) && !memcmp(a.at, b, a.n);
}

static lpo_status take_attribute(scan *s, tag *t) {
    const char *start = s->p;
    if (t->n == MAX_ATTRIBUTES) return bad(s, start, "more attributes than any tool writes");
    span key = take_name(s);
    if (!key.n) return bad(s, start, "an attribute name was expected");
    skip_space(s);
    if (s->p == s->end || *s->p++ != '=') return bad(s, start, "an attribute without =");
    skip_space(s);
    if (s->p == s->end || (*s->p != '"' && *s->p != '\''))
        return bad(s, start, "an attribute value without quotes");
    char quote = *s->p++;
    const char *close = memchr(s->p, quote, (size_t)(s->end - s->p));
    if (!close) return bad(s, start, "an attribute value that does not end");
    t->key[t->n] = key;
    t->value[t->n++] = (span){s->p, (size_t)(close - s->p)};
    s->p = close + 1;
    return LPO_OK;
}

/* The next element tag. LPO_EEND after the last. */
static lpo_status next_tag(scan *s, tag *t) {
    for (;;) {
        const char *open = memchr(s->p, '<', (size_t)(s->end - s->p));
        if (!open) return LPO_EEND;
        s->p = open + 1;
        if (s->p < s->end && (*s->p == '?' || *s->p == '!')) { /* prolog, comment, declaration */
            int comment = s->end - s->p >= 3 && !memcmp(s->p, "!--", 3);
            const char *stop = comment ? memmem(s->p, (size_t)(s->end - s->p), "-->", 3)
                                       : memchr(s->p, '>', (size_t)(s->end - s->p));
            if (!stop) return bad(s, open, "a comment or declaration that does not end");
            s->p = stop + (comment ? 3 : 1);
            continue;
        }
        *t = (tag){.offset = (size_t)(open - s->xml)};
        if (s->p < s->end && *s->p == '/') t->closes = 1, s->p++;
        t->name = take_name(s);
        if (!t->name.n) return bad(s, open, "a tag without a name");
        for (;;) {
            skip_space(s);
            if (s->p == s->end) return bad(s, open, "a tag that does not end");
            if (*s->p == '>') return s->p++, LPO_OK;
            if (*s->p == '/') {
                t->empty = 1;
                s->p++;
                continue;
            }
            lpo_status st = take_attribute(s, t);
            if (st) return st;
        }
    }
}

static const char *text_of(const tag *t, const char *key, lpo_arena *arena) {
    for (int i = 0; i < t->n; i++)
        if (equal(t->key[i], key)) return lpo_arena_printf(arena, "%.*s", (int)t->value[i].n, t->value[i].at);
    return lpo_arena_strdup(arena, "");
}

static lpo_status number_of(scan *s, const tag *t, const char *key, uint64_t max, uint64_t *out) {
    *out = 0;
    for (int i = 0; i < t->n; i++) {
        if (!equal(t->key[i], key) || !t->value[i].n) continue;
        char text[32], *end;
        const char *at = t->value[i].at;
        if (t->value[i].n >= sizeof text) return bad(s, at, "a number of more than 31 characters");
        memcpy(text, at, t->value[i].n);
        text[t->value[i].n] = 0;
        errno = 0;
        *out = strtoull(text, &end, 0);
        if (*end || errno || text[0] == '-') return bad(s, at, "not a number");
        if (*out > max) return bad(s, at, "a number out of range");
    }
    return LPO_OK;
}

static lpo_status count(scan *s, int *n_kernels, int *n_args) {
    tag t;
    lpo_status st;
    *n_kernels = *n_args = 0;
    while (!(st = next_tag(s, &t))) {
        if (t.closes) continue;
        if (equal(t.name, "kernel")) ++*n_kernels;
        if (equal(t.name, "arg")) ++*n_args;
        if (*n_kernels > MAX_KERNELS) return bad(s, s->xml + t.offset, "more than 1024 kernels");
    }
    return st == LPO_EEND ? LPO_OK : st;
}

static lpo_status take_arg(scan *s, const tag *t, lpo_arena *arena, lpo_xclbin_arg *a) {
    uint64_t id, qualifier;
    lpo_status st;
    if ((st = number_of(s, t, "id", UINT32_MAX, &id))) return st;
    if ((st = number_of(s, t, "addressQualifier", 255, &qualifier))) return st;
    if ((st = number_of(s, t, "size", UINT32_MAX, &a->size))) return st;
    if ((st = number_of(s, t, "offset", UINT32_MAX, &a->offset))) return st;
    a->id = (unsigned)id;
    a->qualifier = (unsigned)qualifier;
    a->name = text_of(t, "name", arena);
    a->type = text_of(t, "type", arena);
    return a->name && a->type ? LPO_OK : lpo_fail(s->err, LPO_ENOMEM, "%s: out of memory", s->where);
}

lpo_status xb_metadata_read(lpo_xclbin *x, lpo_arena *arena, const char *xml, size_t size_bytes,
                            const char *where, lpo_error *err) {
    scan s = {xml, xml, xml + size_bytes, where, err};
    int n_kernels, n_args;
    lpo_status st = count(&s, &n_kernels, &n_args);
    if (st) return st;
    lpo_xclbin_arg *arg = lpo_arena_alloc(arena, (size_t)n_args + 1, sizeof *arg);
    x->kernels = lpo_arena_alloc(arena, (size_t)n_kernels + 1, sizeof *x->kernels);
    if (!arg || !x->kernels) return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", where);
    lpo_xclbin_kernel *k = NULL;
    tag t;
    s.p = xml;
    while (!(st = next_tag(&s, &t))) {
        if (equal(t.name, "kernel")) {
            k = t.closes ? NULL : &x->kernels[x->n_kernels++];
            if (!k) continue;
            k->args = arg;
            if (!(k->name = text_of(&t, "name", arena)))
                return lpo_fail(err, LPO_ENOMEM, "%s: out of memory", where);
            if (!k->name[0]) return bad(&s, xml + t.offset, "a kernel without a name");
            if (t.empty) k = NULL;
        } else if (k && !t.closes && equal(t.name, "instance")) {
            k->n_instances++;
        } else if (k && !t.closes && equal(t.name, "arg")) {
            if (k->n_args == MAX_ARGS) return bad(&s, xml + t.offset, "a kernel of more than 256 arguments");
            if ((st = take_arg(&s, &t, arena, arg))) return st;
            arg++;
            k->n_args++;
        }
    }
    return st == LPO_EEND ? LPO_OK : st;
}
