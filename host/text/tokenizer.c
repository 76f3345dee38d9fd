/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.c -- text to ids and back with a loaded tokenizer. The stages stream: each hands its pieces to
 * the next, and only the normalizer copies text. */
#include "text/tokenizer.h"

#include "text/bpe.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TEXT ((size_t)1 << 30)

void lpo_tokenizer_destroy(lpo_tokenizer *t) {
    if (!t) return;
    lpo_vocab_free(&t->vocab);
    lpo_map_free(&t->merges);
    lpo_added_free(&t->added_raw);
    lpo_added_free(&t->added);
    for (int i = 0; i < t->n_splits; i++) lpo_split_free(&t->splits[i]);
    free(t);
}

int32_t lpo_tokenizer_size(const lpo_tokenizer *t) {
    return t->vocab.n_ids;
}

int32_t lpo_tokenizer_id(const lpo_tokenizer *t, const char *token) {
    return lpo_vocab_find(&t->vocab, token, strlen(token));
}

const int32_t *lpo_tokenizer_lead(const lpo_tokenizer *t, size_t *n) {
    *n = (size_t)t->n_lead;
    return t->lead;
}

lpo_status lpo_ids_push(lpo_ids *list, int32_t id, lpo_error *err) {
    if (list->n == list->cap) {
        size_t cap = list->cap ? 2 * list->cap : 64;
        int32_t *ids = realloc(list->ids, cap * sizeof *ids);
        if (!ids) return lpo_fail(err, LPO_ENOMEM, "out of memory for %zu token ids", cap);
        list->ids = ids;
        list->cap = cap;
    }
    list->ids[list->n++] = id;
    return LPO_OK;
}

void lpo_ids_clear(lpo_ids *list) {
    free(list->ids);
    *list = (lpo_ids){0};
}

void lpo_tokenizer_alphabet(lpo_tokenizer *t) {
    uint32_t spare = 256;
    memset(t->char_byte, 0xff, sizeof t->char_byte);
    for (uint32_t b = 0; b < 256; b++) {
        int printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        uint32_t c = printable ? b : spare++;
        t->char_byte[c] = (int16_t)b;
        t->byte_text_len[b] = (uint8_t)lpo_utf8_put(t->byte_text[b], c);
    }
}

/* One encode call: the output and the memory it works in. */
typedef struct encoder {
    const lpo_tokenizer *t;
    lpo_ids *out;
    lpo_bpe_scratch bpe;
    lpo_split_match match;
    char *spelt; /* a word in the byte alphabet, for ignore_merges */
    size_t spelt_cap;
    lpo_error *err;
} encoder;

/* The token that is this whole word, -1 for none, -2 when out of memory. */
static int32_t whole_word(encoder *e, const char *word, size_t n) {
    const lpo_tokenizer *t = e->t;
    if (2 * n > e->spelt_cap) {
        char *p = realloc(e->spelt, 2 * n);
        if (!p) return -2;
        e->spelt = p;
        e->spelt_cap = 2 * n;
    }
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char b = (unsigned char)word[i];
        e->spelt[len] = t->byte_text[b][0];
        e->spelt[len + 1] = t->byte_text[b][1]; /* overwritten by the next when there is only one */
        len += t->byte_text_len[b];
    }
    int32_t id = lpo_vocab_find(&t->vocab, e->spelt, len);
    return id >= 0 && t->vocab.tokens[id].flags & LPO_TOKEN_MODEL ? id : -1;
}

/* Merge n symbols and put out what is left. */
static lpo_status encode_symbols(encoder *e, size_t n) {
    if (n == 0) return LPO_OK;
    lpo_bpe_merge(&e->bpe, &e->t->merges, n);
    for (int32_t i = 0; i >= 0; i = e->bpe.symbols[i].next) {
        lpo_status s = lpo_ids_push(e->out, e->bpe.symbols[i].id, e->err);
        if (s) return s;
    }
    return LPO_OK;
}

