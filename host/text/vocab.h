/* SPDX-License-Identifier: Apache-2.0 */
/* vocab.h -- token texts by id and ids by text.
 * One blob of all texts, an (offset, length) per id, and an open-addressing table of ids hashed by XXH64 of
 * the text. */
#ifndef LPO_TEXT_VOCAB_H
#define LPO_TEXT_VOCAB_H
#include <stddef.h>
#include <stdint.h>

/* MODEL: in model.vocab; ADDED: in added_tokens (a token may be both); NORMALIZED:
 * an added one that is looked for in normalized text. */
enum { LPO_TOKEN_MODEL = 1, LPO_TOKEN_ADDED = 2, LPO_TOKEN_SPECIAL = 4, LPO_TOKEN_NORMALIZED = 8 };

typedef struct lpo_token {
    uint32_t off, len; /* of the text in bytes[] */
    uint32_t flags;
} lpo_token;

typedef struct lpo_vocab {
    char *bytes;
    lpo_token *tokens; /* n_ids of them; flags 0 = a hole */
    int32_t *slots;    /* -1 empty */
    size_t used, cap;  /* of bytes[] */
    uint64_t mask;
    int32_t n_ids;
} lpo_vocab;

/* Room for ids 0..n_ids-1 whose texts total n_bytes; 0 or -1 when out of memory. */
int lpo_vocab_init(lpo_vocab *v, int32_t n_ids, size_t n_bytes);
void lpo_vocab_free(lpo_vocab *v);
/* The id and the text must be new (find them first) and within init's room. */
void lpo_vocab_add(lpo_vocab *v, int32_t id, const char *text, size_t size_bytes, uint32_t flags);
int32_t lpo_vocab_find(const lpo_vocab *v, const char *text, size_t size_bytes); /* -1 when absent */
#endif
