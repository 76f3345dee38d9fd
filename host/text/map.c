/* SPDX-License-Identifier: Apache-2.0 */
/* map.c -- see map.h. */
#include "text/map.h"

#include <stdlib.h>
#include <string.h>

static uint64_t mix(uint64_t x) {
    x ^= x >> 31;
    x *= 0x9e3779b97f4a7c15u;
    return x ^ x >> 29;
}

int lpo_map_init(lpo_map *m, size_t n) {
    size_t cap = 16;
    while (cap < 2 * n) cap *= 2;
    m->keys = malloc(cap * sizeof *m->keys);
    m->values = malloc(cap * sizeof *m->values);
    if (!m->keys || !m->values) {
        lpo_map_free(m);
        return -1;
    }
    memset(m->keys, 0xff, cap * sizeof *m->keys);
    m->mask = cap - 1;
    return 0;
}

void lpo_map_free(lpo_map *m) {
    free(m->keys);
    free(m->values);
    *m = (lpo_map){0};
}

static uint64_t slot(const lpo_map *m, uint64_t key) {
    uint64_t i = mix(key) & m->mask;
    while (m->keys[i] != key && m->keys[i] != LPO_MAP_NONE) i = (i + 1) & m->mask;
    return i;
}

void lpo_map_put(lpo_map *m, uint64_t key, uint64_t value) {
    uint64_t i = slot(m, key);
    m->keys[i] = key;
    m->values[i] = value;
}

uint64_t lpo_map_get(const lpo_map *m, uint64_t key) {
    if (!m->keys) return LPO_MAP_NONE;
    uint64_t i = slot(m, key);
    return m->keys[i] == key ? m->values[i] : LPO_MAP_NONE;
}
