/* SPDX-License-Identifier: Apache-2.0 */
/* arena.h -- bump allocator: everything of one step or one loaded file is freed at once.
 * Not thread-safe: one arena, one thread. */
#ifndef LPO_BASE_ARENA_H
#define LPO_BASE_ARENA_H
#include <stddef.h>

typedef struct lpo_arena lpo_arena;

/* NULL when out of memory. block_bytes is the unit of growth; a larger request gets a block of its own. */
lpo_arena *lpo_arena_create(size_t block_bytes);
void lpo_arena_destroy(lpo_arena *a); /* NULL accepted */

/* Zeroed memory, 64-byte aligned, valid until reset or destroy; NULL when out of memory or n*size overflows.
 */
void *lpo_arena_alloc(lpo_arena *a, size_t n, size_t size);
char *lpo_arena_strdup(lpo_arena *a, const char *s);
char *lpo_arena_printf(lpo_arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Forget every allocation, keep the blocks: the next step allocates without malloc. */
void lpo_arena_reset(lpo_arena *a);
#endif
