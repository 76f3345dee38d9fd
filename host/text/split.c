/* SPDX-License-Identifier: Apache-2.0 */
/* split.c -- the reference library matches with Oniguruma, we with PCRE2 (JIT). Patterns of known tokenizers
 * mean the same in both but for the shorthand classes: PCRE2's \s takes U+180E, which left White_Space in
 * Unicode 6.3, and its \w lacks marks. So the shorthands are rewritten as properties, and everything the two
 * engines might read differently is refused rather than guessed. */
#include "text/split.h"

#include "text/utf8.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Backtracking steps a single match may take. The known patterns are linear, so a match that needs more than
 * this plus a few steps a byte comes from a hostile pattern; 10 million is a fraction of a second. */
#define MATCH_LIMIT 10000000u
#define MAX_PATTERN 65536

typedef struct translation {
    char *out;
    size_t n;
} translation;

static void put(translation *t, const char *s, size_t n) {
    memcpy(t->out + t->n, s, n);
    t->n += n;
}

static void put_str(translation *t, const char *s) {
    put(t, s, strlen(s));
}

/* Longest replacement below, per pattern byte; out is sized by it. */
#define MAX_GROWTH 40
#define WORD       "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"

/* The escape at p[0] == '\\'; returns the bytes taken, 0 when it is not one we know in both engines. */
static size_t put_escape(translation *t, const char *p, size_t n, int in_class) {
    if (n < 2) return 0;
    switch (p[1]) {
    case 's': put_str(t, "\\p{White_Space}"); return 2;
    case 'S': put_str(t, "\\P{White_Space}"); return 2;
    case 'd': put_str(t, "\\p{Nd}"); return 2;
    case 'D': put_str(t, "\\P{Nd}"); return 2;
    case 'w': put_str(t, in_class ? WORD : "[" WORD "]"); return 2;
    case 'W':
        if (in_class) return 0;
        put_str(t, "[^" WORD "]");
        return 2;
    case 'p':
    case 'P': {
        const char *close = n > 2 && p[2] == '{' ? memchr(p, '}', n) : NULL;
        if (!close) return 0;
        put(t, p, (size_t)(close - p) + 1);
        return (size_t)(close - p) + 1;
    }
    case 'u': /* four hex digits */
        if (n < 6) return 0;
        for (int i = 2; i < 6; i++)
            if (!isxdigit((unsigned char)p[i])) return 0;
        put_str(t, "\\x{");
        put(t, p + 2, 4);
        put_str(t, "}");
        return 6;
    case 'r':
    case 'n':
    case 't':
    case 'f': put(t, p, 2); return 2;
    default:
        /* An escaped sign stands for itself; letters and digits mean something, and not always the same
         * thing. */
        if (strchr("\\/.^$|?*+()[]{}-'\"#&~!@%,:;<>=_` ", p[1]) == NULL) return 0;
        put(t, p, 2);
        return 2;
    }
}

/* What follows "(?" and means the same in both engines. */
static int known_group(const char *p, size_t n) {
    static const char *const known[] = {"?:", "?=", "?!", "?<=", "?<!", "?>", "?i:"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t len = strlen(known[i]);
        if (n >= len && memcmp(p, known[i], len) == 0) return 1;
    }
    return 0;
}

/* Returns the offset of the first construct refused, or n. */
static size_t translate(translation *t, const char *p, size_t n) {
    int in_class = 0;
    size_t class_start = 0, i = 0;
    while (i < n) {
        size_t taken = 1;
        char c = p[i], next = i + 1 < n ? p[i + 1] : '\0';
        if (c == '\\') {
            taken = put_escape(t, p + i, n - i, in_class);
            if (!taken) return i;
        } else if (in_class) {
            if (c == '[' || (c == '&' && next == '&'))
                return i; /* nested sets and intersections are Oniguruma's own */
            if (c == ']' && i == class_start) return i;
            if (c == ']') in_class = 0;
            put(t, p + i, 1);
        } else {
            if (c == '(' && next == '?' && !known_group(p + i + 1, n - i - 1)) return i;
            if (c == '(' && next == '*') return i;
            if (c == '{' && next == ',') return i;
            if (c == '}' && next == '+') return i;
            put(t, p + i, 1);
            if (c == '[') {
                in_class = 1;
                if (next == '^') {
                    put(t, "^", 1);
                    taken++;
                }
                class_start = i + taken;
            }
        }
        i += taken;
    }
    return n;
}

