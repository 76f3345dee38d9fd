/* SPDX-License-Identifier: Apache-2.0 */
/* frame_cache.h -- resized frames in memory, by video path: a video is decoded once while the cache holds it.
 * All functions may be called from any thread. A clip is pinned from get to put and never evicted in between.
 */
#ifndef LPO_DATA_FRAME_CACHE_H
#define LPO_DATA_FRAME_CACHE_H
#include "leanpo/prep.h"

typedef struct lpo_frame_cache lpo_frame_cache;

lpo_frame_cache *lpo_frame_cache_create(size_t cap_bytes); /* NULL when out of memory */
void lpo_frame_cache_destroy(lpo_frame_cache *c);          /* nothing may be pinned; NULL accepted */
void lpo_frame_cache_set_cap(lpo_frame_cache *c, size_t cap_bytes);
/* The clip of `video` under `prep` (one prep per cache). Two threads asking for the same video decode it
 * once. *decode_s gets the seconds this call spent decoding (0 on a hit). */
lpo_status lpo_frame_cache_get(const lpo_clip **out, lpo_frame_cache *c, const char *video,
                               const lpo_prep_options *prep, double *decode_s, lpo_error *err);
void lpo_frame_cache_put(lpo_frame_cache *c, const lpo_clip *clip);
#endif
