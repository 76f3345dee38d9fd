/* SPDX-License-Identifier: Apache-2.0 */
/* prep.h -- a video file becomes what a vision tower eats: sampled, resized 8-bit frames and normalised
 * patches. The arithmetic is exact and the same on every device (docs/preprocessing.md); the bytes do not
 * depend on n_threads. An augmented view A(V) is a second clip made from the same decode. */
#ifndef LEANPO_PREP_H
#define LEANPO_PREP_H
#include "leanpo/status.h"

#include <stddef.h>
#include <stdint.h>

/* What to do to a view. All zero = nothing. Pixel changes happen in this order: crop, blur, grey, flip,
 * noise; frame changes in this order: drop, shuffle, reverse. Every random choice follows from seed alone. */
typedef struct lpo_augment {
    double crop_min,
        crop_max;         /* area kept, drawn uniformly in [min,max] within (0,1]; the aspect ratio is kept */
    int hflip, grey;      /* mirror left-right; luma only */
    double blur_sigma;    /* Gaussian, in output pixels (after resize), at most 16 */
    double noise_sigma;   /* of 255, at most 128 */
    int shuffle, reverse; /* of the sampled frames in time */
    double drop;          /* fraction [0,1) of frames lost: each shows the last kept frame before it */
    uint64_t seed;
} lpo_augment;

/* "crop=.5...8,flip,grey,blur=1.5,noise=8,drop=.25,shuffle,reverse,seed=3"; a range is LO..HI, where HI may
 * lack its leading zero or dot as in "crop=.5..8" (= .5 to .8); crop=.7 means exactly .7. "" and "none" are
 * all zero. */
LPO_API lpo_status lpo_augment_parse(lpo_augment *out, const char *spec, lpo_error *err);
/* The same in canonical form (parses back to the same struct). Returns bytes needed without the NUL, as
 * snprintf. */
LPO_API int lpo_augment_format(char *out, size_t size_bytes, const lpo_augment *aug);

/* A device that renders frames in place of the CPU. The bytes are the same. */
typedef struct lpo_prep_engine lpo_prep_engine;
/* device: "csim" (the FPGA kernel as C in this process), "fpga" (every card), "fpga:N", or a GPU ("opencl",
 * "cuda:1"). xclbin: a card's container to load, NULL for $LEANPO_XCLBIN or the one that came with LeanPO.
 * LPO_ENOTFOUND: no such device, and what to do. Any number of videos at a time may use an engine. */
LPO_API lpo_status lpo_prep_engine_open(lpo_prep_engine **out, const char *device, const char *xclbin,
                                        lpo_error *err);
LPO_API void lpo_prep_engine_close(lpo_prep_engine *e); /* NULL accepted */

/* How a family wants its frames. Fill with lpo_prep_options_load, then change what the user asked for. */
typedef struct lpo_prep_options {
    const char *family; /* "qwen2_vl", "qwen2_5_vl", "llava_next_video", "llava_video"; static storage */
    int patch_size;     /* 14 */
    int temporal_patch; /* 2; 1 for the LLaVAs */
    int merge_size;     /* 2; 1 for the LLaVAs */
    int64_t min_pixels, max_pixels; /* per frame, for smart_resize; max_pixels 0: derived from total_pixels */
    int64_t total_pixels;           /* over the clip */
    float mean[3], std[3];          /* of x/255 */
    int n_frames;                   /* 0: by fps */
    double fps;                     /* frames wanted a second */
    int hf_sampler;                 /* 1: transformers' own sampler, 0: qwen-vl-utils' */
    int resize_pillow;              /* 1: as Pillow, 0: as torchvision's tensor resize */
    int color_force601;             /* 1: BT.601 limited whatever the stream says */
    int target_h, target_w;         /* 0: the family's rule; else multiples of patch_size*merge_size */
    int short_side, cut;            /* > 0: the short side becomes this, then the centre cut x cut is kept */
    int resize_h, resize_w;         /* > 0: frames become this, whatever their shape */
    int uniform;    /* 1: n_frames spread evenly over the video, or (n_frames 0) one every 1/fps
                       seconds, spread evenly where they would be over max_frames */
    int max_frames; /* of uniform sampling */
    int n_threads;  /* 0: all */
    const lpo_prep_engine *engine; /* NULL: the CPU; borrowed */
} lpo_prep_options;

