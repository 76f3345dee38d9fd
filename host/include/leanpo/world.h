/* SPDX-License-Identifier: Apache-2.0 */
/* world.h -- the moving-shapes world: a video-QA data set made from nothing, small enough that a 1.4
 * M-parameter model learns it in minutes and real enough (H.264 files, byte-level BPE, JSONL) that the whole
 * pipeline is exercised. One or two shapes move over a noisy dark ground. Everything asked about them is
 * known, so accuracy is exact. */
#ifndef LEANPO_WORLD_H
#define LEANPO_WORLD_H
#include "leanpo/status.h"

#include <stdint.h>

typedef struct lpo_world_options {
    int n_videos; /* 1 to 1,000,000 */
    uint64_t seed;
    int size_px;    /* square frames, even, 56 to 1024; 0: 224 */
    double fps;     /* 0: 8 */
    int n_frames;   /* 8 to 256; 0: 8, so that sampling 8 frames takes them all */
    double heldout; /* share of the videos, the last ones, whose QA go to qa.heldout.jsonl: 0 to .9 */
    lpo_progress_fn *progress; /* may be NULL */
    void *user;
    int n_threads; /* videos are written in parallel; 0: one per core. The files do not depend on it */
} lpo_world_options;

/* n_videos 1000, seed 1, and the defaults above written out. */
LPO_API lpo_world_options lpo_world_options_default(void);

/* Write the data set into folder dir (made if absent; files of the same names are replaced):
 * - videos/000000.mp4 and on: n_frames frames at fps
 * - captions.jsonl: a line for each training video, the question "describe briefly" and the answer "red bar
 * left" or "red bar left , blue circle up", with n_objects
 * - qa.train.jsonl, qa.heldout.jsonl: {"id","video","question","answer","type"}, every applicable type once a
 * video
 * - tokenizer.json, tokenizer_config.json: byte-level BPE in which each word of this world is one token
 * - world.json: seed, counts, words, question types with their chance accuracy; written last
 * The same options give the same bytes (for one version of the H.264 encoder). */
LPO_API lpo_status lpo_world_write(const char *dir, const lpo_world_options *o, lpo_error *err);

/* 1 for the words that carry an answer: colours (red green blue yellow), shapes (circle bar pole), directions
 * (left right up down), numbers (one two), faster, first. All phrasings of one answer have the same content
 * words. */
LPO_API int lpo_world_is_content_word(const char *word);

#endif
