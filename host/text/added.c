/* SPDX-License-Identifier: Apache-2.0 */
/* added.c -- see added.h. At each position the trie is walked as far as it goes: time is text length times
 * the longest added token, which the loader caps. */
#include "text/added.h"

#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

int lpo_added_init(lpo_added_set *s, size_t n_tokens, size_t n_bytes) {
    *s = (lpo_added_set){.n_nodes = 1};
    if (n_tokens == 0) return 0;
    s->ends = malloc((n_bytes + 1) * sizeof *s->ends);
    s->tokens = malloc(n_tokens * sizeof *s->tokens);
    if (!s->ends || !s->tokens || lpo_map_init(&s->edges, n_bytes)) {
        lpo_added_free(s);
        return -1;
    }
    s->ends[0] = -1;
    return 0;
}

void lpo_added_free(lpo_added_set *s) {
    lpo_map_free(&s->edges);
    free(s->ends);
    free(s->tokens);
    *s = (lpo_added_set){0};
}

void lpo_added_put(lpo_added_set *s, lpo_added_token token, const char *text, size_t size_bytes) {
    uint64_t node = 0;
    for (size_t i = 0; i < size_bytes; i++) {
        uint64_t key = node << 8 | (unsigned char)text[i], child = lpo_map_get(&s->edges, key);
        if (child == LPO_MAP_NONE) {
            child = s->n_nodes++;
            s->ends[child] = -1;
            lpo_map_put(&s->edges, key, child);
        }
        node = child;
    }
    if (s->ends[node] >= 0) return;
    s->ends[node] = (int32_t)s->n_tokens;
    s->tokens[s->n_tokens++] = token;
}

/* Unicode White_Space. */
static int is_space(uint32_t c) {
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

/* \w of Unicode regular expressions: Alphabetic, marks, decimal digits, connectors, joiners. Of the
 * letter-like symbols only the circled and squared Latin letters are Alphabetic. */
static int is_word(uint32_t c) {
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return 1;
    default: break;
    }
    return c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
           (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
}

static size_t char_before(const char *text, size_t pos) {
    do pos--;
    while (pos > 0 && ((unsigned char)text[pos] & 0xc0) == 0x80);
    return pos;
}

static int touches_word(const lpo_added_iter *it, size_t start, size_t end) {
    size_t len;
    return (start > 0 && is_word(lpo_utf8_get(it->text + char_before(it->text, start), &len))) ||
           (end < it->size_bytes && is_word(lpo_utf8_get(it->text + end, &len)));
}

/* The longest token that starts at text[0]: its index, or -1. */
static int32_t longest(const lpo_added_set *s, const char *text, size_t size_bytes, size_t *len) {
    uint64_t node = 0;
    int32_t best = -1;
    for (size_t i = 0; i < size_bytes; i++) {
        node = lpo_map_get(&s->edges, node << 8 | (unsigned char)text[i]);
        if (node == LPO_MAP_NONE) break;
        if (s->ends[node] >= 0) {
            best = s->ends[node];
            *len = i + 1;
        }
    }
    return best;
}

/* Find the next token at or after it->search; a match that is not a word of its own is skipped whole. */
static void find(lpo_added_iter *it, const lpo_added_set *s) {
    while (it->search < it->size_bytes) {
        size_t len = 0, start = it->search;
        int32_t k = longest(s, it->text + start, it->size_bytes - start, &len);
        it->search += k < 0 ? 1 : len;
        if (k < 0) continue;
        const lpo_added_token *t = &s->tokens[k];
        size_t end = start + len, char_len;
        if (t->single_word && touches_word(it, start, end)) continue;
        if (t->lstrip) {
            while (start > it->prev) {
                size_t p = char_before(it->text, start);
                if (!is_space(lpo_utf8_get(it->text + p, &char_len))) break;
                start = p;
            }
        }
        if (t->rstrip)
            while (end < it->size_bytes && is_space(lpo_utf8_get(it->text + end, &char_len))) end += char_len;
        it->token_start = start;
        it->token_end = end;
        it->pending = t->id;
        it->have_token = 1;
        return;
    }
}

int lpo_added_next(const char **piece, size_t *piece_bytes, int32_t *id, lpo_added_iter *it,
                   const lpo_added_set *s) {
    if (!it->have_token && s->n_tokens > 0) find(it, s);
    size_t start = it->prev, end = it->size_bytes;
    *id = -1;
    if (it->have_token && it->token_start > it->prev) {
        end = it->token_start;
    } else if (it->have_token) {
        *id = it->pending;
        it->have_token = 0;
        start = it->token_start;
        end = it->token_end;
    } else if (it->prev >= it->size_bytes) {
        return 0;
    }
    it->prev = end;
    *piece = it->text + start;
    *piece_bytes = end - start;
    return 1;
}
