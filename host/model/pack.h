/* SPDX-License-Identifier: Apache-2.0 */
/* pack.h -- a batch laid end to end, as the ops want it: no padding anywhere.
 * Text rows of all sequences stand one after another (cu marks the borders), and so do the patches of all
 * clips that some sequence uses. Positions become tables of cosines and sines, one row a token; video
 * embeddings replace the pads' by a row mix. Everything lives in the arena given.
 * Neighbours in the batch with the same clip and prompt (chosen and rejected of a pair) may share the
 * prompt's rows: they are laid out once, as a run of their own, and each response is a run that attends to
 * them before itself. Positions go on from the prompt in each. */
#ifndef LPO_MODEL_PACK_H
#define LPO_MODEL_PACK_H
#include "model/parts.h"

/* Where a sequence's tokens are: the first n_shared from row `shared` on, the others from row `own` on. */
typedef struct lpo_packed_seq {
    int32_t shared, n_shared, own;
} lpo_packed_seq;

typedef struct lpo_packed {
    int32_t n_runs, n_rows; /* runs of rows attention sees as sequences, text rows of all */
    int32_t *cu;            /* [n_runs+1] */
    int32_t *prefix;        /* [n_runs, 2] rows that go before a run: first, count; NULL: none shares any */
    lpo_packed_seq *seqs;   /* of the batch */
    int32_t *ids, *mix;     /* [n_rows], [n_rows] (row of embeddings, or n_rows + row of video) */
    float *cos, *sin;       /* [n_rows, d_head/2] */
    int64_t n_patches;      /* 0: no video */
    void *patches; /* [n_patches, patch columns] bytes, or f32 where levels is NULL, in the order the tower
                      runs them (windows stand together) */
    const float *levels; /* [3][256], the clips' */
    int64_t n_vision;    /* rows of the tower: patches, and a class row a frame where there is one */
    int32_t *vision_cu, n_vision_cu; /* frames */
    int32_t *window_cu, n_window_cu; /* attention windows; NULL: none */
    float *vision_cos, *vision_sin;  /* [n_vision, vision d_head/2]; NULL: learned positions */
    int32_t *class_mix;              /* [n_vision] patch row, or n_patches: the class row; NULL: none */
    int32_t *position_mix;           /* [n_vision, 2] own row, n_vision + row of positions; NULL: rotary */
    int64_t n_video;                 /* rows spliced into the text */
    int32_t *video_mix, n_taps; /* [n_video, n_taps] rows they come from (NULL: row i is row i): pooled, the
                                   newline as row n_vision; or back in order after windows */
    float *video_w;             /* [n_video, n_taps]; NULL: 1 */
} lpo_packed;

/* take[s]: how many of sequence s's ids to feed; 0 leaves it out. share: lay common prompts out once.
 * Errors as lpo_model_record says. */
lpo_status lpo_pack(lpo_packed *out, lpo_arena *a, const lpo_model *m, const lpo_model_batch *b,
                    const int32_t *take, bool share, lpo_error *err);
/* The row of token i of sequence s. */
int32_t lpo_packed_row(const lpo_packed *p, int s, int32_t i);

/* The vision half of it: the clips end to end, NULL ones left out; base[i] receives clip i's first video
 * row. *out starts zeroed. */
lpo_status lpo_pack_clips(lpo_packed *out, lpo_arena *a, const lpo_model *m,
                          const lpo_clip_input *const *clips, int n_clips, int64_t *base, lpo_error *err);

/* What would make lpo_pack refuse this sequence with this clip (or NULL); *run is where its video pads begin,
 * or -1. */
lpo_status lpo_seq_check(int32_t *run, const lpo_model *m, const lpo_seq_input *q, const lpo_clip_input *c,
                         lpo_error *err);

/* How many rows the clip becomes in the text. */
int64_t lpo_clip_rows(const lpo_model *m, const lpo_clip_input *c);
/* Errors: a grid the tower cannot take. */
lpo_status lpo_clip_check(const lpo_model *m, const lpo_clip_input *c, lpo_error *err);

/* (t,h,w) of n tokens, pos [n,3]: text has the same on all axes; video counts on each axis from where the
 * text stood; text goes on after the largest position so far, which is returned. */
int32_t lpo_positions(int32_t *pos, const lpo_model *m, int32_t n, int32_t run, const lpo_clip_input *c);

/* cos, sin [n, d_head/2] of text rows whose (t,h,w) positions are pos [n,3]. */
void lpo_rope_text(float *cos_out, float *sin_out, const int32_t *pos, int64_t n, const lpo_model *m);

/* The KV cache of a generation: one tensor a layer, and where in it the sequences begin. */
typedef struct lpo_cache {
    lpo_buffer **layer; /* [n_layers] */
    int64_t shape[4];   /* slots, max_len, 2, n_kv*d_head */
    lpo_val slot, past; /* inputs [n_seqs] of the tape being recorded */
} lpo_cache;

/* The vision tower and projector over p's clips: rows [n_video, d_model of the decoder], clip after clip. */
lpo_val lpo_record_vision(lpo_tape *t, lpo_model *m, const lpo_packed *p, bool checkpoint);

/* x [T, d_model] through the decoder blocks. cos, sin, cu and prefix (or LPO_NONE) are values of the tape;
 * cache NULL: plain attention. */
lpo_val lpo_record_decoder(lpo_tape *t, lpo_model *m, lpo_val x, lpo_val cos, lpo_val sin, lpo_val cu,
                           lpo_val prefix, bool checkpoint, const lpo_cache *cache);

/* The final norm of the n rows named (row NULL: of all): what lm_head is applied to. */
lpo_val lpo_record_rows(lpo_tape *t, lpo_model *m, lpo_val x, const int32_t *row, int64_t n);
#endif
