/* SPDX-License-Identifier: Apache-2.0 */
/* fallback.c -- what LLaMA's BPE does that byte-level BPE does not.
 * Words start as characters; one without a token becomes the tokens of its bytes, else the unknown token.
 * Spaces are written U+2581 by the normalizer (Prepend, Replace) or the pre-tokenizer (Metaspace). Decoding
 * turns them back, joins byte tokens, and takes away the space that encoding put in front. */
#include "text/tokenizer.h"
#include "text/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOW_LINE "\xe2\x96\x81" /* U+2581 */

/* An unknown character waits: with fuse_unk those that follow join it, and (as in the reference) tokens of
 * bytes do not make it due, a known character or the end does. */
size_t lpo_fallback_symbols(lpo_bpe_scratch *s, const lpo_tokenizer *t, const char *word, size_t size_bytes) {
    size_t n = 0, len;
    int waiting = 0;
    for (size_t i = 0; i < size_bytes; i += len) {
        lpo_utf8_get(word + i, &len);
        const int32_t id = lpo_vocab_find(&t->vocab, word + i, len);
        if (id >= 0 && t->vocab.tokens[id].flags & LPO_TOKEN_MODEL) {
            if (waiting) s->symbols[n++].id = t->unk_id;
            waiting = 0;
            s->symbols[n++].id = id;
            continue;
        }
        int all = t->byte_fallback;
        for (size_t k = 0; k < len; k++) all = all && t->byte_id[(unsigned char)word[i + k]] >= 0;
        if (all) {
            for (size_t k = 0; k < len; k++) s->symbols[n++].id = t->byte_id[(unsigned char)word[i + k]];
        } else if (t->unk_id >= 0) {
            if (waiting && !t->fuse_unk) s->symbols[n++].id = t->unk_id;
            waiting = 1;
        }
    }
    if (waiting) s->symbols[n++].id = t->unk_id;
    return n;
}

/* Every `from` in text becomes `to`, after `front`. */
static char *rewrite(size_t *n, const char *front, const char *text, size_t size_bytes, const char *from,
                     const char *to) {
    const size_t f = strlen(from), g = strlen(to), lead = strlen(front);
    size_t count = 0, size = 0;
    for (size_t i = 0; f && i + f <= size_bytes; i++)
        if (!memcmp(text + i, from, f)) count++, i += f - 1;
    char *out = malloc(lead + size_bytes + count * g + 1);
    if (!out) return NULL;
    memcpy(out, front, lead);
    size = lead;
    for (size_t i = 0; i < size_bytes;) {
        if (f && i + f <= size_bytes && !memcmp(text + i, from, f)) {
            memcpy(out + size, to, g);
            size += g;
            i += f;
        } else {
            out[size++] = text[i++];
        }
    }
    out[size] = 0;
    *n = size;
    return out;
}

char *lpo_fallback_normalize(size_t *n, const lpo_tokenizer *t, const char *text, size_t size_bytes) {
    return rewrite(n, size_bytes ? t->prepend : "", text, size_bytes, t->replace_from, t->replace_to);
}

int lpo_fallback_metaspace(char **out, size_t *n, const lpo_tokenizer *t, const char *text, size_t size_bytes,
                           int first) {
    const int has = (size_bytes && text[0] == ' ') ||
                    (size_bytes >= 3 && !memcmp(text, LOW_LINE, 3)); /* the replaced text begins with one */
    const int wanted = t->meta == LPO_META_ALWAYS || (t->meta == LPO_META_FIRST && first);
    *out = rewrite(n, wanted && !has ? LOW_LINE : "", text, size_bytes, " ", LOW_LINE);
    return *out ? 0 : -1;
}

/* The byte of a token "<0x0A>", or -1. */
static int byte_of(const char *text, size_t n) {
    int b = 0;
    if (n != 6 || memcmp(text, "<0x", 3) || text[5] != '>') return -1;
    for (int i = 3; i < 5; i++) {
        const char c = text[i];
        const int d = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
        if (d < 0) return -1;
        b = b * 16 + d;
    }
    return b;
}

/* A run of byte tokens is text when it is UTF-8 as a whole, else one U+FFFD for each. */
static size_t put_bytes(char *dst, const char *run, size_t n) {
    if (lpo_utf8_valid(run, n) == n) {
        memcpy(dst, run, n);
        return n;
    }
    for (size_t i = 0; i < n; i++) memcpy(dst + 3 * i, "\xef\xbf\xbd", 3);
    return 3 * n;
}

/* Text of a token with its U+2581 as spaces. */
static size_t put_text(char *dst, const char *text, size_t n) {
    size_t size = 0;
    for (size_t k = 0; k < n;) {
        const int space = k + 3 <= n && !memcmp(text + k, LOW_LINE, 3);
        dst[size++] = space ? ' ' : text[k];
        k += space ? 3 : 1;
    }
    return size;
}

/* Everything but the strip. -1: out of memory. bytes: room for n_ids. */
static int decode_all(char *out, size_t *size, char *bytes, const lpo_tokenizer *t, const int32_t *ids,
                      size_t n_ids, int skip_special) {
    size_t run = 0;
    *size = 0;
    for (size_t i = 0; i < n_ids; i++) {
        const lpo_token *token = &t->vocab.tokens[ids[i]];
        const char *text = t->vocab.bytes + token->off;
        if (!token->flags || (skip_special && token->flags & LPO_TOKEN_SPECIAL)) continue;
        const int b = byte_of(text, token->len);
        if (b >= 0) {
            bytes[run++] = (char)b;
            continue;
        }
        *size += put_bytes(out + *size, bytes, run);
        run = 0;
        if (token->flags & LPO_TOKEN_NORMALIZED) { /* the reference knows it by its normalized text alone */
            size_t n;
            char *form = lpo_fallback_normalize(&n, t, text, token->len);
            if (!form) return -1;
            *size += put_text(out + *size, form, n);
            free(form);
        } else {
            *size += put_text(out + *size, text, token->len);
        }
    }
    *size += put_bytes(out + *size, bytes, run);
    return 0;
}

char *lpo_fallback_decode(size_t *n, const lpo_tokenizer *t, const int32_t *ids, size_t n_ids,
                          int skip_special) {
    size_t room = 1, size;
    for (size_t i = 0; i < n_ids; i++) {
        const lpo_token *token = &t->vocab.tokens[ids[i]];
        room +=
            token->flags & LPO_TOKEN_NORMALIZED ? LPO_MAX_SHORT * (1 + (size_t)token->len) : 3 + token->len;
    }
    char *out = malloc(room), *bytes = calloc(n_ids + 1, 1);
    if (!out || !bytes || decode_all(out, &size, bytes, t, ids, n_ids, skip_special)) {
        free(out);
        free(bytes);
        return NULL;
    }
    free(bytes);
    const int strip = t->strip_space && size && out[0] == ' ';
    memmove(out, out + strip, size - (size_t)strip);
    *n = size - (size_t)strip;
    out[*n] = 0;
    return out;
}
