/* SPDX-License-Identifier: Apache-2.0 */
/* added.h -- finding added tokens ("<|im_end|>") in text: leftmost, then longest, before any word is cut. */
#ifndef LPO_TEXT_ADDED_H
#define LPO_TEXT_ADDED_H
#include "text/map.h"

typedef struct lpo_added_token {
    int32_t id;
    uint8_t single_word;    /* no letter or digit may touch it */
    uint8_t lstrip, rstrip; /* it swallows the white space before, after */
} lpo_added_token;

/* A byte trie. One set holds the tokens looked for in raw text, another those looked for in normalized text.
 */
typedef struct lpo_added_set {
    lpo_map edges;           /* node << 8 | byte -> node; the root is 0 */
    int32_t *ends;           /* node -> index into tokens, -1 */
    lpo_added_token *tokens; /* n_tokens of them */
    size_t n_nodes, n_tokens;
} lpo_added_set;

/* Room for n_tokens whose texts total n_bytes; 0 or -1 when out of memory. */
int lpo_added_init(lpo_added_set *s, size_t n_tokens, size_t n_bytes);
void lpo_added_free(lpo_added_set *s);
/* Of two tokens with one text the first stays. size_bytes > 0. */
void lpo_added_put(lpo_added_set *s, lpo_added_token token, const char *text, size_t size_bytes);

/* Walks text as pieces: zero-initialise but for text and size_bytes. */
typedef struct lpo_added_iter {
    const char *text; /* valid UTF-8 */
    size_t size_bytes;
    size_t search, prev, token_start, token_end;
    int32_t pending;
    int have_token;
} lpo_added_iter;

/* 1 with the next piece, *id its added token or -1 for text in between; 0 at the end. */
int lpo_added_next(const char **piece, size_t *piece_bytes, int32_t *id, lpo_added_iter *it,
                   const lpo_added_set *s);
#endif