static lpo_status encode_word(encoder *e, const char *word, size_t n) {
    const lpo_tokenizer *t = e->t;
    const int fallback = t->kind == LPO_TOKENIZER_BYTE_FALLBACK_BPE;
    if (t->ignore_merges) {
        int32_t id = fallback ? lpo_vocab_find(&t->vocab, word, n) : whole_word(e, word, n);
        if (id == -2) return lpo_fail(e->err, LPO_ENOMEM, "out of memory for a word of %zu bytes", n);
        if (id >= 0) return lpo_ids_push(e->out, id, e->err);
    }
    if (lpo_bpe_reserve(&e->bpe, n))
        return lpo_fail(e->err, LPO_ENOMEM, "out of memory for a word of %zu bytes", n);
    if (fallback) return encode_symbols(e, lpo_fallback_symbols(&e->bpe, t, word, n));
    for (size_t i = 0; i < n; i++) {
        int32_t id = t->byte_id[(unsigned char)word[i]];
        if (id < 0)
            return lpo_fail(e->err, LPO_EFORMAT,
                            "byte 0x%02x has no token: the vocabulary lacks this byte of the alphabet",
                            (unsigned char)word[i]);
        e->bpe.symbols[i].id = id;
    }
    return encode_symbols(e, n);
}

/* Splits from the k-th on; recursion is as deep as there are splits. */
static lpo_status encode_splits(encoder *e, int k, const char *text, size_t size_bytes) {
    if (k == e->t->n_splits) return encode_word(e, text, size_bytes);
    lpo_split_iter it = {.text = text, .size_bytes = size_bytes};
    const char *piece;
    size_t n;
    lpo_status s;
    while ((s = lpo_split_next(&piece, &n, &it, &e->t->splits[k], &e->match, e->err)) == LPO_OK)
        if ((s = encode_splits(e, k + 1, piece, n))) return s;
    return s == LPO_EEND ? LPO_OK : s;
}

/* Through Metaspace: the whole piece is a word, or each part that begins with U+2581. */
static lpo_status encode_metaspace(encoder *e, const char *text, size_t size_bytes, int first) {
    char *meta;
    size_t n;
    if (lpo_fallback_metaspace(&meta, &n, e->t, text, size_bytes, first))
        return lpo_fail(e->err, LPO_ENOMEM, "out of memory for %zu bytes of text", size_bytes);
    lpo_status s = LPO_OK;
    for (size_t i = 0, end; i < n && s == LPO_OK; i = end) {
        end = i + 1;
        while (end < n && !(e->t->meta_split && n - end >= 3 && !memcmp(meta + end, "\xe2\x96\x81", 3)))
            end++;
        s = encode_word(e, meta + i, end - i);
    }
    free(meta);
    return s;
}

/* first: the piece begins the whole text. */
static lpo_status encode_plain(encoder *e, const char *text, size_t size_bytes, int first) {
    if (e->t->meta != LPO_META_NONE) return encode_metaspace(e, text, size_bytes, first);
    if (!e->t->prefix_space || text[0] == ' ') return encode_splits(e, 0, text, size_bytes);
    char *spaced = malloc(size_bytes + 1);
    if (!spaced) return lpo_fail(e->err, LPO_ENOMEM, "out of memory for %zu bytes of text", size_bytes);
    spaced[0] = ' ';
    memcpy(spaced + 1, text, size_bytes);
    lpo_status s = encode_splits(e, 0, spaced, size_bytes + 1);
    free(spaced);
    return s;
}

/* Text without raw added tokens. */
static lpo_status encode_raw(encoder *e, const char *text, size_t size_bytes, int first) {
    const char *piece;
    char *owned;
    size_t n;
    int32_t id;
    lpo_added_iter it = {0};
    lpo_status s = lpo_tokenizer_normalize(&it.text, &it.size_bytes, &owned, e->t, text, size_bytes, e->err);
    while (s == LPO_OK && lpo_added_next(&piece, &n, &id, &it, &e->t->added))
        s = id >= 0 ? lpo_ids_push(e->out, id, e->err) : encode_plain(e, piece, n, first && piece == it.text);
    free(owned);
    return s;
}

