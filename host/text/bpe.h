/* SPDX-License-Identifier: Apache-2.0 */
/* bpe.h -- merges the symbols of one word by rank. Knows ids only: what a symbol is spelt like is the
 * caller's. */
#ifndef LPO_TEXT_BPE_H
#define LPO_TEXT_BPE_H
#include "text/map.h"

/* Merges: key = left << 32 | right, value = rank << 32 | merged id. */
static inline uint64_t lpo_bpe_pair(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

typedef struct lpo_bpe_symbol {
    int32_t id, prev, next; /* indices of neighbours, -1 = none; id -1 = merged away */
} lpo_bpe_symbol;

typedef struct lpo_bpe_candidate {
    uint32_t rank;
    int32_t pos, merged;
} lpo_bpe_candidate;

/* Working memory of one encode call; zero-initialise, reuse for every word, free at the end. */
typedef struct lpo_bpe_scratch {
    lpo_bpe_symbol *symbols;
    lpo_bpe_candidate *heap;
    size_t cap, n_heap;
} lpo_bpe_scratch;

/* Room for a word of n symbols; 0 or -1 when out of memory. */
int lpo_bpe_reserve(lpo_bpe_scratch *s, size_t n);
void lpo_bpe_scratch_free(lpo_bpe_scratch *s);

/* The caller has put the word's n ids in s->symbols[i].id (n <= reserved, below 2^31). Merges in place; the
 * result is the chain from symbols[0] through next. */
void lpo_bpe_merge(lpo_bpe_scratch *s, const lpo_map *merges, size_t n);
#endif
