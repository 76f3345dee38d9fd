/* SPDX-License-Identifier: Apache-2.0 */
/* rng.c -- splitmix64 (Steele, Lea, Flood 2014) keyed by seed and stream. */
#include "base/rng.h"

#include <math.h>

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

lpo_rng lpo_rng_init(uint64_t seed, uint64_t stream) {
    lpo_rng r = {mix(mix(seed + 0x9e3779b97f4a7c15u) ^ mix(stream + 0xd1b54a32d192ed03u)), 0};
    return r;
}

uint64_t lpo_rng_u64(lpo_rng *r) {
    return mix(r->key + 0x9e3779b97f4a7c15u * ++r->counter);
}

uint32_t lpo_rng_below(lpo_rng *r, uint32_t n) {
    uint32_t reject = (uint32_t)(-n) % n; /* 2^32 mod n values at the bottom would be over-represented */
    uint32_t x;
    do x = (uint32_t)(lpo_rng_u64(r) >> 32);
    while (x < reject);
    return x % n;
}

double lpo_rng_uniform(lpo_rng *r) {
    return (double)(lpo_rng_u64(r) >> 11) * 0x1p-53;
}

double lpo_rng_normal(lpo_rng *r) {
    double u = 1.0 - lpo_rng_uniform(r), v = lpo_rng_uniform(r);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

void lpo_rng_shuffle(lpo_rng *r, uint32_t *items, uint32_t n) {
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = lpo_rng_below(r, i), t = items[i - 1];
        items[i - 1] = items[j];
        items[j] = t;
    }
}
