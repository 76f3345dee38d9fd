/* SPDX-License-Identifier: Apache-2.0 */
/* rng.h -- seeded randomness that is the same on every machine.
 * State is one 64-bit counter over a keyed mix (splitmix64), so it checkpoints as two integers and a stream
 * can be derived for any (seed, stream) pair without running another: batch k of epoch e never depends on
 * what ran before. */
#ifndef LPO_BASE_RNG_H
#define LPO_BASE_RNG_H
#include <stdint.h>

typedef struct lpo_rng {
    uint64_t key, counter;
} lpo_rng;

/* Streams with different (seed, stream) are independent. */
lpo_rng lpo_rng_init(uint64_t seed, uint64_t stream);
uint64_t lpo_rng_u64(lpo_rng *r);
uint32_t lpo_rng_below(lpo_rng *r, uint32_t n); /* uniform in [0, n), n >= 1, unbiased */
double lpo_rng_uniform(lpo_rng *r);             /* [0, 1), 53 bits */
double lpo_rng_normal(lpo_rng *r);              /* mean 0, variance 1 (Box-Muller, two draws a call) */
void lpo_rng_shuffle(lpo_rng *r, uint32_t *items, uint32_t n);
#endif
