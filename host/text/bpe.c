/* SPDX-License-Identifier: Apache-2.0 */
/* bpe.c -- byte-pair merging with a heap over a linked list: O(n log n) in the word's length.
 * The textbook loop (find the best pair, merge, rescan) is quadratic, and a "word" may be a megabyte of
 * letters. Candidates are taken by (rank, position). One goes stale when a neighbour is merged first: it is
 * recognised when popped, by the pair now at its position no longer giving the same token. */
#include "text/bpe.h"

#include <stdlib.h>

int lpo_bpe_reserve(lpo_bpe_scratch *s, size_t n) {
    if (n <= s->cap) return 0;
    size_t cap = n < 64 ? 64 : n + n / 2;
    lpo_bpe_symbol *symbols = realloc(s->symbols, cap * sizeof *symbols);
    if (!symbols) return -1;
    s->symbols = symbols;
    /* n-1 first candidates, and each of at most n-1 merges pops one and pushes two. */
    lpo_bpe_candidate *heap = realloc(s->heap, 2 * cap * sizeof *heap);
    if (!heap) return -1;
    s->heap = heap;
    s->cap = cap;
    return 0;
}

void lpo_bpe_scratch_free(lpo_bpe_scratch *s) {
    free(s->symbols);
    free(s->heap);
    *s = (lpo_bpe_scratch){0};
}

static int before(const lpo_bpe_candidate *a, const lpo_bpe_candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->pos < b->pos;
}

static void heap_push(lpo_bpe_scratch *s, lpo_bpe_candidate c) {
    size_t i = s->n_heap++;
    for (; i > 0 && before(&c, &s->heap[(i - 1) / 2]); i = (i - 1) / 2) s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = c;
}

static lpo_bpe_candidate heap_pop(lpo_bpe_scratch *s) {
    lpo_bpe_candidate top = s->heap[0], last = s->heap[--s->n_heap];
    size_t i = 0, n = s->n_heap;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n) break;
        if (child + 1 < n && before(&s->heap[child + 1], &s->heap[child])) child++;
        if (!before(&s->heap[child], &last)) break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

/* Consider merging symbols[pos] with its right neighbour. */
static void consider(lpo_bpe_scratch *s, const lpo_map *merges, int32_t pos) {
    int32_t next = s->symbols[pos].next;
    if (next < 0) return;
    uint64_t m = lpo_map_get(merges, lpo_bpe_pair(s->symbols[pos].id, s->symbols[next].id));
    if (m != LPO_MAP_NONE) heap_push(s, (lpo_bpe_candidate){(uint32_t)(m >> 32), pos, (int32_t)(uint32_t)m});
}

void lpo_bpe_merge(lpo_bpe_scratch *s, const lpo_map *merges, size_t n) {
    lpo_bpe_symbol *y = s->symbols;
    for (size_t i = 0; i < n; i++) {
        y[i].prev = (int32_t)i - 1;
        y[i].next = i + 1 < n ? (int32_t)i + 1 : -1;
    }
    s->n_heap = 0;
    for (size_t i = 0; i + 1 < n; i++) consider(s, merges, (int32_t)i);
    while (s->n_heap > 0) {
        lpo_bpe_candidate c = heap_pop(s);
        int32_t right = y[c.pos].next;
        if (y[c.pos].id < 0 || right < 0) continue;
        uint64_t m = lpo_map_get(merges, lpo_bpe_pair(y[c.pos].id, y[right].id));
        if (m == LPO_MAP_NONE || (int32_t)(uint32_t)m != c.merged) continue;
        y[c.pos].id = c.merged;
        y[c.pos].next = y[right].next;
        y[right].id = -1;
        if (y[right].next >= 0) y[y[right].next].prev = c.pos;
        if (y[c.pos].prev >= 0) consider(s, merges, y[c.pos].prev);
        consider(s, merges, c.pos);
    }
}
