/* SPDX-License-Identifier: Apache-2.0 */
/* vocab.c -- see vocab.h. */
#include "text/vocab.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

int lpo_vocab_init(lpo_vocab *v, int32_t n_ids, size_t n_bytes) {
    size_t n_slots = 16;
    while (n_slots < 2 * (size_t)n_ids) n_slots *= 2;
    *v = (lpo_vocab){.cap = n_bytes, .mask = n_slots - 1, .n_ids = n_ids};
    v->bytes = malloc(n_bytes + 1);
    v->tokens = calloc((size_t)n_ids + 1, sizeof *v->tokens);
    v->slots = malloc(n_slots * sizeof *v->slots);
    if (!v->bytes || !v->tokens || !v->slots) {
        lpo_vocab_free(v);
        return -1;
    }
    memset(v->slots, 0xff, n_slots * sizeof *v->slots);
    return 0;
}

void lpo_vocab_free(lpo_vocab *v) {
    free(v->bytes);
    free(v->tokens);
    free(v->slots);
    *v = (lpo_vocab){0};
}

static uint64_t slot(const lpo_vocab *v, const char *text, size_t size_bytes) {
    uint64_t i = XXH64(text, size_bytes, 0) & v->mask;
    for (; v->slots[i] >= 0; i = (i + 1) & v->mask) {
        const lpo_token *t = &v->tokens[v->slots[i]];
        if (t->len == size_bytes && memcmp(v->bytes + t->off, text, size_bytes) == 0) break;
    }
    return i;
}

void lpo_vocab_add(lpo_vocab *v, int32_t id, const char *text, size_t size_bytes, uint32_t flags) {
    assert(id >= 0 && id < v->n_ids && !v->tokens[id].flags && size_bytes <= v->cap - v->used);
    uint64_t i = slot(v, text, size_bytes);
    assert(v->slots[i] < 0);
    memcpy(v->bytes + v->used, text, size_bytes);
    v->tokens[id] = (lpo_token){(uint32_t)v->used, (uint32_t)size_bytes, flags};
    v->used += size_bytes;
    v->slots[i] = id;
}

int32_t lpo_vocab_find(const lpo_vocab *v, const char *text, size_t size_bytes) {
    return v->slots[slot(v, text, size_bytes)];
}