/* A family's constants. LPO_EUNSUPPORTED: an unknown name. */
LPO_API lpo_status lpo_prep_options_of(lpo_prep_options *o, const char *family, lpo_error *err);
/* model_dir/preprocessor_config.json (or video_preprocessor_config.json) over the constants of
 * the family config.json names; NULL: Qwen2-VL's. */
LPO_API lpo_status lpo_prep_options_load(lpo_prep_options *o, const char *model_dir, lpo_error *err);

/* What the user asks of the frames over what a model folder says, by the names of the models' own processors.
 * All zero: as the folder says. */
typedef struct lpo_clip_options {
    int64_t n_frames; /* exactly so many of every video, 1..768; even where patches span two frames */
    double fps;       /* or so many a second */
    int64_t min_pixels, max_pixels; /* of a frame once resized, where the family resizes by area */
} lpo_clip_options;
/* Over o. LPO_EINVAL: what the family cannot do, and what it can. */
LPO_API lpo_status lpo_prep_options_ask(lpo_prep_options *o, const lpo_clip_options *ask, lpo_error *err);

/* Size a frame of h x w is resized to: multiples of factor, between min_pixels and max_pixels, aspect kept as
 * far as that allows. LPO_EINVAL when the aspect ratio is over 200. */
LPO_API lpo_status lpo_smart_resize(int *out_h, int *out_w, int h, int w, int factor, int64_t min_pixels,
                                    int64_t max_pixels, lpo_error *err);
/* Pixels allowed per frame of a video of n_frames. */
LPO_API int64_t lpo_video_max_pixels(const lpo_prep_options *o, int n_frames);

typedef struct lpo_clip {
    int n_frames, height, width;
    int grid_t, grid_h, grid_w; /* patches; grid_t = ceil(n_frames / temporal_patch) */
    uint8_t *frames_u8;         /* [n,h,w,3] RGB after resize; owned */
    double second_per_grid;     /* temporal_patch / sampled fps */
    double duration_s;          /* of the video */
    double *time_s;             /* [n_frames] where in the video the sampled frames stand; owned */
} lpo_clip;

/* Decode, sample, convert, resize, augment (aug NULL: not). Clear the clip when done; on failure it is left
 * empty. */
LPO_API lpo_status lpo_prep_video(lpo_clip *out, const char *path, const lpo_prep_options *o,
                                  const lpo_augment *aug, lpo_error *err);
/* The plain and the augmented view from one decode: the same bytes as two calls of lpo_prep_video. */
LPO_API lpo_status lpo_prep_video2(lpo_clip *out, lpo_clip *out_aug, const char *path,
                                   const lpo_prep_options *o, const lpo_augment *aug, lpo_error *err);
LPO_API void lpo_clip_clear(lpo_clip *c); /* a zeroed clip is fine */

/* Normalise and cut: patches [grid_t*grid_h*grid_w, 3*temporal_patch*patch_size^2] f32, overwritten. Rows in
 * the order (t, h/m, w/m, m, m), columns (c, tp, ph, pw): columns equal the flattened Conv3d weight. */
LPO_API void lpo_prep_patchify(float *patches, const lpo_clip *c, const lpo_prep_options *o);

/* Write frames_u8 U8 [n,h,w,3] and patches F32 [rows,cols] with the recipe as metadata, as one .safetensors
 * file. */
LPO_API lpo_status lpo_prep_save(const char *path, const lpo_clip *c, const lpo_prep_options *o,
                                 lpo_error *err);
#endif
