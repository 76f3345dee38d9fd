/* SPDX-License-Identifier: Apache-2.0 */
/* arena.c -- see arena.h. Blocks form a list in the order they were made; reset rewinds to the first, and a
 * block too small for a request is skipped until the next reset, so a steady step settles on no malloc at
 * all. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

typedef struct block {
    struct block *next;
    size_t size_bytes, used_bytes;
    unsigned char *data; /* ALIGN-aligned, in the same allocation */
} block;

struct lpo_arena {
    block *first, *at;
    size_t block_bytes;
};

lpo_arena *lpo_arena_create(size_t block_bytes) {
    lpo_arena *a = calloc(1, sizeof *a);
    if (a) a->block_bytes = block_bytes ? block_bytes : (size_t)64 << 10;
    return a;
}

void lpo_arena_destroy(lpo_arena *a) {
    if (!a) return;
    for (block *b = a->first, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(a);
}

static block *block_create(size_t size_bytes) {
    if (size_bytes > SIZE_MAX - sizeof(block) - ALIGN) return NULL;
    block *b = malloc(sizeof *b + ALIGN + size_bytes);
    if (!b) return NULL;
    b->next = NULL;
    b->size_bytes = size_bytes;
    b->used_bytes = 0;
    b->data = (unsigned char *)(((uintptr_t)(b + 1) + ALIGN - 1) & ~(uintptr_t)(ALIGN - 1));
    return b;
}

void *lpo_arena_alloc(lpo_arena *a, size_t n, size_t size) {
    if (size && n > (SIZE_MAX - ALIGN) / size) return NULL;
    size_t need = (n * size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    while (a->at && a->at->size_bytes - a->at->used_bytes < need) {
        if (!a->at->next) break;
        a->at = a->at->next;
        a->at->used_bytes = 0;
    }
    if (!a->at || a->at->size_bytes - a->at->used_bytes < need) {
        block *b = block_create(need > a->block_bytes ? need : a->block_bytes);
        if (!b) return NULL;
        if (a->at)
            a->at->next = b;
        else
            a->first = b;
        a->at = b;
    }
    void *p = a->at->data + a->at->used_bytes;
    a->at->used_bytes += need;
    return memset(p, 0, need);
}

char *lpo_arena_strdup(lpo_arena *a, const char *s) {
    size_t n = strlen(s) + 1;
    char *p = lpo_arena_alloc(a, n, 1);
    return p ? memcpy(p, s, n) : NULL;
}

char *lpo_arena_printf(lpo_arena *a, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : lpo_arena_alloc(a, (size_t)n + 1, 1);
    if (!p) return NULL;
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

void lpo_arena_reset(lpo_arena *a) {
    a->at = a->first;
    if (a->at) a->at->used_bytes = 0;
}