lpo_status lpo_split_compile(lpo_split *s, const char *pattern, size_t size_bytes, int literal,
                             const char *where, lpo_error *err) {
    *s = (lpo_split){0};
    if (size_bytes == 0 || size_bytes > MAX_PATTERN)
        return lpo_fail(err, LPO_EFORMAT, "%s: a pattern of %zu bytes (1 to %d expected)", where, size_bytes,
                        MAX_PATTERN);
    translation t = {malloc(size_bytes * MAX_GROWTH), 0};
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    lpo_status status = LPO_OK;
    if (!t.out || !context) {
        status = lpo_fail(err, LPO_ENOMEM, "%s: out of memory", where);
        goto out;
    }
    size_t stop = size_bytes;
    if (literal)
        put(&t, pattern, size_bytes);
    else
        stop = translate(&t, pattern, size_bytes);
    if (stop < size_bytes) {
        status =
            lpo_fail(err, LPO_EUNSUPPORTED,
                     "%s: byte %zu of the pattern: a construct that this build does not read", where, stop);
        goto out;
    }
    int code;
    PCRE2_SIZE offset;
    uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF); /* Ruby's ^ $ and . know no other newline */
    s->code = pcre2_compile((PCRE2_SPTR)t.out, t.n, options, &code, &offset, context);
    if (!s->code) {
        char text[160];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
        status = lpo_fail(err, LPO_EFORMAT, "%s: not a regular expression: %s", where, text);
        goto out;
    }
    /* Where the JIT is not available the interpreter gives the same matches. */
    pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE);
out:
    pcre2_compile_context_free(context);
    free(t.out);
    return status;
}

void lpo_split_free(lpo_split *s) {
    pcre2_code_free(s->code);
    s->code = NULL;
}

int lpo_split_match_init(lpo_split_match *m) {
    m->data = pcre2_match_data_create(1, NULL);
    m->context = pcre2_match_context_create(NULL);
    if (!m->data || !m->context) {
        lpo_split_match_free(m);
        return -1;
    }
    pcre2_set_heap_limit(m->context, 1u << 20); /* KiB; the interpreter's, when the JIT's stack does not do */
    return 0;
}

void lpo_split_match_free(lpo_split_match *m) {
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    *m = (lpo_split_match){0};
}

/* The next match at or after it->search, skipping an empty one right behind the last match (as the reference
 * does). */
static lpo_status find(lpo_split_iter *it, const lpo_split *s, lpo_split_match *m, lpo_error *err) {
    while (it->search <= it->size_bytes) {
        size_t steps = MATCH_LIMIT + 8 * (it->size_bytes - it->search);
        pcre2_set_match_limit(m->context, steps > UINT32_MAX ? UINT32_MAX : (uint32_t)steps);
        int rc = pcre2_match(s->code, (PCRE2_SPTR)it->text, it->size_bytes, it->search, PCRE2_NO_UTF_CHECK,
                             m->data, m->context);
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
            rc = pcre2_match(s->code, (PCRE2_SPTR)it->text, it->size_bytes, it->search,
                             PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, m->data, m->context);
        if (rc == PCRE2_ERROR_NOMATCH) break;
        if (rc < 0) {
            char text[160];
            pcre2_get_error_message(rc, (PCRE2_UCHAR *)text, sizeof text);
            return lpo_fail(err, LPO_ELIMIT,
                            "byte %zu of the text: the tokenizer's split pattern gave up: %s; shorten the "
                            "text or mend the "
                            "pattern in tokenizer.json",
                            it->search, text);
        }
        const PCRE2_SIZE *v = pcre2_get_ovector_pointer(m->data);
        if (v[0] == v[1] && it->matched_before && it->match_end == v[1]) {
            it->search += it->search < it->size_bytes ? lpo_utf8_len((unsigned char)it->text[it->search]) : 1;
            continue;
        }
        it->match_start = v[0];
        it->match_end = it->search = v[1];
        it->matched_before = it->have_match = 1;
        return LPO_OK;
    }
    it->done = 1;
    return LPO_OK;
}

lpo_status lpo_split_next(const char **piece, size_t *piece_bytes, lpo_split_iter *it, const lpo_split *s,
                          lpo_split_match *m, lpo_error *err) {
    for (;;) {
        if (!it->have_match && !it->done) {
            lpo_status status = find(it, s, m, err);
            if (status) return status;
        }
        size_t start = it->prev, end = it->size_bytes;
        if (it->have_match) {
            int gap = it->match_start > it->prev;
            end = gap ? it->match_start : it->match_end;
            it->have_match = gap;
        } else if (it->prev == it->size_bytes) {
            return LPO_EEND;
        }
        it->prev = end;
        if (end == start) continue;
        *piece = it->text + start;
        *piece_bytes = end - start;
        return LPO_OK;
    }
}