lpo_status lpo_tokenizer_encode(lpo_ids *out, lpo_tokenizer *t, const char *text, size_t size_bytes,
                                lpo_error *err) {
    if (size_bytes > MAX_TEXT)
        return lpo_fail(err, LPO_ELIMIT, "a text of %zu bytes: at most %zu can be tokenized at once",
                        size_bytes, MAX_TEXT);
    size_t valid = lpo_utf8_valid(text, size_bytes), before = out->n, n;
    if (valid < size_bytes)
        return lpo_fail(err, LPO_EINVAL,
                        "byte %zu of the text is not UTF-8 (0x%02x): convert the text to UTF-8 first", valid,
                        (unsigned char)text[valid]);
    encoder e = {.t = t, .out = out, .err = err};
    if (lpo_split_match_init(&e.match)) return lpo_fail(err, LPO_ENOMEM, "out of memory for a match");
    lpo_added_iter it = {.text = text, .size_bytes = size_bytes};
    const char *piece;
    int32_t id;
    lpo_status s = LPO_OK;
    while (s == LPO_OK && lpo_added_next(&piece, &n, &id, &it, &t->added_raw))
        s = id >= 0 ? lpo_ids_push(out, id, err) : encode_raw(&e, piece, n, piece == text);
    if (s) out->n = before;
    lpo_split_match_free(&e.match);
    lpo_bpe_scratch_free(&e.bpe);
    free(e.spelt);
    return s;
}

/* dst = the bytes a token stands for: the alphabet undone, or the text as it is when any character is not of
 * it. */
static size_t token_bytes(char *dst, const lpo_tokenizer *t, const lpo_token *token) {
    const char *text = t->vocab.bytes + token->off;
    size_t n = 0, len;
    for (size_t i = 0; i < token->len; i += len) {
        uint32_t c = lpo_utf8_get(text + i, &len);
        if (c >= LPO_BYTE_CHARS || t->char_byte[c] < 0) {
            memcpy(dst, text, token->len);
            return token->len;
        }
        dst[n++] = (char)t->char_byte[c];
    }
    return n;
}

lpo_status lpo_tokenizer_decode(char **out, size_t *n, lpo_tokenizer *t, const int32_t *ids, size_t n_ids,
                                int skip_special, lpo_error *err) {
    *out = NULL;
    *n = 0;
    size_t room = 0, size = 0;
    for (size_t i = 0; i < n_ids; i++) {
        if (ids[i] < 0 || ids[i] >= t->vocab.n_ids)
            return lpo_fail(err, LPO_EINVAL, "id %d at index %zu is outside the vocabulary 0..%d", ids[i], i,
                            t->vocab.n_ids - 1);
        room += t->vocab.tokens[ids[i]].len;
    }
    if (t->kind == LPO_TOKENIZER_BYTE_FALLBACK_BPE) {
        *out = lpo_fallback_decode(n, t, ids, n_ids, skip_special);
        return *out ? LPO_OK : lpo_fail(err, LPO_ENOMEM, "out of memory to decode %zu ids", n_ids);
    }
    char *bytes = malloc(room + 1), *text = NULL;
    if (bytes) {
        for (size_t i = 0; i < n_ids; i++) {
            const lpo_token *token = &t->vocab.tokens[ids[i]];
            if (skip_special && token->flags & LPO_TOKEN_SPECIAL) continue;
            size += token_bytes(bytes + size, t, token);
        }
        text = malloc(3 * size + 1);
    }
    if (!text) {
        free(bytes);
        return lpo_fail(err, LPO_ENOMEM, "out of memory to decode %zu ids", n_ids);
    }
    *n = lpo_utf8_mend(text, bytes, size);
    text[*n] = '\0';
    *out = text;
    free(bytes);
    return LPO_OK;
}
