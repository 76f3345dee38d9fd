/* SPDX-License-Identifier: Apache-2.0 */
/* pairs_views.h -- a video's plain view V and its augmented view A(V), made ahead of their use.
 * Worker threads decode a video once for both views, as soon as it is asked for. Frames of videos nobody uses
 * stay in memory, least recently used first out, so that lines on one video need not stand together. A video
 * has one A(V) a run: its random choices follow from the run's seed and the path as the file writes it. */
#ifndef LPO_TRAIN_PAIRS_VIEWS_H
#define LPO_TRAIN_PAIRS_VIEWS_H
#include "leanpo/prep.h"
#include "model/model.h"

typedef struct lpo_views {
    lpo_clip clip[2];        /* V, A(V); the second empty when there is no augmentation */
    lpo_clip_input input[2]; /* the same with their patches */
    lpo_augment augment;
} lpo_views;

/* Augmentations of which each video gets one, "grey|shuffle|crop=.5..8": every spec between the bars is one
 * of lpo_augment_parse. n 0: no augmentation at all ("none"). */
typedef struct lpo_view_choice {
    lpo_augment of[8];
    int n;
} lpo_view_choice;
lpo_status lpo_view_choice_parse(lpo_view_choice *out, const char *spec, lpo_error *err);
void lpo_view_choice_format(char out[512], const lpo_view_choice *c);

typedef struct lpo_view_store lpo_view_store;
/* idle_bytes bounds the frames kept for nobody; over taken_bytes of what is taken nothing is decoded but what
 * is waited for. */
lpo_status lpo_view_store_create(lpo_view_store **out, const lpo_prep_options *prep,
                                 const lpo_view_choice *aug, uint64_t seed, int n_threads, size_t idle_bytes,
                                 size_t taken_bytes, lpo_error *err);
void lpo_view_store_destroy(lpo_view_store *s); /* nothing may be taken; NULL accepted */

/* Asks for a video; give it back with drop, which does not wait for what no worker has begun. One thread
 * takes, waits and drops. */
lpo_status lpo_views_take(lpo_views **out, lpo_view_store *s, const char *path, const char *written,
                          lpo_error *err);
void lpo_views_drop(lpo_view_store *s, lpo_views *v);
/* It is decoded soon, whatever memory is left. */
void lpo_views_want(lpo_view_store *s, lpo_views *v);
bool lpo_views_ready(lpo_view_store *s, const lpo_views *v); /* wait would not block */
lpo_status lpo_views_wait(lpo_view_store *s, const lpo_views *v, lpo_error *err);
/* Bytes of what is taken; videos decoded so far. */
size_t lpo_view_store_taken_bytes(lpo_view_store *s);
int64_t lpo_view_store_decoded(lpo_view_store *s);
#endif
