/* SPDX-License-Identifier: Apache-2.0 */
/* loader.h -- turns records into model-ready batches ahead of the step that needs them.
 * Worker threads decode, preprocess, tokenise and patchify the batches to come while the caller trains on
 * this one; a bounded queue holds the finished ones. Resized frames are kept in a memory cache (LRU,
 * cache_bytes), so a video is decoded once while it fits. What a batch holds depends on (seed, step) alone,
 * never on threads: item k of the endless sequence of epochs, each epoch a permutation seeded by (seed,
 * epoch). */
#ifndef LPO_DATA_LOADER_H
#define LPO_DATA_LOADER_H
#include "base/clip_rule.h"
#include "data/dataset.h"
#include "data/frame_cache.h"
#include "leanpo/prep.h"
#include "leanpo/text.h"

/* Everything that turns text and video into ids and patches for one model folder. */
typedef struct lpo_recipe {
    lpo_tokenizer *tokenizer;
    lpo_chat *chat;
    lpo_prep_options prep;
    lpo_clip_rule rule;           /* tokens of a clip */
    int32_t video_pad_id, eos_id; /* eos ends a response (<|im_end|>, </s>) */
    const char *cut_at;    /* LLaVA-NeXT: text between which pads stand, no token of the tokenizer; or NULL */
    bool time_instruction; /* the question says which moments the frames show (LLaVA-Video) */
    int32_t max_positions;
    lpo_frame_cache *cache; /* clips under `prep`, shared by every loader of this recipe; 1 GiB until a loader
                               sets another cap */
} lpo_recipe;
/* Loads tokenizer, chat template and preprocessor of a model folder; ids come from the tokenizer's added
 * tokens. */
lpo_status lpo_recipe_open(lpo_recipe *out, const char *model_dir,
                           const char *chat_template /* NULL = the folder's */,
                           const lpo_clip_options *clips /* NULL = the folder's */, lpo_error *err);
void lpo_recipe_close(lpo_recipe *r);
/* Prompt ids of one question about a clip (clip NULL: no video): chat-rendered, pads expanded, generation
 * prompt added. */
lpo_status lpo_recipe_prompt(lpo_ids *out, const lpo_recipe *r, const char *question, const lpo_clip *clip,
                             lpo_error *err);

/* Response ids: the text's, then eos. */
lpo_status lpo_recipe_response(lpo_ids *out, const lpo_recipe *r, const char *text, lpo_error *err);

typedef struct lpo_sample {
    const lpo_record *record;
    int32_t clip;             /* index into the batch's clips, -1 none: equal videos in a batch share one */
    int32_t n_prompt;         /* tokens of the prompt, common to both */
    lpo_ids chosen, rejected; /* prompt + response + eos; rejected.n == 0 in a QA set */
} lpo_sample;

typedef struct lpo_batch_clip {
    const void *patches; /* [grid_t*grid_h*grid_w, cols]: bytes, or f32 where levels is NULL */
    int32_t grid_t, grid_h, grid_w;
    double second_per_grid;
    const float *levels; /* [3][256]: what the bytes of a channel stand for */
} lpo_batch_clip;

typedef struct lpo_batch {
    int64_t step;
    double epoch; /* epochs done before this batch, with fraction */
    int32_t n_samples, n_clips;
    lpo_sample *samples;
    lpo_batch_clip *clips;
    double decode_s, prep_s;   /* worker seconds: decode + resize; tokenise + patchify */
    struct lpo_batch_own *own; /* the loader's */
} lpo_batch;

typedef struct lpo_loader_options {
    int batch_size; /* records per batch */
    uint64_t seed;
    bool shuffle;       /* false: file order, wrapping round */
    int64_t first_step; /* resume: the first batch to make */
    int64_t n_steps;    /* batches to make; 0 = one pass over the set, the last batch may be short */
    int n_workers;      /* default 1 */
    int queue_depth;    /* batches held ready, default 3 */
    size_t cache_bytes; /* resized frames kept, default 1 GiB */
} lpo_loader_options;
lpo_loader_options lpo_loader_options_default(void);

typedef struct lpo_loader lpo_loader;
/* Borrows d and r until destroyed. */
lpo_status lpo_loader_create(lpo_loader **out, lpo_dataset *d, const lpo_recipe *r,
                             const lpo_loader_options *o, lpo_error *err);
void lpo_loader_destroy(lpo_loader *l); /* stops and joins the workers; NULL accepted */
/* The next batch in order; LPO_EEND after the last. Blocks; wait_s (may be NULL) is the time blocked. Release
 * it when done. */
lpo_status lpo_loader_next(lpo_batch **out, lpo_loader *l, double *wait_s, lpo_error *err);
void lpo_loader_release(lpo_loader *l, lpo_batch *b);
/* Decode and preprocess every distinct video once (filling the cache while it fits), rejecting the records
 * whose video or text is bad (unreadable, response longer than the context), then compact. Call before
 * lpo_loader_create. */
lpo_status lpo_dataset_validate(lpo_dataset *d, const lpo_recipe *r, int n_threads, lpo_progress_fn *progress,
                                void *user, lpo_error *err);
#endif
