/* SPDX-License-Identifier: Apache-2.0 */
/* normalize.c -- NFC as the reference library does it.
 * Its tables are frozen at Unicode 9, so marks that came later, or got their combining class later, neither
 * reorder nor compose there: they act as letters do. Models were trained on that. utf8proc knows newer
 * tables, so text is cut around such characters and the parts are normalized on their own, which is the same
 * thing. */
#include "text/tokenizer.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* utf8proc orders marks by insertion sort. Text that means something has at most a few dozen in a row. */
#define MAX_MARKS 8192

/* Characters with a combining class or a composition that Unicode 9 did not give them, through Unicode 15.1.
 * Ascending. */
static const uint32_t later[][2] = {
    {0x07fd, 0x07fd},   {0x0898, 0x089f},   {0x08ca, 0x08d3},   {0x09fe, 0x09fe},   {0x0c3c, 0x0c3c},
    {0x0d3b, 0x0d3c},   {0x0eba, 0x0eba},   {0x11a7, 0x11a7},   {0x1715, 0x1715},   {0x1abf, 0x1ace},
    {0x1df6, 0x1dfa},   {0xa82c, 0xa82c},   {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff},
    {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e},
    {0x11839, 0x1183a}, {0x11930, 0x11930}, {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0},
    {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45},
    {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136},
    {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef},
};

static int is_later(uint32_t c) {
    size_t low = 0, high = sizeof later / sizeof *later;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (c > later[mid][1])
            low = mid + 1;
        else
            high = mid;
    }
    return low < sizeof later / sizeof *later && c >= later[low][0];
}

typedef struct output {
    char *text;
    size_t n, cap;
} output;

static lpo_status put(output *o, const void *s, size_t n, lpo_error *err) {
    if (n > o->cap - o->n) {
        size_t cap = 2 * (o->n + n);
        char *p = realloc(o->text, cap);
        if (!p) return lpo_fail(err, LPO_ENOMEM, "out of memory to normalize %zu bytes", cap);
        o->text = p;
        o->cap = cap;
    }
    memcpy(o->text + o->n, s, n);
    o->n += n;
    return LPO_OK;
}

static lpo_status put_nfc(output *o, const char *text, size_t size_bytes, lpo_error *err) {
    if (size_bytes == 0) return LPO_OK;
    utf8proc_uint8_t *nfc = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size_bytes, &nfc,
                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0)
        return lpo_fail(err, n == UTF8PROC_ERROR_NOMEM ? LPO_ENOMEM : LPO_EINVAL,
                        "cannot normalize the text: %s", utf8proc_errmsg(n));
    lpo_status s = put(o, nfc, (size_t)n, err);
    free(nfc);
    return s;
}

/* Is text in NFC for certain, because nothing below U+0300 combines? */
static int plainly_nfc(const char *text, size_t size_bytes) {
    for (size_t i = 0; i < size_bytes; i++)
        if ((unsigned char)text[i] >= 0xcc) return 0; /* the lead byte of U+0300 */
    return 1;
}

lpo_status lpo_tokenizer_normalize(const char **dst, size_t *dst_bytes, char **owned, const lpo_tokenizer *t,
                                   const char *text, size_t size_bytes, lpo_error *err) {
    *dst = text;
    *dst_bytes = size_bytes;
    *owned = NULL;
    if (t->kind == LPO_TOKENIZER_BYTE_FALLBACK_BPE) {
        if (!t->prepend[0] && !t->replace_from[0]) return LPO_OK;
        *owned = lpo_fallback_normalize(dst_bytes, t, text, size_bytes);
        *dst = *owned;
        return *owned ? LPO_OK
                      : lpo_fail(err, LPO_ENOMEM, "out of memory to normalize %zu bytes", size_bytes);
    }
    if (!t->nfc || plainly_nfc(text, size_bytes)) return LPO_OK;
    output o = {0};
    size_t marks = 0, start = 0, len;
    lpo_status s = LPO_OK;
    for (size_t i = 0; i < size_bytes && s == LPO_OK; i += len) {
        uint32_t c = lpo_utf8_get(text + i, &len);
        if (is_later(c)) {
            s = put_nfc(&o, text + start, i - start, err);
            if (s == LPO_OK) s = put(&o, text + i, len, err);
            start = i + len;
            marks = 0;
            continue;
        }
        marks = utf8proc_get_property((utf8proc_int32_t)c)->combining_class ? marks + 1 : 0;
        if (marks > MAX_MARKS)
            s = lpo_fail(err, LPO_ELIMIT, "byte %zu of the text: more than %d combining marks in a row", i,
                         MAX_MARKS);
    }
    if (s == LPO_OK) s = put_nfc(&o, text + start, size_bytes - start, err);
    if (s) {
        free(o.text);
        return s;
    }
    *dst = *owned = o.text;
    *dst_bytes = o.n;
    return LPO_OK;
}
