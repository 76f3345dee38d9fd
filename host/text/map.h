/* SPDX-License-Identifier: Apache-2.0 */
/* map.h -- fixed-size hash map from 64-bit keys to 64-bit values, for merge pairs and trie edges.
 * Open addressing at most half full; built once, then only read, so it needs neither growth nor removal. */
#ifndef LPO_TEXT_MAP_H
#define LPO_TEXT_MAP_H
#include <stddef.h>
#include <stdint.h>

#define LPO_MAP_NONE UINT64_MAX /* neither a key nor a value */

typedef struct lpo_map {
    uint64_t *keys, *values;
    uint64_t mask;
} lpo_map;

/* Room for n entries; 0 or -1 when out of memory. */
int lpo_map_init(lpo_map *m, size_t n);
void lpo_map_free(lpo_map *m);
/* Inserts or replaces; never more than init's n distinct keys. */
void lpo_map_put(lpo_map *m, uint64_t key, uint64_t value);
/* LPO_MAP_NONE when absent, also on a map that was never initialised. */
uint64_t lpo_map_get(const lpo_map *m, uint64_t key);
#endif
